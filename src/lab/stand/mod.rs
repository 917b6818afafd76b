//! A whole test bench: a local cluster with fake real nodes, simulated clouds behind pools, and burstlet installed.
//!
//! ```text
//!   local cluster ── webhook, extender ──> services ──> burstlet (here, or as processes)
//!        │                                                  │
//!   fake real nodes (our kubelet, a cloud of their own)     └─ providers over HTTP ──> simulated clouds
//! ```
//!
//! The cluster is one of its own ([`Stand::start`]) or one that is there already ([`Stand::visit`]); what the rest
//! needs of either is its `Ground`.
//!
//! The clouds live here, not in burstlet: a burstlet that is killed loses nothing, as with a real cloud.

mod clouds;
mod ground;
mod guest;
mod install;
mod real_nodes;
mod replica;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use kube::Client;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use clouds::SimulatedPool;
pub use guest::{Guest, GuestError, Host, keep_to_own_nodes};
pub use real_nodes::{RealNodes, real_node_name};
pub use replica::{Replica, ReplicaPorts};

use clouds::HostedCloud;
use ground::{Ground, Identity};
use real_nodes::RealNodesRunning;

use crate::{
    lab::{
        cluster::{Cluster, ClusterError, ClusterOptions, DedicatedScheduler, Extender},
        service::Service,
    },
    provider::{ProviderError, simulated::Cloud},
    serve::ServeError,
};

/// The dedicated kube-scheduler's name, where there is one.
pub const SCHEDULER: &str = "burstlet";

/// Which kube-scheduler takes governed pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// The cluster's own, untouched: the PATCH alone guides the pods.
    ClustersOwn,
    /// A dedicated one, with burstlet as its extender.
    Dedicated,
}

/// What to set up.
#[derive(Debug, Clone)]
pub struct StandOptions {
    /// The control plane.
    pub cluster: ClusterOptions,
    /// The fake real nodes.
    pub real_nodes: RealNodes,
    /// The pools, in the order in which they are tried.
    pub pools: Vec<SimulatedPool>,
    /// Who schedules governed pods.
    pub scheduler: Scheduler,
    /// How long real nodes get before a base pod may move on.
    pub move_on_after: Duration,
    /// How long the base must have had room before a pod returns; also the least time between two returns.
    pub move_back_after: Duration,
}

/// Why a stand cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StandError {
    /// The control plane.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The API server's answer to what was to be installed.
    #[error("unable to install {what}: {}", said(source))]
    Install {
        /// What.
        what: String,
        /// The answer.
        source: kube::Error,
    },
    /// A cluster that is not ours.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// A process cannot act as the one who runs this.
    #[error("burstlet has no user of its own in this cluster; run it in this process")]
    NoUser,
    /// It was told to stop before it was done.
    #[error("interrupted; whatever was made is removed")]
    Interrupted,
    /// A listener.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A port, file or process.
    #[error("unable to {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A cloud.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// burstlet itself.
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    /// Nothing happened in time.
    #[error("{what} did not come about within {within:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
    },
}

impl StandError {
    fn system(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        |source| Self::System { doing, source }
    }
}

/// The innermost reason, without the client library's wrappings.
fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The error of a stand that `failed` and was then taken down. That something is left behind is the worse news; the
/// first failure then goes to the log.
pub fn either(failed: StandError, ended: Result<(), StandError>) -> StandError {
    let Err(left) = ended else { return failed };
    tracing::error!(error = %failed, "the stand failed");
    left
}

/// A cluster that a stand can stand on.
pub trait Footing {
    /// How long metrics-server gets until it tells of pods that are ready.
    const METRICS_WITHIN: Duration;

    /// Why metrics-server does not tell of pods, as far as can be said from here; `what` was waited for.
    fn without_metrics(&self, what: String) -> StandError;

    /// Ends what the stand began there, last of all.
    fn end(self) -> impl Future<Output = Result<(), StandError>> + Send;
}

impl Footing for Cluster {
    const METRICS_WITHIN: Duration = Duration::from_mins(2);

    fn without_metrics(&self, what: String) -> StandError {
        StandError::Late { what, within: Self::METRICS_WITHIN }
    }

    async fn end(self) -> Result<(), StandError> {
        Ok(self.stop().await?)
    }
}

/// A test bench that stands. Dropping it takes everything down, but for the objects in a cluster that it is a
/// [`Guest`] of: those go with [`Stand::stop`].
pub struct Stand<C = Cluster> {
    cluster: C,
    ground: Ground,
    options: StandOptions,
    clouds: BTreeMap<String, HostedCloud>,
    real_nodes: RealNodesRunning,
    admission: Service,
    extender: Service,
    stop: DropGuard,
}

impl Stand {
    /// Sets everything up but burstlet itself.
    pub async fn start(options: StandOptions) -> Result<Self, StandError> {
        let cluster = Cluster::start(options.cluster.clone()).await?;
        let ground = Ground::of(&cluster)?;
        install::namespace(&ground.client).await?;
        install::role(&ground.client).await?;
        install::nodes(&ground.client, &options.pools).await?;
        install::kinds(&ground.client).await?;
        let stand = Self::assemble(cluster, ground, options).await?;
        install::webhooks(&stand.ground, &stand.admission).await?;
        if stand.options.scheduler == Scheduler::Dedicated {
            let extender = Extender::at(format!("https://{}", stand.extender.address()));
            let scheduler_name = SCHEDULER.to_owned();
            stand.cluster.start_dedicated_scheduler(&DedicatedScheduler { scheduler_name, extender }).await?;
        }
        Ok(stand)
    }

    /// Sets up the cluster, its real nodes and the pools' clouds, and nothing of burstlet's: whoever calls installs it.
    pub async fn without_burstlet(options: StandOptions) -> Result<Self, StandError> {
        let cluster = Cluster::start(options.cluster.clone()).await?;
        let ground = Ground::of(&cluster)?;
        Self::assemble(cluster, ground, options).await
    }

    /// Where the cloud behind a pool answers: the `endpoint` of a provider `simulated`.
    pub fn endpoint(&self, pool: &str) -> Option<String> {
        self.clouds.get(pool).map(HostedCloud::endpoint)
    }

    /// The control plane.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl<C> Stand<C> {
    async fn assemble(cluster: C, ground: Ground, options: StandOptions) -> Result<Self, StandError> {
        let token = CancellationToken::new();
        let stop = token.clone().drop_guard();
        let admission = Service::start_at(ground.address).await;
        let admission = admission.map_err(StandError::system(format!("listen on {}", ground.address)))?;
        let extender = Service::start().await.map_err(StandError::system("listen on loopback"))?;
        let real_nodes = RealNodesRunning::start(&ground, &options.real_nodes, &token).await?;
        let mut clouds = BTreeMap::new();
        for (index, pool) in options.pools.iter().enumerate() {
            clouds.insert(pool.name.clone(), HostedCloud::start(pool, index, &token).await?);
        }
        Ok(Self { cluster, ground, options, clouds, real_nodes, admission, extender, stop })
    }

    /// To the API server, as an administrator.
    pub fn client(&self) -> Client {
        self.ground.client.clone()
    }

    /// The cloud behind a pool.
    pub fn cloud(&self, pool: &str) -> Option<&Arc<Cloud>> {
        self.clouds.get(pool).map(HostedCloud::cloud)
    }

    /// The clouds of all pools.
    pub fn clouds(&self) -> impl Iterator<Item = (&str, &Arc<Cloud>)> {
        self.clouds.iter().map(|(name, hosted)| (name.as_str(), hosted.cloud()))
    }

    /// What runs the pods of the fake real nodes.
    pub fn real_cloud(&self) -> &Arc<Cloud> {
        self.real_nodes.cloud()
    }
}

impl<C: Footing> Stand<C> {
    /// What it stands on.
    pub fn footing(&self) -> &C {
        &self.cluster
    }

    /// Takes everything down.
    pub async fn stop(self) -> Result<(), StandError> {
        let Self { cluster, real_nodes, stop, .. } = self;
        drop(stop);
        real_nodes.end().await;
        cluster.end().await
    }
}
