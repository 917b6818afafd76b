//! A whole test bench: a local cluster with fake real nodes, simulated clouds behind pools, and burstlet installed.
//!
//! ```text
//!   local cluster ── webhook, extender ──> services ──> burstlet (here, or as processes)
//!        │                                                  │
//!   fake real nodes (our kubelet, a cloud of their own)     └─ providers over HTTP ──> simulated clouds
//! ```
//!
//! The clouds live here, not in burstlet: a burstlet that is killed loses nothing, as with a real cloud.

mod clouds;
mod install;
mod real_nodes;
mod replica;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use clouds::SimulatedPool;
pub use real_nodes::{RealNodes, real_node_name};
pub use replica::{Replica, ReplicaPorts};

use clouds::HostedCloud;
use real_nodes::RealNodesRunning;

use crate::{
    lab::{
        cluster::{
            CertificateFiles, CertificateRequest, Cluster, ClusterError, ClusterOptions, DedicatedScheduler, Extender,
        },
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
    #[error("unable to install {what}: {source}")]
    Install {
        /// What.
        what: String,
        /// The answer.
        source: kube::Error,
    },
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

/// A test bench that stands. Dropping it takes everything down.
pub struct Stand {
    cluster: Cluster,
    options: StandOptions,
    clouds: BTreeMap<String, HostedCloud>,
    real_nodes: RealNodesRunning,
    admission: Service,
    extender: Service,
    certificate: CertificateFiles,
    kubeconfig: PathBuf,
    stop: CancellationToken,
}

impl Stand {
    /// Sets everything up but burstlet itself.
    pub async fn start(options: StandOptions) -> Result<Self, StandError> {
        let cluster = Cluster::start(options.cluster.clone()).await?;
        let stop = CancellationToken::new();
        let service = || async { Service::start().await.map_err(StandError::system("listen on loopback")) };
        let (admission, extender) = (service().await?, service().await?);
        let certificate = cluster.issue(&CertificateRequest {
            client: true,
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            ..CertificateRequest::server("burstlet", &["localhost"])
        })?;
        let kubeconfig = cluster.kubeconfig_for(install::USER, None)?;
        install::install(&cluster, &admission).await?;
        if options.scheduler == Scheduler::Dedicated {
            let extender = Extender::at(format!("https://{}", extender.address()));
            let scheduler_name = SCHEDULER.to_owned();
            cluster.start_dedicated_scheduler(&DedicatedScheduler { scheduler_name, extender }).await?;
        }
        let real_nodes = RealNodesRunning::start(&cluster, &options.real_nodes, &certificate, &stop).await?;
        let mut clouds = BTreeMap::new();
        for (index, pool) in options.pools.iter().enumerate() {
            clouds.insert(pool.name.clone(), HostedCloud::start(pool, index, &stop).await?);
        }
        Ok(Self { cluster, options, clouds, real_nodes, admission, extender, certificate, kubeconfig, stop })
    }

    /// The control plane.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
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

    /// Takes everything down.
    pub async fn stop(self) -> Result<(), StandError> {
        self.stop.cancel();
        Ok(self.cluster.stop().await?)
    }
}
