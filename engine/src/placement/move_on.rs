//! Pods that no real node takes: after a while a pool may take them too.

use crate::{
    model::{PodUid, Tier},
    placement::{
        Placement,
        action::{Action, Reason},
        entry::{Entry, Pending},
        explain::Record,
        ledger::Role,
        place::{extras, short_cost},
        revision::RevisionState,
        tier::{Offer, Step, Walk, step_of_real},
    },
    policy::{EffectivePolicy, MoveOn, Place},
};

impl Placement {
    pub(super) fn move_on(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        let due = self.unschedulable.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = due.map(|(_, uid)| uid.clone()).collect();
        for uid in due {
            self.move_pod_on(&uid, actions);
        }
    }

    fn move_pod_on(&mut self, uid: &PodUid, actions: &mut Vec<Action>) {
        let Some(entry) = self.pods.get(uid) else { return };
        let Some(id) = entry.pod.revision.clone() else { return };
        let Some(state) = self.revisions.get(&id) else { return };
        let Some((step, move_on, policy)) = waits_for(entry, state) else { return };
        if policy.mode == crate::policy::Mode::Never || self.lifted(policy).is_some() {
            return;
        }
        let mut walk = Walk { offer: Offer::Wait, notes: Vec::new() };
        let patience = entry.moves_on_at.unwrap_or(self.now);
        self.walk_tiers(&id, state, policy, &entry.pod, step + 1, patience, &mut walk);
        let Offer::Tier(next) = walk.offer else { return };
        // A plain pod cannot be given other real nodes to select; it stays where it is.
        let Some(Place::Pool(pool)) = policy.tiers.get(next - 1).map(|tier| tier.place.clone()) else { return };
        let tier = if step == 0 { Tier::BaseShort(pool.clone()) } else { Tier::Burst(pool.clone()) };
        let (pod, extras) = (entry.pod.reference(), extras(policy, next, short_cost(next)));
        let reason = Reason::BaseShort { after: move_on.after, pool: pool.clone() };
        let Some(policy) = state.policy.clone() else { return };
        let record = Record { at: self.now, policy, notes: walk.notes };
        if let Some(state) = self.revisions.get_mut(&id) {
            state.returns.failed();
        }
        self.change_pod(uid, |entry| {
            entry.record = Some(record.into());
            entry.pending = Some(Pending::MovedOn(tier.clone()));
        });
        actions.push(Action::MoveOn { pod, pool, tier, extras, reason });
    }
}

/// The place that a pod waits for as a plain one, and how it may pass it.
pub(super) fn waits_for<'a>(entry: &Entry, state: &'a RevisionState) -> Option<(Step, MoveOn, &'a EffectivePolicy)> {
    let policy = state.enforced()?;
    let is_plain = entry.pending.is_none() && !matches!(entry.pod.tier, Some(Tier::BaseShort(_) | Tier::Burst(_)));
    let (step, move_on) = match (entry.standing.role, &entry.pod.tier) {
        (Role::Base, _) => (0, policy.move_on),
        (Role::Beyond, Some(Tier::Real(number))) => {
            let step = step_of_real(policy, *number)?;
            (step, policy.tiers.get(step - 1)?.move_on)
        }
        _ => return None,
    };
    (is_plain && move_on.short).then_some((step, move_on, policy))
}
