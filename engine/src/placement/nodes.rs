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

    /// Whether the node is known, and a machine.
    pub(super) fn is_real(&self, name: &NodeName) -> bool {
        let node = self.by_name.get(name).and_then(|occupied| occupied.node.as_ref());
        node.is_some_and(|node| node.kind == NodeKind::Real)
    }

    /// Whether open real nodes have room for so many pods like this one and the labels that it selects.
    ///
    /// Affinity, spread and volumes are not looked at: where they decide otherwise, the returned pod moves on again
    /// and its revision's next return waits longer.
    pub(super) fn have_room(&self, pod: &Pod, pods: usize) -> bool {
        self.have_room_where(pod, &BTreeMap::new(), pods)
    }

    /// The same of nodes that have these labels, too.
    pub(super) fn have_room_where(&self, pod: &Pod, labels: &BTreeMap<String, String>, pods: usize) -> bool {
        let mut lacking = pods as u64;
        let has = |occupied: &&Occupied| {
            let node = occupied.node.as_ref();
            node.is_some_and(|node| labels.iter().all(|(key, value)| node.labels.get(key) == Some(value)))
        };
        for occupied in self.by_name.values().filter(has) {
            lacking = lacking.saturating_sub(occupied.room(pod));
            if lacking == 0 {
                return true;
            }
        }
        false
    }

    /// The virtual nodes of a pool.
    pub(super) fn of_pool<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = &'a Node> {
        self.by_name
            .values()
            .filter_map(|occupied| occupied.node.as_ref())
            .filter(move |node| matches!(&node.kind, NodeKind::Virtual(of) if of == pool))
    }
}

impl Occupied {
    /// How many pods like this one find room here.
    fn room(&self, pod: &Pod) -> u64 {
        let selects = |node: &Node| {
            let mut selected = pod.node_selector.iter();
            selected.all(|(key, value)| node.labels.get(&**key).is_some_and(|label| **label == **value))
        };
        match &self.node {
            Some(node) if node.kind == NodeKind::Real && node.open && selects(node) => {
                let pods = node.max_pods.saturating_sub(self.pods.len() as u64);
                pods.min(node.allocatable.less(self.used).holds(pod.requests))
            }
            Some(_) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, MilliCpu, Needs, ObjectName, Stage};

    fn node(name: &str, max_pods: u64) -> Node {
        let allocatable = Resources { cpu: MilliCpu(1_000), memory: Bytes(1_000) };
        Node { name: name.into(), kind: NodeKind::Real, open: true, allocatable, max_pods, labels: BTreeMap::new() }
    }

    fn pod(name: &str, milli: u64, node: &str) -> Pod {
        Pod {
            uid: name.into(),
            name: ObjectName::new("shop", name),
            revision: None,
            created: crate::model::Timestamp::default(),
            decided: None,
            stage: Stage::Bound { node: node.into(), running: true, ready: true },
            deleting: false,
            tier: None,
            requests: Resources { cpu: MilliCpu(milli), memory: Bytes(1) },
            node_selector: Vec::new(),
            virtual_obstacle: None,
            needs: Needs::default(),
        }
    }

    #[test]
    fn room_is_counted_over_nodes_and_never_split_over_them() {
        let mut nodes = Nodes::default();
        nodes.insert(node("a", 9));
        nodes.insert(node("b", 1));
        let like = pod("like", 400, "elsewhere");
        assert!(nodes.have_room(&like, 3), "two on a, one on b");
        assert!(!nodes.have_room(&like, 4));
        nodes.occupy(&pod("p", 700, "a"));
        assert!(nodes.have_room(&like, 1) && !nodes.have_room(&like, 2), "300 are left of a");
    }

    #[test]
    fn a_node_and_its_pods_may_be_told_and_forgotten_in_any_order() {
        let mut nodes = Nodes::default();
        let first = pod("first", 900, "a");
        nodes.occupy(&first);
        nodes.occupy(&first);
        nodes.insert(node("a", 9));
        assert!(!nodes.have_room(&pod("like", 200, "elsewhere"), 1), "it counts though it came first, and once");
        nodes.vacate(&first);
        nodes.vacate(&first);
        assert!(nodes.have_room(&pod("like", 1_000, "elsewhere"), 1));
        nodes.occupy(&first);
        nodes.remove(&"a".into());
        assert!(nodes.pods_on(&"a".into()).eq([&first.uid]));
        nodes.vacate(&first);
        assert!(nodes.by_name.is_empty());
    }
}
