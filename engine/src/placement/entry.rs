//! A pod as placement keeps it: what the watch showed, and what is under way.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{Pod, Stage, Tier, Timestamp},
    placement::{
        action::Outcome,
        ledger::{Role, Standing},
        nodes::Nodes,
    },
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
    /// The pool is opened to a base pod.
    MovedOn,
    /// An eviction.
    Evicted,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pod: Pod,
    pub(super) pending: Option<Pending>,
    pub(super) standing: Standing,
    /// When the pod may be tried again after a refusal.
    pub(super) hold_until: Timestamp,
    refusals: u32,
    /// The reason for waiting that was sent to the pod last.
    pub(super) told: Option<Arc<str>>,
    /// When kube-scheduler's verdict that no node fits was first seen here.
    unschedulable_since: Option<Timestamp>,
}

impl Entry {
    /// Takes in what the watch shows now; `before` is what was known of the pod.
    pub(super) fn new(pod: Pod, before: Option<Self>, nodes: &Nodes, now: Timestamp) -> Self {
        let is_unschedulable = pod.stage == Stage::Unbound { unschedulable: true };
        let standing = Standing { role: Role::Out, occupancy: None, is_home: false };
        let mut entry = match before {
            Some(before) => Self { pod, ..before },
            None => Self {
                pod,
                pending: None,
                standing,
                hold_until: Timestamp::default(),
                refusals: 0,
                told: None,
                unschedulable_since: None,
            },
        };
        entry.pending = entry.pending.take().filter(|pending| !is_shown(pending, &entry.pod));
        entry.unschedulable_since = is_unschedulable.then(|| entry.unschedulable_since.unwrap_or(now));
        entry.stand(nodes);
        entry
    }

    /// Works out anew where the pod stands.
    pub(super) fn stand(&mut self, nodes: &Nodes) {
        self.standing = Standing::of(&self.pod, self.pending.as_ref(), nodes);
    }

    /// What became of the pending action. An applied one stays until the watch shows it.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::Applied => self.refusals = 0,
            Outcome::Refused => {
                let hold = FIRST_HOLD.saturating_mul(1 << self.refusals.min(6)).min(LONGEST_HOLD);
                self.pending = None;
                self.refusals += 1;
                self.hold_until = now.after(hold);
            }
        }
    }

    /// When a base pod that fits nowhere has had its time on real nodes; `None` for every other pod.
    pub(super) fn move_on_at(&self, after: Duration) -> Option<Timestamp> {
        let is_plain = !matches!(self.pod.tier, Some(Tier::BaseShort(_) | Tier::Burst(_)));
        if self.standing.role != Role::Base || self.pending.is_some() || !is_plain || self.pod.revision.is_none() {
            return None;
        }
        let since = self.unschedulable_since?;
        // The decision's time is on the pod and outlives a restart; a plain pod has only what was seen here.
        let since = self.pod.decided.map_or(since, |decided| decided.min(since));
        Some(since.after(after).max(self.hold_until))
    }
}

fn is_shown(pending: &Pending, pod: &Pod) -> bool {
    match pending {
        Pending::Placed(_) => pod.stage != Stage::Gated,
        Pending::MovedOn => matches!(pod.tier, Some(Tier::BaseShort(_))) || pod.node().is_some(),
        Pending::Evicted => false,
    }
}
