//! One revision of a workload: what is known of it, its ledger, its returns.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    model::{ObjectName, Timestamp},
    placement::{
        event::{Controller, Revision},
        explain::Record,
        ledger::Ledger,
        look::Looks,
        tier::Step,
    },
    policy::{EffectivePolicy, Mode, MoveBack},
};

/// Longest pause between two returns.
const LONGEST_COOL_DOWN: Duration = Duration::from_hours(1);
/// How long room is kept for a pod on its way home: its successor is created as its deletion begins, and where another
/// pod took the room meanwhile, it shall not keep other revisions from theirs.
const LONGEST_WAY: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct RevisionState {
    /// The ReplicaSet; its pods may be known before it is.
    pub(super) facts: Option<Revision>,
    /// What governs it, with its tiers spelt out; `None` where nothing does.
    pub(super) policy: Option<Arc<EffectivePolicy>>,
    /// Policies that all match its pods, so that none of them is followed.
    pub(super) conflict: Option<Vec<ObjectName>>,
    pub(super) ledger: Ledger,
    pub(super) returns: Returns,
    pub(super) looks: Looks,
    /// Since when each place has been short. Kept in memory only: a new leader waits anew.
    pub(super) short_since: BTreeMap<Step, Timestamp>,
    /// Why its next pod waits, while one does.
    pub(super) record: Option<Arc<Record>>,
}

impl RevisionState {
    /// Nothing is known of it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_none() && self.ledger.is_empty()
    }

    pub(super) fn controller(&self) -> Option<Controller> {
        self.facts.as_ref().map(|facts| facts.controller)
    }

    pub(super) fn wanted(&self) -> u32 {
        self.facts.as_ref().map_or(0, |facts| facts.wanted)
    }

    /// Whether its policy does no more than observe.
    pub(super) fn is_observed(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.mode == Mode::Observe) && !planted!(ObserveActs)
    }

    /// The policy that is carried out, where one is.
    pub(super) fn enforced(&self) -> Option<&Arc<EffectivePolicy>> {
        self.policy.as_ref().filter(|policy| policy.mode != Mode::Observe)
    }
}

/// When pods of the revision may return from virtual nodes.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Since when the base has had room that a real node could fill.
    pub(super) room_since: Option<Timestamp>,
    /// When the last pod was sent home.
    began: Option<Timestamp>,
    is_open: bool,
    /// How many were sent in this round.
    sent: u32,
    /// How often in a row it went wrong.
    failures: u32,
    /// How often in a row an eviction was refused, as by a disruption budget.
    refusals: u32,
}

impl Returns {
    pub(super) fn is_due(&self, settings: MoveBack, now: Timestamp) -> bool {
        let longest = LONGEST_COOL_DOWN.max(settings.cool_down);
        let doublings = self.failures.max(self.refusals.saturating_sub(1)).min(20);
        let pause = settings.cool_down.saturating_mul(1 << doublings).min(longest);
        let has_paused = self.began.is_none_or(|began| now.since(began) >= pause);
        let has_lasted = self.room_since.is_some_and(|since| now.since(since) >= settings.after);
        self.goes_on(settings, now) || has_paused && has_lasted
    }

    /// Whether a round is under way that takes one more.
    fn goes_on(&self, settings: MoveBack, now: Timestamp) -> bool {
        self.is_under_way(now) && self.sent < settings.at_once
    }

    /// Whether it is still open how the last return went.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a pod is on its way home, and will take room that nothing takes yet.
    pub(super) fn is_under_way(&self, now: Timestamp) -> bool {
        self.under_way(now) > 0
    }

    /// How many are.
    pub(super) fn under_way(&self, now: Timestamp) -> u32 {
        let is_recent = self.began.is_some_and(|began| now.since(began) < LONGEST_WAY);
        if self.is_open && is_recent { self.sent } else { 0 }
    }

    /// The clock was set back to this moment.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.began = self.began.map(|began| began.min(now));
        self.room_since = self.room_since.map(|since| since.min(now));
    }

    /// A pod was sent home.
    pub(super) fn began(&mut self, settings: MoveBack, now: Timestamp) {
        self.sent = if self.goes_on(settings, now) { self.sent + 1 } else { 1 };
        (self.began, self.is_open, self.room_since) = (Some(now), true, None);
    }

    /// The pod was not let go: a disruption budget forbids it, or it is gone.
    pub(super) fn called_off(&mut self) {
        self.is_open = false;
        self.refusals = self.refusals.saturating_add(1);
    }

    /// The pod was let go.
    pub(super) fn let_go(&mut self) {
        self.refusals = 0;
    }

    /// A base pod found no real node after all.
    pub(super) fn failed(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// A base pod came to a real node.
    pub(super) fn succeeded(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.failures = 0;
        }
    }
}
