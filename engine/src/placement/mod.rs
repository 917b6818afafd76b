//! Placement: the ledger as a fold over the watch, and the decisions made on it.
//!
//! ```text
//!   watch events ──> apply ──> pods, revisions, nodes, pools
//!                                │  what changed is dirty
//!                    decide <────┘
//!                      │ gated pods  → base │ burst │ wait      (place)
//!                      │ base pods that fit nowhere → base-short (move_on)
//!                      │ holes in the base → evict a burst pod   (move_back)
//!                      ▼
//!                   actions ──> API server ──> settle, and the watch shows them
//! ```
//!
//! The pod watch alone is ordered: a base pod's deletion always comes before its successor. So a decision reads
//! nothing but what the fold holds, and counts what it has decided itself until the watch shows it.

mod action;
mod entry;
mod event;
mod faults;
mod ledger;
mod marked;
mod move_back;
mod move_on;
mod nodes;
mod place;
mod pools;
mod revision;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use action::{Action, Annotated, Outcome, Placing, Reason};
pub use event::{Event, Kind, Namespace, Revision, Workload};

use crate::{
    model::{Node, NodeKind, NodeName, ObjectName, Pod, PodUid, PoolName, RevisionId, Timestamp, WorkloadId},
    placement::{
        entry::{Entry, Pending},
        faults::{namespace_fault, revision_fault, workload_fault},
        ledger::Role,
        marked::{Mark, Marked},
        nodes::Nodes,
        pools::Pools,
        revision::RevisionState,
    },
    policy::{Governance, Settings, governance},
};

/// How often what only time changes is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Everything that placement knows, and what it has decided.
///
/// Feed it with [`apply`](Self::apply), ask it with [`decide`](Self::decide), tell it what became of its actions with
/// [`settle`](Self::settle).
#[derive(Debug)]
pub struct Placement {
    settings: Settings,
    namespaces: Marked<String, Option<String>>,
    workloads: Marked<WorkloadId, Workload>,
    listed_revisions: Marked<RevisionId, ()>,
    revisions: BTreeMap<RevisionId, RevisionState>,
    listed_nodes: Marked<NodeName, ()>,
    nodes: Nodes,
    pods: Marked<PodUid, Entry>,
    pools: Pools,
    /// Revisions to look at in the next decision.
    dirty: BTreeSet<RevisionId>,
    /// Revisions whose gated pods wait for room.
    waiting: BTreeSet<RevisionId>,
    /// Gated pods that no ReplicaSet controls.
    strangers: BTreeSet<PodUid>,
    /// Base pods that fit nowhere, by when they may move on.
    unschedulable: BTreeSet<(Timestamp, PodUid)>,
    /// Revisions with pods that might return from virtual nodes, or with one on its way.
    away: BTreeSet<RevisionId>,
    warnings: Vec<Action>,
    pool_has_changed: bool,
    last_tick: Timestamp,
}

/// How a workload's pods stand, by name, for metrics and status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Behind the gate.
    pub waiting: usize,
    /// Of the base, wherever they stand.
    pub base: usize,
    /// Those of the base that stand on virtual nodes.
    pub strayed: usize,
    /// Beyond the base.
    pub burst: usize,
}

impl Placement {
    /// Knows nothing yet, and decides nothing until every kind has been listed once.
    pub fn new(settings: Settings) -> Self {
        let pools = Pools::new(settings.pools.clone());
        Self {
            settings,
            namespaces: Marked::new(),
            workloads: Marked::new(),
            listed_revisions: Marked::new(),
            revisions: BTreeMap::new(),
            listed_nodes: Marked::new(),
            nodes: Nodes::default(),
            pods: Marked::new(),
            pools,
            dirty: BTreeSet::new(),
            waiting: BTreeSet::new(),
            strangers: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            away: BTreeSet::new(),
            warnings: Vec::new(),
            pool_has_changed: false,
            last_tick: Timestamp::default(),
        }
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Begin(kind) => self.begin(kind),
            Event::Finish(kind) => self.finish(kind, now),
            Event::Namespace(namespace) => self.apply_namespace(&namespace),
            Event::NamespaceGone(name) => {
                self.namespaces.remove(&name);
                self.govern_where(|revision| *revision.name.namespace == *name);
            }
            Event::Workload(workload) => self.apply_workload(workload),
            Event::WorkloadGone(id) => {
                self.workloads.remove(&id);
                self.govern_where(|revision| revision.workload.as_ref() == Some(&id));
            }
            Event::Revision(revision) => self.apply_revision(revision),
            Event::RevisionGone(id) => self.forget_revision(&id),
            Event::Node(node) => self.apply_node(node),
            Event::NodeGone(name) => self.forget_node(&name),
            Event::Pod(pod) => self.apply_pod(pod, now),
            Event::PodGone(uid) => drop(self.take_pod(&uid)),
            Event::Stock { pool, free } => {
                self.pools.set_stock(&pool, free);
                self.pool_has_changed = true;
            }
        }
    }

    /// Whether every kind has been listed, and no list of pods is under way. Until then nothing is decided: a missing
    /// base pod would let one too many through.
    pub fn is_synced(&self) -> bool {
        self.namespaces.is_complete()
            && self.workloads.is_complete()
            && self.listed_revisions.is_complete()
            && self.listed_nodes.is_complete()
            && self.pods.is_complete()
    }

    /// Decides for all that has changed. Cheap where nothing has; call it after every batch of events, and at least
    /// once a second.
    pub fn decide(&mut self, now: Timestamp) -> Vec<Action> {
        if !self.is_synced() {
            return Vec::new();
        }
        let mut actions = std::mem::take(&mut self.warnings);
        let is_tick = now.since(self.last_tick) >= TICK || now < self.last_tick;
        if is_tick || std::mem::take(&mut self.pool_has_changed) {
            self.dirty.extend(self.waiting.iter().cloned());
        }
        self.release_strangers(now, &mut actions);
        for id in std::mem::take(&mut self.dirty) {
            self.place_waiting(&id, is_tick, now, &mut actions);
            self.note_pods_away(&id);
        }
        // What was just placed makes its revision dirty again, though nothing is left to decide for it.
        self.dirty.clear();
        if is_tick {
            self.last_tick = now;
            self.move_on(now, &mut actions);
            self.move_back(now, &mut actions);
        }
        actions
    }

    /// Says what became of an action for this pod.
    pub fn settle(&mut self, uid: &PodUid, outcome: Outcome, now: Timestamp) {
        if outcome == Outcome::Refused
            && let Some(entry) = self.pods.get(uid)
            && entry.pending == Some(Pending::Evicted)
            && let Some(state) = entry.pod.revision.as_ref().and_then(|id| self.revisions.get_mut(id))
        {
            state.returns.called_off();
        }
        self.change_pod(uid, |entry| entry.settle(outcome, now));
    }

    /// The pods of every governed workload, by namespace and name of the Deployment or bare ReplicaSet.
    pub fn census(&self) -> BTreeMap<ObjectName, Census> {
        let mut all = BTreeMap::<ObjectName, Census>::new();
        for state in self.revisions.values() {
            let (Governance::Governed(..), Some(facts)) = (&state.governance, &state.facts) else { continue };
            let workload = facts.workload.as_ref().and_then(|id| self.workloads.get(id));
            let census = all.entry(workload.map_or(&facts.name, |workload| &workload.name).clone()).or_default();
            census.waiting += state.ledger.waiting.len();
            census.base += state.ledger.base.len();
            census.strayed += state.ledger.strayed.len();
            census.burst += state.ledger.burst.len();
        }
        all
    }

    fn begin(&mut self, kind: Kind) {
        match kind {
            Kind::Namespace => self.namespaces.begin(),
            Kind::Workload => self.workloads.begin(),
            Kind::Revision => self.listed_revisions.begin(),
            Kind::Node => self.listed_nodes.begin(),
            Kind::Pod => self.pods.begin(),
        }
    }

    fn finish(&mut self, kind: Kind, now: Timestamp) {
        let swept: Vec<Event> = match kind {
            Kind::Namespace => self.namespaces.finish().into_iter().map(Event::NamespaceGone).collect(),
            Kind::Workload => self.workloads.finish().into_iter().map(Event::WorkloadGone).collect(),
            Kind::Revision => self.listed_revisions.finish().into_iter().map(Event::RevisionGone).collect(),
            Kind::Node => self.listed_nodes.finish().into_iter().map(Event::NodeGone).collect(),
            Kind::Pod => self.pods.finish().into_iter().map(Event::PodGone).collect(),
        };
        for gone in swept {
            self.apply(gone, now);
        }
    }

    fn apply_namespace(&mut self, namespace: &Namespace) {
        let before = self.namespaces.insert(namespace.name.clone(), namespace.base.clone());
        if before.as_ref() == Some(&namespace.base) || (before.is_none() && namespace.base.is_none()) {
            return;
        }
        self.warn_of(namespace_fault(&namespace.name, namespace.base.as_deref()));
        self.govern_where(|revision| *revision.name.namespace == *namespace.name);
    }

    fn apply_workload(&mut self, workload: Workload) {
        let (id, base, fault) = (workload.id.clone(), workload.base.clone(), workload_fault(&workload));
        let before = self.workloads.insert(id.clone(), workload);
        if before.is_none_or(|before| before.base != base) {
            self.warn_of(fault);
            self.govern_where(|revision| revision.workload.as_ref() == Some(&id));
        }
    }

    fn apply_revision(&mut self, revision: Revision) {
        let id = revision.id.clone();
        self.listed_revisions.insert(id.clone(), ());
        let state = self.revisions.entry(id.clone()).or_default();
        let is_new_text = state.facts.as_ref().is_none_or(|before| before.base != revision.base);
        let fault = revision_fault(&revision).filter(|_| is_new_text);
        state.facts = Some(revision);
        self.warn_of(fault);
        self.govern(&id);
    }

    fn forget_revision(&mut self, id: &RevisionId) {
        self.listed_revisions.remove(id);
        if let Some(state) = self.revisions.get_mut(id) {
            state.facts = None;
            state.governance = Governance::Free;
        }
        self.drop_if_empty(id);
    }

    /// Works out anew who governs the revisions that `is_meant` picks.
    fn govern_where(&mut self, is_meant: impl Fn(&Revision) -> bool) {
        let meant = self.revisions.iter().filter(|(_, state)| state.facts.as_ref().is_some_and(&is_meant));
        let meant: Vec<_> = meant.map(|(id, _)| id.clone()).collect();
        for id in meant {
            self.govern(&id);
        }
    }

    fn govern(&mut self, id: &RevisionId) {
        let Some(state) = self.revisions.get_mut(id) else { return };
        let Some(facts) = &state.facts else { return };
        // The Deployment controller copies annotations onto a ReplicaSet but never takes them off again, so the copy
        // counts only until the Deployment itself is known.
        let workload = facts.workload.as_ref().and_then(|id| self.workloads.get(id));
        let own = workload.map_or(&facts.base, |workload| &workload.base);
        let namespace = self.namespaces.get(&*facts.name.namespace).and_then(Option::as_deref);
        state.governance = governance(own.as_deref(), namespace);
        self.dirty.insert(id.clone());
    }

    fn apply_node(&mut self, node: Node) {
        let name = node.name.clone();
        self.listed_nodes.insert(name.clone(), ());
        let kind = node.kind.clone();
        let before = self.nodes.insert(node).map(|before| before.kind);
        self.node_changed(&name, before, Some(kind));
    }

    fn forget_node(&mut self, name: &NodeName) {
        self.listed_nodes.remove(name);
        let before = self.nodes.remove(name).map(|before| before.kind);
        self.node_changed(name, before, None);
    }

    fn node_changed(&mut self, name: &NodeName, before: Option<NodeKind>, after: Option<NodeKind>) {
        if before != after {
            let pods: Vec<_> = self.nodes.pods_on(name).cloned().collect();
            for uid in pods {
                self.change_pod(&uid, |_| {});
            }
        }
        for kind in [before, after].into_iter().flatten() {
            if let NodeKind::Virtual(pool) = kind {
                self.pools.set_nodes(&pool, self.nodes.of_pool(&pool));
                self.pool_has_changed = true;
            }
        }
    }

    fn apply_pod(&mut self, pod: Pod, now: Timestamp) {
        let before = self.take_pod(&pod.uid).map(|(entry, _)| entry);
        let was_home = before.as_ref().is_none_or(|before| before.standing.is_home);
        let entry = Entry::new(pod, before, &self.nodes, now);
        self.put_pod(entry, was_home, self.pods.mark());
    }

    /// Changes what is known of a pod, and works out anew where it stands.
    fn change_pod(&mut self, uid: &PodUid, change: impl FnOnce(&mut Entry)) {
        if let Some((mut entry, mark)) = self.take_pod(uid) {
            let was_home = entry.standing.is_home;
            change(&mut entry);
            entry.stand(&self.nodes);
            self.put_pod(entry, was_home, mark);
        }
    }

    /// Takes a pod out of everything that counts it.
    fn take_pod(&mut self, uid: &PodUid) -> Option<(Entry, Mark)> {
        let (entry, mark) = self.pods.take(uid)?;
        self.nodes.vacate(&entry.pod);
        self.strangers.remove(uid);
        if let Some(at) = entry.move_on_at(self.settings.move_on_after) {
            self.unschedulable.remove(&(at, uid.clone()));
        }
        if let Some(occupancy) = &entry.standing.occupancy {
            self.pools.leave(occupancy);
            self.pool_has_changed = true;
        }
        if let Some(id) = &entry.pod.revision {
            if let Some(state) = self.revisions.get_mut(id) {
                state.ledger.leave(&entry.pod, &entry.standing);
                self.dirty.insert(id.clone());
            }
            self.drop_if_empty(id);
        }
        Some((entry, mark))
    }

    /// Counts a pod wherever it stands.
    fn put_pod(&mut self, entry: Entry, was_home: bool, mark: Mark) {
        let uid = entry.pod.uid.clone();
        self.nodes.occupy(&entry.pod);
        if let Some(at) = entry.move_on_at(self.settings.move_on_after) {
            self.unschedulable.insert((at, uid.clone()));
        }
        if let Some(occupancy) = &entry.standing.occupancy {
            self.pools.enter(occupancy);
        }
        match &entry.pod.revision {
            Some(id) if entry.standing.role != Role::Out => {
                let state = self.revisions.entry(id.clone()).or_default();
                state.ledger.enter(&entry.pod, &entry.standing);
                if entry.standing.is_home && !was_home {
                    state.returns.succeeded();
                }
                self.dirty.insert(id.clone());
            }
            None if entry.standing.role == Role::Waiting => drop(self.strangers.insert(uid.clone())),
            Some(_) | None => {}
        }
        self.pods.put_back(uid, entry, mark);
    }

    fn drop_if_empty(&mut self, id: &RevisionId) {
        if self.revisions.get(id).is_some_and(RevisionState::is_empty) {
            self.revisions.remove(id);
            self.dirty.remove(id);
            self.waiting.remove(id);
            self.away.remove(id);
        }
    }

    /// Notes an action as under way, so that it counts until the watch shows it.
    fn expect(&mut self, uid: &PodUid, pending: Pending) {
        self.change_pod(uid, |entry| entry.pending = Some(pending));
    }

    /// The first pool with room for this pod, or why there is none.
    fn pool_for(&self, pod: &Pod) -> Result<PoolName, Box<str>> {
        match &pod.virtual_obstacle {
            Some(obstacle) => Err(obstacle.clone()),
            None => self.pools.choose().cloned(),
        }
    }
}
