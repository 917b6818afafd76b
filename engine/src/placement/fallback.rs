//! A pool's fallbacks: they stand for it while it is short, within the cap of its tier.
//!
//! ```text
//!   written:    eci (max 5) ──────────────────> real
//!   spelt out:  eci (max 5) ─short─> kci ─short─> aci ─short, moveOn─> real      eci falls back to kci, kci to aci
//!                    └──────── max 5 for all three ────────┘
//! ```
//!
//! A fallback is asked at once, whatever the tier's `moveOn`, which holds for all of them together: it is the pool's
//! owner who says that another may stand for it. A pool that the policy names itself stands where it names it, and
//! ends the way.

use crate::{
    model::RevisionId,
    placement::{
        Placement,
        cap::Sum,
        revision::RevisionState,
        tier::{Said, Step, slot},
    },
    policy::{EffectivePolicy, Place, TierRule},
};

impl Placement {
    /// The policy with its pools' fallbacks as tiers behind them.
    pub(super) fn with_fallbacks(&self, mut policy: EffectivePolicy) -> EffectivePolicy {
        let named: Vec<_> = policy.tiers.iter().filter_map(|tier| pool_of(tier).cloned()).collect();
        let mut tiers = Vec::with_capacity(policy.tiers.len());
        for tier in std::mem::take(&mut policy.tiers) {
            let chain = pool_of(&tier).map(|pool| self.pools.fallbacks(pool)).unwrap_or_default();
            let head = tier.clone();
            tiers.push(tier);
            let mut from = pool_of(&head).cloned();
            for pool in chain.into_iter().take_while(|pool| !named.contains(pool)) {
                let falls_back_from = from.replace(pool.clone());
                tiers.push(TierRule { place: Place::Pool(pool), falls_back_from, ..head.clone() });
            }
        }
        policy.tiers = tiers;
        policy
    }

    /// What counts against a tier's cap: its own pods, and those of the fallbacks and the pool that they stand for.
    pub(super) fn used_with_fallbacks(
        &self,
        id: &RevisionId,
        state: &RevisionState,
        policy: &EffectivePolicy,
        step: Step,
    ) -> Sum {
        let head = head(policy, step);
        let others = (head + 1..=policy.tiers.len()).take_while(|step| is_fallback(policy, *step));
        std::iter::once(head).chain(others).map(|step| self.used(id, state, &slot(policy, step))).sum()
    }
}

fn pool_of(tier: &TierRule) -> Option<&crate::model::PoolName> {
    if let Place::Pool(pool) = &tier.place { Some(pool) } else { None }
}

/// Whether the tier stands for the one before.
pub(super) fn is_fallback(policy: &EffectivePolicy, step: Step) -> bool {
    let tier = step.checked_sub(1).and_then(|index| policy.tiers.get(index));
    tier.is_some_and(|tier| tier.falls_back_from.is_some())
}

/// The written tier that this one stands for, or itself.
pub(super) fn head(policy: &EffectivePolicy, step: Step) -> Step {
    let mut head = step;
    while is_fallback(policy, head) {
        head -= 1;
    }
    head
}

/// Whether a fallback may be asked after this answer. One that can never take the pod changes nothing for those it
/// stands for.
pub(super) fn leads_on(policy: &EffectivePolicy, step: Step, said: &Said) -> bool {
    said.is_short() || is_fallback(policy, step) && matches!(said, Said::Never(_))
}

/// The tier's number among those that were written, from 1.
pub(super) fn as_written(policy: &EffectivePolicy, step: Step) -> Step {
    step - (1..=step).filter(|step| is_fallback(policy, *step)).count()
}
