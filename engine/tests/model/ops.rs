//! What may happen in a step, and a name for each kind of it.

use burstlet_engine::placement::Event;
use proptest::prelude::*;

use super::{
    POLICIES, SOURCES, WORKLOADS,
    rules::{PROFILES, RULES},
};

/// What annotations say.
pub(crate) const TEXTS: [Option<&str>; 15] = [
    None,
    Some("0"),
    Some("1"),
    Some("60%"),
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
pub(crate) enum Op {
    Scale {
        revision: usize,
        wanted: u32,
    },
    /// A scale-out whose pods are told, and decided for, before it is.
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
    /// A pod is deleted, and what comes for it is told before it is gone.
    Replace(usize),
    Finish(usize),
    FlipReady(usize),
    Cordon(usize),
    ToggleNode(usize),
    Annotate {
        workload: usize,
        base: usize,
    },
    /// A workload goes, and all of it.
    Delete {
        workload: usize,
    },
    AnnotateNamespace(usize),
    /// Another one of its name.
    RemakeNamespace,
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
    /// What is written of the policy makes no sense from now on; it may be a list that tells it first.
    SpoilPolicy {
        name: usize,
        with_list: bool,
    },
    Quota {
        pool: usize,
        pods: Option<u64>,
    },
    SpoilPool {
        pool: usize,
        with_list: bool,
    },
    /// What a pool's provider has. The pods here need none of it (those that do are `capabilities.rs`'), so it changes nothing.
    Capabilities {
        pool: usize,
        is_bare: bool,
    },
    /// An ECI profile comes, changes or goes.
    Profile(usize),
    /// The clock is set, by so many seconds.
    Jump(i64),
    Deliver {
        source: usize,
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
    /// A look at a revision is taken, or comes to nothing. Where none is under way, controllers have their turn before.
    Look {
        nth: usize,
        is_lost: bool,
    },
    /// The new one is told all at once but for what is late, or all by and by.
    ChangeLeader {
        landing: u8,
        late: Option<usize>,
    },
    Wait(u64),
    /// Everything that is under way comes through, and a decision is made.
    Flow,
    /// So many seconds in which everything works.
    Live(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Lands,
    LandsUnheard,
    Refused,
    RefusedUnheard,
}

/// The rules of each policy and whether workloads follow them, at the beginning.
pub(crate) type Begin = [Option<usize>; POLICIES.len()];

pub(crate) fn begin() -> impl Strategy<Value = Begin> {
    let rules = || prop::option::weighted(0.7, 0..RULES.len());
    [rules(), rules(), rules()]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![4 => of_the_cluster(), 3 => of_the_engine()], 1..120)
}

/// What others do.
fn of_the_cluster() -> impl Strategy<Value = Op> {
    let rules = prop::option::weighted(0.45, 0..RULES.len());
    let workload = || 0..WORKLOADS.len();
    prop_oneof![
        prop_oneof![
            10 => (0..5usize, 0..8u32).prop_map(|(revision, wanted)| Op::Scale { revision, wanted }),
            12 => (0..5usize, 3..9u32).prop_map(|(revision, wanted)| Op::PodsFirst { revision, wanted }),
            9 => (0..5usize).prop_map(|revision| Op::Retire { revision }),
            12 => Just(Op::ControlReplicas),
            10 => Just(Op::Schedule),
            8 => Just(Op::RunPods),
            7 => (0..40usize).prop_map(Op::Kill),
            6 => (0..40usize).prop_map(Op::Replace),
            6 => (0..40usize).prop_map(Op::Finish),
            6 => (0..40usize).prop_map(Op::FlipReady),
            6 => (0..6usize).prop_map(Op::Cordon),
            8 => (0..6usize).prop_map(Op::ToggleNode),
        ],
        prop_oneof![
            7 => (workload(), 0..TEXTS.len()).prop_map(|(workload, base)| Op::Annotate { workload, base }),
            9 => workload().prop_map(|workload| Op::Delete { workload }),
            5 => (0..NAMESPACE_TEXTS).prop_map(Op::AnnotateNamespace),
            7 => Just(Op::RemakeNamespace),
            5 => any::<bool>().prop_map(Op::Webhook),
            6 => (0..2usize, prop::option::of(0..4u64)).prop_map(|(pool, free)| Op::Stock { pool, free }),
            5 => (0..2usize, prop::bool::weighted(0.7)).prop_map(|(pool, works)| Op::Health { pool, works }),
            15 => (0..POLICIES.len(), rules).prop_map(|(name, rules)| Op::Policy { name, rules }),
            5 => (0..POLICIES.len(), any::<bool>()).prop_map(|(name, with_list)| Op::SpoilPolicy { name, with_list }),
            14 => (0..2usize, prop::option::weighted(0.4, 0..6u64)).prop_map(|(pool, pods)| Op::Quota { pool, pods }),
            5 => (0..2usize, any::<bool>()).prop_map(|(pool, with_list)| Op::SpoilPool { pool, with_list }),
            5 => (0..2usize, any::<bool>()).prop_map(|(pool, is_bare)| Op::Capabilities { pool, is_bare }),
            5 => (0..PROFILES.len()).prop_map(Op::Profile),
        ],
    ]
}

/// What the engine and those between it and the API server do, and time.
fn of_the_engine() -> impl Strategy<Value = Op> {
    let fate =
        prop_oneof![Just(Fate::Lands), Just(Fate::LandsUnheard), Just(Fate::Refused), Just(Fate::RefusedUnheard)];
    let late = prop::option::of(0..SOURCES.len());
    prop_oneof![
        24 => (0..SOURCES.len(), 1..12usize).prop_map(|(source, events)| Op::Deliver { source, events }),
        14 => (1..12usize).prop_map(|events| Op::Deliver { source: 4, events }),
        10 => prop_oneof![Just(4), Just(5), Just(6), 0..SOURCES.len()].prop_map(Op::Relist),
        6 => (0..5usize, 0..40usize).prop_map(|(kind, object)| Op::Repeat { kind, object }),
        20 => Just(Op::Decide),
        24 => (0..20usize, fate).prop_map(|(nth, fate)| Op::Write { nth, fate }),
        7 => (0..20usize).prop_map(Op::Answer),
        16 => (0..20usize, prop::bool::weighted(0.1)).prop_map(|(nth, is_lost)| Op::Look { nth, is_lost }),
        7 => (any::<u8>(), late).prop_map(|(landing, late)| Op::ChangeLeader { landing, late }),
        6 => (-600..4_000i64).prop_map(Op::Jump),
        9 => (1..8_000u64).prop_map(Op::Wait),
        16 => Just(Op::Flow),
        9 => (1..16u64).prop_map(Op::Live),
    ]
}

/// Names of kinds: none is left without one, nor out of the list of all.
macro_rules! names_of {
    ($($of:ty, $function:ident, $all:ident: { $($kind:pat => $name:literal,)+ })+) => {$(
        pub(crate) const $all: &[&str] = &[$($name),+];

        pub(crate) fn $function(of: &$of) -> &'static str {
            match of {
                $($kind => $name,)+
            }
        }
    )+};
}

names_of! {
    Op, kind_of_step, KINDS_OF_STEP: {
        Op::Scale { .. } => "scale",
        Op::PodsFirst { .. } => "pods first",
        Op::Retire { .. } => "retire",
        Op::ControlReplicas => "control",
        Op::Schedule => "schedule",
        Op::RunPods => "run",
        Op::Kill(_) => "kill",
        Op::Replace(_) => "replace",
        Op::Finish(_) => "finish",
        Op::FlipReady(_) => "flip",
        Op::Cordon(_) => "cordon",
        Op::ToggleNode(_) => "node",
        Op::Annotate { .. } => "annotate",
        Op::Delete { .. } => "delete",
        Op::AnnotateNamespace(_) => "namespace",
        Op::RemakeNamespace => "remake namespace",
        Op::Webhook(_) => "webhook",
        Op::Stock { .. } => "stock",
        Op::Health { .. } => "health",
        Op::Policy { .. } => "policy",
        Op::SpoilPolicy { .. } => "spoil policy",
        Op::Quota { .. } => "quota",
        Op::SpoilPool { .. } => "spoil pool",
        Op::Capabilities { .. } => "capabilities",
        Op::Profile(_) => "profile",
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

    Event, kind_of_event, KINDS_OF_EVENT: {
        Event::Begin(_) => "a list begins",
        Event::Finish(_) => "a list ends",
        Event::Namespace(_) => "a namespace",
        Event::NamespaceGone(_) => "a namespace goes",
        Event::Workload(_) => "a workload",
        Event::WorkloadGone(_) => "a workload goes",
        Event::Revision(_) => "a revision",
        Event::RevisionGone(_) => "a revision goes",
        Event::Looked { .. } => "a look",
        Event::Node(_) => "a node",
        Event::NodeGone(_) => "a node goes",
        Event::Pod(_) => "a pod",
        Event::PodGone(_) => "a pod goes",
        Event::Policy { .. } => "a policy",
        Event::PolicyFaulty { .. } => "a policy that makes no sense",
        Event::PolicyGone(_) => "a policy goes",
        Event::Pool(_) => "a pool",
        Event::PoolFaulty { .. } => "a pool that makes no sense",
        Event::PoolGone(_) => "a pool goes",
        Event::Capabilities { .. } => "what a pool has",
        Event::Profile(_) => "a profile",
        Event::Health { .. } => "a pool's health",
        Event::Stock { .. } => "a pool's stock",
    }
}
