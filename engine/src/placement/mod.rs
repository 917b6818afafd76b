//! Placement: the ledger as a fold over the watch, and the decisions made on it.
//!
//! ```text
//!   watch events ──> apply ──> pods, revisions, nodes, pools
//!                                │  what changed is dirty
//!                    decide <────┘
//!                      │ gated pods  → base │ a tier │ wait     (place, by tier, cap, budget)
//!                      │ pods that fit no real node → a pool     (move_on)
//!                      │ holes in the base → evict a burst pod   (move_back)
//!                      │ policies that only observe: kept, not done (observe)
//!                      ▼
//!                   actions ──> API server ──> settle, and the watch shows them
//! ```
//!
//! The pod watch alone is ordered: a base pod's deletion always comes before its successor. So a decision reads
//! nothing but what the fold holds, and counts what it has decided itself until the watch shows it.

mod action;
mod budget;
mod cap;
mod entry;
mod event;
mod explain;
mod fallback;
mod faults;
mod govern;
mod ledger;
mod look;
mod marked;
mod move_back;
mod move_on;
mod nodes;
mod observe;
mod place;
mod pods;
mod pools;
mod reason;
mod report;
mod revision;
mod sight;
mod slots;
mod tier;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use action::{Action, Annotated, Extras, Outcome, Placing, Reason, WhyReal};
pub use event::{Controller, Event, Kind, Looked, Namespace, PoolFacts, Quota, Revision, Workload};
pub use explain::{Answer, Explanation, Standing, WorkloadExplanation};
pub use observe::Observation;
pub use report::{PolicyReport, PoolReport, Spending, Trouble};
pub use sight::{BudgetUse, NodeSight, PolicySight, PoolSight};

use crate::{
    model::{NodeName, ObjectName, PodUid, PoolName, RevisionId, Timestamp, WorkloadId},
    placement::{
        budget::Accounts,
        entry::{Entry, Pending},
        marked::{ByKey, Marked},
        nodes::Nodes,
        pools::Pools,
        revision::RevisionState,
    },
    policy::{Policies, Settings, fields::FieldFault, profile::Profile},
};

/// By how much a clock is set back at least, to be heeded: less than that delays nothing that matters.
const SET_BACK: Duration = Duration::from_secs(1);
/// burstlet's own namespace, where it is not told otherwise.
pub const HOME: &str = "burstlet-system";
/// How often what only time changes is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Everything that placement knows, and what it has decided.
///
/// Feed it with [`apply`](Self::apply), ask it with [`decide`](Self::decide), tell it what became of its actions with
/// [`settle`](Self::settle).
#[derive(Debug)]
pub struct Placement {
    settings: Settings,
    namespaces: Marked<String, Namespace>,
    workloads: Marked<WorkloadId, Workload>,
    listed_revisions: Marked<RevisionId, ()>,
    revisions: ByKey<RevisionId, RevisionState>,
    /// The revisions of each workload.
    siblings: BTreeMap<WorkloadId, BTreeSet<RevisionId>>,
    policies: Policies,
    listed_policies: Marked<ObjectName, ()>,
    /// Policies that make no sense as they are now, so that the last one that did is followed.
    policy_faults: BTreeMap<ObjectName, Vec<FieldFault>>,
    /// What pods get beside what their template has.
    profile: Profile,
    /// Nothing was heard of it yet.
    awaits_profile: bool,
    listed_pools: Marked<PoolName, ()>,
    /// Pools that make no sense as they are now.
    pool_faults: BTreeMap<PoolName, Vec<FieldFault>>,
    listed_nodes: Marked<NodeName, ()>,
    nodes: Nodes,
    pods: Marked<PodUid, Entry>,
    pools: Pools,
    accounts: Accounts,
    /// Pods whose cost is to be looked at: at the next decision, so that the order of events within one moment tells
    /// nothing.
    reckon: BTreeSet<PodUid>,
    /// Revisions to look at in the next decision.
    dirty: BTreeSet<RevisionId>,
    /// Revisions whose gated pods wait for room.
    waiting: BTreeSet<RevisionId>,
    /// Gated pods that nothing controls.
    strangers: BTreeSet<PodUid>,
    /// Pods that fit no real node, by when they may move on.
    unschedulable: BTreeSet<(Timestamp, PodUid)>,
    /// Revisions with pods that might return from virtual nodes, or with one on its way.
    away: BTreeSet<RevisionId>,
    warnings: Vec<Action>,
    /// What was told of workloads' policies, and still holds.
    told: BTreeMap<ObjectName, BTreeSet<String>>,
    pool_has_changed: bool,
    /// Whether revisions are looked at before a share of theirs is worked out.
    looks: bool,
    /// Pods seen so far.
    arrivals: u64,
    last_tick: Timestamp,
    /// The moment of the present call.
    now: Timestamp,
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
    /// Beyond the base, on virtual nodes.
    pub burst: usize,
    /// Beyond the base, on real nodes.
    pub beyond: usize,
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
            revisions: ByKey::default(),
            siblings: BTreeMap::new(),
            policies: Policies::new(HOME),
            listed_policies: Marked::new(),
            policy_faults: BTreeMap::new(),
            profile: Profile::default(),
            awaits_profile: false,
            listed_pools: Marked::new(),
            pool_faults: BTreeMap::new(),
            listed_nodes: Marked::new(),
            nodes: Nodes::default(),
            pods: Marked::new(),
            pools,
            accounts: Accounts::default(),
            reckon: BTreeSet::new(),
            dirty: BTreeSet::new(),
            waiting: BTreeSet::new(),
            strangers: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            away: BTreeSet::new(),
            warnings: Vec::new(),
            told: BTreeMap::new(),
            pool_has_changed: false,
            looks: false,
            arrivals: 0,
            last_tick: Timestamp::default(),
            now: Timestamp::default(),
        }
    }

    /// With burstlet living in this namespace: policies are looked for there, too, and the cluster's default stands
    /// there. Without it, that is `burstlet-system`.
    #[must_use]
    pub fn living_in(mut self, namespace: &str) -> Self {
        self.policies = Policies::new(namespace);
        self
    }

    /// With [`Action::Look`]: where the watch of revisions may be behind that of pods, unlike a simulation's.
    #[must_use]
    pub fn looking(mut self) -> Self {
        self.looks = true;
        self
    }

    /// Decides nothing before the first [`Event::Profile`]: whom the profile governs would pass as free.
    #[must_use]
    pub fn awaiting_profile(mut self) -> Self {
        self.awaits_profile = true;
        self
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: Event, now: Timestamp) {
        self.set_clock(now);
        match event {
            Event::Begin(kind) => self.begin(kind),
            Event::Finish(kind) => self.finish(kind, now),
            Event::Namespace(namespace) => self.apply_namespace(&namespace),
            Event::NamespaceGone(name) => self.forget_namespace(&name),
            Event::Workload(workload) => self.apply_workload(&workload),
            Event::WorkloadGone(id) => self.forget_workload(&id),
            Event::Revision(revision) => self.apply_revision(revision),
            Event::RevisionGone(id) => self.forget_revision(&id),
            Event::Looked { revision, arrivals, found } => self.apply_look(&revision, arrivals, found),
            Event::Node(node) => self.apply_node(node),
            Event::NodeGone(name) => self.forget_node(&name),
            Event::Pod(pod) => self.apply_pod(pod),
            Event::PodGone(uid) => self.forget_pod(&uid),
            Event::Policy { name, spec } => self.apply_policy(name, &spec),
            Event::PolicyFaulty { name, faults } => self.apply_faulty_policy(name, faults),
            Event::PolicyGone(name) => self.forget_policy(&name),
            Event::PoolFaulty { name, faults } => self.apply_faulty_pool(name, faults),
            Event::Pool(facts) => {
                self.listed_pools.insert(facts.name.clone(), ());
                self.pool_faults.remove(&facts.name);
                self.apply_pool(&facts.name.clone(), Some(facts));
            }
            Event::PoolGone(name) => {
                self.listed_pools.remove(&name);
                self.pool_faults.remove(&name);
                self.apply_pool(&name, None);
            }
            Event::Capabilities { pool, capabilities } => {
                self.pools.set_capabilities(&pool, capabilities);
                self.pool_has_changed = true;
            }
            Event::Profile(profile) => self.apply_profile(profile),
            Event::Health { pool, fault } => {
                self.pools.set_fault(&pool, fault);
                self.pool_has_changed = true;
            }
            Event::Stock { pool, free } => {
                self.pools.set_stock(&pool, free);
                self.pool_has_changed = true;
            }
        }
    }

    /// Whether every kind has been listed, the profile if one is awaited, and no list of pods is under way. Until then nothing is decided: a missing
    /// base pod would let one too many through.
    pub fn is_synced(&self) -> bool {
        self.namespaces.is_complete()
            && self.workloads.is_complete()
            && self.listed_revisions.is_complete()
            && self.listed_nodes.is_complete()
            && self.pods.is_complete()
            && self.listed_policies.is_complete()
            && self.listed_pools.is_complete()
            && (!self.awaits_profile || planted!(ProfileNotAwaited))
    }

    /// Decides for all that has changed. Cheap where nothing has; call it after every batch of events, and at least
    /// once a second.
    pub fn decide(&mut self, now: Timestamp) -> Vec<Action> {
        self.set_clock(now);
        if !self.is_synced() && !planted!(DecidesDuringLists) {
            return Vec::new();
        }
        let mut actions = std::mem::take(&mut self.warnings);
        let is_tick = now.since(self.last_tick) >= TICK || now < self.last_tick;
        if is_tick || std::mem::take(&mut self.pool_has_changed) {
            self.dirty.extend(self.waiting.iter().cloned());
        }
        self.reckon();
        self.release_strangers(&mut actions);
        for id in self.in_turn() {
            self.place_waiting(&id, is_tick, &mut actions);
            self.note_pods_away(&id);
        }
        // What was just placed makes its revision dirty again, though nothing is left to decide for it.
        self.dirty.clear();
        if is_tick {
            self.last_tick = now;
            self.move_on(&mut actions);
            self.move_back(&mut actions);
        }
        self.reckon();
        for uid in std::mem::take(&mut self.reckon) {
            if let Some(entry) = self.pods.get_mut(&uid) {
                entry.was_reckoned = true;
            }
        }
        actions
    }

    /// Takes the moment of a call. Where a clock was set back, nothing may stay in the future: waits would last until
    /// the clock comes there again.
    fn set_clock(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.now, now);
        if before.since(now) < SET_BACK {
            return;
        }
        for state in self.revisions.values_mut() {
            state.returns.not_after(now);
            state.looks.not_after(now);
            state.short_since.values_mut().for_each(|since| *since = now.min(*since));
        }
        self.accounts.not_after(now);
        let pods: Vec<_> = self.pods.iter().map(|(uid, _)| uid.clone()).collect();
        for uid in pods {
            self.change_pod(&uid, |entry| entry.not_after(now));
        }
    }

    /// What is to be looked at: those of the higher priority first, then by ID.
    fn in_turn(&mut self) -> Vec<RevisionId> {
        let mut dirty: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
        let priority = |id: &RevisionId| self.revisions.get(id)?.policy.as_ref().map(|policy| policy.priority);
        dirty.sort_by_cached_key(|id| Reverse(priority(id).unwrap_or_default()));
        if planted!(PriorityReversed) {
            dirty.reverse();
        }
        dirty
    }

    /// Says what became of an action for this pod.
    pub fn settle(&mut self, uid: &PodUid, outcome: Outcome, now: Timestamp) {
        self.set_clock(now);
        if let Some(entry) = self.pods.get(uid)
            && entry.pending == Some(Pending::Evicted)
            && let Some(state) = entry.pod.revision.as_ref().and_then(|id| self.revisions.get_mut(id))
        {
            match outcome {
                Outcome::Applied => state.returns.let_go(),
                Outcome::Refused => state.returns.called_off(),
            }
        }
        self.change_pod(uid, |entry| entry.settle(outcome, now));
    }

    /// The pods of every governed workload, by namespace and name of what scales them.
    pub fn census(&self) -> BTreeMap<ObjectName, Census> {
        let mut all = BTreeMap::<ObjectName, Census>::new();
        for state in self.revisions.values().filter(|state| state.policy.is_some()) {
            let Some(name) = self.workload_name(state) else { continue };
            let census = all.entry(name.clone()).or_default();
            census.waiting += state.ledger.waiting.len();
            census.base += state.ledger.base.len();
            census.strayed += state.ledger.strayed.len();
            census.burst += state.ledger.burst.len();
            census.beyond += state.ledger.beyond.len();
        }
        all
    }

    /// The revisions by their IDs, for what is told of several.
    fn revisions_in_order(&self) -> Vec<(&RevisionId, &RevisionState)> {
        let mut all: Vec<_> = self.revisions.iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    fn begin(&mut self, kind: Kind) {
        match kind {
            Kind::Namespace => self.namespaces.begin(),
            Kind::Workload => self.workloads.begin(),
            Kind::Revision => self.listed_revisions.begin(),
            Kind::Node => self.listed_nodes.begin(),
            Kind::Pod => self.pods.begin(),
            Kind::Policy => self.listed_policies.begin(),
            Kind::Pool => self.listed_pools.begin(),
        }
    }

    fn finish(&mut self, kind: Kind, now: Timestamp) {
        let swept: Vec<Event> = match kind {
            Kind::Namespace => self.namespaces.finish().into_iter().map(Event::NamespaceGone).collect(),
            Kind::Workload => self.workloads.finish().into_iter().map(Event::WorkloadGone).collect(),
            Kind::Revision => self.listed_revisions.finish().into_iter().map(Event::RevisionGone).collect(),
            Kind::Node => self.listed_nodes.finish().into_iter().map(Event::NodeGone).collect(),
            Kind::Pod => {
                let unnamed = self.pods.finish();
                let gone = unnamed.into_iter().filter(|_| !planted!(ListDoesNotSweep));
                gone.map(Event::PodGone).collect()
            }
            Kind::Policy => self.listed_policies.finish().into_iter().map(Event::PolicyGone).collect(),
            Kind::Pool => self.listed_pools.finish().into_iter().map(Event::PoolGone).collect(),
        };
        for gone in swept {
            self.apply(gone, now);
        }
    }
}
