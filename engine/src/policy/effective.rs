//! What holds for a pod once every source was asked: the policy that placement follows.

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::{Bytes, MilliCpu, PoolName, Timestamp},
    policy::{Base, Money, Window},
};

/// Name of a `BurstPolicy`, with its namespace where the cluster has several of that name: budgets go by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(std::sync::Arc<str>);

impl PolicyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for PolicyName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Every field settled: what a pod's placement follows.
///
/// A pod is offered to the base first, then to each tier in order. A place whose cap is reached is *full*; one that
/// cannot take the pod now (no stock, no quota, no room) is *short*. [`MoveOn`] says when a pod passes either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// The `BurstPolicy` it comes from; `None` for annotations and the cluster's default.
    pub name: Option<PolicyName>,
    /// Whether and when pods burst.
    pub mode: Mode,
    /// What belongs on real nodes; percentages are of the wanted replicas and round up.
    pub base: Cap,
    /// When a pod of the base passes real nodes that are short. A full base is always passed.
    pub move_on: MoveOn,
    /// Where the rest goes, in order. Empty: every pool, in the cluster's order.
    pub tiers: Vec<TierRule>,
    /// What counts against the base and the caps.
    pub count: Count,
    /// When pods return from virtual nodes as the base has room; `None`: never.
    pub move_back: Option<MoveBack>,
    /// What the pods of this policy may spend on virtual nodes, together.
    pub budget: Option<Budget>,
    /// When pods may burst; empty: always. Outside of every window nothing new bursts, and what runs stays.
    pub windows: Vec<Window>,
    /// Whose waiting pods get room first: larger before smaller. Nothing that runs is taken away.
    pub priority: i32,
}

impl EffectivePolicy {
    /// The base as the mode has it: none for [`Mode::Always`], without bound where real nodes come first.
    pub fn real_share(&self) -> Cap {
        match self.mode {
            Mode::Observe | Mode::AfterBase => self.base,
            Mode::WhenFull | Mode::Never => Cap::default(),
            Mode::Always => Cap::pods(Base::count(0)),
        }
    }

    /// Whether the wanted replicas must be known to tell the base or a cap.
    pub fn has_shares(&self) -> bool {
        let caps = std::iter::once(self.real_share()).chain(self.tiers.iter().map(|tier| tier.cap));
        caps.filter_map(|cap| cap.pods).any(Base::is_share)
    }

    /// Whether pods may burst at this moment, as far as windows say.
    pub fn is_in_window(&self, now: Timestamp) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.holds_at(now))
    }
}

/// Whether and when pods burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Nothing is gated or written; what [`Mode::AfterBase`] would have done is counted and priced.
    Observe,
    /// The base on real nodes, the rest on the tiers.
    AfterBase,
    /// Real nodes take all that they can; what they were short of for `moveOn.after` goes to the tiers.
    WhenFull,
    /// No base: the tiers from the first pod on.
    Always,
    /// Governed and counted, and all of it on real nodes.
    Never,
}

/// How much of a group's pods a place takes. Every bound that is set holds; none set: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cap {
    /// In pods: a number, or a percentage of the wanted replicas (rounded up for the base, down for a tier, so that
    /// a base of 50% and a tier of 50% make a whole).
    pub pods: Option<Base>,
    /// In CPU that the pods request together.
    pub cpu: Option<MilliCpu>,
    /// In memory that the pods request together.
    pub memory: Option<Bytes>,
}

impl Cap {
    /// So many pods, or such a share of them.
    pub fn pods(pods: Base) -> Self {
        Self { pods: Some(pods), cpu: None, memory: None }
    }
}

/// One step in the order of places after the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRule {
    /// Where its pods go.
    pub place: Place,
    /// How many of them.
    pub cap: Cap,
    /// When a pod passes it.
    pub move_on: MoveOn,
    /// Labels that its pods get.
    pub labels: BTreeMap<String, String>,
    /// Annotations that its pods get.
    pub annotations: BTreeMap<String, String>,
    /// The pool whose fallback this one is: the tier before, for which it stands while that is short, within its cap.
    pub falls_back_from: Option<PoolName>,
}

impl TierRule {
    /// A tier without caps, labels and annotations, that is passed at once where it cannot take a pod.
    pub fn plain(place: Place) -> Self {
        let (labels, annotations) = (BTreeMap::new(), BTreeMap::new());
        Self { place, cap: Cap::default(), move_on: MoveOn::AT_ONCE, labels, annotations, falls_back_from: None }
    }
}

/// A place that a tier names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Real nodes, beyond the base.
    Real {
        /// Labels that the nodes must have.
        node_selector: BTreeMap<String, String>,
    },
    /// The pool's virtual nodes.
    Pool(PoolName),
}

/// When a pod passes a place for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoveOn {
    /// Whether a full place is passed, at once; else pods wait for room under its cap. The base is always passed.
    pub full: bool,
    /// Whether a short place is passed, once the pod has been refused for `after`; else pods wait for it.
    pub short: bool,
    /// How long a short place (and a node autoscaler) gets.
    pub after: Duration,
    /// How pods wait for real nodes that are short. For a pool they always wait gated: a plain pod would go to any
    /// real node.
    pub waiting: Waiting,
}

impl MoveOn {
    /// A place that cannot take the pod now is passed now.
    pub const AT_ONCE: Self = Self { full: true, short: true, after: Duration::ZERO, waiting: Waiting::Plain };
}

/// How pods wait for real nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Waiting {
    /// Behind the gate, until a real node has room by requests: no scheduler sees them, and no node autoscaler.
    Gated,
    /// As a plain pod that kube-scheduler calls unschedulable, so that a node autoscaler adds nodes for it. After
    /// `after` it gets the next tier's toleration, too.
    Plain,
}

/// What counts against the base and the caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count {
    /// Whether each revision has them to itself.
    pub per: Per,
    /// Whether a terminating pod counts no more (else until it is gone).
    pub ignore_terminating: bool,
    /// Whether pods that burstlet did not place (older than the policy, or let through by a webhook that was down)
    /// count nowhere.
    pub ignore_previous: bool,
}

impl Default for Count {
    fn default() -> Self {
        Self { per: Per::Revision, ignore_terminating: true, ignore_previous: false }
    }
}

/// Who shares a base and caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Per {
    /// Each revision has its own: during a rolling update there are two.
    Revision,
    /// All revisions of a workload share one; percentages are of what they want together.
    Workload,
}

/// When pods on virtual nodes are evicted so that their successors fill the base. Never a Job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoveBack {
    /// How long the base must have had room, on real nodes that could take the pod, before the first one goes: a
    /// glitch moves nothing.
    pub after: Duration,
    /// How many of a revision's pods may be under way at a time; at least 1.
    pub at_once: u32,
    /// Least time between two rounds of one revision. Doubled, up to an hour, each time a returned pod found no real
    /// node after all.
    pub cool_down: Duration,
}

/// What may be spent on virtual nodes. An hour and a day are UTC's. Exhausted: nothing new bursts; what runs stays,
/// and goes on to cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// By the hour.
    pub per_hour: Option<Spend>,
    /// By the day.
    pub per_day: Option<Spend>,
    /// What becomes of pods that would burst.
    pub exhausted: Exhausted,
}

/// An amount to spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spend {
    /// Money by the pools' prices; a pool without a price in this currency takes no pod.
    Money(Money),
    /// Minutes of pods on virtual nodes.
    PodMinutes(u64),
}

/// What becomes of pods that would burst while the budget is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Exhausted {
    /// They wait.
    Wait,
    /// They go to real nodes, beyond the base.
    Real,
}

impl fmt::Display for Cap {
    /// The bounds that are set, such as `3 pods, 4000m CPU`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = self.pods.map(|pods| if pods.is_share() { pods.to_string() } else { format!("{pods} pods") });
        let cpu = self.cpu.map(|MilliCpu(milli)| format!("{milli}m CPU"));
        let memory = self.memory.map(|Bytes(bytes)| format!("{bytes} bytes of memory"));
        let bounds: Vec<_> = [pods, cpu, memory].into_iter().flatten().collect();
        f.write_str(&if bounds.is_empty() { "no bound".to_owned() } else { bounds.join(", ") })
    }
}
