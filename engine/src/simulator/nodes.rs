//! Nodes, and what stands on them.
//!
//! Real nodes are kept in classes: nodes of one kind on which the same pods stand are alike to kube-scheduler, but for their
//! names. There are few classes, however many nodes there are, so that each can be [judged](super::judge) for each pod. Of
//! nodes that are equally good the first is taken, where kube-scheduler takes any. Of a pool's virtual nodes, the one with the
//! fewest pods. There is no preemption.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    model::{Bytes, MilliCpu, Node as Seen, NodeKind, NodeName, ObjectName, PoolName, Resources},
    simulator::{
        constraints::{Apart, Constraints, Effect, HOSTNAME, Spread, Taint, ZONE},
        pod::{NodeId, Place, PodId, PoolId, WorkloadIx},
        setup::{RealNodes, Workload},
    },
};

/// What kube-scheduler takes a container to use that requests nothing, when it compares nodes.
const USUAL: Resources = Resources { cpu: MilliCpu(100), memory: Bytes(200 << 20) };

/// What a pod asks of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) requests: Resources,
    /// What it requests as nodes are compared.
    pub(super) scored: Resources,
    selector: Vec<(Box<str>, Box<str>)>,
    constraints: Constraints,
    /// Domains that it must not be in: where pods of these workloads are, by its own anti-affinity or by theirs.
    pub(super) kept_out: Vec<Meeting>,
    /// The same by preference, each with its weight.
    pub(super) shunned: Vec<(u32, Meeting)>,
    /// Its spread, each with the workloads whose pods count.
    pub(super) spread: Vec<(Spread, Vec<WorkloadIx>)>,
}

/// Pods of certain workloads in one domain of a topology.
#[derive(Debug, Clone)]
pub(super) struct Meeting {
    pub(super) topology: String,
    pub(super) with: Vec<WorkloadIx>,
}

/// A kind of node, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KindId(u32);

/// What all nodes of a kind have in common.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) labels: Arc<BTreeMap<String, String>>,
    pub(super) allocatable: Resources,
    pub(super) max_pods: u32,
    /// Whether a taint keeps plain pods off.
    is_tainted: bool,
    /// How it suits each workload.
    suits: Vec<Suit>,
}

/// How a kind of node suits a workload's pods.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suit {
    /// Its labels are those that the pods require.
    pub(super) is_affine: bool,
    /// Its taints are tolerated.
    pub(super) is_tolerated: bool,
    /// The weight of what the pods prefer of it.
    pub(super) preference: u32,
    /// Taints that the pods had rather not meet.
    pub(super) dislikes: usize,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) place: Place,
    pub(super) allocatable: Resources,
    pub(super) used: Resources,
    pub(super) pods: BTreeSet<PodId>,
    state: State,
    /// Exists: it is billed, and its pods run.
    is_up: bool,
}

/// All that kube-scheduler sees of a node, but its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    pub(super) kind: KindId,
    /// Takes pods.
    pub(super) is_open: bool,
    /// By workload, then by revision.
    pub(super) standing: Vec<Standing>,
}

/// Pods of a revision on a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    pub(super) workload: WorkloadIx,
    pub(super) revision: usize,
    /// Those that terminate, too.
    pub(super) all: u32,
    pub(super) live: u32,
}

/// All nodes there ever were.
#[derive(Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
    pub(super) shapes: Vec<Shape>,
    kinds: Vec<Kind>,
    /// Real nodes that are up.
    pub(super) classes: BTreeMap<State, BTreeSet<NodeId>>,
    /// Virtual nodes with room, by pool.
    virtual_room: Vec<BTreeSet<(usize, NodeId)>>,
}

impl Shape {
    /// The shapes of all workloads.
    pub(super) fn all(workloads: &[Workload]) -> Vec<Self> {
        let placed = |names: &[ObjectName]| -> Vec<WorkloadIx> {
            let is_named = |(_, workload): &(usize, &Workload)| names.contains(&workload.name);
            workloads.iter().enumerate().filter(is_named).map(|(index, _)| WorkloadIx(index)).collect()
        };
        let meeting = |apart: &Apart| Meeting { topology: apart.topology.clone(), with: placed(&apart.from) };
        let theirs = |index: usize, apart: &Apart, own: &Workload| {
            let with = vec![WorkloadIx(index)];
            apart.from.contains(&own.name).then(|| Meeting { topology: apart.topology.clone(), with })
        };
        let shape = |own: &Workload| {
            let constraints = &own.constraints;
            let mut kept_out: Vec<Meeting> = constraints.apart.iter().map(meeting).collect();
            let mut shunned: Vec<(u32, Meeting)> =
                constraints.rather_apart.iter().map(|(weight, apart)| (*weight, meeting(apart))).collect();
            for (index, other) in workloads.iter().enumerate() {
                kept_out.extend(other.constraints.apart.iter().filter_map(|apart| theirs(index, apart, own)));
                let rather = other.constraints.rather_apart.iter();
                shunned.extend(rather.filter_map(|(weight, apart)| Some((*weight, theirs(index, apart, own)?))));
            }
            let spread = constraints.spread.iter().map(|rule| (rule.clone(), placed(&rule.over))).collect();
            Self { kept_out, shunned, spread, ..Self::alone(own) }
        };
        workloads.iter().map(shape).collect()
    }

    /// The shape of a workload that no other one concerns.
    fn alone(workload: &Workload) -> Self {
        let lacks = |requests: Resources| Resources {
            cpu: if requests.cpu == MilliCpu(0) { USUAL.cpu } else { MilliCpu(0) },
            memory: if requests.memory == Bytes(0) { USUAL.memory } else { Bytes(0) },
        };
        let lacking = match workload.containers.as_slice() {
            [] => lacks(workload.requests),
            containers => containers.iter().fold(Resources::default(), |all, one| all + lacks(one.requests)),
        };
        Self {
            requests: workload.requests,
            scored: workload.requests + lacking,
            selector: workload.node_selector.clone(),
            constraints: workload.constraints.clone(),
            ..Self::default()
        }
    }

    /// Whether it prefers nodes by their labels.
    pub(super) fn prefers(&self) -> bool {
        !self.constraints.preferred.is_empty()
    }

    fn suit(&self, labels: &BTreeMap<String, String>, taints: &[Taint]) -> Suit {
        let has = |(key, value): &(Box<str>, Box<str>)| labels.get(&**key).is_some_and(|label| **label == **value);
        Suit {
            is_affine: self.selector.iter().all(has) && self.constraints.is_affine(labels),
            is_tolerated: self.constraints.repelled(taints, &Effect::HARD) == 0,
            preference: self.constraints.preference(labels),
            dislikes: self.constraints.repelled(taints, &[Effect::PreferNoSchedule]),
        }
    }
}

impl Workload {
    /// Its pods that one empty node of these holds.
    pub fn held_by(&self, nodes: &RealNodes) -> u32 {
        let shape = Shape::alone(self);
        let suits = |zone| {
            let suit = shape.suit(&nodes.labels_in(zone), &nodes.taints);
            suit.is_affine && suit.is_tolerated
        };
        let zones = nodes.zones.len().max(1);
        if !(0..zones).any(suits) {
            return 0;
        }
        let held = nodes.allocatable.holds(self.requests).min(u64::from(nodes.max_pods));
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        let keeps_off_itself = |apart: &Apart| apart.topology == HOSTNAME && apart.from.contains(&self.name);
        let is_alone = self.constraints.apart.iter().any(keeps_off_itself);
        if is_alone { held.min(1) } else { held }
    }
}

impl RealNodes {
    /// The labels of its nodes in the zone of this number.
    pub(super) fn labels_in(&self, zone: usize) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend(self.zones.get(zone).map(|zone| (ZONE.to_owned(), zone.clone())));
        labels
    }
}

impl Nodes {
    pub(super) fn new(shapes: Vec<Shape>, pools: usize) -> Self {
        Self {
            all: Vec::new(),
            shapes,
            kinds: Vec::new(),
            classes: BTreeMap::new(),
            virtual_room: vec![BTreeSet::new(); pools],
        }
    }

    /// The kinds of these real nodes, one a zone.
    pub(super) fn add_kinds(&mut self, nodes: &RealNodes) -> Vec<KindId> {
        let kind = |zone| self.add_kind(nodes.labels_in(zone), &nodes.taints, nodes.allocatable, nodes.max_pods);
        (0..nodes.zones.len().max(1)).map(kind).collect()
    }

    /// A kind of node.
    pub(super) fn add_kind(
        &mut self,
        labels: BTreeMap<String, String>,
        taints: &[Taint],
        allocatable: Resources,
        max_pods: u32,
    ) -> KindId {
        let id = KindId(u32::try_from(self.kinds.len()).unwrap_or(u32::MAX));
        let suits = self.shapes.iter().map(|shape| shape.suit(&labels, taints)).collect();
        let is_tainted = taints.iter().any(|taint| Effect::HARD.contains(&taint.effect));
        self.kinds.push(Kind { labels: Arc::new(labels), allocatable, max_pods, is_tainted, suits });
        id
    }

    /// Adds a node that is up and open.
    pub(super) fn add(&mut self, name: NodeName, place: Place, kind: KindId) -> NodeId {
        let id = NodeId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(Node {
            name,
            place,
            allocatable: self.kind(kind).allocatable,
            used: Resources::default(),
            pods: BTreeSet::new(),
            state: State { kind, is_open: true, standing: Vec::new() },
            is_up: true,
        });
        self.sort_in(id);
        id
    }

    /// Takes a node away, once its pods are gone.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.change(id, |node| (node.state.is_open, node.is_up) = (false, false));
    }

    /// Opens a node to pods, or closes it.
    pub(super) fn set_open(&mut self, id: NodeId, is_open: bool) {
        self.change(id, |node| node.state.is_open = is_open);
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.all.get(id.0 as usize)
    }

    /// Whether a node is of one of these kinds.
    pub(super) fn is_of(&self, id: NodeId, kinds: &[KindId]) -> bool {
        self.get(id).is_some_and(|node| kinds.contains(&node.state.kind))
    }

    pub(super) fn kind(&self, id: KindId) -> &Kind {
        &self.kinds[id.0 as usize]
    }

    /// Every real node that is up.
    pub(super) fn real(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.all).filter(|(_, node)| node.is_up && node.place == Place::Real)
    }

    /// The node that takes a pod of this workload's revision which selects these labels, too.
    pub(super) fn choose_real(
        &self,
        workload: WorkloadIx,
        revision: usize,
        selector: &BTreeMap<String, String>,
    ) -> Option<NodeId> {
        let judged = self.judge(workload, revision, selector).into_iter();
        let first = judged.filter_map(|(state, score)| Some((score, *self.classes.get(state)?.first()?)));
        let best = first.reduce(|best, next| {
            let is_better = (next.0, std::cmp::Reverse(next.1)) > (best.0, std::cmp::Reverse(best.1));
            if is_better { next } else { best }
        });
        best.map(|(_, id)| id)
    }

    /// The virtual node of this pool that takes a pod of this workload.
    pub(super) fn choose_virtual(&self, pool: PoolId, workload: WorkloadIx) -> Option<NodeId> {
        let excludes = self.shapes.get(workload.0)?.constraints.excludes_virtual;
        self.virtual_room.get(pool.0)?.first().filter(|_| !excludes).map(|(_, id)| *id)
    }

    pub(super) fn occupy(&mut self, id: NodeId, pod: PodId, (workload, revision): (WorkloadIx, usize)) {
        let requests = self.shapes[workload.0].requests;
        self.change(id, |node| {
            if node.pods.insert(pod) {
                node.used += requests;
                let standing = node.state.of(workload, revision);
                (standing.all, standing.live) = (standing.all + 1, standing.live + 1);
            }
        });
    }

    /// A pod begins to terminate: it takes up its place, and counts no more where pods are spread.
    pub(super) fn leave(&mut self, id: NodeId, (workload, revision): (WorkloadIx, usize)) {
        self.change(id, |node| {
            let standing = node.state.of(workload, revision);
            standing.live = standing.live.saturating_sub(1);
        });
    }

    /// A pod that terminates is gone.
    pub(super) fn vacate(&mut self, id: NodeId, pod: PodId, (workload, revision): (WorkloadIx, usize)) {
        let requests = self.shapes[workload.0].requests;
        self.change(id, |node| {
            if node.pods.remove(&pod) {
                node.used -= requests;
                node.state.of(workload, revision).all -= 1;
                node.state.standing.retain(|standing| standing.all > 0);
            }
        });
    }

    /// Pods of a workload on a node that do not terminate.
    pub(super) fn crowd(&self, id: NodeId, workload: WorkloadIx) -> u32 {
        let standing = self.get(id).map_or(&[] as &[Standing], |node| &node.state.standing);
        standing.iter().filter(|standing| standing.workload == workload).map(|standing| standing.live).sum()
    }

    /// Whether the other open real nodes could take this node's pods.
    pub(super) fn could_empty(&self, id: NodeId) -> bool {
        let Some(node) = self.get(id) else { return false };
        let others = || self.real().filter(|(other, _)| *other != id).map(|(_, node)| node);
        (0..self.shapes.len()).map(WorkloadIx).all(|workload| {
            let standing = node.state.standing.iter().filter(|standing| standing.workload == workload);
            let pods: u64 = standing.map(|standing| u64::from(standing.all)).sum();
            let room = others().map(|other| self.room(&other.state, workload));
            pods == 0 || room.fold(0_u64, u64::saturating_add) >= pods
        })
    }

    /// How many of a workload's pods find room on a node, where nothing but room, labels and taints counts.
    pub(super) fn room(&self, state: &State, workload: WorkloadIx) -> u64 {
        let kind = self.kind(state.kind);
        let suit = kind.suit(workload);
        if !(state.is_open && suit.is_affine && suit.is_tolerated) {
            return 0;
        }
        let pods = u64::from(kind.max_pods).saturating_sub(u64::from(state.pods()));
        let free = kind.allocatable.less(self.sum(state, |shape| shape.requests));
        pods.min(free.holds(self.shapes[workload.0].requests))
    }

    /// What all pods on a node have of something.
    pub(super) fn sum(&self, state: &State, of: impl Fn(&Shape) -> Resources) -> Resources {
        let times = |Resources { cpu, memory }: Resources, times: u32| Resources {
            cpu: MilliCpu(cpu.0.saturating_mul(times.into())),
            memory: Bytes(memory.0.saturating_mul(times.into())),
        };
        let each = state.standing.iter().map(|standing| times(of(&self.shapes[standing.workload.0]), standing.all));
        each.fold(Resources::default(), std::ops::Add::add)
    }

    /// A node as the engine sees it.
    pub(super) fn seen(&self, id: NodeId, pools: &[PoolName]) -> Option<Seen> {
        let node = self.get(id)?;
        let kind = match node.place {
            Place::Real => NodeKind::Real,
            Place::Pool(PoolId(index)) => NodeKind::Virtual(pools.get(index)?.clone()),
        };
        let offer = self.kind(node.state.kind);
        Some(Seen {
            name: node.name.clone(),
            kind,
            open: node.state.is_open && !offer.is_tainted,
            allocatable: node.allocatable,
            max_pods: u64::from(offer.max_pods),
            labels: (*offer.labels).clone(),
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
                if let Some(class) = self.classes.get_mut(&node.state) {
                    class.remove(&id);
                    if class.is_empty() {
                        self.classes.remove(&node.state);
                    }
                }
            }
            Place::Pool(pool) => drop(self.virtual_room[pool.0].remove(&(node.pods.len(), id))),
        }
    }

    fn sort_in(&mut self, id: NodeId) {
        let Some(node) = self.all.get(id.0 as usize).filter(|node| node.is_up) else { return };
        match node.place {
            Place::Real => {
                if let Some(class) = self.classes.get_mut(&node.state) {
                    class.insert(id);
                } else {
                    self.classes.insert(node.state.clone(), BTreeSet::from([id]));
                }
            }
            Place::Pool(pool) => {
                let most = self.kinds[node.state.kind.0 as usize].max_pods;
                if node.state.is_open && node.pods.len() < most as usize {
                    self.virtual_room[pool.0].insert((node.pods.len(), id));
                }
            }
        }
    }
}

impl Kind {
    pub(super) fn suit(&self, workload: WorkloadIx) -> Suit {
        self.suits[workload.0]
    }
}

impl State {
    /// Pods that take up a place.
    pub(super) fn pods(&self) -> u32 {
        self.standing.iter().map(|standing| standing.all).sum()
    }

    fn of(&mut self, workload: WorkloadIx, revision: usize) -> &mut Standing {
        let found = self
            .standing
            .binary_search_by_key(&(workload, revision), |standing| (standing.workload, standing.revision));
        let index = found.unwrap_or_else(|index| {
            self.standing.insert(index, Standing { workload, revision, all: 0, live: 0 });
            index
        });
        &mut self.standing[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: (WorkloadIx, usize) = (WorkloadIx(0), 0);
    const API: (WorkloadIx, usize) = (WorkloadIx(1), 0);

    fn cluster() -> Nodes {
        let shape = |cpu| {
            let requests = Resources { cpu: MilliCpu(cpu), memory: Bytes(0) };
            Shape { requests, scored: requests, ..Shape::default() }
        };
        let mut nodes = Nodes::new(vec![shape(400), shape(700)], 1);
        let allocatable = Resources { cpu: MilliCpu(1_000), memory: Bytes(1) };
        let kind = nodes.add_kind(BTreeMap::new(), &[], allocatable, 3);
        for name in ["a", "b"] {
            nodes.add(name.into(), Place::Real, kind);
        }
        nodes
    }

    #[test]
    fn pods_spread_before_they_fill_and_full_nodes_take_none() {
        let mut nodes = cluster();
        let mut place = |pod, of: (WorkloadIx, usize)| {
            let node = nodes.choose_real(of.0, of.1, &BTreeMap::new())?;
            nodes.occupy(node, PodId(pod), of);
            Some(node.0)
        };
        assert_eq!(place(1, API), Some(0));
        assert_eq!(place(2, WEB), Some(1), "the other has no 400 left");
        assert_eq!(place(3, WEB), Some(1));
        assert_eq!((place(4, WEB), place(5, API)), (None, None));
        nodes.leave(NodeId(0), API);
        let chosen = |nodes: &Nodes| nodes.choose_real(API.0, 0, &BTreeMap::new());
        assert_eq!(chosen(&nodes), None, "what terminates takes up its place");
        nodes.vacate(NodeId(0), PodId(1), API);
        assert_eq!(chosen(&nodes), Some(NodeId(0)));
        assert_eq!(nodes.classes.keys().map(|state| state.standing.len()).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_node_is_emptied_only_where_its_pods_find_room() {
        let mut nodes = cluster();
        nodes.occupy(NodeId(0), PodId(1), WEB);
        assert!(nodes.could_empty(NodeId(0)));
        nodes.occupy(NodeId(1), PodId(2), API);
        assert!(!nodes.could_empty(NodeId(0)));
        nodes.set_open(NodeId(1), false);
        assert_eq!(
            nodes.choose_real(API.0, 0, &BTreeMap::new()),
            None,
            "600 are left of the first, and the second is closed"
        );
    }

    #[test]
    fn virtual_nodes_fill_evenly_up_to_their_pods() {
        let mut nodes = Nodes::new(vec![Shape::default()], 1);
        let pool = PoolId(0);
        let kind = nodes.add_kind(BTreeMap::new(), &[], Resources::default(), 2);
        for name in ["v0", "v1"] {
            nodes.add(name.into(), Place::Pool(pool), kind);
        }
        let mut taken = Vec::new();
        while let Some(node) = nodes.choose_virtual(pool, WEB.0) {
            nodes.occupy(node, PodId(u32::try_from(taken.len()).unwrap()), WEB);
            taken.push(node.0);
        }
        assert_eq!(taken, [0, 1, 0, 1]);
    }
}
