//! Holes in the base that no new pod will fill: a pod on a virtual node goes, and its successor comes home.

use std::cmp::Reverse;

use crate::{
    model::{ObjectName, PodUid, RevisionId, Stage, Timestamp},
    placement::{
        Placement,
        action::{Action, Reason},
        entry::{Entry, Pending},
    },
};

impl Placement {
    /// Notes whether the revision's pods might return, so that a tick looks at no other.
    pub(super) fn note_pods_away(&mut self, id: &RevisionId) {
        let Some(state) = self.revisions.get_mut(id) else { return };
        if state.has_pods_away() || state.returns.is_open() {
            self.away.insert(id.clone());
        } else {
            state.returns.room_since = None;
            self.away.remove(id);
        }
    }

    /// Sends at most one pod home: two at once could count on the same room.
    pub(super) fn move_back(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let settings = self.settings.move_back;
        let under_way = self.returns_under_way(now);
        let mut chosen = None;
        for id in std::mem::take(&mut self.away) {
            let candidate = self.candidate(&id, under_way);
            let Some(state) = self.revisions.get_mut(&id) else { continue };
            if candidate.is_none() {
                state.returns.room_since = None;
            } else {
                state.returns.room_since.get_or_insert(now);
                if chosen.is_none() && state.returns.is_due(settings, now) {
                    state.returns.began(now);
                    chosen = candidate;
                }
            }
            if state.has_pods_away() || state.returns.is_under_way(now) {
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

    fn returns_under_way(&self, now: Timestamp) -> usize {
        let states = self.away.iter().filter_map(|id| self.revisions.get(id));
        states.filter(|state| state.returns.is_under_way(now)).count()
    }

    /// The revision's pod that may go home, if its base has room and a real node could take the successor beside
    /// those that are `under_way`.
    fn candidate(&self, id: &RevisionId, under_way: usize) -> Option<PodUid> {
        let state = self.revisions.get(id)?;
        if !state.has_pods_away() || !state.ledger.waiting.is_empty() {
            return None;
        }
        let has_hole = state.hole() > 0;
        // A base pod that is still looking for a node, or a return under way, would take the same room.
        let base = state.ledger.base.iter().filter_map(|uid| self.pods.get(uid));
        if base.clone().any(|entry| entry.pod.node().is_none()) {
            return None;
        }
        let burst = state.ledger.burst.iter().filter(|_| has_hole).filter_map(|uid| self.pods.get(uid));
        let away = burst.chain(base.filter(|entry| entry.standing.is_strayed()));
        if away.clone().any(|entry| entry.pending == Some(Pending::Evicted)) {
            return None;
        }
        let first = away.filter(|entry| entry.pod.node().is_some()).min_by_key(|entry| going_home(entry))?;
        self.nodes.have_room(&first.pod, under_way + 1).then(|| first.pod.uid.clone())
    }
}

/// Who goes first: what serves nobody yet, then the youngest, then by name.
fn going_home(entry: &Entry) -> (bool, Reverse<Timestamp>, &ObjectName) {
    let is_ready = matches!(entry.pod.stage, Stage::Bound { ready: true, .. });
    (is_ready, Reverse(entry.pod.created), &entry.pod.name)
}
