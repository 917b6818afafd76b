//! Looks at a revision, so that a share is one of what is wanted now.
//!
//! Watches of two kinds keep no order between them: pods that a scale-out made may be seen before the ReplicaSet that
//! wants them, and a share of what was wanted before would send too few to the base. Whoever made a pod had seen what is
//! wanted, so a look that begins after the pod was seen finds that, or what has become of it since.

use crate::{
    model::{PodUid, RevisionId, Timestamp},
    placement::{Placement, action::Action, entry::Entry, event::Looked, place::LAG, revision::RevisionState},
};

/// How far a revision has been looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Pods that had been seen by then were seen before a look that was answered.
    until: u64,
    /// The look that is not answered yet: pods seen before it, and when it began.
    begun: Option<(u64, Timestamp)>,
}

impl Looks {
    fn answered(&mut self, arrivals: u64) {
        self.until = self.until.max(arrivals);
        self.begun = self.begun.filter(|(begun, _)| *begun > arrivals);
    }

    /// The clock was set back to this moment.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.begun = self.begun.map(|(arrivals, at)| (arrivals, at.min(now)));
    }

    /// Whether the look is due for this pod: one that stays unanswered is not waited for without end.
    fn covers(&self, arrival: u64, now: Timestamp) -> bool {
        let given_up = self.begun.filter(|(_, at)| now.since(*at) >= LAG);
        arrival <= self.until || given_up.is_some_and(|(until, _)| arrival <= until)
    }
}

impl Placement {
    /// Whether what the revision wants, and what those want that it shares with, was read since the pod was seen.
    pub(super) fn is_looked_at(&self, id: &RevisionId, state: &RevisionState, entry: &Entry) -> bool {
        let mut group = self.group(id, state).filter(|state| state.facts.is_some());
        group.all(|state| state.looks.covers(entry.arrival, self.now))
    }

    /// Has those that share with the revision looked at, one look at a time each, where they were not since the pod was
    /// seen: while one answer is awaited, those that came are not asked for again.
    pub(super) fn look(&mut self, id: &RevisionId, uid: &PodUid, actions: &mut Vec<Action>) {
        let (Some(state), Some(entry)) = (self.revisions.get(id), self.pods.get(uid)) else { return };
        let group = self.group(id, state).filter(|state| !state.looks.covers(entry.arrival, self.now));
        let group = group.filter_map(|state| state.facts.as_ref());
        let group: Vec<_> = group.map(|facts| (facts.id.clone(), facts.name.clone(), facts.controller)).collect();
        for (revision, name, controller) in group {
            let Some(state) = self.revisions.get_mut(&revision) else { continue };
            if state.looks.begun.is_none_or(|(_, at)| self.now.since(at) >= LAG) {
                let arrivals = self.arrivals;
                state.looks.begun = Some((arrivals, self.now));
                actions.push(Action::Look { revision, name, controller, arrivals });
            }
        }
    }

    pub(super) fn apply_look(&mut self, id: &RevisionId, arrivals: u64, found: Option<Looked>) {
        let Some(state) = self.revisions.get_mut(id) else { return };
        state.looks.answered(arrivals);
        if let (Some(facts), Some(Looked { wanted, generation })) = (&mut state.facts, found)
            && generation >= facts.generation
        {
            (facts.wanted, facts.generation) = (wanted, generation);
        }
        self.dirty.insert(id.clone());
        // Those that share with it may have waited for this one's answer.
        let workload = self.revisions.get(id).and_then(|state| state.facts.as_ref()?.workload.as_ref());
        let siblings = workload.and_then(|workload| self.siblings.get(workload)).into_iter().flatten();
        self.dirty.extend(siblings.filter(|id| self.waiting.contains(*id)).cloned());
    }
}
