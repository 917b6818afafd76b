//! The kubelets of the pools that this replica holds, and their one listener.
//!
//! Each pool is a duty of its own: its provider's limits, its one poll, the sweep of orphans and the number of its nodes
//! belong to the pool, and want one owner. Which replica keeps which is [`crate::watch::Duties`]' to say.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use burstlet_engine::model::PoolName;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletHandle, KubeletMetrics, NodeTemplate, serving::Serving},
    placer::Stocks,
    provider::Provider,
    run::{
        RunError,
        config::{KubeletListener, Pool},
        fleet::{self, Fleet, Known},
        pools::{Running, RunningPools, drained, remove_nodes},
        reclaim,
        routes::Routes,
        stock, until_stopped,
    },
    serve::{self, HeldCertificate},
    watch::{Duty, Post, Roster},
};

/// How long one who takes a pool over looks for its nodes before it begins without knowing them.
const LOOK: Duration = Duration::from_secs(5);

/// What the kubelets need.
#[derive(Clone)]
pub(super) struct Keeping {
    pub(super) cluster: String,
    pub(super) listener: KubeletListener,
    /// Where the cluster reaches the listener.
    pub(super) address: IpAddr,
    pub(super) running: watch::Receiver<RunningPools>,
    pub(super) stocks: watch::Receiver<Stocks>,
    pub(super) roster: Roster,
    pub(super) metrics: KubeletMetrics,
}

impl Keeping {
    /// Takes the port, and keeps what this replica holds until `stop`.
    pub(super) async fn begin(
        self,
        client: Client,
        stop: &CancellationToken,
        tasks: &mut JoinSet<Result<(), RunError>>,
    ) -> Result<(), RunError> {
        let listener = serve::bind(self.listener.listen).await?;
        let held = HeldCertificate::default();
        let tls = self.listener.tls.rules(&held);
        tls.check().await?;
        let port = listener.local_addr().map_or(self.listener.listen.port(), |address| address.port());
        let routes = Arc::new(Routes::new(client.clone()));
        let served = serve::serve(listener, tls, routes.changing(), stop.clone());
        tasks.spawn(async move { Ok(served.await?) });
        if self.listener.tls.requested {
            let (client, kept) = (client.clone(), routes.clone());
            let serving = Serving { client, nodes: move || kept.nodes(), address: self.address, port, held };
            tasks.spawn(until_stopped(stop.clone(), serving.keep()));
        }
        let keeper = Keeper { client, keeping: self, port, routes, stop: stop.clone() };
        tasks.spawn(async move {
            keeper.run().await;
            Ok(())
        });
        Ok(())
    }
}

/// Has a shard for every pool at work.
struct Keeper {
    client: Client,
    keeping: Keeping,
    port: u16,
    routes: Arc<Routes>,
    stop: CancellationToken,
}

/// One pool, kept here whenever it is this replica's turn.
struct Shard {
    name: PoolName,
    client: Client,
    keeping: Keeping,
    port: u16,
    routes: Arc<Routes>,
    post: Post,
    stop: CancellationToken,
}

/// A kubelet at work. Dropping it ends it: a keeper that is killed leaves nobody behind who makes nodes.
struct Kept {
    handle: KubeletHandle,
    provider: Arc<dyn Provider>,
    stop: CancellationToken,
    ended: AbortOnDropHandle<()>,
    /// Tells the nodes of the pool's stock.
    _announced: Option<AbortOnDropHandle<Result<(), RunError>>>,
    /// Has as many of them as the load, or the configuration, wants.
    _fleet: Option<AbortOnDropHandle<Result<(), RunError>>>,
    /// Evicts pods whose instances are taken back.
    _reclaimed: AbortOnDropHandle<Result<(), RunError>>,
    /// Removes the nodes of a pool that is gone.
    ending: Option<AbortOnDropHandle<()>>,
}

impl Keeper {
    async fn run(self) {
        let mut running = self.keeping.running.clone();
        let mut shards: BTreeMap<PoolName, AbortOnDropHandle<()>> = BTreeMap::new();
        loop {
            let names: Vec<PoolName> = running.borrow_and_update().keys().cloned().collect();
            for name in names {
                shards.entry(name.clone()).or_insert_with(|| {
                    let shard = Shard {
                        client: self.client.clone(),
                        keeping: self.keeping.clone(),
                        port: self.port,
                        routes: self.routes.clone(),
                        post: self.keeping.roster.post(&Duty::pool(&name)),
                        stop: self.stop.clone(),
                        name,
                    };
                    AbortOnDropHandle::new(tokio::spawn(shard.run()))
                });
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                changed = running.changed() => if changed.is_err() { self.stop.cancelled().await },
            }
        }
        for shard in shards.into_values() {
            let _ = shard.await;
        }
    }
}

impl Shard {
    async fn run(mut self) {
        loop {
            let work = tokio::select! {
                () = self.stop.cancelled() => return,
                work = self.post.begin() => work,
            };
            tracing::info!(pool = %self.name, "this replica keeps the pool's virtual nodes");
            self.keep().await;
            self.keeping.metrics.keeps(self.routes.set(&self.name, None));
            drop(work);
            tracing::info!(pool = %self.name, "this replica no longer keeps the pool's virtual nodes");
        }
    }

    /// Keeps the pool until its turn ends.
    async fn keep(&mut self) {
        let mut running = self.keeping.running.clone();
        let mut kept: Option<Kept> = None;
        loop {
            let now = running.borrow_and_update().get(&self.name).cloned();
            if let Some(pool) = now {
                kept = self.adapt(kept, &pool).await;
            }
            let mut post = self.post.clone();
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = post.ends() => break,
                Ok(()) = running.changed() => {}
            }
        }
        if let Some(kept) = kept {
            kept.end().await;
        }
    }

    /// The pool's kubelet as the pool is now.
    async fn adapt(&self, kept: Option<Kept>, pool: &Running) -> Option<Kept> {
        let mut kept = match kept {
            Some(kept) if Arc::ptr_eq(&kept.provider, &pool.provider) => kept,
            before => {
                // One after the other: two kubelets would answer for the same nodes.
                if let Some(before) = before {
                    before.end().await;
                } else if pool.ends && matches!(self.stand(&self.name).await, Some(known) if known.is_empty()) {
                    // Another replica has brought it to its end.
                    return None;
                }
                let kept = self.begin(pool).await;
                self.keeping.metrics.keeps(self.routes.set(&self.name, Some(kept.handle.clone())));
                kept
            }
        };
        if pool.ends && kept.ending.is_none() {
            kept.ending = Some(self.end(&self.name, kept.stop.clone()));
        }
        Some(kept)
    }

    async fn begin(&self, Running { pool, provider, .. }: &Running) -> Kept {
        let known = self.stand(&pool.name).await.unwrap_or_default();
        let least = if pool.scaled.is_some() { 1 } else { pool.nodes };
        // Of a pool whose number of nodes was lowered, all that stand are looked after until they have gone.
        let count = known.keys().map(|index| index.saturating_add(1)).max().unwrap_or(0).max(pool.nodes);
        let changes = pool.scaled.is_some() || count > pool.nodes;
        let nodes = pool.nodes(provider.name(), count);
        let capacity = pool.capacity();
        let stop = self.stop.child_token();
        let announced = nodes.first().map(|first| {
            let (stocks, name) = (self.keeping.stocks.clone(), pool.name.clone());
            let announced = stock::announce(self.client.clone(), name, first.name.clone(), stocks);
            AbortOnDropHandle::new(tokio::spawn(until_stopped(stop.clone(), announced)))
        });
        let config = KubeletConfig::new(&self.keeping.cluster, nodes, self.keeping.address, self.port);
        let kubelet = Kubelet::new(self.client.clone(), config, provider.clone(), self.keeping.metrics.clone());
        let mut kubelet = kubelet.led_by(self.post.leadership());
        let handle = kubelet.handle();
        let mut fleet = None;
        if changes {
            let (sender, kept) = watch::channel(fleet::kept(&known, least, &capacity));
            kubelet = kubelet.keeping(kept);
            let keeps = Fleet {
                client: self.client.clone(),
                pool: pool.name.clone(),
                cluster: self.keeping.cluster.clone(),
                handle: handle.clone(),
                provider: provider.clone(),
                running: self.keeping.running.clone(),
                stocks: self.keeping.stocks.clone(),
                capacity,
                kept: sender,
                known,
                least,
                leadership: self.post.leadership(),
            };
            fleet = Some(AbortOnDropHandle::new(tokio::spawn(until_stopped(stop.clone(), keeps.keep()))));
        }
        let reclaimed = reclaim::keep(self.client.clone(), self.keeping.cluster.clone(), provider.clone());
        let reclaimed = AbortOnDropHandle::new(tokio::spawn(until_stopped(stop.clone(), reclaimed)));
        let stopped = stop.clone();
        let ended = AbortOnDropHandle::new(tokio::spawn(async move { kubelet.run(stopped).await }));
        Kept {
            handle,
            provider: provider.clone(),
            stop,
            ended,
            _announced: announced,
            _fleet: fleet,
            _reclaimed: reclaimed,
            ending: None,
        }
    }

    /// The pool's nodes as they stand; `None` where nobody tells.
    async fn stand(&self, pool: &PoolName) -> Option<Known> {
        let later = "those that are not known are made as pods come";
        match timeout(LOOK, fleet::stand(&self.client, pool)).await {
            Ok(Ok(known)) => return Some(known),
            Ok(Err(error)) => tracing::warn!(%error, %pool, "the pool's virtual nodes not listed; {later}"),
            Err(_) => tracing::warn!(%pool, "the pool's virtual nodes not listed within {LOOK:?}; {later}"),
        }
        None
    }

    /// The pool's object is gone: its virtual nodes go once their last pod has.
    fn end(&self, name: &PoolName, stop: CancellationToken) -> AbortOnDropHandle<()> {
        let (client, name) = (self.client.clone(), name.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return,
                () = drained(&client, &name) => {}
            }
            stop.cancel();
            if let Err(error) = remove_nodes(&client, &name).await {
                tracing::warn!(%error, pool = %name, "the virtual nodes of a pool that is gone stay behind");
            }
        }))
    }
}

impl Kept {
    async fn end(self) {
        self.stop.cancel();
        let _ = self.ended.await;
    }
}

impl Pool {
    /// What each of its virtual nodes shows at most.
    fn capacity(&self) -> Capacity {
        Capacity { cpu: Quantity(self.cpu.clone()), memory: Quantity(self.memory.clone()), pods: self.pods_per_node }
    }

    /// The first `count` virtual nodes that stand for it.
    fn nodes(&self, provider: &str, count: u32) -> Vec<NodeTemplate> {
        let capacity = self.capacity();
        (0..count)
            .map(|index| NodeTemplate::virtual_node(self.name.as_str(), provider, index, capacity.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use prometheus::Registry;

    use super::*;
    use crate::provider::simulated::{Cloud, Settings};

    /// To an API server that never answers.
    fn client() -> Client {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>()
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_keeper_that_is_killed_leaves_no_kubelet_behind() {
        let provider: Arc<dyn Provider> = Arc::new(Cloud::new(Settings::default()));
        let pool = serde_saphyr::from_str("{name: cloud, provider: {simulated: {endpoint: 'http://127.0.0.1:1'}}}");
        let running = Running { pool: pool.unwrap(), provider: provider.clone(), ends: false };
        let (pools, running) = watch::channel(BTreeMap::from([("cloud".into(), running)]));
        let listener = "{listen: '127.0.0.1:0', tls: {certificate: none, key: none}}";
        let roster = Roster::default();
        let keeping = Keeping {
            cluster: "here".to_owned(),
            listener: serde_saphyr::from_str(listener).unwrap(),
            address: [127, 0, 0, 1].into(),
            running,
            stocks: watch::channel(Stocks::new()).1,
            roster: roster.clone(),
            metrics: KubeletMetrics::register(&Registry::new()).unwrap(),
        };
        let stop = CancellationToken::new();
        let before = Arc::strong_count(&provider);
        let routes = Arc::new(Routes::new(client()));
        let keeper = Keeper { client: client(), keeping, port: 1, routes, stop };

        let keeper = tokio::spawn(keeper.run());
        let counted = async |wanted: &dyn Fn(usize) -> bool| {
            let begin = Instant::now();
            while !wanted(Arc::strong_count(&provider)) {
                assert!(
                    begin.elapsed() < Duration::from_secs(5),
                    "{} of {before} hold on",
                    Arc::strong_count(&provider)
                );
                roster.hold_all();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        counted(&|holders| holders > before).await;
        keeper.abort();
        drop(pools);
        counted(&|holders| holders <= before).await;
    }
}
