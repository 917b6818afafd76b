//! What holds for every workload, from the configuration.

use std::time::Duration;

use crate::model::PoolName;

/// The cluster's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Pools in the order in which they are tried.
    pub pools: Vec<PoolName>,
    /// How long real nodes (and a node autoscaler) get to take a base pod before the pool may.
    pub move_on_after: Duration,
    /// When burst pods return.
    pub move_back: MoveBack,
}

/// When pods on virtual nodes are evicted so that their successors fill the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveBack {
    /// How long the base must have had room, on real nodes that could take the pod, before the first one goes: a
    /// glitch moves nothing.
    pub after: Duration,
    /// Least time between two evictions of one revision. Doubled, up to an hour, each time a returned pod found no
    /// real node after all.
    pub cool_down: Duration,
}
