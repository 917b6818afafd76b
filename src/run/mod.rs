//! `burstlet run`: every component in one process, side by side with other replicas.
//!
//! ```text
//!   every replica                          one replica at a time
//!   ─────────────                          ─────────────────────
//!   admission   gates governed pods        placer    decides for gated pods
//!   extender    guards tiers, binds        kubelets  each keeps a pool's virtual nodes and their pods
//!   telemetry   health, metrics
//!   duties      ── a lease for each ─────> begins and ends with it
//! ```

pub mod config;
mod consumed;
mod evict;
mod fleet;
mod keep;
mod lead;
mod pools;
mod providers;
mod reclaim;
mod routes;
mod secret;
mod stock;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use burstlet_engine::{model::PoolName, policy::Policies};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt};
use prometheus::Registry;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{self, Admission, AdmissionMetrics},
    api::node,
    extender::{self, Extender, ExtenderMetrics, VirtualNodes},
    kubelet::KubeletMetrics,
    page,
    placer::{Board, PlacerMetrics, Stocks},
    provider::{Provider, ProviderError},
    serve::{self, ServeError},
    telemetry::{self, Health, Part, TelemetryError},
    watch::{
        Duties, Duty, DutyError, DutySettings, Listening, Roster, Seen, SharedPolicies, SharedProfile, follow,
        follow_policies, follow_profile,
    },
};
use config::{Component, Config, ConfigError};
use keep::Keeping;
use lead::Deciding;
use pools::{PoolKeeper, Running, RunningPools};

pub use consumed::ConsumedMetrics;
pub use providers::providers;

/// Why a process cannot run, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Health and metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The duties' Leases.
    #[error(transparent)]
    Duty(#[from] DutyError),
    /// A pool's provider.
    #[error("unable to reach the provider of pool {pool}: {source}")]
    Provider {
        /// The pool.
        pool: PoolName,
        /// The provider's words.
        source: ProviderError,
    },
    /// A metric is registered twice.
    #[error("unable to register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What one process runs.
pub struct Run {
    /// To the API server.
    pub client: Client,
    /// Where what this process counts is shown from; what counts the client's requests is there already.
    pub registry: Registry,
    /// The configuration.
    pub config: Config,
    /// The components that run here.
    pub components: BTreeSet<Component>,
    /// This replica's name in the election; no two share one.
    pub identity: String,
    /// Who runs each pool's instances, by the pool's name.
    pub providers: BTreeMap<PoolName, Arc<dyn Provider>>,
    /// Where the leader shows what it sees.
    pub board: Board,
}

type Tasks = JoinSet<Result<(), RunError>>;

/// What all components share.
struct Common {
    registry: Registry,
    health: Health,
    nodes: Arc<VirtualNodes>,
    /// Of calls to providers, whoever makes them.
    calls: KubeletMetrics,
    stop: CancellationToken,
}

impl Run {
    /// Runs until `stop`. Fails at once where a port, a file or the configuration does not serve.
    pub async fn until(self, stop: CancellationToken) -> Result<(), RunError> {
        let common = Common {
            registry: self.registry.clone(),
            calls: KubeletMetrics::register(&self.registry)?,
            health: Health::default(),
            nodes: Arc::new(VirtualNodes::default()),
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        let begun = self.begin(&common, &mut tasks).await;
        let mut outcome = begun;
        while outcome.is_ok() && !stop.is_cancelled() {
            outcome = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next() => ended.unwrap_or(Ok(())),
            };
        }
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            outcome = outcome.and(ended.unwrap_or(Ok(())));
        }
        outcome
    }

    async fn begin(&self, common: &Common, tasks: &mut Tasks) -> Result<(), RunError> {
        // Before anybody can ask: a process without expectations is ready.
        for (component, part) in [(Component::Admission, Part::Admission), (Component::Extender, Part::Extender)] {
            if self.components.contains(&component) {
                common.health.expect(part);
            }
        }
        if let Some(telemetry) = &self.config.telemetry {
            let (health, registry) = (common.health.clone(), common.registry.clone());
            let listener = telemetry::bind(telemetry.listen).await?;
            let shown = telemetry::serve(listener, health, registry, common.stop.clone());
            tasks.spawn(async { Ok(shown.await?) });
        }
        if let Some(listener) = self.config.page.as_ref().filter(|_| self.components.contains(&Component::Placer)) {
            let socket = serve::bind(listener.listen).await?;
            listener.tls.check().await?;
            let router = page::router(self.board.clone(), self.client.clone());
            let served = serve::serve(socket, listener.tls.clone(), router, common.stop.clone());
            tasks.spawn(async { Ok(served.await?) });
        }
        let (sender, stocks) = watch::channel(Stocks::new());
        for (pool, provider) in &self.providers {
            let metrics = common.calls.of_pool(pool.as_str());
            let polled = stock::poll(pool.clone(), provider.clone(), common.nodes.clone(), sender.clone(), metrics);
            tasks.spawn(until_stopped(common.stop.clone(), polled));
        }
        if self.components.contains(&Component::Admission) {
            self.begin_admission(common, tasks).await?;
        }
        if self.components.contains(&Component::Extender) {
            self.begin_extender(common, tasks).await?;
        }
        let running = self.begin_pools(common, sender, tasks);
        self.begin_duties(common, stocks, running, tasks).await
    }

    async fn begin_admission(&self, common: &Common, tasks: &mut Tasks) -> Result<(), RunError> {
        let listener = need(self.config.admission.as_ref(), "admission")?;
        // The watch below talks to the API server, and tells where it cannot: first what needs nobody else.
        let socket = serve::bind(listener.listen).await?;
        listener.tls.check().await?;
        let metrics = AdmissionMetrics::register(&common.registry)?;
        let policies = SharedPolicies::new(Policies::new(&self.config.namespace).into());
        let (listed_sender, mut listed) = watch::channel(false);
        let followed = follow_policies(self.client.clone(), policies.clone(), listed_sender);
        tasks.spawn(until_stopped(common.stop.clone(), followed));
        let admission = Admission::new(
            self.client.clone(),
            policies,
            self.config.settings().pools,
            self.config.foreign_kinds(),
            self.config.scheduler_name.clone(),
            metrics,
        );
        let profile = SharedProfile::default();
        let admission = admission.with_profile(profile.clone());
        let followed = follow_profile(self.client.clone(), move |seen| {
            *profile.write().unwrap_or_else(std::sync::PoisonError::into_inner) = seen;
            std::future::ready(Listening::Yes)
        });
        tasks.spawn(until_stopped(common.stop.clone(), followed));
        let router = admission::router(Arc::new(admission));
        let served = serve::serve(socket, listener.tls.clone(), router, common.stop.clone());
        tasks.spawn(async { Ok(served.await?) });
        // Before the policies are known, a pod that one of them selects would pass as free.
        let health = common.health.clone();
        tasks.spawn(until_stopped(common.stop.clone(), async move {
            if listed.wait_for(|listed| *listed).await.is_ok() {
                health.ready(Part::Admission);
            }
        }));
        Ok(())
    }

    async fn begin_extender(&self, common: &Common, tasks: &mut Tasks) -> Result<(), RunError> {
        let metrics = ExtenderMetrics::register(&common.registry)?;
        let extender = Extender::new(common.nodes.clone(), self.client.clone(), metrics);
        let router = extender::router(Arc::new(extender));
        let listener = need(self.config.extender.as_ref(), "extender")?;
        // Calls queue at the port until the nodes are listed: before that, a virtual node would pass as real.
        let socket = serve::bind(listener.listen).await?;
        let (listed_sender, listed) = oneshot::channel();
        let watched = watch_nodes(self.client.clone(), common.nodes.clone(), listed_sender);
        tasks.spawn(until_stopped(common.stop.clone(), watched));
        let (tls, stop, health) = (listener.tls.clone(), common.stop.clone(), common.health.clone());
        tasks.spawn(async move {
            if listed.await.is_ok() {
                health.ready(Part::Extender);
                serve::serve(socket, tls, router, stop).await?;
            }
            Ok(())
        });
        Ok(())
    }

    /// The configuration's pools at work, and from now on the cluster's.
    fn begin_pools(
        &self,
        common: &Common,
        stocks: watch::Sender<Stocks>,
        tasks: &mut Tasks,
    ) -> watch::Receiver<RunningPools> {
        let configured = self.config.pools.iter().filter_map(|pool| {
            let provider = self.providers.get(&pool.name)?.clone();
            Some((pool.name.clone(), Running { pool: pool.clone(), provider, ends: false }))
        });
        let (running, receiver) = watch::channel(configured.collect());
        // Webhook and extender have no business with clouds: their role reads no keys.
        if !self.components.contains(&Component::Placer) && !self.components.contains(&Component::Kubelet) {
            return receiver;
        }
        let (client, config) = (self.client.clone(), self.config.clone());
        let (nodes, metrics) = (common.nodes.clone(), common.calls.clone());
        let keeper = PoolKeeper { client, config, nodes, stocks, running, metrics };
        tasks.spawn(until_stopped(common.stop.clone(), keeper.run()));
        receiver
    }

    /// Placement and kubelets, each whenever it is this replica's turn.
    async fn begin_duties(
        &self,
        common: &Common,
        stocks: watch::Receiver<Stocks>,
        running: watch::Receiver<RunningPools>,
        tasks: &mut Tasks,
    ) -> Result<(), RunError> {
        let (places, keeps) =
            [Component::Placer, Component::Kubelet].map(|part| self.components.contains(&part)).into();
        if !places && !keeps {
            return Ok(());
        }
        let roster = Roster::default();
        if places {
            let capabilities = |pool: &config::Pool| (pool.name.clone(), pool.provider.capabilities());
            let deciding = Deciding {
                client: self.client.clone(),
                settings: self.config.settings(),
                capabilities: self.config.pools.iter().map(capabilities).collect(),
                namespace: self.config.namespace.clone(),
                foreign: self.config.foreign_kinds(),
                stocks: stocks.clone(),
                metrics: PlacerMetrics::register(&common.registry)?,
                board: self.board.clone(),
            };
            let decided = deciding.run(roster.post(&Duty::placement()), common.stop.clone());
            tasks.spawn(async move {
                decided.await;
                Ok(())
            });
        }
        if keeps {
            let consumed = ConsumedMetrics::register(&common.registry)?.tell(running.clone());
            tasks.spawn(until_stopped(common.stop.clone(), consumed));
            let listener = need(self.config.kubelet.as_ref(), "kubelet")?.clone();
            let keeping = Keeping {
                cluster: self.config.cluster_id.clone(),
                address: listener.node_address()?,
                listener,
                running: running.clone(),
                stocks,
                metrics: common.calls.clone(),
                roster: roster.clone(),
            };
            keeping.begin(self.client.clone(), &common.stop, tasks).await?;
        }
        let settings = DutySettings {
            namespace: self.config.namespace.clone(),
            identity: self.identity.clone(),
            duration: self.config.election.lease,
            renew: self.config.election.renew,
        };
        let duties = Duties::new(self.client.clone(), settings, roster)?;
        let (sender, wanted) = watch::channel(BTreeSet::new());
        tasks.spawn(until_stopped(common.stop.clone(), list_duties(places, running.clone(), keeps, sender)));
        let stop = common.stop.clone();
        tasks.spawn(async move {
            duties.run(wanted, stop).await;
            Ok(())
        });
        Ok(())
    }
}

/// Keeps `duties` as what runs here, and the pools at work, have it.
async fn list_duties(
    places: bool,
    mut running: watch::Receiver<RunningPools>,
    keeps: bool,
    duties: watch::Sender<BTreeSet<Duty>>,
) {
    loop {
        let placement = places.then(Duty::placement);
        let pools: Vec<Duty> = running.borrow_and_update().keys().filter(|_| keeps).map(Duty::pool).collect();
        duties.send_replace(placement.into_iter().chain(pools).collect());
        if running.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A component without the section that it needs.
fn need<'a, T>(section: Option<&'a T>, component: &'static str) -> Result<&'a T, ConfigError> {
    section.ok_or(ConfigError::NoSection { component })
}

async fn until_stopped(stop: CancellationToken, work: impl Future<Output = ()>) -> Result<(), RunError> {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
    Ok(())
}

/// Keeps the extender's view of the virtual nodes.
async fn watch_nodes(client: Client, nodes: Arc<VirtualNodes>, is_listed: oneshot::Sender<()>) {
    let mut is_listed = Some(is_listed);
    let mut listed = BTreeSet::new();
    let mut known = BTreeSet::new();
    follow(Api::<Node>::all(client), move |seen| {
        match seen {
            Seen::Begin => listed.clear(),
            Seen::Set(node) => {
                if let Some(pool) = node::pool(&node) {
                    let name = node.name_any();
                    nodes.upsert(&name, pool.as_str(), node::is_ready(&node));
                    listed.insert(name.clone());
                    known.insert(name);
                }
            }
            Seen::Gone(node) => {
                let name = node.name_any();
                nodes.remove(&name);
                known.remove(&name);
            }
            Seen::Finish => {
                for gone in known.difference(&listed) {
                    nodes.remove(gone);
                }
                known.clone_from(&listed);
                is_listed.take().map(|sender| sender.send(()));
            }
        }
        std::future::ready(Listening::Yes)
    })
    .await;
}
