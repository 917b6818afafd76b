//! What happened to each pod, revision and node: the events folded in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use k8s_openapi::jiff::Timestamp;

use super::{
    Change, Event, Object,
    event::{NodeSeen, PodSeen, ReplicaSetSeen},
};

/// A place in the order of events, and when that event arrived here.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub version: u64,
    pub seen: Instant,
}

/// A value that changes; each entry holds from its version on.
pub type Course<T> = Vec<(u64, T)>;

/// The value at a version.
pub fn at<T>(course: &Course<T>, version: u64) -> Option<&T> {
    course.iter().take_while(|(since, _)| *since <= version).last().map(|(_, value)| value)
}

fn note<T: PartialEq>(course: &mut Course<T>, version: u64, value: T) {
    if course.last().is_none_or(|(_, last)| *last != value) {
        course.push((version, value));
    }
}

/// One pod from its creation to its end.
#[derive(Debug, Clone)]
pub struct Life {
    pub uid: String,
    pub name: String,
    pub app: String,
    pub revision: Option<String>,
    pub created: Moment,
    /// Whether it had burstlet's gate when it was created. Without it, the webhook was not asked.
    pub was_gated: bool,
    /// When it was first seen without the gate.
    pub opened: Option<Moment>,
    pub tier: Course<Option<String>>,
    /// The pool that its tier is of.
    pub pool: Option<String>,
    /// The time of the decision, as the pod's annotation has it.
    pub decided: Option<Timestamp>,
    pub bound: Option<(Moment, String)>,
    pub ready: Course<bool>,
    /// When it began to terminate, finished or was gone, whichever came first: from then on it lives no more.
    pub ended: Option<Moment>,
    /// When its object was gone.
    pub gone: Option<Moment>,
    /// The phase it was last seen in.
    pub phase: String,
}

impl Life {
    fn begin(seen: &PodSeen, moment: Moment) -> Self {
        Self {
            uid: seen.uid.clone(),
            name: seen.name.clone(),
            app: seen.app.clone(),
            revision: seen.revision.clone(),
            created: moment,
            was_gated: seen.is_gated,
            opened: None,
            tier: Vec::new(),
            pool: None,
            decided: None,
            bound: None,
            ready: Vec::new(),
            ended: None,
            gone: None,
            phase: String::new(),
        }
    }

    fn take_in(&mut self, seen: &PodSeen, change: Change, moment: Moment) {
        if !seen.is_gated {
            self.opened.get_or_insert(moment);
        }
        note(&mut self.tier, moment.version, seen.tier.clone());
        self.pool = seen.pool.clone().or(self.pool.take());
        self.decided = self.decided.or(seen.decided);
        if let Some(node) = &seen.node {
            self.bound.get_or_insert_with(|| (moment, node.clone()));
        }
        note(&mut self.ready, moment.version, seen.is_ready);
        let is_finished = matches!(seen.phase.as_str(), "Succeeded" | "Failed");
        if seen.is_deleting || is_finished || change == Change::Gone {
            self.ended.get_or_insert(moment);
        }
        if change == Change::Gone {
            self.gone.get_or_insert(moment);
        }
        self.phase.clone_from(&seen.phase);
    }

    /// Created, and neither terminating nor finished nor gone.
    pub fn is_live(&self, version: u64) -> bool {
        self.created.version <= version && self.ended.is_none_or(|ended| version < ended.version)
    }

    pub fn is_gated(&self, version: u64) -> bool {
        self.opened.is_none_or(|opened| version < opened.version)
    }

    pub fn node(&self, version: u64) -> Option<&str> {
        self.bound.as_ref().filter(|(moment, _)| moment.version <= version).map(|(_, node)| node.as_str())
    }

    pub fn tier(&self, version: u64) -> Option<&str> {
        at(&self.tier, version)?.as_deref()
    }

    /// When the pod was sent to burst, if it was.
    pub fn burst_at(&self) -> Option<u64> {
        self.tier.iter().find(|(_, tier)| tier.as_deref() == Some("burst")).map(|(version, _)| *version)
    }
}

/// One ReplicaSet.
#[derive(Debug, Clone, Default)]
pub struct Revision {
    pub name: String,
    pub wanted: Course<u64>,
    pub base: Course<Option<String>>,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub is_virtual: bool,
    pub ready: Course<bool>,
    pub is_gone: bool,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub lives: BTreeMap<String, Life>,
    pub revisions: BTreeMap<String, Revision>,
    pub nodes: BTreeMap<String, Node>,
    /// The version of every event, with its arrival.
    pub moments: BTreeMap<u64, Instant>,
}

impl History {
    /// Folds events, which may come in the order of their arrival.
    pub fn of(events: &[Event]) -> Self {
        let mut events: Vec<_> = events.iter().collect();
        events.sort_by_key(|event| event.version);
        let mut history = Self::default();
        for event in events {
            let moment = Moment { version: event.version, seen: event.seen };
            history.moments.insert(event.version, event.seen);
            match &event.object {
                Object::Pod(pod) => {
                    let life = history.lives.entry(pod.uid.clone()).or_insert_with(|| Life::begin(pod, moment));
                    life.take_in(pod, event.change, moment);
                }
                Object::ReplicaSet(set) => history.take_in_revision(set, event.version),
                Object::Node(node) => history.take_in_node(node, event),
            }
        }
        history
    }

    fn take_in_revision(&mut self, set: &ReplicaSetSeen, version: u64) {
        let revision = self.revisions.entry(set.uid.clone()).or_default();
        revision.name.clone_from(&set.name);
        note(&mut revision.wanted, version, set.wanted);
        note(&mut revision.base, version, set.base.clone());
    }

    fn take_in_node(&mut self, seen: &NodeSeen, event: &Event) {
        let node = self.nodes.entry(seen.name.clone()).or_default();
        node.is_virtual |= seen.is_virtual;
        node.is_gone = event.change == Change::Gone;
        note(&mut node.ready, event.version, seen.is_ready);
    }

    /// A node without the label of virtual nodes; one that was never seen is taken for real.
    pub fn is_real(&self, node: &str) -> bool {
        self.nodes.get(node).is_none_or(|node| !node.is_virtual)
    }

    pub fn pods_of(&self, revision: &str) -> impl Iterator<Item = &Life> {
        self.lives.values().filter(move |life| life.revision.as_deref() == Some(revision))
    }

    /// The live pods of an app now.
    pub fn living<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Life> {
        self.lives.values().filter(move |life| life.app == app && life.ended.is_none())
    }

    /// The live pods of an app that are Ready now: on real nodes, and on virtual ones.
    pub fn ready(&self, app: &str) -> (usize, usize) {
        let is_ready = |life: &&Life| life.ready.last().is_some_and(|(_, ready)| *ready);
        let nodes: Vec<_> = self.living(app).filter(is_ready).filter_map(|life| life.bound.as_ref()).collect();
        let real = nodes.iter().filter(|(_, node)| self.is_real(node)).count();
        (real, nodes.len() - real)
    }

    /// Versions at which something changed that the judgement of a revision depends on, within the range.
    pub fn changes(&self, revision: &str, from: u64, to: u64) -> Vec<u64> {
        let mut versions = BTreeSet::from([from, to]);
        for life in self.pods_of(revision) {
            versions.insert(life.created.version);
            versions.extend([life.opened, life.ended].into_iter().flatten().map(|moment| moment.version));
            versions.extend(life.bound.as_ref().map(|(moment, _)| moment.version));
            versions.extend(life.tier.iter().map(|(version, _)| *version));
        }
        if let Some(revision) = self.revisions.get(revision) {
            versions.extend(revision.wanted.iter().map(|(version, _)| *version));
            versions.extend(revision.base.iter().map(|(version, _)| *version));
        }
        versions.range(from..=to).copied().collect()
    }
}
