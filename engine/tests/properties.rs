//! What must always hold, over random clusters, lags, faults and changes of leader.
//!
//! The model holds a truth (the API server's objects) and, for each kind, what its watch has still to tell: the engine
//! sees a prefix of each. Everything is counted again from the truth or from what was told.
//!
//! Checked of each decision, against what was told and decided so far:
//! - nothing is decided while a list is under way;
//! - base only while the base has room, burst only while it has none and the pool has room; release only what nobody
//!   governs; eviction only of a pod away while the base has room, or of one of the base that strayed;
//! - no action is repeated for a pod while the first one is unanswered.
//!
//! Checked of each base placing that the API server takes, against the truth at that moment: the revision's live pods
//! on, or meant for, real nodes do not come to exceed the base. That base is the largest that any decision for the
//! revision could know from this one to its landing, as a share of the wanted or the live pods told, whichever are
//! more. Plain pods count if they had been told when this was decided: no decision can count what nobody told.
//!
//! Checked at the end: the same events give the same actions, also where events of different kinds change places
//! between two decisions; and when all is quiet nothing stays gated that has a place, and every hole in the base that
//! a real node could fill is filled within a minute.

#![expect(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use burstlet_engine::{
    model::{NodeKind, Pod, PodUid, RevisionId, Stage, Tier, Timestamp},
    placement::{Action, Event, Kind, Outcome, Placement, Placing},
    policy::{MoveBack, Settings},
};
use model::{KINDS, POOLS, Truth, is_live, node_of, view::View};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

const MOVE_ON: u64 = 10_000;
const BASES: [Option<&str>; 9] =
    [None, Some("0"), Some("1"), Some("2"), Some("3"), Some("30%"), Some("50%"), Some("100%"), Some("some")];

#[derive(Debug, Clone, Copy)]
enum Op {
    Scale {
        revision: usize,
        wanted: u32,
    },
    Retire {
        revision: usize,
    },
    ControlReplicas,
    Schedule,
    RunPods,
    Kill(usize),
    Finish(usize),
    FlipReady(usize),
    Cordon(usize),
    ToggleNode(usize),
    Annotate {
        workload: usize,
        base: usize,
    },
    AnnotateNamespace(usize),
    Webhook(bool),
    Stock {
        pool: usize,
        free: Option<u64>,
    },
    Deliver {
        kind: usize,
        events: usize,
    },
    Relist(usize),
    Repeat {
        kind: usize,
        object: usize,
    },
    Decide,
    Write {
        nth: usize,
        fate: Fate,
    },
    Answer(usize),
    ChangeLeader {
        landing: u8,
    },
    Wait(u64),
    /// Everything that is under way comes through, and a decision is made.
    Flow,
    /// So many seconds in which everything works.
    Live(u64),
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Lands,
    LandsUnheard,
    Refused,
    RefusedUnheard,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let fate =
        prop_oneof![Just(Fate::Lands), Just(Fate::LandsUnheard), Just(Fate::Refused), Just(Fate::RefusedUnheard)];
    let op = prop_oneof![
        6 => (0..5usize, 0..8u32).prop_map(|(revision, wanted)| Op::Scale { revision, wanted }),
        1 => (0..5usize).prop_map(|revision| Op::Retire { revision }),
        8 => Just(Op::ControlReplicas),
        6 => Just(Op::Schedule),
        4 => Just(Op::RunPods),
        4 => (0..40usize).prop_map(Op::Kill),
        2 => (0..40usize).prop_map(Op::Finish),
        1 => (0..40usize).prop_map(Op::FlipReady),
        2 => (0..6usize).prop_map(Op::Cordon),
        1 => (0..6usize).prop_map(Op::ToggleNode),
        2 => (0..3usize, 0..9usize).prop_map(|(workload, base)| Op::Annotate { workload, base }),
        1 => (0..9usize).prop_map(Op::AnnotateNamespace),
        1 => any::<bool>().prop_map(Op::Webhook),
        1 => (0..2usize, prop::option::of(0..4u64)).prop_map(|(pool, free)| Op::Stock { pool, free }),
        14 => (0..5usize, 1..12usize).prop_map(|(kind, events)| Op::Deliver { kind, events }),
        8 => (1..12usize).prop_map(|events| Op::Deliver { kind: 4, events }),
        4 => prop_oneof![Just(4), 0..5usize].prop_map(Op::Relist),
        2 => (0..5usize, 0..40usize).prop_map(|(kind, object)| Op::Repeat { kind, object }),
        12 => Just(Op::Decide),
        12 => (0..20usize, fate).prop_map(|(nth, fate)| Op::Write { nth, fate }),
        4 => (0..20usize).prop_map(Op::Answer),
        1 => any::<u8>().prop_map(|landing| Op::ChangeLeader { landing }),
        5 => (1..8_000u64).prop_map(Op::Wait),
        6 => Just(Op::Flow),
        3 => (1..16u64).prop_map(Op::Live),
    ];
    prop::collection::vec(op, 1..120)
}

/// What the engine was told and asked, to be told and asked again.
#[derive(Debug, Clone)]
enum Call {
    Apply(Event, Timestamp),
    Settle(PodUid, Outcome, Timestamp),
    Decide(Timestamp, Vec<Action>),
}

/// A write on its way to the API server.
#[derive(Debug)]
struct Write {
    action: Action,
    decided: u64,
    /// For a base placing: its revision, its number among decisions, and the base's pods told or decided before it.
    base: Option<(RevisionId, usize, BTreeSet<PodUid>)>,
}

struct World {
    truth: Truth,
    view: View,
    engine: Placement,
    calls: Vec<Call>,
    writes: Vec<Write>,
    answers: Vec<(PodUid, Outcome)>,
    unanswered: BTreeSet<(&'static str, PodUid)>,
    /// The base at each base placing, by revision, in the order of the decisions.
    bases: Vec<(RevisionId, usize)>,
}

fn settings() -> Settings {
    let move_back = MoveBack { after: Duration::from_secs(3), at_once: 1, cool_down: Duration::from_secs(2) };
    Settings { pools: POOLS.map(Into::into).to_vec(), move_on_after: Duration::from_millis(MOVE_ON), move_back }
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Place { .. } => "place",
        Action::MoveOn { .. } => "move on",
        Action::Evict { .. } => "evict",
        Action::Explain { .. } => "explain",
        Action::Warn { .. } | Action::Note { .. } => "warn",
    }
}

impl World {
    /// A cluster that stands: more pods than real nodes take, and some on virtual nodes.
    fn standing() -> Self {
        let mut world = Self::new();
        for (revision, wanted) in [4, 3, 6, 4, 2].into_iter().enumerate() {
            world.truth.scale(revision, wanted);
        }
        (0..3).for_each(|_| world.live());
        world
    }

    fn new() -> Self {
        Self {
            truth: Truth::new(),
            view: View::default(),
            engine: Placement::new(settings()),
            calls: Vec::new(),
            writes: Vec::new(),
            answers: Vec::new(),
            unanswered: BTreeSet::new(),
            bases: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.truth.now)
    }

    fn step(&mut self, op: Op) {
        let truth = &mut self.truth;
        match op {
            Op::Scale { revision, wanted } => truth.scale(revision, wanted),
            Op::Retire { revision } => truth.retire(revision),
            Op::ControlReplicas => truth.control(),
            Op::Schedule => truth.schedule(),
            Op::RunPods => truth.run(),
            Op::Kill(pod) => truth.kill(pod),
            Op::Finish(pod) => truth.finish(pod),
            Op::FlipReady(pod) => truth.flip(pod),
            Op::Cordon(node) => truth.cordon(node),
            Op::ToggleNode(node) => truth.toggle_node(node),
            Op::Annotate { workload, base } => truth.annotate(["web", "api", "job"][workload], BASES[base]),
            Op::AnnotateNamespace(base) => truth.annotate_namespace(BASES[base]),
            Op::Webhook(is_up) => truth.webhook = is_up,
            Op::Stock { pool, free } => self.tell(Event::Stock { pool: POOLS[pool].into(), free }),
            Op::Deliver { kind, events } => self.deliver(KINDS[kind], events),
            Op::Relist(kind) => truth.list(KINDS[kind]),
            Op::Repeat { kind, object } => self.repeat(KINDS[kind], object),
            Op::Decide => self.decide(),
            Op::Write { nth, fate } => self.write(nth, fate),
            Op::Answer(nth) => self.answer(nth),
            Op::ChangeLeader { landing } => self.change_leader(landing),
            Op::Wait(millis) => truth.now += millis,
            Op::Flow => self.flow(),
            Op::Live(seconds) => (0..seconds).for_each(|_| self.live()),
        }
    }

    fn tell(&mut self, event: Event) {
        self.view.take_in(&event);
        self.calls.push(Call::Apply(event.clone(), self.now()));
        self.engine.apply(event, self.now());
    }

    fn deliver(&mut self, kind: Kind, events: usize) {
        for _ in 0..events {
            let Some(event) = self.truth.streams.get_mut(&kind).and_then(std::collections::VecDeque::pop_front) else {
                return;
            };
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
        if outcome == Outcome::Refused {
            self.view.pending.remove(uid);
        }
        self.calls.push(Call::Settle(uid.clone(), outcome, self.now()));
        self.engine.settle(uid, outcome, self.now());
    }

    fn decide(&mut self) {
        let actions = self.engine.decide(self.now());
        self.calls.push(Call::Decide(self.now(), actions.clone()));
        assert!(actions.is_empty() || self.view.is_synced(), "decided during a list: {actions:?}");
        for action in actions {
            self.check_decision(action);
        }
    }

    fn check_decision(&mut self, action: Action) {
        let Some(uid) = action.pod().cloned() else { return };
        let pod = self.view.pods.get(&uid).expect("the pod is known").clone();
        assert!(is_live(&pod), "{action:?} for a pod that does not live");
        let held = pod.revision.as_ref().map(|revision| self.view.held(revision)).unwrap_or_default();
        let base = pod.revision.as_ref().and_then(|revision| self.view.base(revision));
        let mut placed = None;
        match &action {
            Action::Explain { .. } | Action::Warn { .. } | Action::Note { .. } => return,
            Action::Place { placing, .. } => {
                assert!(pod.stage == Stage::Gated && !self.view.pending.contains_key(&uid), "{action:?} again");
                match (placing, base) {
                    (Placing::Base, Some(base)) => {
                        assert!(held.len() < base, "{action:?} beyond the base of {base}: {held:?}");
                        let revision = pod.revision.expect("a governed pod has a revision");
                        placed = Some((revision.clone(), self.bases.len(), held));
                        self.bases.push((revision, base));
                    }
                    (Placing::Burst { pool, nodes }, Some(base)) => {
                        assert!(held.len() >= base, "{action:?} while the base of {base} has room: {held:?}");
                        assert_eq!(Some(pool.as_str()), self.view.pool_with_room(), "{action:?}");
                        let kind = NodeKind::Virtual(pool.clone());
                        let open = self.view.nodes.values().filter(|node| node.open && node.kind == kind);
                        assert!(open.map(|node| &node.name).eq(nodes), "{action:?}");
                    }
                    (Placing::Release, None) => {}
                    _ => panic!("{action:?} with a base of {base:?}"),
                }
                self.view.pending.insert(uid.clone(), placing.clone());
            }
            Action::MoveOn { .. } => {
                let is_plain = matches!(pod.tier, None | Some(Tier::Base));
                assert!(
                    base.is_some() && is_plain && pod.stage == Stage::Unbound { unschedulable: true },
                    "{action:?}"
                );
                let since = pod.decided.map_or(0, Timestamp::as_millis);
                assert!(self.truth.now >= since + MOVE_ON, "{action:?} too early: decided at {since}");
            }
            Action::Evict { .. } => {
                let base = base.expect("only governed pods return");
                let node = node_of(&pod).and_then(|node| self.view.nodes.get(node)).expect("on a node that is known");
                assert!(node.kind != NodeKind::Real, "{action:?} from a real node");
                assert!(held.len() < base || held.contains(&uid), "{action:?} while the base of {base} is full");
            }
        }
        assert!(self.unanswered.insert((word(&action), uid)), "{action:?} while the first is unanswered");
        self.writes.push(Write { action, decided: self.truth.now, base: placed });
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
        self.unanswered.clear();
        self.bases.clear();
        self.engine = Placement::new(settings());
        let stock = std::mem::take(&mut self.view).stock;
        for kind in KINDS {
            self.truth.list(kind);
        }
        for (pool, free) in stock {
            self.tell(Event::Stock { pool: pool.into(), free: Some(free as u64) });
        }
    }

    /// A second in which every controller has its turn.
    fn live(&mut self) {
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
        for kind in KINDS {
            self.deliver(kind, usize::MAX);
        }
        self.decide();
    }

    /// The same events give the same actions, and so they do where kinds change places between two decisions.
    fn replay(&self) {
        let again = |calls: &[Call]| {
            let mut engine = Placement::new(settings());
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
            part.sort_by_key(|call| match call {
                Call::Apply(event, _) => std::cmp::Reverse(kind_of(event)),
                _ => std::cmp::Reverse(None),
            });
        }
        // Warnings come in the order in which the faults were told.
        let acts = |decided: Vec<Vec<Action>>| {
            let is_act = |action: &Action| !matches!(action, Action::Warn { .. } | Action::Note { .. });
            decided.into_iter().map(|actions| actions.into_iter().filter(is_act).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(acts(again(&calls)), acts(decided), "the same events in another order, other actions");
    }

    /// All is quiet: what is under way comes through, and the cluster goes on for a while.
    fn calm_down(&mut self) {
        self.truth.webhook = true;
        let mut unhealed = BTreeMap::<RevisionId, (usize, u64)>::new();
        for second in 0..200_u64 {
            self.live();
            let holes = self.holes();
            unhealed.retain(|revision, (held, _)| holes.get(revision) == Some(held));
            for (revision, held) in holes {
                let (_, since) = *unhealed.entry(revision.clone()).or_insert((held, second));
                assert!(second - since <= 60, "{revision}: {held} of the base, not healed in a minute");
            }
        }
        assert!(self.writes.iter().all(|write| matches!(write.action, Action::Evict { .. } | Action::MoveOn { .. })));
        for pod in self.view.pods.values().filter(|pod| pod.stage == Stage::Gated && is_live(pod)) {
            let Some(revision) = &pod.revision else { panic!("{} stays gated", pod.uid) };
            let base = self.view.base(revision);
            assert!(base.is_some() || !self.view.revisions.contains_key(revision), "{}: ungoverned, gated", pod.uid);
            let held = self.view.held(revision).len();
            assert!(base.is_none_or(|base| held >= base), "{}: gated, {held} of the base {base:?}", pod.uid);
            assert_eq!(self.view.pool_with_room(), None, "{}: gated", pod.uid);
        }
        self.replay();
    }

    /// Revisions with room in the base, a pod on a virtual node and a real node that would take it; and how many pods
    /// their base holds.
    fn holes(&self) -> BTreeMap<RevisionId, usize> {
        let mut holes = BTreeMap::new();
        for revision in self.truth.revisions.keys() {
            let held = self.view.held(revision).len();
            let has_hole = self.view.base(revision).is_some_and(|base| held < base);
            let is_away = |pod: &&Pod| {
                let is_of = pod.revision.as_ref() == Some(revision) && matches!(pod.tier, Some(Tier::Burst(_)));
                is_of && is_live(pod) && node_of(pod).is_some()
            };
            let away = self.truth.pods.values().find(is_away);
            let fits = |pod: &Pod| {
                let mut real = self.truth.nodes.values().filter(|node| node.kind == NodeKind::Real);
                real.any(|node| self.truth.has_room(node, pod))
            };
            if has_hole && away.is_some_and(fits) {
                holes.insert(revision.clone(), held);
            }
        }
        holes
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
        Event::Policy { .. } | Event::PolicyGone(_) => Some(Kind::Policy),
        Event::Pool(_) | Event::PoolGone(_) => Some(Kind::Pool),
        Event::Health { .. } | Event::Stock { .. } => None,
    }
}

fn check(cases: u32) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let steps = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&(any::<bool>(), ops()), |(is_standing, ops)| {
        let mut world = if is_standing { World::standing() } else { World::new() };
        for op in &ops {
            world.step(*op);
        }
        world.calm_down();
        steps.set(steps.get() + ops.len());
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{} steps in {cases} runs", steps.get());
}

#[test]
fn what_must_always_hold_holds_over_lags_faults_and_changes_of_leader() {
    check(160);
}

#[test]
#[ignore = "soak: more than a million steps, half a minute in release"]
fn what_must_always_hold_holds_for_long() {
    check(20_000);
}
