//! Pools at work: those of the configuration, and VirtualPools as they come, change and go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use burstlet_engine::model::PoolName;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    api::{names, pool::PoolSpec},
    extender::VirtualNodes,
    kubelet::KubeletMetrics,
    placer::Stocks,
    provider::Provider,
    run::{
        config::{Config, Pool},
        providers::provider,
        stock,
    },
    watch::{PoolSeen, follow_pools},
};

/// Pools that wait to be taken up; a slow start slows the watch.
const BACKLOG: usize = 64;
/// How often it is looked whether a pool that is gone has pods left.
const DRAIN: Duration = Duration::from_secs(5);

/// A pool and who runs its instances.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) pool: Pool,
    pub(super) provider: Arc<dyn Provider>,
    /// Whether its object is gone, so that it ends with its last pod.
    pub(super) ends: bool,
}

/// All pools at work, by name.
pub(super) type RunningPools = BTreeMap<PoolName, Running>;

/// Keeps `running` as the cluster's VirtualPools have it, beside the pools of the configuration, which stay as they are.
pub(super) struct PoolKeeper {
    pub(super) client: Client,
    pub(super) config: Config,
    pub(super) nodes: Arc<VirtualNodes>,
    pub(super) stocks: watch::Sender<Stocks>,
    pub(super) running: watch::Sender<RunningPools>,
    pub(super) metrics: KubeletMetrics,
}

impl PoolKeeper {
    /// Works for ever.
    pub(super) async fn run(self) {
        let (sender, mut seen) = mpsc::channel(BACKLOG);
        let client = self.client.clone();
        let followed = follow_pools(client, sender);
        let kept = async {
            let mut specs: BTreeMap<String, (PoolSpec, AbortOnDropHandle<()>)> = BTreeMap::new();
            while let Some(seen) = seen.recv().await {
                match seen {
                    PoolSeen::Set(name, spec) => self.set(&mut specs, name, *spec),
                    PoolSeen::Gone(name) => {
                        specs.remove(&name);
                        self.stocks.send_if_modified(|stocks| stocks.remove(name.as_str()).is_some());
                        self.running.send_modify(|running| {
                            if let Some(pool) = running.get_mut(name.as_str()) {
                                pool.ends = true;
                            }
                        });
                    }
                }
            }
        };
        tokio::join!(followed, kept);
    }

    fn set(&self, specs: &mut BTreeMap<String, (PoolSpec, AbortOnDropHandle<()>)>, name: String, spec: PoolSpec) {
        if self.config.pools.iter().any(|pool| pool.name.as_str() == name) {
            tracing::warn!(%name, "a VirtualPool has the name of a pool of the configuration, which is kept; its prices and quotas count");
            return;
        }
        let before = specs.get(&name);
        // Prices and quotas reach the engine by themselves; only what virtual nodes are made of begins anew.
        let pool = Pool::of(&name, &spec);
        if before.is_some_and(|(before, _)| before.provider == spec.provider && before.nodes == spec.nodes) {
            self.running.send_if_modified(|running| {
                let known = running.get_mut(&pool.name).filter(|known| known.pool.scaled != pool.scaled);
                known.map(|known| known.pool.scaled = pool.scaled).is_some()
            });
            return;
        }
        let provider = match provider(&pool.provider, &self.config, &self.client) {
            Ok(provider) => provider,
            Err(error) => {
                stock::note(&self.stocks, &pool.name, |news| news.unusable = Some(error.to_string().into()));
                tracing::warn!(%error, %name, "a VirtualPool's provider cannot be used; what ran before goes on");
                return;
            }
        };
        tracing::info!(%name, provider = provider.name(), "a VirtualPool is taken up");
        stock::note(&self.stocks, &pool.name, |news| news.unusable = None);
        let metrics = self.metrics.of_pool(pool.name.as_str());
        let polled = stock::poll(pool.name.clone(), provider.clone(), self.nodes.clone(), self.stocks.clone(), metrics);
        let polled = AbortOnDropHandle::new(tokio::spawn(polled));
        self.running.send_modify(|running| {
            running.insert(pool.name.clone(), Running { pool, provider, ends: false });
        });
        // What polled before ends with its entry.
        specs.insert(name, (spec, polled));
    }
}

/// Waits until no pod is left on a pool's virtual nodes.
pub(super) async fn drained(client: &Client, pool: &PoolName) {
    let pods = Api::<Pod>::all(client.clone());
    loop {
        match pods_left(client, &pods, pool).await {
            Ok(false) => return,
            Ok(true) => tracing::info!(%pool, "a pool that is gone still has pods"),
            Err(error) => tracing::warn!(%error, %pool, "unable to tell whether a pool that is gone still has pods"),
        }
        sleep(DRAIN).await;
    }
}

/// Removes a pool's virtual nodes, once nobody keeps them.
pub(super) async fn remove_nodes(client: &Client, pool: &PoolName) -> Result<(), kube::Error> {
    let nodes = Api::<Node>::all(client.clone());
    for node in nodes.list_metadata(&of_pool(pool)).await? {
        nodes.delete(&node.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

fn of_pool(pool: &PoolName) -> ListParams {
    ListParams::default().labels(&format!("{}={pool}", names::POOL))
}

async fn pods_left(client: &Client, pods: &Api<Pod>, pool: &PoolName) -> Result<bool, kube::Error> {
    for node in Api::<Node>::all(client.clone()).list_metadata(&of_pool(pool)).await? {
        let on_it = ListParams::default().fields(&format!("spec.nodeName={}", node.name_any())).limit(1);
        if !pods.list_metadata(&on_it).await?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
