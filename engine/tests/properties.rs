//! What must always hold, over random clusters, policies, lags, faults and changes of leader.
//!
//! The model holds a truth (the API server's objects) and, for each kind, what its watch has still to tell: the engine
//! sees a prefix of each. Everything is counted again from the truth or from what was told.
//!
//! Checked of each decision, against what was told and decided so far:
//! - nothing is decided while a list is under way;
//! - base only while the base has room (or its bound is lifted), a tier only while it has none, and no tier while an
//!   earlier one could take the pod or is to be waited for; none beyond its cap, its pool's room, stock, quota and
//!   health, its policy's windows and budget; of two that share a pool, the higher priority first;
//! - a share only of what the revision wanted when it made the pod, or later, where a look at it was answered;
//! - release only what nobody governs; nothing else for a policy that only observes; eviction only of a pod away while
//!   the base has room, or of one of the base that strayed, and never of a Job's;
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
//!
//! That these checks find bugs is shown by planting some.

#![expect(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use burstlet_engine::planted::{Bug, plant};
use burstlet_engine::{
    model::{NodeKind, Pod, PodUid, RevisionId, Stage, Tier, Timestamp},
    placement::{Action, Controller, Event, Kind, Looked, Outcome, Placement, Placing},
    policy::{MoveBack, Settings},
};
use model::{
    KINDS, POLICIES, POOLS, Truth, is_live, node_of, ordinal,
    rules::{HIGH, LOW, RULES, Rules, TierRules},
    view::{Text, View},
};
use proptest::{
    prelude::*,
    test_runner::{Config, FailurePersistence, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner},
};

const MOVE_ON: u64 = 10_000;
/// How long a look is waited for.
const GIVEN_UP: u64 = 5_000;
/// What annotations say.
const TEXTS: [Option<&str>; 15] = [
    None,
    Some("0"),
    Some("1"),
    Some("2"),
    Some("3"),
    Some("30%"),
    Some("50%"),
    Some("100%"),
    Some("some"),
    Some("policy=p0"),
    Some("policy=p1"),
    Some("policy=p2"),
    Some("policy=p0"),
    Some("policy=p1"),
    Some("policy=p2"),
];
/// Those of them that a namespace may say.
const NAMESPACE_TEXTS: usize = 9;

#[derive(Debug, Clone, Copy)]
enum Op {
    Scale {
        revision: usize,
        wanted: u32,
    },
    /// A scale-out whose pods are told before it.
    PodsFirst {
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
    Health {
        pool: usize,
        works: bool,
    },
    Policy {
        name: usize,
        rules: Option<usize>,
    },
    Quota {
        pool: usize,
        pods: Option<u64>,
    },
    /// The clock is set, by so many seconds.
    Jump(i64),
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
    /// A look at a revision is taken, or comes to nothing.
    Look {
        nth: usize,
        is_lost: bool,
    },
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

/// A look at a revision that was asked for.
#[derive(Debug)]
struct Look {
    revision: RevisionId,
    arrivals: u64,
    at: u64,
}

/// The rules of each policy and whether workloads follow them, at the beginning.
type Begin = [Option<usize>; POLICIES.len()];

fn begin() -> impl Strategy<Value = Begin> {
    let rules = || prop::option::weighted(0.7, 0..RULES.len());
    [rules(), rules(), rules()]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let fate =
        prop_oneof![Just(Fate::Lands), Just(Fate::LandsUnheard), Just(Fate::Refused), Just(Fate::RefusedUnheard)];
    let rules = prop::option::weighted(0.9, 0..RULES.len());
    let op = prop_oneof![
        10 => (0..5usize, 0..8u32).prop_map(|(revision, wanted)| Op::Scale { revision, wanted }),
        8 => (0..5usize, 3..9u32).prop_map(|(revision, wanted)| Op::PodsFirst { revision, wanted }),
        4 => (0..5usize).prop_map(|revision| Op::Retire { revision }),
        12 => Just(Op::ControlReplicas),
        10 => Just(Op::Schedule),
        8 => Just(Op::RunPods),
        7 => (0..40usize).prop_map(Op::Kill),
        5 => (0..40usize).prop_map(Op::Finish),
        4 => (0..40usize).prop_map(Op::FlipReady),
        5 => (0..6usize).prop_map(Op::Cordon),
        4 => (0..6usize).prop_map(Op::ToggleNode),
        6 => (0..3usize, 0..TEXTS.len()).prop_map(|(workload, base)| Op::Annotate { workload, base }),
        4 => (0..NAMESPACE_TEXTS).prop_map(Op::AnnotateNamespace),
        4 => any::<bool>().prop_map(Op::Webhook),
        5 => (0..2usize, prop::option::of(0..4u64)).prop_map(|(pool, free)| Op::Stock { pool, free }),
        4 => (0..2usize, prop::bool::weighted(0.7)).prop_map(|(pool, works)| Op::Health { pool, works }),
        6 => (0..POLICIES.len(), rules).prop_map(|(name, rules)| Op::Policy { name, rules }),
        4 => (0..2usize, prop::option::of(0..6u64)).prop_map(|(pool, pods)| Op::Quota { pool, pods }),
        4 => (-600..4_000i64).prop_map(Op::Jump),
        24 => (0..7usize, 1..12usize).prop_map(|(kind, events)| Op::Deliver { kind, events }),
        14 => (1..12usize).prop_map(|events| Op::Deliver { kind: 4, events }),
        7 => prop_oneof![Just(4), 0..7usize].prop_map(Op::Relist),
        5 => (0..5usize, 0..40usize).prop_map(|(kind, object)| Op::Repeat { kind, object }),
        20 => Just(Op::Decide),
        20 => (0..20usize, fate).prop_map(|(nth, fate)| Op::Write { nth, fate }),
        7 => (0..20usize).prop_map(Op::Answer),
        8 => (0..20usize, prop::bool::weighted(0.1)).prop_map(|(nth, is_lost)| Op::Look { nth, is_lost }),
        4 => any::<u8>().prop_map(|landing| Op::ChangeLeader { landing }),
        9 => (1..8_000u64).prop_map(Op::Wait),
        14 => Just(Op::Flow),
        8 => (1..16u64).prop_map(Op::Live),
    ];
    prop::collection::vec(op, 1..120)
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
    looks: Vec<Look>,
    unanswered: BTreeSet<(&'static str, PodUid)>,
    /// The base at each base placing, by revision, in the order of the decisions.
    bases: Vec<(RevisionId, usize)>,
    /// Whether the clock was ever set back, so that what is said of times may not be compared.
    was_set_back: bool,
    /// Since when each pod has been known to stand on a virtual node, at the least.
    away_since: BTreeMap<PodUid, u64>,
    /// Whether a look was ever left without an answer for so long that it was given up.
    was_look_lost: bool,
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
        Action::Look { .. } => "look",
        Action::Warn { .. } | Action::Note { .. } => "warn",
    }
}

impl World {
    fn new(begin: Begin) -> Self {
        let mut truth = Truth::new();
        for (number, rules) in begin.into_iter().enumerate() {
            if let Some(rules) = rules {
                truth.set_policy(POLICIES[number], Some(rules));
                truth.annotate(["web", "api", "job"][number], Some(["policy=p0", "policy=p1", "policy=p2"][number]));
            }
        }
        Self {
            truth,
            view: View::default(),
            engine: Placement::new(settings()).looking(),
            calls: Vec::new(),
            writes: Vec::new(),
            answers: Vec::new(),
            looks: Vec::new(),
            unanswered: BTreeSet::new(),
            bases: Vec::new(),
            was_set_back: false,
            away_since: BTreeMap::new(),
            was_look_lost: false,
        }
    }

    /// Until the cluster stands: more pods than real nodes take, and some on virtual nodes.
    fn stand(&mut self) {
        for (revision, wanted) in [4, 3, 6, 4, 2].into_iter().enumerate() {
            self.truth.scale(revision, wanted);
        }
        (0..3).for_each(|_| self.live());
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.truth.now)
    }

    fn step(&mut self, op: Op) {
        let truth = &mut self.truth;
        match op {
            Op::Scale { revision, wanted } => truth.scale(revision, wanted),
            Op::PodsFirst { revision, wanted } => {
                truth.scale(revision, wanted);
                truth.control();
                self.deliver(Kind::Pod, usize::MAX);
            }
            Op::Retire { revision } => truth.retire(revision),
            Op::ControlReplicas => truth.control(),
            Op::Schedule => truth.schedule(),
            Op::RunPods => truth.run(),
            Op::Kill(pod) => truth.kill(pod),
            Op::Finish(pod) => truth.finish(pod),
            Op::FlipReady(pod) => truth.flip(pod),
            Op::Cordon(node) => truth.cordon(node),
            Op::ToggleNode(node) => truth.toggle_node(node),
            Op::Annotate { workload, base } => truth.annotate(["web", "api", "job"][workload], TEXTS[base]),
            Op::AnnotateNamespace(base) => truth.annotate_namespace(TEXTS[base]),
            Op::Webhook(is_up) => truth.webhook = is_up,
            Op::Health { pool, works } => {
                let fault = (!works).then(|| "it does not answer".into());
                self.tell(Event::Health { pool: POOLS[pool].into(), fault });
            }
            Op::Policy { name, rules } => truth.set_policy(POLICIES[name], rules),
            Op::Quota { pool, pods } => truth.set_quota(POOLS[pool], pods),
            Op::Jump(seconds) => self.set_clock(seconds),
            Op::Stock { pool, free } => self.tell(Event::Stock { pool: POOLS[pool].into(), free }),
            Op::Deliver { kind, events } => self.deliver(KINDS[kind], events),
            Op::Relist(kind) => truth.list(KINDS[kind]),
            Op::Repeat { kind, object } => self.repeat(KINDS[kind], object),
            Op::Decide => self.decide(),
            Op::Write { nth, fate } => self.write(nth, fate),
            Op::Answer(nth) => self.answer(nth),
            Op::Look { nth, is_lost } => self.look(nth, is_lost),
            Op::ChangeLeader { landing } => self.change_leader(landing),
            Op::Wait(millis) => truth.now += millis,
            Op::Flow => self.flow(),
            Op::Live(seconds) => (0..seconds).for_each(|_| self.live()),
        }
    }

    fn set_clock(&mut self, seconds: i64) {
        self.truth.now = self.truth.now.saturating_add_signed(seconds * 1_000);
        self.was_set_back |= seconds < 0;
        self.away_since.clear();
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

    fn note_pods_away(&mut self) {
        let now = self.truth.now;
        let away: Vec<_> = self.view.pods.values().filter(|pod| self.view.pool_of(pod).is_some()).collect();
        self.away_since.retain(|uid, _| away.iter().any(|pod| pod.uid == *uid));
        for pod in away {
            self.away_since.entry(pod.uid.clone()).or_insert(now);
        }
    }

    /// Of two policies that differ in nothing but their priority, the higher one's pods get room first.
    fn check_priority(&self, actions: &[Action]) {
        let follows = |uid: &PodUid, rules: Rules| {
            let pod = self.view.pods.get(uid);
            pod.and_then(|pod| self.view.rules(pod.revision.as_ref()?)) == Some(rules)
        };
        let is_burst = |action: &&Action| matches!(action, Action::Place { placing: Placing::Burst { .. }, .. });
        let low = actions.iter().filter(is_burst).filter_map(Action::pod).find(|uid| follows(uid, LOW));
        let waits = |pod: &&Pod| pod.stage == Stage::Gated && is_live(pod) && !self.view.pending.contains_key(&pod.uid);
        let high = |pod: &&Pod| follows(&pod.uid, HIGH) && !self.view.refused.contains(&pod.uid);
        let waiting = self.view.pods.values().filter(waits).find(high);
        assert!(low.is_none() || waiting.is_none(), "{low:?} bursts before {waiting:?}: {actions:?}");
    }

    /// A lower bound of what the policy's pods used of this hour, in milliseconds of pods.
    fn surely_used(&self, rules: Rules) -> u64 {
        let hour = self.truth.now / 3_600_000 * 3_600_000;
        let is_of = |uid: &PodUid| {
            let pod = self.view.pods.get(uid);
            pod.and_then(|pod| self.view.rules(pod.revision.as_ref()?)) == Some(rules)
        };
        let of_it = self.away_since.iter().filter(|(uid, _)| is_of(uid));
        of_it.map(|(_, since)| self.truth.now - hour.max(*since)).sum()
    }

    fn check_decision(&mut self, action: Action) {
        if let Action::Look { revision, arrivals, .. } = action {
            self.looks.push(Look { revision, arrivals, at: self.truth.now });
            return;
        }
        let Some(uid) = action.pod().cloned() else { return };
        let pod = self.view.pods.get(&uid).expect("the pod is known").clone();
        assert!(is_live(&pod), "{action:?} for a pod that does not live");
        let rules = pod.revision.as_ref().and_then(|revision| self.view.rules(revision));
        let mut placed = None;
        match &action {
            Action::Explain { .. } | Action::Look { .. } | Action::Warn { .. } | Action::Note { .. } => return,
            Action::Place { placing, .. } => {
                assert!(pod.stage == Stage::Gated && !self.view.pending.contains_key(&uid), "{action:?} again");
                placed = self.check_placing(&action, placing, &pod, rules);
                self.view.pending.insert(uid.clone(), placing.clone());
            }
            Action::MoveOn { pool, tier, .. } => {
                let (rules, revision) = (rules.expect("governed"), pod.revision.as_ref().expect("controlled"));
                let is_plain = matches!(pod.tier, None | Some(Tier::Base));
                assert!(is_plain && pod.stage == Stage::Unbound { unschedulable: true }, "{action:?}");
                assert_eq!(*tier, Tier::BaseShort(pool.clone()), "{action:?}");
                let since = pod.decided.map_or(0, Timestamp::as_millis);
                let is_early = self.truth.now < since + MOVE_ON && !self.was_set_back;
                assert!(!is_early, "{action:?} too early: decided at {since}");
                assert!(!matches!(rules.mode, "Never" | "Observe"), "{action:?} under {rules:?}");
                self.check_tiers(&action, revision, &pod, rules, Some(pool.as_str()));
                self.view.moving.insert(uid.clone());
            }
            Action::Evict { .. } => {
                let (rules, revision) = (rules.expect("governed"), pod.revision.as_ref().expect("controlled"));
                let held = self.view.held(revision);
                let node = node_of(&pod).and_then(|node| self.view.nodes.get(node)).expect("on a node that is known");
                assert!(node.kind != NodeKind::Real, "{action:?} from a real node");
                let goes_home = self.view.base_has_room(revision, &pod) || held.contains(&uid);
                assert!(goes_home, "{action:?} while the base is full: {held:?}");
                let controller = self.view.revisions[revision].controller;
                assert!(controller != Controller::Job && rules.mode != "Observe", "{action:?} under {rules:?}");
            }
        }
        assert!(self.unanswered.insert((word(&action), uid)), "{action:?} while the first is unanswered");
        self.writes.push(Write { action, decided: self.truth.now, base: placed });
    }

    /// Checks where a gated pod is sent; answers what its landing is checked by, for one of the base.
    fn check_placing(
        &mut self,
        action: &Action,
        placing: &Placing,
        pod: &Pod,
        rules: Option<Rules>,
    ) -> Option<(RevisionId, usize, BTreeSet<PodUid>)> {
        if *placing == Placing::Release {
            assert!(rules.is_none_or(|rules| rules.mode == "Observe"), "{action:?} under {rules:?}");
            return None;
        }
        let (Some(rules), Some(revision)) = (rules, &pod.revision) else { panic!("{action:?}, ungoverned") };
        assert!(rules.mode != "Observe", "{action:?}, which only observes");
        let held = self.view.held(revision);
        let base = self.view.base(revision).expect("governed");
        self.check_share(action, revision, pod, rules);
        let has_room = self.view.base_has_room(revision, pod);
        let is_closed = rules.is_closed(self.truth.now);
        match placing {
            Placing::Base => {
                assert!(has_room || is_closed, "{action:?} beyond the base of {base}: {held:?}");
                // A StatefulSet's ordinals are told apart above; its plain pods may be beyond them.
                let is_told_apart = rules.is_shared || rules.ignores_previous || self.view.is_stateful(revision);
                let base = if is_closed || is_told_apart { usize::MAX } else { base };
                let placed = (revision.clone(), self.bases.len(), held);
                self.bases.push((revision.clone(), base));
                return Some(placed);
            }
            Placing::Burst { pool, nodes } => {
                assert!(!has_room, "{action:?} while the base of {base} has room: {held:?}");
                let kind = NodeKind::Virtual(pool.clone());
                let open = self.view.nodes.values().filter(|node| node.open && node.kind == kind);
                assert!(open.map(|node| &node.name).eq(nodes), "{action:?}");
                self.check_tiers(action, revision, pod, rules, Some(pool.as_str()));
            }
            Placing::Real { .. } => {
                assert!(!has_room, "{action:?} while the base of {base} has room: {held:?}");
                self.check_tiers(action, revision, pod, rules, None);
            }
            Placing::Release => {}
        }
        None
    }

    /// A share is one of what its revision wanted when it made the pod, or of what it came to want since.
    fn check_share(&self, action: &Action, revision: &RevisionId, pod: &Pod, rules: Rules) {
        let is_share = rules.mode == "AfterBase" && matches!(rules.base, Text::Percent(_));
        if is_share && !self.was_look_lost {
            let (known, made_by) = (&self.view.revisions[revision], self.truth.made_by[&pod.uid]);
            let generation = known.generation;
            assert!(generation >= made_by, "{action:?} of generation {made_by} by what was said of {generation}");
        }
    }

    /// No tier before the one that is chosen could take the pod, or is to be waited for; and that one can take it.
    fn check_tiers(&self, action: &Action, revision: &RevisionId, pod: &Pod, rules: Rules, chosen: Option<&str>) {
        let name = |tier: &TierRules| tier.pool.map(|pool| POOLS[pool]);
        let index = rules.tiers.iter().position(|tier| name(tier) == chosen);
        let index = index.unwrap_or_else(|| panic!("{action:?} to no tier of {rules:?}"));
        for tier in &rules.tiers[..index] {
            let pool = name(tier).expect("real tiers are last");
            let may_be_full =
                tier.max.is_some_and(|max| self.view.used(revision, pool).1 >= self.view.cap(revision, max));
            let waited = |after: u64| {
                let is_early = self.truth.now < pod.created.as_millis() + after * 1_000;
                !is_early || self.was_set_back
            };
            let is_short = !self.view.has_room(pool) && tier.after.is_some_and(waited);
            assert!(may_be_full && tier.passes_full || is_short, "{action:?} passes {tier:?} of {rules:?}");
        }
        let Some(pool) = chosen else { return };
        assert!(self.view.has_room(pool), "{action:?} to a pool without room");
        assert!(!rules.is_closed(self.truth.now), "{action:?} outside of the window");
        let limit = rules.minutes.map(|minutes| minutes * 60_000);
        assert!(limit.is_none_or(|limit| self.surely_used(rules) < limit), "{action:?} beyond the budget");
        if let Some(max) = rules.tiers[index].max {
            let (used, cap) = (self.view.used(revision, pool).0, self.view.cap(revision, max));
            assert!(used < cap, "{action:?} beyond the cap of {cap}");
        }
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
        self.engine = Placement::new(settings()).looking();
        let View { stock, faults, .. } = std::mem::take(&mut self.view);
        self.away_since.clear();
        for kind in KINDS {
            self.truth.list(kind);
        }
        for pool in faults {
            self.tell(Event::Health { pool: pool.as_str().into(), fault: Some("it does not answer".into()) });
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
        while !self.looks.is_empty() {
            self.look(0, false);
            self.decide();
        }
    }

    /// The same events give the same actions, and so they do where kinds change places between two decisions.
    fn replay(&self) {
        let again = |calls: &[Call]| {
            let mut engine = Placement::new(settings()).looking();
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
            if !self.view.revisions.contains_key(revision) {
                continue;
            }
            let rules = self.view.rules(revision).unwrap_or_else(|| panic!("{}: ungoverned, gated", pod.uid));
            assert!(rules.mode != "Observe", "{}: only observed, gated", pod.uid);
            assert!(!self.view.base_has_room(revision, pod), "{}: gated, the base has room", pod.uid);
            assert!(!rules.is_closed(self.truth.now), "{}: gated, outside of the window", pod.uid);
            assert!(!self.has_tier(revision, rules), "{}: gated, a tier of {rules:?} has room", pod.uid);
        }
        self.replay();
    }

    /// Whether a tier surely takes one more pod that has waited long enough.
    fn has_tier(&self, revision: &RevisionId, rules: Rules) -> bool {
        for tier in rules.tiers {
            let Some(pool) = tier.pool.map(|pool| POOLS[pool]) else { return true };
            // What the budget says is counted by its lower bound only.
            if rules.minutes.is_some() {
                return false;
            }
            let is_full = tier.max.is_some_and(|max| self.view.used(revision, pool).1 >= self.view.cap(revision, max));
            let has_room = self.view.has_room(pool);
            if has_room && !is_full {
                return true;
            }
            if is_full && !tier.passes_full || !has_room && !is_full && tier.after.is_none() {
                return false;
            }
        }
        false
    }

    /// Revisions with room in the base, a pod on a virtual node and a real node that would take it; and how many pods
    /// their base holds.
    fn holes(&self) -> BTreeMap<RevisionId, usize> {
        let mut holes = BTreeMap::new();
        for revision in self.truth.revisions.keys() {
            let held = self.view.held(revision).len();
            let rules = self.view.rules(revision).filter(|rules| rules.mode == "AfterBase" && !rules.is_shared);
            let is_job = self.view.revisions.get(revision).is_none_or(|known| known.controller == Controller::Job);
            let base = self.view.base(revision).filter(|_| rules.is_some() && !is_job);
            let has_hole = base.is_some_and(|base| held < base);
            let is_stateful = self.view.is_stateful(revision);
            let is_away = |pod: &&Pod| {
                let is_of = pod.revision.as_ref() == Some(revision) && matches!(pod.tier, Some(Tier::Burst(_)));
                let belongs = !is_stateful || base.is_some_and(|base| ordinal(pod) < base);
                is_of && belongs && is_live(pod) && node_of(pod).is_some()
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

/// How often each kind of step was taken.
type Steps = BTreeMap<&'static str, usize>;

fn kind_of_step(op: &Op) -> &'static str {
    match op {
        Op::Scale { .. } => "scale",
        Op::PodsFirst { .. } => "pods first",
        Op::Retire { .. } => "retire",
        Op::ControlReplicas => "control",
        Op::Schedule => "schedule",
        Op::RunPods => "run",
        Op::Kill(_) => "kill",
        Op::Finish(_) => "finish",
        Op::FlipReady(_) => "flip",
        Op::Cordon(_) => "cordon",
        Op::ToggleNode(_) => "node",
        Op::Annotate { .. } => "annotate",
        Op::AnnotateNamespace(_) => "namespace",
        Op::Webhook(_) => "webhook",
        Op::Stock { .. } => "stock",
        Op::Health { .. } => "health",
        Op::Policy { .. } => "policy",
        Op::Quota { .. } => "quota",
        Op::Jump(_) => "jump",
        Op::Deliver { .. } => "deliver",
        Op::Relist(_) => "relist",
        Op::Repeat { .. } => "repeat",
        Op::Decide => "decide",
        Op::Write { fate: Fate::Lands, .. } => "write lands",
        Op::Write { fate: Fate::LandsUnheard, .. } => "write lands unheard",
        Op::Write { fate: Fate::Refused, .. } => "write refused",
        Op::Write { fate: Fate::RefusedUnheard, .. } => "write refused unheard",
        Op::Answer(_) => "answer",
        Op::Look { .. } => "look",
        Op::ChangeLeader { .. } => "leader",
        Op::Wait(_) => "wait",
        Op::Flow => "flow",
        Op::Live(_) => "live",
    }
}

/// Runs so many random histories, and answers the steps taken; of one that breaks what must hold, the shortest found
/// that still does is told.
fn run(cases: u32, shrinks: u32, rng: TestRng) -> (Steps, Result<(), String>) {
    let persistence = FileFailurePersistence::WithSource("regressions");
    let failure_persistence: Option<Box<dyn FailurePersistence>> =
        if shrinks > 0 { Some(Box::new(persistence)) } else { None };
    let config = Config {
        cases,
        failure_persistence,
        source_file: Some(file!()),
        max_shrink_iters: shrinks,
        ..Config::default()
    };
    let steps = std::cell::RefCell::new(Steps::new());
    let outcome =
        TestRunner::new_with_rng(config, rng).run(&(any::<bool>(), begin(), ops()), |(is_standing, begin, ops)| {
            let mut world = World::new(begin);
            if is_standing {
                world.stand();
            }
            for op in &ops {
                *steps.borrow_mut().entry(kind_of_step(op)).or_default() += 1;
                world.step(*op);
            }
            world.calm_down();
            Ok(())
        });
    (steps.into_inner(), outcome.map_err(|error| error.to_string()))
}

fn check(cases: u32) {
    let mut seed = [0; 32];
    let chance = RandomState::new().hash_one(cases);
    seed[..8].copy_from_slice(&chance.to_le_bytes());
    let (steps, outcome) = run(cases, 20_000, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let all: usize = steps.values().sum();
    println!("{all} steps in {cases} runs: {steps:?}");
    for (kind, steps) in steps {
        assert!(steps * 100 >= all, "only {steps} of {all} steps are of kind {kind}");
    }
}

#[test]
fn what_must_always_hold_holds_over_lags_faults_and_changes_of_leader() {
    check(160);
}

#[test]
#[ignore = "soak: more than a million steps"]
fn soak_what_must_always_hold_holds_for_a_million_steps() {
    check(20_000);
}

/// Steps within which a planted bug is to be found.
const PATIENCE: usize = 50_000;

#[test]
fn each_planted_bug_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(*bug));
        let seed = [*bug as u8 + 1; 32];
        let (steps, outcome) =
            run(u32::try_from(PATIENCE / 60).unwrap(), 0, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        plant(None);
        let taken: usize = steps.values().sum();
        println!("{bug:?}: {} after {taken} steps", if outcome.is_err() { "found" } else { "missed" });
        if outcome.is_ok() || taken > PATIENCE {
            missed.push(*bug);
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not found: {missed:?}");
}
