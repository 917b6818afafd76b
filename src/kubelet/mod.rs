//! The virtual kubelet: Node objects that burstlet keeps alive, whose pods run as a provider's instances.
//!
//! ```text
//! pod watch ─┐                                  ┌─> provider: create, delete
//!            ├─> Index (slim, synchronous) ─ Job┤
//! provider ──┘      └ Pair a pod (pure)         └─> API server: one status, one delete
//! ```
//! [`Kubelet::run`] drives one pool's nodes, or the lab's fake real ones; [`server::router`] answers the kubelet API
//! for all kubelets of a process on one listener.

mod as_node;
mod backoff;
mod breaker;
mod calls;
mod debug;
mod digest;
mod events;
pub(crate) mod fleet;
mod index;
mod lease;
mod metrics;
mod node;
mod nodes;
mod orphans;
mod pods;
#[cfg(test)]
mod properties;
mod reader;
mod recent;
mod renew;
mod resolve;
mod run;
pub mod server;
pub(crate) mod serving;
mod status;
mod sync;
mod usage;
mod version;

use std::{net::IpAddr, time::Duration};

pub use index::Counts;
pub use metrics::KubeletMetrics;
pub use node::{Capacity, NodeTemplate, virtual_node_name};
pub(crate) use nodes::Kept;
pub use run::Kubelet;
pub use usage::KubeletHandle;

/// What a kubelet keeps, and how.
#[derive(Debug, Clone)]
pub struct KubeletConfig {
    /// Name of the cluster: instances of others are never touched, so no two clusters of one account may share it.
    pub cluster: String,
    /// The nodes to keep.
    pub nodes: Vec<NodeTemplate>,
    /// Address at which the API server and metrics-server reach the kubelet API; also the pods' host address.
    pub address: IpAddr,
    /// Port of the kubelet API.
    pub port: u16,
    /// Pods that a `DaemonSet` controls get no instance: right for virtual nodes, which need no agents.
    pub holds_daemonset_pods: bool,
    /// Has the API server pass WebSocket connections on to the kubelet API, from Kubernetes 1.36 on, rather than speak
    /// SPDY in their place. An older one does not know what the nodes declare so, and speaks SPDY all the same.
    pub takes_websockets: bool,
    /// Most calls to the provider at a time.
    pub provider_calls: usize,
    /// Most writes to the API server at a time.
    pub api_calls: usize,
    /// How often the files of a running pod are looked after, where its provider takes renewals.
    pub renew: Duration,
}

impl KubeletConfig {
    /// Virtual nodes with the limits that suit one provider account.
    pub fn new(cluster: &str, nodes: Vec<NodeTemplate>, address: IpAddr, port: u16) -> Self {
        Self {
            cluster: cluster.to_owned(),
            nodes,
            address,
            port,
            holds_daemonset_pods: true,
            takes_websockets: true,
            provider_calls: 64,
            api_calls: 32,
            renew: Duration::from_mins(1),
        }
    }
}
