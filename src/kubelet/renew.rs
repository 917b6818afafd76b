//! Keeps the files of running pods as their ConfigMaps, Secrets, tokens and labels are now.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{
    index::{Index, Sample},
    metrics::KubeletMetrics,
    reader::Reader,
};
use crate::{
    provider::{Owner, Provider},
    watch::Leadership,
};

/// Pods looked after at a time.
const AT_ONCE: usize = 8;

/// What is needed to renew.
pub(crate) struct Renewal {
    pub(crate) cluster: String,
    pub(crate) reader: Arc<Reader>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) index: Arc<Mutex<Index>>,
    pub(crate) metrics: KubeletMetrics,
    pub(crate) leadership: Option<watch::Receiver<Leadership>>,
}

impl Renewal {
    /// Works for ever, where the provider takes renewals; once `every` for each pod.
    pub(crate) async fn run(self, every: Duration) {
        if !self.provider.takes().renewals {
            return;
        }
        let mut turns = tokio::time::interval(every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if self.leadership.as_ref().is_some_and(|leadership| !leadership.borrow().may_write()) {
                continue;
            }
            let samples = self.index.lock().unwrap_or_else(PoisonError::into_inner).samples();
            self.reader.forget_tokens_but(|uid| samples.iter().any(|sample| *sample.uid == *uid));
            let with_files = samples.iter().filter(|sample| sample.shape.has_files);
            let owners: Vec<Owner> = with_files.map(|sample| self.owner(sample)).collect();
            futures::stream::iter(owners).for_each_concurrent(AT_ONCE, |owner| self.one(owner)).await;
        }
    }

    fn owner(&self, sample: &Sample) -> Owner {
        Owner {
            cluster: self.cluster.clone(),
            node: sample.node.to_string(),
            namespace: sample.namespace.to_string(),
            name: sample.name.to_string(),
            uid: sample.uid.to_string(),
        }
    }

    /// What is missing now keeps the files that are there: a running pod loses nothing by a deleted object.
    async fn one(&self, owner: Owner) {
        let resolved = match self.reader.again(&owner).await {
            Ok(Some(resolved)) => resolved,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(pod = %owner.name, namespace = %owner.namespace, %error, "files stay as they are");
                return;
            }
        };
        if let Err(error) = self.metrics.asked("renew", self.provider.renew(&owner, &resolved.content)).await {
            tracing::debug!(pod = %owner.name, namespace = %owner.namespace, %error, "files not renewed");
        }
    }
}
