//! What holds for every workload, from the configuration.

use std::time::Duration;

use crate::{model::PoolName, policy::MoveBack};

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
