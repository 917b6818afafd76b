//! Holes in the base that no new pod will fill: a pod on a virtual node goes, and its successor comes home.

use std::cmp::Reverse;

use crate::{
    model::{ObjectName, Pod, PodUid, Resources, RevisionId, Stage, Timestamp},
    placement::{
        Placement,
        action::{Action, Reason},
        cap::{Bound, Sum},
        entry::{Entry, Pending},
        event::Controller,
        ledger::Slot,
        revision::RevisionState,
    },
    policy::MoveBack,
};

impl Placement {
    /// Notes whether the revision's pods might return, so that a tick looks at no other.
    pub(super) fn note_pods_away(&mut self, id: &RevisionId) {
        let Some(state) = self.revisions.get(id) else { return };
        let has_pods_away = self.has_pods_away(id, state);
        let Some(state) = self.revisions.get_mut(id) else { return };
        if has_pods_away || state.returns.is_open() {
            self.away.insert(id.clone());
        } else {
            state.returns.room_since = None;
            self.away.remove(id);
        }
    }

    /// Sends at most one pod home: two in one decision could count on the same room.
    pub(super) fn move_back(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        let under_way = self.returns_under_way();
        let mut chosen = None;
        for id in std::mem::take(&mut self.away) {
            let settings = self.revisions.get(&id).and_then(may_return);
            let candidate = settings.and_then(|settings| self.candidate(&id, settings, under_way));
            let has_pods_away = self.revisions.get(&id).is_some_and(|state| self.has_pods_away(&id, state));
            let Some(state) = self.revisions.get_mut(&id) else { continue };
            match settings.filter(|_| candidate.is_some()) {
                None => state.returns.room_since = None,
                Some(settings) => {
                    state.returns.room_since.get_or_insert(now);
                    if chosen.is_none() && state.returns.is_due(settings, now) {
                        state.returns.began(settings, now);
                        chosen = candidate;
                    }
                }
            }
            if has_pods_away || state.returns.is_under_way(now) {
                self.away.insert(id);
            }
        }
        if let Some(uid) = chosen
            && let Some(pod) = self.pods.get(&uid).map(|entry| entry.pod.reference())
        {
            self.expect(&uid, Pending::Evicted);
            actions.push(Action::Evict { pod, reason: Reason::MoveBack });
        }
    }

    fn returns_under_way(&self) -> usize {
        let states = self.away.iter().filter_map(|id| self.revisions.get(id));
        states.map(|state| state.returns.under_way(self.now) as usize).sum()
    }

    /// Whether a pod might return: the base has room, or pods of it stand on virtual nodes.
    fn has_pods_away(&self, id: &RevisionId, state: &RevisionState) -> bool {
        may_return(state).is_some()
            && (!state.ledger.strayed.is_empty()
                || !self.is_base_full(id, state)
                    && state.ledger.burst.iter().any(|uid| {
                        let pod = self.pods.get(uid).map(|entry| &entry.pod);
                        pod.is_some_and(|pod| self.belongs_home(id, state, pod) > 0)
                    }))
    }

    /// Whether the base would not even take a pod that asks for nothing. Where it would not, none of the burst pods
    /// needs a look, and that is how most workloads stand.
    fn is_base_full(&self, id: &RevisionId, state: &RevisionState) -> bool {
        let is_ordered = matches!(state.controller(), Some(Controller::StatefulSet { .. }));
        let Some(policy) = state.policy.as_ref().filter(|_| !is_ordered) else { return false };
        let bound = Bound::of_base(policy.real_share(), self.wanted(id, state));
        self.hole(id, state, bound, Resources::default()) == 0
    }

    /// How many more pods like this one, which stands beyond the base, the base would take.
    fn belongs_home(&self, id: &RevisionId, state: &RevisionState, pod: &Pod) -> u64 {
        let Some(policy) = &state.policy else { return 0 };
        let bound = Bound::of_base(policy.real_share(), self.wanted(id, state));
        match state.controller() {
            // Its successor has the same ordinal, and only a low one is of the base.
            Some(Controller::StatefulSet { first }) => {
                let ordinal = u64::from(pod.ordinal().unwrap_or(u32::MAX).saturating_sub(first));
                u64::from(ordinal < bound.room(Sum::default(), pod.requests))
            }
            _ => self.hole(id, state, bound, pod.requests),
        }
    }

    fn hole(&self, id: &RevisionId, state: &RevisionState, bound: Bound, each: Resources) -> u64 {
        bound.room(self.used(id, state, &Slot::Base), each)
    }

    /// The revision's pod that may go home, if its base has room and a real node could take the successor beside
    /// those that are `under_way`.
    fn candidate(&self, id: &RevisionId, settings: MoveBack, under_way: usize) -> Option<PodUid> {
        let state = self.revisions.get(id)?;
        if !self.has_pods_away(id, state) || !state.ledger.waiting.is_empty() {
            return None;
        }
        // A base pod that is still looking for a node, or a return under way, would take the same room.
        let base = state.ledger.base.iter().filter_map(|uid| self.pods.get(uid));
        let burst = state.ledger.burst.iter().filter_map(|uid| self.pods.get(uid));
        let unbound = base.clone().filter(|entry| entry.pod.node().is_none()).count();
        let strayed = base.filter(|entry| entry.standing.is_strayed());
        let is_leaving = |entry: &&Entry| entry.pending == Some(Pending::Evicted);
        let leaving = burst.clone().chain(strayed.clone()).filter(is_leaving).count();
        if unbound + leaving >= settings.at_once.max(1) as usize {
            return None;
        }
        let expected: u64 = self.group(id, state).map(|state| u64::from(state.returns.under_way(self.now))).sum();
        let home = burst.filter(|entry| self.belongs_home(id, state, &entry.pod) > expected);
        let away = home.chain(strayed).filter(|entry| !is_leaving(entry) && entry.pod.node().is_some());
        let first = away.min_by_key(|entry| going_home(entry))?;
        self.nodes.have_room(&first.pod, under_way + unbound + 1).then(|| first.pod.uid.clone())
    }
}

/// How its pods return, if they do: a Job's never, because an evicted pod would count as one that failed.
fn may_return(state: &RevisionState) -> Option<MoveBack> {
    state.enforced()?.move_back.filter(|_| match state.controller() {
        None => false,
        Some(Controller::Job) => planted!(JobMovesBack),
        Some(Controller::ReplicaSet | Controller::StatefulSet { .. } | Controller::Other) => true,
    })
}

/// Who goes first: what serves nobody yet, then the youngest, then by name.
fn going_home(entry: &Entry) -> (bool, Reverse<Timestamp>, &ObjectName) {
    let is_ready = matches!(entry.pod.stage, Stage::Bound { ready: true, .. });
    (is_ready, Reverse(entry.pod.created), &entry.pod.name)
}
