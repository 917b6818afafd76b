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
    /// Sends at most one pod home: two at once could count on the same room.
    pub(super) fn move_back(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let settings = self.settings.move_back;
        let ids: Vec<_> = self.revisions.keys().cloned().collect();
        let mut chosen = None;
        for id in ids {
            let candidate = self.candidate(&id);
            let Some(state) = self.revisions.get_mut(&id) else { continue };
            if candidate.is_none() {
                state.returns.room_since = None;
                continue;
            }
            state.returns.room_since.get_or_insert(now);
            if chosen.is_none() && state.returns.is_due(settings.after, now) {
                state.returns.began(settings.cool_down, now);
                chosen = candidate;
            }
        }
        if let Some(uid) = chosen
            && let Some(pod) = self.pods.get(&uid).map(|entry| entry.pod.reference())
        {
            self.expect(&uid, Pending::Evicted);
            actions.push(Action::Evict { pod, reason: Reason::MoveBack });
        }
    }

    /// The revision's pod that may go home, if its base has room and a real node could take the successor.
    fn candidate(&self, id: &RevisionId) -> Option<PodUid> {
        let state = self.revisions.get(id)?;
        let has_hole = state.hole() > 0;
        if state.base().is_none() || !state.ledger.waiting.is_empty() || !has_hole && state.ledger.strayed.is_empty() {
            return None;
        }
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
        self.nodes.real_node_fits(&first.pod).then(|| first.pod.uid.clone())
    }
}

/// Who goes first: what serves nobody yet, then the youngest, then by name.
fn going_home(entry: &Entry) -> (bool, Reverse<Timestamp>, &ObjectName) {
    let is_ready = matches!(entry.pod.stage, Stage::Bound { ready: true, .. });
    (is_ready, Reverse(entry.pod.created), &entry.pod.name)
}
