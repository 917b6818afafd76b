//! One revision of a workload: what is known of it, its ledger, its returns.

use std::time::Duration;

use crate::{
    model::Timestamp,
    placement::{event::Revision, ledger::Ledger},
    policy::{Base, Governance, MoveBack},
};

/// Longest pause between two returns.
const LONGEST_COOL_DOWN: Duration = Duration::from_hours(1);
/// How long room is kept for a pod on its way home: its successor is created as its deletion begins, and where another
/// pod took the room meanwhile, it shall not keep other revisions from theirs.
const LONGEST_WAY: Duration = Duration::from_secs(20);

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

    /// Whether a pod might return: the base has room, or pods of it stand on virtual nodes.
    pub(super) fn has_pods_away(&self) -> bool {
        self.base().is_some() && (!self.ledger.strayed.is_empty() || !self.ledger.burst.is_empty() && self.hole() > 0)
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
    /// When the last pod was sent home.
    began: Option<Timestamp>,
    is_open: bool,
    /// How often in a row it went wrong.
    failures: u32,
}

impl Returns {
    pub(super) fn is_due(&self, settings: MoveBack, now: Timestamp) -> bool {
        let longest = LONGEST_COOL_DOWN.max(settings.cool_down);
        let pause = settings.cool_down.saturating_mul(1 << self.failures.min(20)).min(longest);
        self.began.is_none_or(|began| now.since(began) >= pause)
            && self.room_since.is_some_and(|since| now.since(since) >= settings.after)
    }

    /// Whether it is still open how the last return went.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a pod is on its way home, and will take room that nothing takes yet.
    pub(super) fn is_under_way(&self, now: Timestamp) -> bool {
        self.is_open && self.began.is_some_and(|began| now.since(began) < LONGEST_WAY)
    }

    /// A pod was sent home.
    pub(super) fn began(&mut self, now: Timestamp) {
        (self.began, self.is_open, self.room_since) = (Some(now), true, None);
    }

    /// The pod was not let go.
    pub(super) fn called_off(&mut self) {
        self.is_open = false;
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
