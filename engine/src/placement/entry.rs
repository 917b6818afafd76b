//! A pod as placement keeps it: what the watch showed, and what is under way.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{Pod, Stage, Tier, Timestamp},
    placement::{action::Outcome, budget::Charge, explain::Record, ledger::Standing, nodes::Nodes},
};

/// First pause after a refusal; doubled with each.
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// Longest pause after a refusal.
const LONGEST_HOLD: Duration = Duration::from_mins(1);

/// An action that was sent and that the watch has not shown yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    /// The gate comes off, into this tier.
    Placed(Option<Tier>),
    /// A pool is opened to a pod that fits nowhere, which makes it one of this tier.
    MovedOn(Tier),
    /// An eviction.
    Evicted,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pod: Pod,
    /// Its number among all pods, in the order in which they were first seen.
    pub(super) arrival: u64,
    pub(super) pending: Option<Pending>,
    pub(super) standing: Standing,
    /// The tier that a policy which only observes would have chosen.
    pub(super) imagined: Option<Tier>,
    /// What it costs whom, while it is counted.
    pub(super) charges: Vec<Charge>,
    /// Whether its cost was looked at before: what is new may have run for long.
    pub(super) was_reckoned: bool,
    /// When it may move on, while it is counted as fitting nowhere.
    pub(super) moves_on_at: Option<Timestamp>,
    /// Why it was placed where it is.
    pub(super) record: Option<Arc<Record>>,
    /// When the pod may be tried again after a refusal.
    pub(super) hold_until: Timestamp,
    refusals: u32,
    /// The reason for waiting that was sent to the pod last.
    pub(super) told: Option<Arc<str>>,
    /// When kube-scheduler's verdict that no node fits was first seen here.
    unschedulable_since: Option<Timestamp>,
}

impl Entry {
    /// Takes in what the watch shows now; `before` is what was known of the pod, `arrival` its number if it is new.
    pub(super) fn new(pod: Pod, before: Option<Self>, arrival: u64, now: Timestamp) -> Self {
        let is_unschedulable = pod.stage == Stage::Unbound { unschedulable: true };
        let mut entry = match before {
            Some(before) => Self { pod, ..before },
            None => Self {
                pod,
                arrival,
                pending: None,
                standing: Standing::NOWHERE,
                imagined: None,
                charges: Vec::new(),
                was_reckoned: false,
                moves_on_at: None,
                record: None,
                hold_until: Timestamp::default(),
                refusals: 0,
                told: None,
                unschedulable_since: None,
            },
        };
        entry.pending = entry.pending.take().filter(|pending| !is_shown(pending, &entry.pod));
        entry.unschedulable_since = is_unschedulable.then(|| entry.unschedulable_since.unwrap_or(now));
        entry
    }

    /// Works out anew where the pod stands. Where its policy only observes, that is imagined, unless the pod stands on
    /// a virtual node indeed.
    pub(super) fn stand(&mut self, nodes: &Nodes, is_observed: bool) {
        let is_plain = self.pod.stage != Stage::Gated && self.pod.tier.is_none() && self.pending.is_none();
        let is_away = self.pod.node().is_some_and(|node| nodes.pool_of(node).is_some());
        if is_observed && is_plain && !is_away {
            self.standing = Standing::imagined(&self.pod, self.imagined.as_ref());
        } else {
            self.imagined = None;
            self.standing = Standing::of(&self.pod, self.pending.as_ref(), nodes);
        }
    }

    /// The clock was set back to this moment.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.hold_until = self.hold_until.min(now);
        self.unschedulable_since = self.unschedulable_since.map(|since| since.min(now));
    }

    /// What became of the pending action. An applied one stays until the watch shows it.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::Applied => self.refusals = 0,
            Outcome::Refused => {
                let hold = FIRST_HOLD.saturating_mul(1 << self.refusals.min(6)).min(LONGEST_HOLD);
                if planted!(RefusalForgotten) {
                    return;
                }
                self.pending = None;
                self.refusals += 1;
                self.hold_until = now.after(hold);
            }
        }
    }

    /// When a pod that fits no real node has had its time there; `None` where kube-scheduler has not said so.
    pub(super) fn move_on_at(&self, after: Duration) -> Option<Timestamp> {
        let since = self.unschedulable_since?;
        // The decision's time is on the pod and outlives a restart; a plain pod has only what was seen here.
        let since = self.pod.decided.map_or(since, |decided| decided.min(since));
        let after = if planted!(MovesOnEarly) { after / 2 } else { after };
        Some(since.after(after).max(self.hold_until))
    }
}

fn is_shown(pending: &Pending, pod: &Pod) -> bool {
    match pending {
        Pending::Placed(_) => pod.stage != Stage::Gated,
        Pending::MovedOn(tier) => pod.tier.as_ref() == Some(tier) || pod.node().is_some(),
        Pending::Evicted => false,
    }
}
