//! Room on real nodes: enough of kube-scheduler's fit to say that moving a pod back makes sense.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Node, NodeKind, NodeName, Pod, PodUid, PoolName, Resources};

/// All nodes, and what stands on each.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: BTreeMap<NodeName, Occupied>,
}

/// A node may be unknown while its pods are known: two watches tell of them.
#[derive(Debug, Default)]
struct Occupied {
    node: Option<Node>,
    used: Resources,
    pods: BTreeSet<PodUid>,
}

impl Nodes {
    /// Sets the node and answers the one before.
    pub(super) fn insert(&mut self, node: Node) -> Option<Node> {
        self.by_name.entry(node.name.clone()).or_default().node.replace(node)
    }

    /// Forgets the node, not what stands on it.
    pub(super) fn remove(&mut self, name: &NodeName) -> Option<Node> {
        let occupied = self.by_name.get_mut(name)?;
        let node = occupied.node.take();
        if occupied.pods.is_empty() {
            self.by_name.remove(name);
        }
        node
    }

    /// The pods on it, whether or not the node is known.
    pub(super) fn pods_on(&self, name: &NodeName) -> impl Iterator<Item = &PodUid> {
        self.by_name.get(name).into_iter().flat_map(|occupied| &occupied.pods)
    }

    /// The pool that the node stands for, if it is virtual.
    pub(super) fn pool_of(&self, name: &NodeName) -> Option<&PoolName> {
        match &self.by_name.get(name)?.node.as_ref()?.kind {
            NodeKind::Virtual(pool) => Some(pool),
            NodeKind::Real => None,
        }
    }

    /// A pod came to its node.
    pub(super) fn occupy(&mut self, pod: &Pod) {
        if let Some(node) = pod.node() {
            let occupied = self.by_name.entry(node.clone()).or_default();
            if occupied.pods.insert(pod.uid.clone()) {
                occupied.used += pod.requests;
            }
        }
    }

    /// A pod left its node.
    pub(super) fn vacate(&mut self, pod: &Pod) {
        if let Some(name) = pod.node()
            && let Some(occupied) = self.by_name.get_mut(name)
        {
            if occupied.pods.remove(&pod.uid) {
                occupied.used -= pod.requests;
            }
            if occupied.pods.is_empty() && occupied.node.is_none() {
                self.by_name.remove(name);
            }
        }
    }

    /// Whether some open real node has room for a pod like this one and the labels that it selects.
    ///
    /// Affinity, spread and volumes are not looked at: where they decide otherwise, the returned pod moves on again
    /// and its revision's next return waits longer.
    pub(super) fn real_node_fits(&self, pod: &Pod) -> bool {
        self.by_name.values().any(|occupied| {
            let Some(node) = &occupied.node else { return false };
            node.kind == NodeKind::Real
                && node.open
                && (occupied.pods.len() as u64) < node.max_pods
                && pod.requests.fits(node.allocatable.less(occupied.used))
                && pod
                    .node_selector
                    .iter()
                    .all(|(key, value)| node.labels.get(&**key).is_some_and(|label| **label == **value))
        })
    }

    /// The virtual nodes of a pool.
    pub(super) fn of_pool<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = &'a Node> {
        self.by_name
            .values()
            .filter_map(|occupied| occupied.node.as_ref())
            .filter(move |node| matches!(&node.kind, NodeKind::Virtual(of) if of == pool))
    }
}
