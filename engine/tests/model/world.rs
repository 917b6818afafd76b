//! The engine beside a truth that changes: what is told, decided, written, answered, lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use burstlet_engine::{
    model::{Capabilities, NeedSet, Pod, PodUid, RevisionId, Stage, Tier, Timestamp},
    placement::{Action, Event, Kind, Looked, Outcome, Placement},
    policy::{MoveBack, Settings},
};

use super::{
    KINDS, POLICIES, POOLS, SOURCES, Truth, WORKLOADS, is_live,
    judge::MOVE_ON,
    ops::{Begin, Fate, Op, TEXTS, kind_of_event},
    view::View,
};

/// How long a look is waited for.
const GIVEN_UP: u64 = 5_000;

/// A look at a revision that was asked for.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) revision: RevisionId,
    pub(super) arrivals: u64,
    pub(super) at: u64,
}

/// What the engine was told and asked, to be told and asked again.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "most of them are the large one")]
enum Call {
    Apply(Event, Timestamp),
    Settle(PodUid, Outcome, Timestamp),
    Decide(Timestamp, Vec<Action>),
}

/// A write on its way to the API server.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) action: Action,
    pub(super) decided: u64,
    /// For a base placing: its revision, its number among decisions, and the base's pods told or decided before it.
    pub(super) base: Option<(RevisionId, usize, BTreeSet<PodUid>)>,
}

pub(crate) struct World {
    pub(super) truth: Truth,
    pub(super) view: View,
    engine: Placement,
    calls: Vec<Call>,
    pub(super) writes: Vec<Write>,
    answers: Vec<(PodUid, Outcome)>,
    pub(super) looks: Vec<Look>,
    pub(super) unanswered: BTreeSet<(&'static str, PodUid)>,
    /// The base at each base placing, by revision, in the order of the decisions.
    pub(super) bases: Vec<(RevisionId, usize)>,
    /// Whether the clock was ever set back, so that what is said of times may not be compared.
    pub(super) was_set_back: bool,
    /// Since when each pod has been known to stand on a virtual node, at the least, and whose budget it has cost.
    pub(super) away_since: BTreeMap<PodUid, (Option<String>, u64)>,
    /// The kinds of events that were told.
    pub(crate) told: BTreeSet<&'static str>,
    /// Whether a look was ever left without an answer for so long that it was given up.
    pub(super) was_look_lost: bool,
}

fn engine() -> Placement {
    Placement::new(settings()).looking().awaiting_profile()
}

fn settings() -> Settings {
    let move_back = MoveBack { after: Duration::from_secs(3), at_once: 1, cool_down: Duration::from_secs(2) };
    Settings { pools: POOLS.map(Into::into).to_vec(), move_on_after: Duration::from_millis(MOVE_ON), move_back }
}

impl World {
    pub(crate) fn new(begin: Begin) -> Self {
        let mut truth = Truth::new();
        for (number, rules) in begin.into_iter().enumerate() {
            if let Some(rules) = rules {
                truth.set_policy(POLICIES[number], Some(rules));
                truth.annotate(WORKLOADS[number], Some(["policy=p0", "policy=p1", "policy=p2"][number]));
            }
        }
        Self {
            truth,
            view: View::default(),
            engine: engine(),
            calls: Vec::new(),
            writes: Vec::new(),
            answers: Vec::new(),
            looks: Vec::new(),
            unanswered: BTreeSet::new(),
            bases: Vec::new(),
            was_set_back: false,
            away_since: BTreeMap::new(),
            told: BTreeSet::new(),
            was_look_lost: false,
        }
    }

    /// Until the cluster stands: more pods than real nodes take, and some on virtual nodes.
    pub(crate) fn stand(&mut self) {
        for (revision, wanted) in [4, 3, 6, 4, 2].into_iter().enumerate() {
            self.truth.scale(revision, wanted);
        }
        (0..3).for_each(|_| self.live());
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.truth.now)
    }

    pub(crate) fn step(&mut self, op: Op) {
        let truth = &mut self.truth;
        match op {
            Op::Scale { revision, wanted } => truth.scale(revision, wanted),
            Op::PodsFirst { revision, wanted } => {
                truth.scale(revision, wanted);
                truth.control();
                self.deliver(Some(Kind::Pod), usize::MAX);
                self.decide();
            }
            Op::Retire { revision } => truth.retire(revision),
            Op::ControlReplicas => truth.control(),
            Op::Schedule => truth.schedule(),
            Op::RunPods => truth.run(),
            Op::Kill(pod) => truth.kill(pod),
            Op::Replace(pod) => {
                truth.kill(pod);
                truth.control();
                self.deliver(Some(Kind::Pod), usize::MAX);
            }
            Op::Finish(pod) => truth.finish(pod),
            Op::FlipReady(pod) => truth.flip(pod),
            Op::Cordon(node) => truth.cordon(node),
            Op::ToggleNode(node) => truth.toggle_node(node),
            Op::Annotate { workload, base } => truth.annotate(WORKLOADS[workload], TEXTS[base]),
            Op::Delete { workload } => truth.delete_workload(WORKLOADS[workload]),
            Op::RemakeNamespace => truth.remake_namespace(),
            Op::AnnotateNamespace(base) => truth.annotate_namespace(TEXTS[base]),
            Op::Webhook(is_up) => truth.webhook = is_up,
            Op::Health { pool, works } => {
                let fault = (!works).then(|| "it does not answer".into());
                self.tell(Event::Health { pool: POOLS[pool].into(), fault });
            }
            Op::Policy { name, rules } => truth.set_policy(POLICIES[name], rules),
            Op::Quota { pool, pods } => truth.set_quota(POOLS[pool], pods),
            Op::SpoilPolicy { name, with_list } => truth.spoil_policy(POLICIES[name], with_list),
            Op::SpoilPool { pool, with_list } => truth.spoil_pool(POOLS[pool], with_list),
            Op::Capabilities { pool, is_bare } => {
                let all = Capabilities::all("a cloud");
                let capabilities = if is_bare { Capabilities { kinds: NeedSet::of(&[]), ..all } } else { all };
                self.tell(Event::Capabilities { pool: POOLS[pool].into(), capabilities });
            }
            Op::Profile(number) => truth.set_profile(number),
            Op::Jump(seconds) => self.set_clock(seconds),
            Op::Stock { pool, free } => self.tell(Event::Stock { pool: POOLS[pool].into(), free }),
            Op::Deliver { source, events } => self.deliver(SOURCES[source], events),
            Op::Relist(source) => truth.list(SOURCES[source]),
            Op::Repeat { kind, object } => self.repeat(KINDS[kind], object),
            Op::Decide => self.decide(),
            Op::Write { nth, fate } => self.write(nth, fate),
            Op::Answer(nth) => self.answer(nth),
            Op::Look { nth, is_lost } => self.look(nth, is_lost),
            Op::ChangeLeader { landing, late } => {
                self.change_leader(landing);
                if let Some(late) = late {
                    let others = SOURCES.into_iter().filter(|source| *source != SOURCES[late]);
                    others.for_each(|source| self.deliver(source, usize::MAX));
                    self.decide();
                }
            }
            Op::Wait(millis) => truth.now += millis,
            Op::Flow => self.flow(),
            Op::Live(seconds) => (0..seconds).for_each(|_| self.live()),
        }
    }

    fn set_clock(&mut self, seconds: i64) {
        self.truth.now = self.truth.now.saturating_add_signed(seconds * 1_000);
        self.was_set_back |= seconds < 0;
        // What is awaited is awaited from then on.
        for look in &mut self.looks {
            look.at = look.at.min(self.truth.now);
        }
        self.away_since.clear();
    }

    fn tell(&mut self, event: Event) {
        self.told.insert(kind_of_event(&event));
        self.view.take_in(&event);
        self.calls.push(Call::Apply(event.clone(), self.now()));
        self.engine.apply(event, self.now());
    }

    fn deliver(&mut self, source: Option<Kind>, events: usize) {
        for _ in 0..events {
            let stream = self.truth.streams.get_mut(&source);
            let Some(event) = stream.and_then(VecDeque::pop_front) else { return };
            self.tell(event);
        }
    }

    /// A watch tells again what it told last of an object.
    fn repeat(&mut self, kind: Kind, object: usize) {
        let event = match kind {
            Kind::Namespace | Kind::Policy | Kind::Pool => None,
            Kind::Workload => self.view.workloads.values().nth(object).cloned().map(Event::Workload),
            Kind::Revision => self.view.revisions.values().nth(object).cloned().map(Event::Revision),
            Kind::Node => self.view.nodes.values().nth(object).cloned().map(Event::Node),
            Kind::Pod => self.view.pods.values().nth(object).cloned().map(Event::Pod),
        };
        // A list under way does not name what it has not come to.
        if let Some(event) = event.filter(|_| self.view.is_synced()) {
            self.tell(event);
        }
    }

    fn settle(&mut self, uid: &PodUid, outcome: Outcome) {
        self.unanswered.retain(|(_, pod)| pod != uid);
        self.view.moving.remove(uid);
        if outcome == Outcome::Refused {
            self.view.pending.remove(uid);
            self.view.refused.insert(uid.clone());
        }
        self.calls.push(Call::Settle(uid.clone(), outcome, self.now()));
        self.engine.settle(uid, outcome, self.now());
    }

    fn decide(&mut self) {
        let late = self.looks.iter().any(|look| self.truth.now >= look.at + GIVEN_UP);
        self.was_look_lost |= late;
        self.note_pods_away();
        let actions = self.engine.decide(self.now());
        self.calls.push(Call::Decide(self.now(), actions.clone()));
        assert!(actions.is_empty() || self.view.is_synced(), "decided during a list: {actions:?}");
        for action in &actions {
            self.check_decision(action.clone());
        }
        self.check_priority(&actions);
    }

    fn write(&mut self, nth: usize, fate: Fate) {
        if self.writes.is_empty() {
            return;
        }
        let write = self.writes.remove(nth % self.writes.len());
        let Some(uid) = write.action.pod().cloned() else { return };
        let outcome = match fate {
            Fate::Lands | Fate::LandsUnheard => self.land(&write),
            Fate::Refused | Fate::RefusedUnheard => Outcome::Refused,
        };
        match fate {
            Fate::Lands | Fate::Refused => self.settle(&uid, outcome),
            Fate::LandsUnheard | Fate::RefusedUnheard => self.answers.push((uid, outcome)),
        }
    }

    fn land(&mut self, write: &Write) -> Outcome {
        let outcome = self.truth.write(&write.action, write.decided);
        if let (Some((revision, number, told)), Outcome::Applied) = (&write.base, outcome) {
            let later = self.bases[*number..].iter().filter(|(of, _)| of == revision);
            let base = later.map(|(_, base)| *base).max().expect("its own");
            let counts = |pod: &&Pod| {
                let placed = match pod.tier {
                    Some(Tier::Base | Tier::BaseShort(_)) => true,
                    Some(Tier::Burst(_) | Tier::Real(_)) => false,
                    None => pod.stage != Stage::Gated && told.contains(&pod.uid),
                };
                pod.revision.as_ref() == Some(revision) && is_live(pod) && placed
            };
            let held: Vec<_> = self.truth.pods.values().filter(counts).map(|pod| &pod.uid).collect();
            assert!(held.len() <= base, "{:?} makes the base of {base} too large: {held:?}", write.action);
        }
        outcome
    }

    fn answer(&mut self, nth: usize) {
        if !self.answers.is_empty() {
            let (uid, outcome) = self.answers.remove(nth % self.answers.len());
            self.settle(&uid, outcome);
        }
    }

    fn look(&mut self, nth: usize, is_lost: bool) {
        if self.looks.is_empty() {
            self.truth.control();
            self.deliver(Some(Kind::Pod), usize::MAX);
            self.decide();
        }
        if self.looks.is_empty() {
            return;
        }
        let Look { revision, arrivals, .. } = self.looks.remove(nth % self.looks.len());
        self.was_look_lost |= is_lost;
        if !is_lost {
            let found = self.truth.revisions.get(&revision);
            let found = found.map(|found| Looked { wanted: found.wanted, generation: found.generation });
            self.tell(Event::Looked { revision, arrivals, found });
        }
    }

    /// What the old leader wrote lands, or never does; the new one begins with a list of everything.
    fn change_leader(&mut self, landing: u8) {
        for (number, write) in std::mem::take(&mut self.writes).into_iter().enumerate() {
            if landing >> (number % 8) & 1 == 1 {
                self.land(&write);
            }
        }
        self.replay();
        self.calls.clear();
        self.answers.clear();
        self.looks.clear();
        self.was_look_lost = false;
        self.unanswered.clear();
        self.bases.clear();
        self.engine = engine();
        let View { stock, faults, .. } = std::mem::take(&mut self.view);
        self.away_since.clear();
        self.truth.list_all();
        for pool in faults {
            self.tell(Event::Health { pool: pool.as_str().into(), fault: Some("it does not answer".into()) });
        }
        for (pool, free) in stock {
            self.tell(Event::Stock { pool: pool.into(), free: Some(free as u64) });
        }
    }

    /// A second in which every controller has its turn.
    pub(super) fn live(&mut self) {
        self.truth.now += 1_000;
        self.truth.control();
        self.truth.schedule();
        self.truth.run();
        self.flow();
    }

    fn flow(&mut self) {
        while !self.answers.is_empty() {
            self.answer(0);
        }
        while !self.writes.is_empty() {
            self.write(0, Fate::Lands);
        }
        for source in SOURCES {
            self.deliver(source, usize::MAX);
        }
        self.decide();
        while !self.looks.is_empty() {
            self.look(0, false);
            self.decide();
        }
    }

    /// The same events give the same actions, and so they do where kinds change places between two decisions.
    pub(super) fn replay(&self) {
        let again = |calls: &[Call]| {
            let mut engine = engine();
            let mut decided = Vec::new();
            for call in calls.iter().cloned() {
                match call {
                    Call::Apply(event, now) => engine.apply(event, now),
                    Call::Settle(uid, outcome, now) => engine.settle(&uid, outcome, now),
                    Call::Decide(now, _) => decided.push(engine.decide(now)),
                }
            }
            decided
        };
        let decided = self.calls.iter().filter_map(|call| match call {
            Call::Decide(_, actions) => Some(actions.clone()),
            _ => None,
        });
        let decided: Vec<_> = decided.collect();
        assert_eq!(again(&self.calls), decided, "the same events, other actions");

        let mut calls = self.calls.clone();
        for part in calls.split_mut(|call| !matches!(call, Call::Apply(..))) {
            // At one moment: what happens at another one is counted from there.
            for moment in part.chunk_by_mut(|a, b| moment_of(a) == moment_of(b)) {
                moment.sort_by_key(|call| match call {
                    Call::Apply(event, _) => std::cmp::Reverse(kind_of(event)),
                    _ => std::cmp::Reverse(None),
                });
            }
        }
        // Warnings come in the order in which the faults were told.
        let acts = |decided: Vec<Vec<Action>>| {
            let is_act = |action: &Action| !matches!(action, Action::Warn { .. } | Action::Note { .. });
            decided.into_iter().map(|actions| actions.into_iter().filter(is_act).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(acts(again(&calls)), acts(decided), "the same events in another order, other actions");
    }
}

fn moment_of(call: &Call) -> Timestamp {
    match call {
        Call::Apply(_, now) | Call::Settle(_, _, now) | Call::Decide(now, _) => *now,
    }
}

fn kind_of(event: &Event) -> Option<Kind> {
    match event {
        Event::Begin(kind) | Event::Finish(kind) => Some(*kind),
        Event::Namespace(_) | Event::NamespaceGone(_) => Some(Kind::Namespace),
        Event::Workload(_) | Event::WorkloadGone(_) => Some(Kind::Workload),
        Event::Revision(_) | Event::RevisionGone(_) => Some(Kind::Revision),
        Event::Node(_) | Event::NodeGone(_) => Some(Kind::Node),
        Event::Pod(_) | Event::PodGone(_) => Some(Kind::Pod),
        Event::Policy { .. } | Event::PolicyFaulty { .. } | Event::PolicyGone(_) => Some(Kind::Policy),
        Event::Pool(_) | Event::PoolFaulty { .. } | Event::PoolGone(_) => Some(Kind::Pool),
        Event::Looked { .. }
        | Event::Health { .. }
        | Event::Stock { .. }
        | Event::Capabilities { .. }
        | Event::Profile(_) => None,
    }
}
