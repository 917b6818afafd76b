//! One revision of a workload: what is known of it, its ledger, its returns.

use std::time::Duration;

use crate::{
    model::Timestamp,
    placement::{event::Revision, ledger::Ledger},
    policy::{Base, Governance},
};

/// Longest pause between two returns.
const LONGEST_COOL_DOWN: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub(super) struct RevisionState {
    /// The ReplicaSet; its pods may be known before it is.
    pub(super) facts: Option<Revision>,
    pub(super) governance: Governance,
    pub(super) ledger: Ledger,
    pub(super) returns: Returns,
}

impl Default for RevisionState {
    fn default() -> Self {
        Self { facts: None, governance: Governance::Free, ledger: Ledger::default(), returns: Returns::default() }
    }
}

impl RevisionState {
    /// Nothing is known of it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_none() && self.ledger.live() == 0
    }

    /// The base in pods, where the revision is governed. A share is taken of what is wanted, or of what lives if that
    /// is more: the ReplicaSet's watch may lag behind its pods'.
    pub(super) fn base(&self) -> Option<u32> {
        let base = self.governed()?;
        let wanted = self.facts.as_ref()?.wanted;
        let live = u32::try_from(self.ledger.live()).unwrap_or(u32::MAX);
        Some(base.of(wanted.max(live)))
    }

    /// How many pods the base lacks.
    pub(super) fn hole(&self) -> u32 {
        let held = u32::try_from(self.ledger.base.len()).unwrap_or(u32::MAX);
        self.base().map_or(0, |base| base.saturating_sub(held))
    }

    /// Whether a share cannot be told yet: more pods live than the ReplicaSet is known to want.
    pub(super) fn lags(&self) -> bool {
        let wanted = self.facts.as_ref().map_or(0, |facts| facts.wanted);
        self.governed().is_some_and(Base::is_share) && self.ledger.live() > wanted as usize
    }

    fn governed(&self) -> Option<Base> {
        match self.governance {
            Governance::Governed(base, _) => Some(base),
            Governance::Free | Governance::Faulty(_) => None,
        }
    }
}

/// When pods of the revision may return from virtual nodes.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Since when the base has had room that a real node could fill.
    pub(super) room_since: Option<Timestamp>,
    not_before: Timestamp,
    failures: u32,
}

impl Returns {
    pub(super) fn is_due(&self, after: Duration, now: Timestamp) -> bool {
        now >= self.not_before && self.room_since.is_some_and(|since| now.since(since) >= after)
    }

    /// A pod was sent home.
    pub(super) fn began(&mut self, cool_down: Duration, now: Timestamp) {
        let pause = cool_down.saturating_mul(1 << self.failures.min(20)).min(LONGEST_COOL_DOWN);
        self.not_before = now.after(pause);
        self.room_since = None;
    }

    /// A base pod found no real node after all.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// A base pod came to a real node.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}
