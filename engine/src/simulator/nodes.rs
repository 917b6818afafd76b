//! Nodes, what stands on them, and which of them kube-scheduler takes.
//!
//! Its choice, simply stated. A real node *fits* that is open, has the labels that the pod selects, and has room for its
//! requests and for one more pod. Of those that fit, the one with the fewest pods of the same workload wins (spread),
//! then the one with the least CPU requested, as a share (least allocated), then the first. Of a pool's virtual nodes,
//! the one with the fewest pods. There is no preemption.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    model::{Node as Seen, NodeKind, NodeName, PoolName, Resources},
    simulator::pod::{NodeId, Place, PodId, PoolId, WorkloadIx},
};

/// What a pod asks of a node.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) requests: Resources,
    pub(super) selector: Vec<(Box<str>, Box<str>)>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) place: Place,
    pub(super) labels: Labels,
    pub(super) allocatable: Resources,
    pub(super) max_pods: u32,
    pub(super) used: Resources,
    pub(super) pods: BTreeSet<PodId>,
    /// Pods of each workload.
    of_workload: Vec<u32>,
    /// Takes pods.
    pub(super) is_open: bool,
    /// Exists: it is billed, and its pods run.
    pub(super) is_up: bool,
}

/// A node's labels, shared by all nodes of a kind.
pub(super) type Labels = Arc<BTreeMap<String, String>>;

/// Spread first, then the least allocated, then the first.
type Key = (u32, u64, NodeId);

/// All nodes there ever were.
#[derive(Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
    shapes: Vec<Shape>,
    /// Real nodes that fit each workload's pods, best first.
    fitting: Vec<BTreeSet<Key>>,
    /// The same by node: what stands in `fitting`.
    keys: Vec<BTreeMap<NodeId, Key>>,
    /// Virtual nodes with room, by pool.
    virtual_room: Vec<BTreeSet<(usize, NodeId)>>,
}

impl Nodes {
    pub(super) fn new(shapes: Vec<Shape>, pools: usize) -> Self {
        let workloads = shapes.len();
        Self {
            all: Vec::new(),
            shapes,
            fitting: vec![BTreeSet::new(); workloads],
            keys: vec![BTreeMap::new(); workloads],
            virtual_room: vec![BTreeSet::new(); pools],
        }
    }

    /// Adds a node that is up and open.
    pub(super) fn add(
        &mut self,
        name: NodeName,
        place: Place,
        allocatable: Resources,
        max_pods: u32,
        labels: &Labels,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(Node {
            name,
            place,
            labels: labels.clone(),
            allocatable,
            max_pods,
            used: Resources::default(),
            pods: BTreeSet::new(),
            of_workload: vec![0; self.shapes.len()],
            is_open: true,
            is_up: true,
        });
        self.sort_in(id);
        id
    }

    /// Takes a node away, once its pods are gone.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.change(id, |node| (node.is_open, node.is_up) = (false, false));
    }

    /// Opens a node to pods, or closes it.
    pub(super) fn set_open(&mut self, id: NodeId, is_open: bool) {
        self.change(id, |node| node.is_open = is_open);
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.all.get(id.0 as usize)
    }

    /// Every real node that is up.
    pub(super) fn real(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.all).filter(|(_, node)| node.is_up && node.place == Place::Real)
    }

    /// The node that takes a pod of this workload.
    pub(super) fn choose_real(&self, workload: WorkloadIx) -> Option<NodeId> {
        self.fitting.get(workload.0)?.first().map(|(_, _, id)| *id)
    }

    /// The virtual node of this pool that takes a pod.
    pub(super) fn choose_virtual(&self, pool: PoolId) -> Option<NodeId> {
        self.virtual_room.get(pool.0)?.first().map(|(_, id)| *id)
    }

    pub(super) fn occupy(&mut self, id: NodeId, pod: PodId, workload: WorkloadIx) {
        let requests = self.shapes[workload.0].requests;
        self.change(id, |node| {
            if node.pods.insert(pod) {
                node.used += requests;
                node.of_workload[workload.0] += 1;
            }
        });
    }

    pub(super) fn vacate(&mut self, id: NodeId, pod: PodId, workload: WorkloadIx) {
        let requests = self.shapes[workload.0].requests;
        self.change(id, |node| {
            if node.pods.remove(&pod) {
                node.used -= requests;
                node.of_workload[workload.0] -= 1;
            }
        });
    }

    /// Pods of a workload on a node.
    pub(super) fn crowd(&self, id: NodeId, workload: WorkloadIx) -> u32 {
        self.get(id).and_then(|node| node.of_workload.get(workload.0)).copied().unwrap_or_default()
    }

    /// Whether the other open real nodes could take this node's pods.
    pub(super) fn could_empty(&self, id: NodeId) -> bool {
        let Some(node) = self.get(id) else { return false };
        let others = || self.real().filter(|(other, node)| *other != id && node.is_open).map(|(_, node)| node);
        (0..).zip(&node.of_workload).filter(|(_, pods)| **pods > 0).all(|(workload, pods)| {
            let room = others().map(|other| other.room(&self.shapes[workload]));
            room.fold(0_u64, u64::saturating_add) >= u64::from(*pods)
        })
    }

    /// A node as the engine sees it.
    pub(super) fn seen(&self, id: NodeId, pools: &[PoolName]) -> Option<Seen> {
        let node = self.get(id)?;
        let kind = match node.place {
            Place::Real => NodeKind::Real,
            Place::Pool(PoolId(index)) => NodeKind::Virtual(pools.get(index)?.clone()),
        };
        Some(Seen {
            name: node.name.clone(),
            kind,
            open: node.is_open,
            allocatable: node.allocatable,
            max_pods: u64::from(node.max_pods),
            labels: (*node.labels).clone(),
        })
    }

    fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        self.sort_out(id);
        if let Some(node) = self.all.get_mut(id.0 as usize) {
            change(node);
        }
        self.sort_in(id);
    }

    fn sort_out(&mut self, id: NodeId) {
        let Some(node) = self.all.get(id.0 as usize) else { return };
        match node.place {
            Place::Real => {
                for (fitting, keys) in self.fitting.iter_mut().zip(&mut self.keys) {
                    if let Some(key) = keys.remove(&id) {
                        fitting.remove(&key);
                    }
                }
            }
            Place::Pool(pool) => drop(self.virtual_room[pool.0].remove(&(node.pods.len(), id))),
        }
    }

    fn sort_in(&mut self, id: NodeId) {
        let Some(node) = self.all.get(id.0 as usize) else { return };
        match node.place {
            Place::Real => {
                let share =
                    (node.used.cpu.0.saturating_mul(1_000_000)).checked_div(node.allocatable.cpu.0).unwrap_or(0);
                for (workload, shape) in self.shapes.iter().enumerate() {
                    if node.room(shape) > 0 {
                        let key = (node.of_workload[workload], share, id);
                        self.fitting[workload].insert(key);
                        self.keys[workload].insert(id, key);
                    }
                }
            }
            Place::Pool(pool) if node.is_open && node.pods.len() < node.max_pods as usize => {
                self.virtual_room[pool.0].insert((node.pods.len(), id));
            }
            Place::Pool(_) => {}
        }
    }
}

impl Node {
    /// How many pods of this shape find room.
    fn room(&self, shape: &Shape) -> u64 {
        let has = |(key, value): &(Box<str>, Box<str>)| self.labels.get(&**key).is_some_and(|label| **label == **value);
        if !self.is_open || !shape.selector.iter().all(has) {
            return 0;
        }
        let pods = u64::from(self.max_pods).saturating_sub(self.pods.len() as u64);
        pods.min(self.allocatable.less(self.used).holds(shape.requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, MilliCpu};

    const WEB: WorkloadIx = WorkloadIx(0);
    const API: WorkloadIx = WorkloadIx(1);

    fn cluster() -> Nodes {
        let shape = |cpu| Shape { requests: Resources { cpu: MilliCpu(cpu), memory: Bytes(0) }, selector: vec![] };
        let mut nodes = Nodes::new(vec![shape(400), shape(700)], 1);
        for name in ["a", "b"] {
            nodes.add(
                name.into(),
                Place::Real,
                Resources { cpu: MilliCpu(1_000), memory: Bytes(1) },
                3,
                &Labels::default(),
            );
        }
        nodes
    }

    #[test]
    fn pods_spread_before_they_fill_and_full_nodes_take_none() {
        let mut nodes = cluster();
        let mut place = |pod, workload| {
            let node = nodes.choose_real(workload)?;
            nodes.occupy(node, PodId(pod), workload);
            Some(node.0)
        };
        assert_eq!(place(1, API), Some(0));
        assert_eq!(place(2, WEB), Some(1), "the other has no 400 left");
        assert_eq!(place(3, WEB), Some(1));
        assert_eq!((place(4, WEB), place(5, API)), (None, None));
        nodes.vacate(NodeId(0), PodId(1), API);
        assert_eq!(nodes.choose_real(API), Some(NodeId(0)));
    }

    #[test]
    fn a_node_is_emptied_only_where_its_pods_find_room() {
        let mut nodes = cluster();
        nodes.occupy(NodeId(0), PodId(1), WEB);
        assert!(nodes.could_empty(NodeId(0)));
        nodes.occupy(NodeId(1), PodId(2), API);
        assert!(!nodes.could_empty(NodeId(0)));
        nodes.set_open(NodeId(1), false);
        assert_eq!(nodes.choose_real(API), None, "600 are left of the first, and the second is closed");
    }

    #[test]
    fn virtual_nodes_fill_evenly_up_to_their_pods() {
        let mut nodes = Nodes::new(vec![Shape { requests: Resources::default(), selector: vec![] }], 1);
        let pool = PoolId(0);
        for name in ["v0", "v1"] {
            nodes.add(name.into(), Place::Pool(pool), Resources::default(), 2, &Labels::default());
        }
        let mut taken = Vec::new();
        while let Some(node) = nodes.choose_virtual(pool) {
            nodes.occupy(node, PodId(u32::try_from(taken.len()).unwrap()), WEB);
            taken.push(node.0);
        }
        assert_eq!(taken, [0, 1, 0, 1]);
    }
}
