//! Base, burst or wait: the decision for gated pods.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{PodUid, RevisionId, Timestamp},
    placement::{
        Placement,
        action::{Action, Placing, Reason},
        entry::Pending,
    },
    policy::Governance,
};

/// How long a share's pods wait for their ReplicaSet's watch to catch up, at most.
const LAG: Duration = Duration::from_secs(5);
/// Pods that wait for less are not told why: the write would cost more than it tells.
const SILENCE: Duration = Duration::from_secs(1);

/// What to do with the next gated pod of a revision.
enum Verdict {
    Place(PodUid, Placing, Reason),
    /// All the revision's gated pods wait, for this reason.
    Wait(Reason),
    /// Nothing to do until something else happens.
    Rest,
}

impl Placement {
    /// Decides for the revision's gated pods, oldest first, until one has to wait.
    ///
    /// Reasons for waiting are told at ticks only, so that a flood of new pods is not gone through at each of them.
    pub(super) fn place_waiting(&mut self, id: &RevisionId, is_tick: bool, now: Timestamp, actions: &mut Vec<Action>) {
        self.waiting.remove(id);
        loop {
            match self.verdict(id, now) {
                Verdict::Place(uid, placing, reason) => {
                    self.place(&uid, placing, reason, actions);
                }
                Verdict::Wait(reason) => {
                    if is_tick {
                        self.tell_waiting(id, &reason, now, actions);
                    }
                    break;
                }
                Verdict::Rest => break,
            }
        }
        if self.revisions.get(id).is_some_and(|state| !state.ledger.waiting.is_empty()) {
            self.waiting.insert(id.clone());
        }
    }

    /// Lets go of gated pods that no ReplicaSet controls.
    pub(super) fn release_strangers(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let due = |uid: &&PodUid| self.pods.get(*uid).is_some_and(|entry| entry.hold_until <= now);
        let strangers: Vec<_> = self.strangers.iter().filter(due).cloned().collect();
        for uid in strangers {
            self.place(&uid, Placing::Release, Reason::Ungoverned, actions);
        }
    }

    fn verdict(&self, id: &RevisionId, now: Timestamp) -> Verdict {
        let Some(state) = self.revisions.get(id) else { return Verdict::Rest };
        let mut turns = state.ledger.waiting.iter().filter_map(|(_, _, uid)| self.pods.get(uid));
        let Some(entry) = turns.find(|entry| entry.hold_until <= now) else { return Verdict::Rest };
        let uid = entry.pod.uid.clone();
        if state.facts.is_none() {
            return Verdict::Rest;
        }
        if !matches!(state.governance, Governance::Governed(..)) {
            return Verdict::Place(uid, Placing::Release, Reason::Ungoverned);
        }
        if state.lags() && now.since(entry.pod.created) < LAG {
            return Verdict::Rest;
        }
        let of = state.base().unwrap_or_default();
        let held = u32::try_from(state.ledger.base.len()).unwrap_or(u32::MAX);
        if held < of {
            return Verdict::Place(uid, Placing::Base, Reason::Base { number: held + 1, of });
        }
        match self.pool_for(&entry.pod) {
            Ok(pool) => {
                let placing = Placing::Burst { nodes: self.pools.open_nodes(&pool), pool: pool.clone() };
                Verdict::Place(uid, placing, Reason::Burst { base: of, pool })
            }
            Err(obstacle) => Verdict::Wait(Reason::Wait { base: of, obstacle }),
        }
    }

    fn place(&mut self, uid: &PodUid, placing: Placing, reason: Reason, actions: &mut Vec<Action>) {
        let Some(pod) = self.pods.get(uid).map(|entry| entry.pod.reference()) else { return };
        self.expect(uid, Pending::Placed(placing.tier()));
        actions.push(Action::Place { pod, placing, reason });
    }

    /// Writes the reason onto the waiting pods that do not show it yet.
    fn tell_waiting(&mut self, id: &RevisionId, reason: &Reason, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(state) = self.revisions.get(id) else { return };
        let text: Arc<str> = reason.to_string().into();
        let due = state.ledger.waiting.iter().take_while(|(created, ..)| now.since(*created) >= SILENCE);
        for (_, _, uid) in due {
            if let Some(entry) = self.pods.get_mut(uid)
                && entry.told.as_ref() != Some(&text)
            {
                entry.told = Some(text.clone());
                actions.push(Action::Explain { pod: entry.pod.reference(), reason: reason.clone() });
            }
        }
    }
}
