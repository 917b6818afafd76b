//! Every pod and instance of the kubelet's nodes, and which call comes next.
//!
//! Events are applied synchronously; nothing here waits, reads a clock or talks to anyone, so that tests replay any
//! order of events. The driver asks [`Index::next_job`] until it answers `None`.

mod lanes;
mod views;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;

use super::{
    backoff::Backoff,
    pods::{Shape, SlimPod, Times},
    sync::{Action, InstanceFact, Moment, Outcome, Pair, Phase, PodFact, Sequence, World},
};
use crate::provider::{Instance, InstanceChange, InstanceState, Owner};
use lanes::{Lanes, Side};

pub(crate) use lanes::Limits;
pub use views::Counts;
pub(crate) use views::{Found, OnNode, Sample};

/// Pods kept whole until their instance is asked for; beyond that, they are read again.
const FRESH: usize = 256;

/// A pod's UID.
pub(crate) type Uid = Arc<str>;

/// Number of a node in [`Index::nodes`].
type NodeNumber = u32;

/// Now, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Since the kubelet started.
    pub(crate) since: Moment,
    /// Seconds of Unix time.
    pub(crate) unix: i64,
}

#[derive(Debug)]
struct Entry {
    pair: Pair,
    namespace: Arc<str>,
    name: Box<str>,
    node: NodeNumber,
    shape: Arc<Shape>,
    times: Times,
    /// The list that last held the pod.
    listed: u32,
    queued: bool,
    timer: Moment,
    side: Option<Side>,
}

/// A call to make, with all that it needs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) uid: Uid,
    pub(crate) action: Action,
    pub(crate) owner: Owner,
    /// The pod, where it is still at hand.
    pub(crate) pod: Option<Box<Pod>>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) times: Times,
    pub(crate) instance: InstanceFact,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    cluster: String,
    nodes: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, NodeNumber>,
    /// Those that take no pods, by number.
    cordoned: HashSet<usize>,
    holds_daemonset_pods: bool,
    backoff: Backoff,
    entries: HashMap<Uid, Entry>,
    shapes: HashSet<Arc<Shape>>,
    namespaces: HashSet<Arc<str>>,
    fresh: HashMap<Uid, Box<Pod>>,
    world: World,
    sequence: Sequence,
    list: u32,
    dirty: VecDeque<Uid>,
    timers: BinaryHeap<Reverse<(Moment, Uid)>>,
    lanes: Lanes,
}

impl Index {
    pub(crate) fn new(
        cluster: &str,
        nodes: impl IntoIterator<Item = Arc<str>>,
        holds_daemonset_pods: bool,
        backoff: Backoff,
        limits: Limits,
    ) -> Self {
        let nodes: Vec<Arc<str>> = nodes.into_iter().collect();
        let numbers = (0..).zip(&nodes).map(|(number, node)| (Arc::clone(node), number)).collect();
        let lanes = Lanes::new(limits, nodes.first().map_or(cluster, |node| node));
        Self {
            cluster: cluster.to_owned(),
            nodes,
            numbers,
            cordoned: HashSet::new(),
            holds_daemonset_pods,
            backoff,
            entries: HashMap::new(),
            shapes: HashSet::new(),
            namespaces: HashSet::new(),
            fresh: HashMap::new(),
            world: World::default(),
            sequence: 0,
            list: 0,
            dirty: VecDeque::new(),
            timers: BinaryHeap::new(),
            lanes,
        }
    }

    /// Takes in whether a node takes pods.
    pub(crate) fn set_cordoned(&mut self, number: usize, is_cordoned: bool) {
        if is_cordoned {
            self.cordoned.insert(number);
        } else {
            self.cordoned.remove(&number);
        }
    }

    /// Takes in an event of the watch of bound pods.
    pub(crate) fn apply(&mut self, event: Event<Pod>, now: Now) {
        match event {
            Event::Init => self.list += 1,
            Event::InitApply(pod) | Event::Apply(pod) => self.see(pod, now),
            Event::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid.as_deref() {
                    self.lose(uid);
                }
            }
            Event::InitDone => self.sweep(),
        }
    }

    fn see(&mut self, pod: Pod, now: Now) {
        let Some(slim) = SlimPod::of(&pod, self.holds_daemonset_pods) else { return };
        let Some(&node) = self.numbers.get(&*slim.node) else { return };
        let uid = Arc::clone(&slim.uid);
        self.see_slim(node, &slim, || Shape::of(&pod), now);
        let wants_instance = self.entries.get(&uid).is_some_and(|e| {
            e.pair.instance == InstanceFact::Absent && !e.pair.in_flight && slim.view.report.phase == Phase::Pending
        });
        if wants_instance && slim.view.deletion.is_none() && !slim.view.held && self.fresh.len() < FRESH {
            self.fresh.insert(uid, Box::new(pod));
        }
    }

    fn see_slim(&mut self, node: NodeNumber, slim: &SlimPod, shape: impl FnOnce() -> Shape, now: Now) {
        let list = self.list;
        if !self.entries.contains_key(&slim.uid) {
            let entry = self.new_entry(&slim.namespace, &slim.name, node);
            self.entries.insert(Arc::clone(&slim.uid), entry);
        }
        let Some(entry) = self.entries.get_mut(&slim.uid) else { return };
        if entry.shape.containers.is_empty() {
            let shape = intern(&mut self.shapes, shape());
            entry.shape = shape;
        }
        entry.listed = list;
        entry.times.accepted = slim.times.accepted.or(entry.times.accepted).or(Some(now.unix));
        entry.times.running = slim.times.running.or(entry.times.running);
        entry.pair.see_pod(slim.view.clone());
        self.mark(&slim.uid);
    }

    fn new_entry(&mut self, namespace: &str, name: &str, node: NodeNumber) -> Entry {
        let known = self.namespaces.get(namespace).cloned();
        let namespace = known.unwrap_or_else(|| {
            let new: Arc<str> = namespace.into();
            self.namespaces.insert(Arc::clone(&new));
            new
        });
        Entry {
            pair: Pair::default(),
            namespace,
            name: name.into(),
            node,
            shape: Arc::default(),
            times: Times::default(),
            listed: self.list,
            queued: false,
            timer: Moment::ZERO,
            side: None,
        }
    }

    fn lose(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.pair.lose_pod();
            self.mark(uid);
        }
    }

    /// Ends a complete list: pods that it lacks are doubted, and instances without a pod may be looked into.
    fn sweep(&mut self) {
        let first = !self.world.pods_listed;
        self.world.pods_listed = true;
        let list = self.list;
        let mut unsure = Vec::new();
        for (uid, entry) in &mut self.entries {
            if entry.listed != list {
                entry.pair.doubt_pod();
            }
            if first || entry.pair.pod == PodFact::Unknown {
                unsure.push(Arc::clone(uid));
            }
        }
        for uid in &unsure {
            self.mark(uid);
        }
        self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
    }

    /// Takes in a change that the provider reports.
    pub(crate) fn apply_change(&mut self, change: InstanceChange, now: Now) {
        let at = self.tick();
        match change {
            InstanceChange::Watching => {}
            InstanceChange::Changed(instance) => self.see_instance(at, &instance, now),
            InstanceChange::Gone(owner) => {
                if let Some(entry) = self.entries.get_mut(owner.uid.as_str()) {
                    entry.pair.lose_instance(at);
                    self.mark(&owner.uid);
                }
            }
        }
    }

    fn see_instance(&mut self, at: Sequence, instance: &Instance, now: Now) {
        let owner = &instance.owner;
        let Some(&node) = self.numbers.get(owner.node.as_str()).filter(|_| owner.cluster == self.cluster) else {
            return;
        };
        if !self.entries.contains_key(owner.uid.as_str()) {
            let entry = self.new_entry(&owner.namespace, &owner.name, node);
            // No list of pods has held it yet.
            self.entries.insert(owner.uid.as_str().into(), Entry { listed: u32::MAX, ..entry });
        }
        let Some(entry) = self.entries.get_mut(owner.uid.as_str()) else { return };
        entry.pair.see_instance(at, instance);
        if instance.state == InstanceState::Running {
            entry.times.running.get_or_insert(now.unix);
        }
        self.fresh.remove(owner.uid.as_str());
        self.mark(&owner.uid);
    }

    /// Begins a list of instances; the answer goes to [`Index::end_list`].
    pub(crate) fn begin_list(&mut self) -> Sequence {
        self.tick()
    }

    /// Takes in the list of instances that began at `began`. Answers whether another list soon would settle a doubt.
    pub(crate) fn end_list(&mut self, began: Sequence, instances: &[Instance], now: Now) -> bool {
        let first = !self.world.instances_listed;
        self.world.instances_listed = true;
        for instance in instances {
            self.see_instance(began, instance, now);
        }
        let listed: HashSet<&str> = instances.iter().map(|i| i.owner.uid.as_str()).collect();
        let mut missing = Vec::new();
        let mut suspects = false;
        for (uid, entry) in &mut self.entries {
            if !listed.contains(&**uid) {
                entry.pair.miss_instance(began);
                suspects |= entry.pair.is_suspect();
                missing.push(Arc::clone(uid));
            } else if first {
                missing.push(Arc::clone(uid));
            }
        }
        for uid in &missing {
            self.mark(uid);
        }
        suspects
    }

    /// Takes in how a job ended. Answers a refusal that nobody has been told of yet.
    pub(crate) fn finish(&mut self, uid: &Uid, outcome: Finished, now: Now) -> Option<(Owner, Notice)> {
        let at = self.tick();
        if let Finished::Pod(pod) = outcome {
            let slim = SlimPod::of(&pod, self.holds_daemonset_pods).filter(|slim| slim.uid == *uid);
            let outcome = slim.as_ref().map_or(Outcome::PodMissing, |slim| Outcome::PodFound(slim.view.clone()));
            self.settle(uid, at, outcome, now);
            if let Some((slim, node)) = slim.and_then(|s| self.numbers.get(&*s.node).map(|n| (s, *n))) {
                self.see_slim(node, &slim, || Shape::of(&pod), now);
            }
            return None;
        }
        let Finished::Call(outcome) = outcome else { return None };
        let refusal = match &outcome {
            Outcome::CreateFailed(error) => Some(Notice { reason: error.kind(), text: error.to_string() }),
            Outcome::Unresolved(error) => Some(Notice { reason: error.reason(), text: error.to_string() }),
            _ => None,
        };
        if let Outcome::Created(instance) = &outcome
            && instance.state == InstanceState::Running
            && let Some(entry) = self.entries.get_mut(uid)
        {
            entry.times.running.get_or_insert(now.unix);
        }
        let is_news = self.settle(uid, at, outcome, now);
        let notice = refusal.filter(|_| is_news)?;
        Some((self.owner(uid)?, notice))
    }

    fn settle(&mut self, uid: &Uid, at: Sequence, outcome: Outcome, now: Now) -> bool {
        let Some(entry) = self.entries.get_mut(uid) else { return false };
        if let Some(side) = entry.side.take() {
            self.lanes.leave(side, &outcome, now.since);
        }
        let is_news = entry.pair.finish(at, now.since, &self.backoff, seed(uid), outcome);
        self.mark(uid);
        is_news
    }

    /// The next call to make, if there is one and a place for it.
    pub(crate) fn next_job(&mut self, now: Moment) -> Option<Job> {
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, uid))) = self.timers.pop() {
                self.mark(&uid);
            }
        }
        // Those that have waited come first.
        while let Some(uid) = self.lanes.unpark(now).or_else(|| self.dirty.pop_front()) {
            if let Some(job) = self.visit(uid, now) {
                return Some(job);
            }
        }
        None
    }

    fn visit(&mut self, uid: Uid, now: Moment) -> Option<Job> {
        let entry = self.entries.get_mut(&uid)?;
        entry.queued = false;
        if entry.pair.is_settled() {
            self.entries.remove(&uid);
            self.fresh.remove(&uid);
            return None;
        }
        let Some(action) = entry.pair.next(now, self.world) else {
            let not_before = entry.pair.not_before();
            if !entry.pair.in_flight && not_before > now && entry.timer != not_before {
                entry.timer = not_before;
                self.timers.push(Reverse((not_before, uid)));
            }
            return None;
        };
        let side = Side::of(&action);
        if !self.lanes.enter(side, &uid, now) {
            entry.queued = true;
            return None;
        }
        self.sequence += 1;
        entry.pair.begin(self.sequence, &action);
        entry.side = Some(side);
        let (shape, times, instance) = (Arc::clone(&entry.shape), entry.times, entry.pair.instance.clone());
        let pod = self.fresh.remove(&uid).filter(|_| action == Action::Create);
        let owner = self.owner(&uid)?;
        Some(Job { uid, action, owner, pod, shape, times, instance })
    }

    /// When to ask [`Index::next_job`] again although nothing happened.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        [timer, self.lanes.wake_at()].into_iter().flatten().min()
    }

    /// How many times calls have stopped, to the provider and to the API server.
    pub(crate) fn trips(&self) -> [u64; 2] {
        self.lanes.trips()
    }

    fn owner(&self, uid: &str) -> Option<Owner> {
        let entry = self.entries.get(uid)?;
        Some(Owner {
            cluster: self.cluster.clone(),
            node: self.nodes.get(entry.node as usize)?.to_string(),
            namespace: entry.namespace.to_string(),
            name: entry.name.to_string(),
            uid: uid.to_owned(),
        })
    }

    fn mark(&mut self, uid: &str) {
        let Some((key, _)) = self.entries.get_key_value(uid) else { return };
        let key = Arc::clone(key);
        if let Some(entry) = self.entries.get_mut(uid)
            && !entry.queued
        {
            entry.queued = true;
            self.dirty.push_back(key);
        }
    }

    fn tick(&mut self) -> Sequence {
        self.sequence += 1;
        self.sequence
    }
}

/// What people are told of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// An event's reason.
    pub(crate) reason: &'static str,
    pub(crate) text: String,
}

/// How a job ended, as the driver saw it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is nearly every one, and none is kept")]
pub(crate) enum Finished {
    /// The call itself says how.
    Call(Outcome),
    /// The pod was read, and is not as it was thought to be.
    Pod(Box<Pod>),
}

fn intern(shapes: &mut HashSet<Arc<Shape>>, shape: Shape) -> Arc<Shape> {
    if let Some(known) = shapes.get(&shape) {
        return Arc::clone(known);
    }
    let shape = Arc::new(shape);
    shapes.insert(Arc::clone(&shape));
    shape
}

fn seed(uid: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(uid)
}
