//! Base, burst or wait: the decision for gated pods.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{Pod, PodUid, RevisionId, Stage, Timestamp},
    placement::{
        Placement,
        action::{Action, Extras, Placing, Reason},
        cap::Bound,
        entry::{Entry, Pending},
        event::Controller,
        explain::Record,
        fallback::as_written,
        reason::WhyReal,
        revision::RevisionState,
        tier::{Note, Offer, Said, Step, Told, Walk, real_number},
    },
    policy::{EffectivePolicy, Place},
};

/// How long a share's pods wait for their ReplicaSet's watch to catch up, at most.
pub(super) const LAG: Duration = Duration::from_secs(5);
/// Pods that wait for less are not told why: the write would cost more than it tells.
const SILENCE: Duration = Duration::from_secs(1);

/// What to do with a gated pod.
enum Verdict {
    /// Nothing governs it.
    Release,
    /// The share cannot be told before what is wanted was read afresh.
    Look,
    /// Its policy was asked.
    Walked(Arc<EffectivePolicy>, Walk),
    /// Nothing to do until something else happens.
    Rest,
}

impl Placement {
    /// Decides for the revision's gated pods, oldest first, until one has to wait.
    ///
    /// Reasons for waiting are told at ticks only, so that a flood of new pods is not gone through at each of them.
    pub(super) fn place_waiting(&mut self, id: &RevisionId, is_tick: bool, actions: &mut Vec<Action>) {
        self.waiting.remove(id);
        let mut passed_over = Vec::new();
        while let Some(uid) = self.next_in_turn(id, &passed_over) {
            match self.verdict(id, &uid) {
                Verdict::Release => self.release(&uid, actions),
                Verdict::Walked(policy, walk) => {
                    self.note_short(id, &walk);
                    if walk.offer != Offer::Wait {
                        self.place(id, &uid, &policy, walk, actions);
                        continue;
                    }
                    // A StatefulSet's pods are not alike: one of the base may come behind one that is not.
                    let controller = self.revisions.get(id).and_then(RevisionState::controller);
                    let are_alike = !matches!(controller, Some(Controller::StatefulSet { .. }));
                    if is_tick {
                        self.tell_waiting(id, (!are_alike).then_some(&uid), &policy, &walk, actions);
                    }
                    self.record_wait(id, policy, walk);
                    if are_alike {
                        break;
                    }
                    passed_over.push(uid);
                }
                Verdict::Look => {
                    self.look(id, &uid, actions);
                    break;
                }
                Verdict::Rest => break,
            }
        }
        if let Some(state) = self.revisions.get_mut(id) {
            if state.ledger.waiting.is_empty() {
                state.record = None;
                state.short_since.clear();
            } else {
                self.waiting.insert(id.clone());
            }
        }
    }

    /// Lets go of gated pods that nothing controls.
    pub(super) fn release_strangers(&mut self, actions: &mut Vec<Action>) {
        let due = |uid: &&PodUid| self.pods.get(*uid).is_some_and(|entry| entry.hold_until <= self.now);
        let strangers: Vec<_> = self.strangers.iter().filter(due).cloned().collect();
        for uid in strangers {
            self.release(&uid, actions);
        }
    }

    /// The oldest waiting pod that may be tried.
    fn next_in_turn(&self, id: &RevisionId, passed_over: &[PodUid]) -> Option<PodUid> {
        let state = self.revisions.get(id)?;
        let turns = state.ledger.waiting.iter().filter_map(|(_, _, uid)| self.pods.get(uid));
        let mut turns = turns.filter(|entry| entry.hold_until <= self.now && !passed_over.contains(&entry.pod.uid));
        // A policy that only observes may wait in thought, but keeps no gate.
        let is_gated = |entry: &&Entry| entry.pod.stage == Stage::Gated;
        let gated = if state.is_observed() { turns.clone().find(is_gated) } else { None };
        let next = gated.or_else(|| turns.next())?;
        Some(next.pod.uid.clone())
    }

    fn verdict(&self, id: &RevisionId, uid: &PodUid) -> Verdict {
        let (Some(state), Some(entry)) = (self.revisions.get(id), self.pods.get(uid)) else { return Verdict::Rest };
        if state.facts.is_none() {
            return Verdict::Rest;
        }
        let Some(policy) = &state.policy else { return Verdict::Release };
        if state.is_observed() && entry.pod.stage == Stage::Gated {
            return Verdict::Release;
        }
        if self.looks && !state.is_observed() {
            if policy.has_shares() && !self.is_looked_at(id, state, entry) && !planted!(ShareOutdated) {
                return Verdict::Look;
            }
        } else {
            let is_fresh = self.now.since(entry.pod.created) < LAG && entry.pod.created <= self.now.after(LAG);
            if is_fresh && self.lags(id, state, policy) {
                return Verdict::Rest;
            }
        }
        Verdict::Walked(policy.clone(), self.walk(id, state, policy, &entry.pod))
    }

    /// Whether a share cannot be told yet: more pods live than are known to be wanted.
    fn lags(&self, id: &RevisionId, state: &RevisionState, policy: &EffectivePolicy) -> bool {
        policy.has_shares() && {
            let (wanted, live) = self.group(id, state).fold((0_u64, 0_u64), |(wanted, live), state| {
                (wanted + u64::from(state.wanted()), live + state.ledger.live() as u64)
            });
            live > wanted
        }
    }

    /// Places that were short, and since when; those that took a pod are so no more.
    fn note_short(&mut self, id: &RevisionId, walk: &Walk) {
        let Some(state) = self.revisions.get_mut(id) else { return };
        for Note { step, said } in &walk.notes {
            if said.is_short() {
                state.short_since.entry(*step).or_insert(self.now);
            } else {
                state.short_since.remove(step);
            }
        }
    }

    fn release(&mut self, uid: &PodUid, actions: &mut Vec<Action>) {
        let Some(pod) = self.pods.get(uid).map(|entry| entry.pod.reference()) else { return };
        self.expect(uid, Pending::Placed(None));
        let (placing, extras, reason) = (Placing::Release, Extras::default(), Reason::Ungoverned);
        actions.push(Action::Place { pod, placing, extras, reason });
    }

    fn place(
        &mut self,
        id: &RevisionId,
        uid: &PodUid,
        policy: &Arc<EffectivePolicy>,
        walk: Walk,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.pods.get(uid) else { return };
        let pod = entry.pod.reference();
        let (placing, extras) = self.placing(policy, &walk.offer);
        let reason = self.reason(id, policy, &walk);
        let is_observed = self.revisions.get(id).is_some_and(RevisionState::is_observed);
        let record = Arc::new(Record { at: self.now, policy: policy.clone(), notes: walk.notes });
        self.change_pod(uid, |entry| {
            entry.record = Some(record);
            if is_observed {
                entry.imagined = placing.tier();
            } else {
                entry.pending = Some(Pending::Placed(placing.tier()));
            }
        });
        if !is_observed {
            actions.push(Action::Place { pod, placing, extras, reason });
        }
    }

    fn placing(&self, policy: &EffectivePolicy, offer: &Offer) -> (Placing, Extras) {
        let Offer::Tier(step) = *offer else { return (Placing::Base, Extras::default()) };
        let Some(tier) = policy.tiers.get(step - 1) else { return (Placing::Base, Extras::default()) };
        let placing = match &tier.place {
            Place::Pool(pool) => Placing::Burst { nodes: self.pools.open_nodes(pool), pool: pool.clone() },
            Place::Real { node_selector } => {
                Placing::Real { number: real_number(policy, step), node_selector: node_selector.clone() }
            }
        };
        (placing, extras(policy, step, burst_cost(step)))
    }

    fn reason(&self, id: &RevisionId, policy: &EffectivePolicy, walk: &Walk) -> Reason {
        let last = walk.notes.last().map(|note| &note.said);
        match (&walk.offer, last) {
            (Offer::Base, Some(Said::Base { number, of })) => Reason::Base { number: *number, of: *of },
            (Offer::Base, Some(Said::Real(why))) => Reason::Real(*why),
            (Offer::Tier(step), _) => match policy.tiers.get(step - 1).map(|tier| &tier.place) {
                Some(Place::Pool(pool)) => {
                    let bound = |state| Bound::of_base(policy.real_share(), self.wanted(id, state)).pods;
                    Reason::Burst { base: self.revisions.get(id).and_then(bound), pool: pool.clone() }
                }
                _ => Reason::Real(WhyReal::Tier(as_written(policy, *step))),
            },
            _ => Reason::Wait { obstacles: obstacles(policy, &walk.notes) },
        }
    }

    /// Keeps why the revision's next pod waits.
    fn record_wait(&mut self, id: &RevisionId, policy: Arc<EffectivePolicy>, walk: Walk) {
        if let Some(state) = self.revisions.get_mut(id) {
            state.record = Some(Arc::new(Record { at: self.now, policy, notes: walk.notes }));
        }
    }

    /// Writes the reason onto the waiting pods (or the `only` one that it is true of) that do not show it yet.
    fn tell_waiting(
        &mut self,
        id: &RevisionId,
        only: Option<&PodUid>,
        policy: &EffectivePolicy,
        walk: &Walk,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.revisions.get(id).filter(|state| !state.is_observed()) else { return };
        let reason = Reason::Wait { obstacles: obstacles(policy, &walk.notes) };
        let text: Arc<str> = reason.to_string().into();
        let now = self.now;
        let due = state.ledger.waiting.iter().take_while(|(created, ..)| now.since(*created) >= SILENCE);
        for (_, _, uid) in due.filter(|(_, _, uid)| only.is_none_or(|only| only == uid)) {
            if let Some(entry) = self.pods.get_mut(uid)
                && entry.told.as_ref() != Some(&text)
            {
                entry.told = Some(text.clone());
                actions.push(Action::Explain { pod: entry.pod.reference(), reason: reason.clone() });
            }
        }
    }
}

/// Burst pods go first at scale-in, and those of later tiers first among them.
pub(super) fn burst_cost(step: Step) -> i32 {
    -100_i32.saturating_mul(i32::try_from(step).unwrap_or(i32::MAX))
}

/// Pods of the base that may use a pool go after burst pods and before the base proper.
pub(super) fn short_cost(step: Step) -> i32 {
    -49 - i32::try_from(step).unwrap_or(i32::MAX).min(50)
}

/// What a pod of this step gets.
pub(super) fn extras(policy: &EffectivePolicy, step: Step, deletion_cost: i32) -> Extras {
    let tier = step.checked_sub(1).and_then(|index| policy.tiers.get(index));
    let (labels, annotations) = tier.map(|tier| (tier.labels.clone(), tier.annotations.clone())).unwrap_or_default();
    Extras { labels, annotations, deletion_cost: Some(deletion_cost) }
}

/// What each place said, in order; the same clause once.
pub(super) fn obstacles(policy: &EffectivePolicy, notes: &[Note]) -> Box<str> {
    let mut clauses = Vec::<String>::with_capacity(notes.len());
    for note in notes {
        let clause = Told(policy, note).to_string();
        if !clauses.contains(&clause) {
            clauses.push(clause);
        }
    }
    clauses.join("; ").into()
}

/// The moment from which a pod's cost counts where it is seen away for the first time.
pub(super) fn began(pod: &Pod) -> Timestamp {
    pod.decided.unwrap_or(pod.created)
}
