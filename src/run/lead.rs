//! What the leading replica runs, from the moment it wins the lease until it loses it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use burstlet_engine::{model::PoolName, policy::Settings};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate, server},
    placer::{Placer, PlacerMetrics, Stocks},
    provider::Provider,
    run::{
        RunError,
        config::{ConfigError, KubeletListener, Pool},
        stock, until_stopped,
    },
    serve,
    watch::Leadership,
};

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
    pub(super) stocks: watch::Receiver<Stocks>,
    pub(super) metrics: PlacerMetrics,
}

/// What the kubelets need.
pub(super) struct Keeping {
    pub(super) cluster: String,
    pub(super) listener: KubeletListener,
    /// Where the cluster reaches the listener.
    pub(super) address: IpAddr,
    pub(super) pools: Vec<Pool>,
    pub(super) providers: BTreeMap<PoolName, Arc<dyn Provider>>,
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
        if let Some(Deciding { settings, stocks, metrics }) = &self.placer {
            let placer = Placer {
                client: self.client.clone(),
                settings: settings.clone(),
                leadership: self.leadership.clone(),
                stocks: stocks.clone(),
                metrics: metrics.clone(),
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
        let mut handles = Vec::new();
        for pool in &self.pools {
            let Some(provider) = self.providers.get(&pool.name) else { continue };
            let nodes = pool.nodes(provider.name());
            if let Some(first) = nodes.first() {
                let (stocks, name) = (self.stocks.clone(), pool.name.clone());
                let announced = stock::announce(client.clone(), name, first.name.clone(), stocks);
                work.spawn(until_stopped(term.clone(), announced));
            }
            let config = KubeletConfig::new(&self.cluster, nodes, self.address, port);
            let kubelet = Kubelet::new(client.clone(), config, provider.clone(), self.metrics.clone());
            let kubelet = kubelet.led_by(leadership.clone());
            handles.push(kubelet.handle());
            let term = term.clone();
            work.spawn(async move {
                kubelet.run(term).await;
                Ok(())
            });
        }
        let served =
            serve::serve(listener, self.listener.tls.clone(), server::router(handles, client.clone()), term.clone());
        work.spawn(async move { Ok(served.await?) });
        Ok(())
    }
}

impl Pool {
    /// The virtual nodes that stand for it.
    fn nodes(&self, provider: &str) -> Vec<NodeTemplate> {
        let capacity = Capacity {
            cpu: Quantity(self.cpu.clone()),
            memory: Quantity(self.memory.clone()),
            pods: self.pods_per_node,
        };
        (0..self.nodes)
            .map(|index| NodeTemplate::virtual_node(self.name.as_str(), provider, index, capacity.clone()))
            .collect()
    }
}

/// A component without the section that it needs.
pub(super) fn need<'a, T>(section: Option<&'a T>, component: &'static str) -> Result<&'a T, ConfigError> {
    section.ok_or(ConfigError::NoSection { component })
}
