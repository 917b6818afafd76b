//! A node, with just what decisions need.

use std::collections::BTreeMap;

use crate::model::{NodeName, PoolName, Resources};

/// What stands behind a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A machine.
    Real,
    /// burstlet's kubelet, for this pool.
    Virtual(PoolName),
}

/// A node as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// What stands behind it.
    pub kind: NodeKind,
    /// Ready, and open to pods: neither cordoned nor, for real nodes, tainted against plain ones.
    pub open: bool,
    /// CPU and memory it offers to pods.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub max_pods: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}
