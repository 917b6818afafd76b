//! What the leading replica runs, from the moment it wins the lease until it loses it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use burstlet_engine::{
    model::{Capabilities, PoolName},
    policy::Settings,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt;

use crate::{
    api::kinds::ForeignKinds,
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletHandle, KubeletMetrics, NodeTemplate, server},
    placer::{Board, Placer, PlacerMetrics, Stocks},
    provider::Provider,
    run::{
        RunError,
        config::{ConfigError, KubeletListener, Pool},
        fleet::{self, Fleet, Known},
        pools::{Running, RunningPools, drained, remove_nodes},
        reclaim, stock, until_stopped,
    },
    serve,
    watch::Leadership,
};

/// How long a new leader looks for the nodes of a pool before it begins without knowing them.
const LOOK: Duration = Duration::from_secs(5);

/// The leader's work.
pub(super) struct Lead {
    pub(super) client: Client,
    pub(super) leadership: watch::Receiver<Leadership>,
    /// Where the placer runs here.
    pub(super) placer: Option<Deciding>,
    /// Where the kubelet runs here.
    pub(super) kubelet: Option<Keeping>,
}

/// What the placer needs.
pub(super) struct Deciding {
    pub(super) settings: Settings,
    pub(super) capabilities: BTreeMap<PoolName, Capabilities>,
    pub(super) namespace: String,
    pub(super) foreign: ForeignKinds,
    pub(super) stocks: watch::Receiver<Stocks>,
    pub(super) metrics: PlacerMetrics,
    pub(super) board: Board,
}

/// What the kubelets need.
#[derive(Clone)]
pub(super) struct Keeping {
    pub(super) cluster: String,
    pub(super) listener: KubeletListener,
    /// Where the cluster reaches the listener.
    pub(super) address: IpAddr,
    pub(super) running: watch::Receiver<RunningPools>,
    pub(super) stocks: watch::Receiver<Stocks>,
    pub(super) metrics: KubeletMetrics,
}

impl Lead {
    /// Works whenever this replica leads, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), RunError> {
        loop {
            let leads = |leadership: &Leadership| *leadership != Leadership::Standby;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                won = self.leadership.wait_for(leads) => if won.is_err() { return Ok(()) },
            }
            tracing::info!("this replica leads");
            let term = stop.child_token();
            let mut work = self.begin(&term).await?;
            let ended = tokio::select! {
                () = stop.cancelled() => Ok(()),
                _ = self.leadership.wait_for(|leadership| !leads(leadership)) => Ok(()),
                Some(ended) = work.join_next() => ended.unwrap_or(Ok(())),
            };
            term.cancel();
            while let Some(ended) = work.join_next().await {
                ended.unwrap_or(Ok(()))?;
            }
            ended?;
            tracing::info!("this replica no longer leads");
        }
    }

    async fn begin(&self, term: &CancellationToken) -> Result<JoinSet<Result<(), RunError>>, RunError> {
        let mut work = JoinSet::new();
        if let Some(Deciding { settings, capabilities, namespace, foreign, stocks, metrics, board }) = &self.placer {
            let placer = Placer {
                client: self.client.clone(),
                settings: settings.clone(),
                capabilities: capabilities.clone(),
                namespace: namespace.clone(),
                foreign: foreign.clone(),
                leadership: self.leadership.clone(),
                stocks: stocks.clone(),
                metrics: metrics.clone(),
                board: board.clone(),
            };
            let term = term.clone();
            work.spawn(async move {
                placer.run(term).await;
                Ok(())
            });
        }
        if let Some(keeping) = &self.kubelet {
            keeping.begin(&self.client, &self.leadership, term, &mut work).await?;
        }
        Ok(work)
    }
}

impl Keeping {
    async fn begin(
        &self,
        client: &Client,
        leadership: &watch::Receiver<Leadership>,
        term: &CancellationToken,
        work: &mut JoinSet<Result<(), RunError>>,
    ) -> Result<(), RunError> {
        let listener = serve::bind(self.listener.listen).await?;
        let port = listener.local_addr().map_or(self.listener.listen.port(), |address| address.port());
        let (sender, router) = watch::channel(server::router(Vec::new(), client.clone()));
        let keeper = KubeletKeeper {
            client: client.clone(),
            keeping: self.clone(),
            leadership: leadership.clone(),
            port,
            term: term.clone(),
            router: sender,
        };
        work.spawn(async move {
            keeper.run().await;
            Ok(())
        });
        let served = serve::serve(listener, self.listener.tls.clone(), changing(router), term.clone());
        work.spawn(async move { Ok(served.await?) });
        Ok(())
    }
}

/// A router that answers as the last one sent does.
fn changing(router: watch::Receiver<Router>) -> Router {
    Router::new().fallback(move |request: Request| {
        let now = router.borrow().clone();
        async move { now.oneshot(request).await }
    })
}

/// Keeps a kubelet for each pool at work.
struct KubeletKeeper {
    client: Client,
    keeping: Keeping,
    leadership: watch::Receiver<Leadership>,
    port: u16,
    term: CancellationToken,
    router: watch::Sender<Router>,
}

/// A kubelet at work. Dropping it ends it: a keeper that is killed leaves nobody behind who makes nodes.
struct Kept {
    handle: KubeletHandle,
    provider: Arc<dyn Provider>,
    stop: CancellationToken,
    ended: AbortOnDropHandle<()>,
    /// Tells the nodes of the pool's stock.
    _announced: Option<AbortOnDropHandle<Result<(), RunError>>>,
    /// Has as many of them as the load wants.
    _fleet: Option<AbortOnDropHandle<Result<(), RunError>>>,
    /// Evicts pods whose instances are taken back.
    _reclaimed: AbortOnDropHandle<Result<(), RunError>>,
    /// Removes the nodes of a pool that is gone.
    ending: Option<AbortOnDropHandle<()>>,
}

impl KubeletKeeper {
    async fn run(self) {
        let mut running = self.keeping.running.clone();
        let mut kept: BTreeMap<PoolName, Kept> = BTreeMap::new();
        loop {
            let wanted = running.borrow_and_update().clone();
            for (name, pool) in wanted {
                let is_same = kept.get(&name).is_some_and(|kept| Arc::ptr_eq(&kept.provider, &pool.provider));
                if !is_same {
                    // One after the other: two kubelets would answer for the same nodes.
                    if let Some(before) = kept.remove(&name) {
                        before.stop.cancel();
                        let _ = before.ended.await;
                    }
                    kept.insert(name.clone(), self.begin(&pool).await);
                }
                if let Some(kept) = kept.get_mut(&name).filter(|kept| pool.ends && kept.ending.is_none()) {
                    kept.ending = Some(self.end(&name, kept.stop.clone()));
                }
            }
            let handles = kept.values().map(|kept| kept.handle.clone()).collect();
            let _ = self.router.send_replace(server::router(handles, self.client.clone()));
            tokio::select! {
                () = self.term.cancelled() => break,
                changed = running.changed() => if changed.is_err() { self.term.cancelled().await },
            }
        }
        for kept in kept.into_values() {
            let _ = kept.ended.await;
        }
    }

    async fn begin(&self, Running { pool, provider, .. }: &Running) -> Kept {
        let known = if pool.scaled.is_some() { self.stand(&pool.name).await } else { Known::new() };
        // Of a pool whose maximum was lowered, all that stand are looked after until they have gone.
        let count = known.keys().map(|index| index.saturating_add(1)).max().unwrap_or(0).max(pool.nodes);
        let nodes = pool.nodes(provider.name(), count);
        let capacity = pool.capacity();
        let stop = self.term.child_token();
        let announced = nodes.first().map(|first| {
            let (stocks, name) = (self.keeping.stocks.clone(), pool.name.clone());
            let announced = stock::announce(self.client.clone(), name, first.name.clone(), stocks);
            AbortOnDropHandle::new(tokio::spawn(until_stopped(stop.clone(), announced)))
        });
        let config = KubeletConfig::new(&self.keeping.cluster, nodes, self.keeping.address, self.port);
        let kubelet = Kubelet::new(self.client.clone(), config, provider.clone(), self.keeping.metrics.clone());
        let mut kubelet = kubelet.led_by(self.leadership.clone());
        let handle = kubelet.handle();
        let mut kept_by_load = None;
        if pool.scaled.is_some() {
            let (sender, kept) = watch::channel(fleet::kept(&known, &capacity));
            kubelet = kubelet.keeping(kept);
            let fleet = Fleet {
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
            };
            kept_by_load = Some(AbortOnDropHandle::new(tokio::spawn(until_stopped(stop.clone(), fleet.keep()))));
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
            _fleet: kept_by_load,
            _reclaimed: reclaimed,
            ending: None,
        }
    }

    async fn stand(&self, pool: &PoolName) -> Known {
        match timeout(LOOK, fleet::stand(&self.client, pool)).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                tracing::warn!(%error, %pool, "the pool's virtual nodes not listed; those beyond the first are made as pods come");
                Known::new()
            }
            Err(_) => {
                tracing::warn!(%pool, "the pool's virtual nodes not listed within {LOOK:?}; those beyond the first are made as pods come");
                Known::new()
            }
        }
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

/// A component without the section that it needs.
pub(super) fn need<'a, T>(section: Option<&'a T>, component: &'static str) -> Result<&'a T, ConfigError> {
    section.ok_or(ConfigError::NoSection { component })
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
        let keeping = Keeping {
            cluster: "here".to_owned(),
            listener: serde_saphyr::from_str(listener).unwrap(),
            address: [127, 0, 0, 1].into(),
            running,
            stocks: watch::channel(Stocks::new()).1,
            metrics: KubeletMetrics::register(&Registry::new()).unwrap(),
        };
        let (router, _) = watch::channel(Router::new());
        let (_leads, leadership) = watch::channel(Leadership::Standby);
        let term = CancellationToken::new();
        let before = Arc::strong_count(&provider);
        let keeper = KubeletKeeper { client: client(), keeping, leadership, port: 1, term, router };

        let keeper = tokio::spawn(keeper.run());
        let counted = async |wanted: &dyn Fn(usize) -> bool| {
            let begin = Instant::now();
            while !wanted(Arc::strong_count(&provider)) {
                assert!(
                    begin.elapsed() < Duration::from_secs(5),
                    "{} of {before} hold on",
                    Arc::strong_count(&provider)
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        counted(&|holders| holders > before).await;
        keeper.abort();
        drop(pools);
        counted(&|holders| holders <= before).await;
    }
}
