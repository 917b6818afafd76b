//! Placement: on the replica that leads, from the moment it wins the lease until it loses it.

use std::collections::BTreeMap;

use burstlet_engine::{
    model::{Capabilities, PoolName},
    policy::Settings,
};
use kube::Client;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    api::kinds::ForeignKinds,
    placer::{Board, Placer, PlacerMetrics, Stocks},
    watch::Post,
};

/// What the placer needs.
pub(super) struct Deciding {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) capabilities: BTreeMap<PoolName, Capabilities>,
    pub(super) namespace: String,
    pub(super) foreign: ForeignKinds,
    pub(super) stocks: watch::Receiver<Stocks>,
    pub(super) metrics: PlacerMetrics,
    pub(super) board: Board,
}

impl Deciding {
    /// Decides whenever this replica leads, until `stop`.
    pub(super) async fn run(self, mut post: Post, stop: CancellationToken) {
        loop {
            let work = tokio::select! {
                () = stop.cancelled() => return,
                work = post.begin() => work,
            };
            tracing::info!("this replica leads");
            let term = stop.child_token();
            let mut placing = AbortOnDropHandle::new(tokio::spawn(self.placer(&post).run(term.clone())));
            let ended = tokio::select! {
                () = stop.cancelled() => false,
                () = post.ends() => false,
                _ = &mut placing => true,
            };
            term.cancel();
            if !ended {
                let _ = placing.await;
            }
            drop(work);
            tracing::info!("this replica no longer leads");
        }
    }

    fn placer(&self, post: &Post) -> Placer {
        Placer {
            client: self.client.clone(),
            settings: self.settings.clone(),
            capabilities: self.capabilities.clone(),
            namespace: self.namespace.clone(),
            foreign: self.foreign.clone(),
            leadership: post.leadership(),
            stocks: self.stocks.clone(),
            metrics: self.metrics.clone(),
            board: self.board.clone(),
        }
    }
}
