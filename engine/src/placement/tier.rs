//! The order of places: a pod is offered to the base, then to each tier, until one takes it or says to wait.

use std::{fmt, time::Duration};

use crate::{
    model::{Pod, PoolName, RevisionId, Timestamp},
    placement::{
        Placement,
        budget::{Account, Spent},
        cap::{Bound, Sum},
        event::Controller,
        fallback::{as_written, head, is_fallback, leads_on},
        ledger::Slot,
        pools::Obstacle,
        reason::WhyReal,
        revision::RevisionState,
    },
    policy::{EffectivePolicy, Exhausted, MoveOn, Place, Spend, TierRule, Waiting},
};

/// A place in the policy's order: 0 is the base, 1 the first tier.
pub(super) type Step = usize;

/// What came of offering a pod to its policy's places.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) offer: Offer,
    /// What each place said, in order, up to the one that took the pod or makes it wait.
    pub(super) notes: Vec<Note>,
}

/// Where a pod may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offer {
    Base,
    Tier(Step),
    /// Nowhere now.
    Wait,
}

/// What a place said to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) step: Step,
    pub(super) said: Said,
}

/// A place's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It is the base's: the number of the pod, and of how many.
    Base { number: u64, of: u64 },
    /// Real nodes take it all the same.
    Real(WhyReal),
    /// A tier takes it.
    Takes,
    /// The base holds as many as it may.
    BaseFull { of: Option<u64> },
    /// The tier holds as many as it may.
    Full { used: Sum, of: Option<u64> },
    /// No real node has room.
    NoRealRoom,
    /// The pool cannot take it now.
    Short(Obstacle),
    /// The pool can never take it.
    Never(Box<str>),
    /// The budget allows no more.
    Spent(Box<str>),
    /// No place is left.
    NoPlace,
}

impl Said {
    /// Whether time may change it, so that the pod waits for it before it passes on.
    pub(super) fn is_short(&self) -> bool {
        matches!(self, Self::NoRealRoom | Self::Short(_))
    }

    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Base { .. } | Self::Real(_) | Self::Takes)
    }
}

impl Placement {
    /// Offers the pod to the base and the tiers.
    pub(super) fn walk(&self, id: &RevisionId, state: &RevisionState, policy: &EffectivePolicy, pod: &Pod) -> Walk {
        let mut walk = Walk { offer: Offer::Wait, notes: Vec::with_capacity(policy.tiers.len() + 1) };
        let said = self.base_says(id, state, policy, pod);
        let is_taken = said.is_taken();
        let is_short = said.is_short();
        walk.notes.push(Note { step: 0, said });
        // A creation that seems to lie ahead is another clock's.
        let mut patience = if pod.created > self.now { Timestamp::default() } else { pod.created };
        if is_taken {
            walk.offer = Offer::Base;
            return walk;
        }
        if is_short && !self.passes_short(policy.move_on, 0, state, &mut patience) {
            return walk;
        }
        self.walk_tiers(id, state, policy, pod, 1, patience, &mut walk);
        walk
    }

    /// Offers the pod to the tiers from this step on.
    #[expect(clippy::too_many_arguments, reason = "one walk, begun in two places")]
    pub(super) fn walk_tiers(
        &self,
        id: &RevisionId,
        state: &RevisionState,
        policy: &EffectivePolicy,
        pod: &Pod,
        from: Step,
        mut patience: Timestamp,
        walk: &mut Walk,
    ) {
        let mut may_fall_back = false;
        for index in from - 1..policy.tiers.len() {
            let index = if planted!(TiersReversed) { policy.tiers.len() + from - 2 - index } else { index };
            let (step, tier) = (index + 1, &policy.tiers[index]);
            if is_fallback(policy, step) && !may_fall_back {
                continue;
            }
            let said = self.tier_says(id, state, policy, step, tier, pod);
            may_fall_back = leads_on(policy, step, &said);
            let passes = match &said {
                _ if may_fall_back && is_fallback(policy, step + 1) => true,
                Said::Full { .. } => tier.move_on.full,
                // The tier's time begins when its own pool fell short.
                _ if may_fall_back || said.is_short() => {
                    self.passes_short(tier.move_on, head(policy, step), state, &mut patience)
                }
                Said::Never(_) => true,
                _ => false,
            };
            let is_taken = said.is_taken();
            walk.notes.push(Note { step, said });
            if is_taken {
                walk.offer = Offer::Tier(step);
            }
            if !passes {
                return;
            }
        }
        if policy.tiers.is_empty() {
            walk.notes.push(Note { step: 1, said: Said::NoPlace });
        }
    }

    /// Whether the pod has waited long enough for a short place. Each place is waited for in turn: its time begins
    /// when the place fell short, and not before the pod had passed the one before.
    fn passes_short(&self, move_on: MoveOn, step: Step, state: &RevisionState, patience: &mut Timestamp) -> bool {
        if !move_on.short {
            return false;
        }
        if move_on.after == Duration::ZERO || planted!(ShortPassedAtOnce) {
            return true;
        }
        let begin = state.short_since.get(&step).copied().unwrap_or(self.now).max(*patience);
        *patience = begin.after(move_on.after);
        self.now >= *patience
    }

    fn base_says(&self, id: &RevisionId, state: &RevisionState, policy: &EffectivePolicy, pod: &Pod) -> Said {
        let bound = Bound::of_base(policy.real_share(), self.wanted(id, state));
        let used = self.used(id, state, &Slot::Base);
        let (has_room, number) = match state.controller() {
            // A StatefulSet's ordinals say who is of the base, whatever the order in which its pods come.
            Some(Controller::StatefulSet { first }) if !planted!(OrdinalsIgnored) => {
                let ordinal = u64::from(pod.ordinal().unwrap_or_default().saturating_sub(first));
                (ordinal < bound.room(Sum::default(), pod.requests), ordinal + 1)
            }
            _ if planted!(BaseOneTooMany) && used.pods > 0 => {
                let less = Sum { pods: used.pods - 1, ..used };
                (bound.room(less, pod.requests) > 0, used.pods + 1)
            }
            _ => (bound.room(used, pod.requests) > 0, used.pods + 1),
        };
        if !has_room {
            return match self.lifted(policy) {
                Some(why) => Said::Real(why),
                None => Said::BaseFull { of: bound.pods },
            };
        }
        if policy.move_on.waiting == Waiting::Gated && !self.nodes.have_room(pod, self.unbound_base(state) + 1) {
            return Said::NoRealRoom;
        }
        match (bound.pods, policy.mode) {
            (Some(of), _) => Said::Base { number, of },
            (None, crate::policy::Mode::Never) => Said::Real(WhyReal::Never),
            (None, crate::policy::Mode::WhenFull) => Said::Real(WhyReal::First),
            (None, _) => Said::Real(WhyReal::WithinResources),
        }
    }

    fn tier_says(
        &self,
        id: &RevisionId,
        state: &RevisionState,
        policy: &EffectivePolicy,
        step: Step,
        tier: &TierRule,
        pod: &Pod,
    ) -> Said {
        let bound = Bound::of_tier(tier.cap, self.wanted(id, state));
        let used = self.used_with_fallbacks(id, state, policy, step);
        if bound.room(used, pod.requests) == 0 && !planted!(CapIgnored) {
            return Said::Full { used, of: bound.pods };
        }
        match &tier.place {
            Place::Real { node_selector } => {
                let is_gated = tier.move_on.waiting == Waiting::Gated;
                let needed = self.unbound_base(state) + 1;
                let is_short = is_gated && !self.nodes.have_room_where(pod, node_selector, needed);
                if is_short { Said::NoRealRoom } else { Said::Takes }
            }
            Place::Pool(pool) => self.pool_says(policy, pool, pod, state),
        }
    }

    fn pool_says(&self, policy: &EffectivePolicy, pool: &PoolName, pod: &Pod, state: &RevisionState) -> Said {
        if let Some(obstacle) = &pod.virtual_obstacle {
            return Said::Never(obstacle.clone());
        }
        if let Some(lack) = self.pools.lack(pool, &pod.needs) {
            return Said::Never(format!("pool {pool} cannot take it: {lack}").into());
        }
        if let Some(unpriced) = self.unpriced(policy, pool) {
            return Said::Never(unpriced);
        }
        if let Some(Spent(spent)) = self.spent(policy) {
            return Said::Spent(spent);
        }
        if let Some(Spent(spent)) = self.accounts.spent_of_pool(pool, &self.pools, self.now) {
            return Said::Short(Obstacle::Spent(spent));
        }
        match self.pools.obstacle(pool, pod.requests, state.is_observed()) {
            Some(obstacle) => Said::Short(obstacle),
            None => Said::Takes,
        }
    }

    /// Why no bound on the base holds now, if so.
    pub(super) fn lifted(&self, policy: &EffectivePolicy) -> Option<WhyReal> {
        if !policy.is_in_window(self.now) && !planted!(WindowIgnored) {
            return Some(WhyReal::OutsideWindows);
        }
        let goes_real = policy.budget.as_ref().is_some_and(|budget| budget.exhausted == Exhausted::Real);
        (goes_real && self.spent(policy).is_some()).then_some(WhyReal::BudgetSpent)
    }

    /// Which part of the policy's budget is spent, if one is.
    pub(super) fn spent(&self, policy: &EffectivePolicy) -> Option<Spent> {
        let budget = policy.budget.as_ref().filter(|_| !planted!(BudgetIgnored))?;
        self.accounts.spent(&Account::Policy(policy.name.clone()), budget, &self.pools, self.now)
    }

    /// A budget in money cannot be kept where a pool's price is not known in its currency.
    fn unpriced(&self, policy: &EffectivePolicy, pool: &PoolName) -> Option<Box<str>> {
        let budget = policy.budget.as_ref()?;
        let limits = [&budget.per_hour, &budget.per_day].into_iter().flatten();
        let mut money = limits.filter_map(|limit| if let Spend::Money(money) = limit { Some(money) } else { None });
        let price = self.pools.price(pool);
        let missing = money.find(|money| price.is_none_or(|price| price.currency() != money.currency()))?;
        let currency = missing.currency();
        Some(format!("pool {pool} has no price in {currency}, in which the budget is").into())
    }

    /// The replicas that percentages are of: what is wanted, or what lives if that is more, because the watch of the
    /// one may lag behind the other's.
    pub(super) fn wanted(&self, id: &RevisionId, state: &RevisionState) -> u32 {
        let all = self.group(id, state);
        let (wanted, live) = all.fold((0_u32, 0_usize), |(wanted, live), state| {
            (wanted.saturating_add(state.wanted()), live + state.ledger.live())
        });
        wanted.max(u32::try_from(live).unwrap_or(u32::MAX))
    }

    /// What counts against the cap of a place, in the revision, or in all that share one base.
    pub(super) fn used(&self, id: &RevisionId, state: &RevisionState, slot: &Slot) -> Sum {
        let count = state.policy.as_ref().map(|policy| policy.count).unwrap_or_default();
        self.group(id, state).map(|state| state.ledger.used(slot, count)).sum()
    }

    /// Pods that were sent to real nodes and stand on none yet: they take the same room.
    fn unbound_base(&self, state: &RevisionState) -> usize {
        let sent = state.ledger.base.iter().chain(&state.ledger.beyond).filter_map(|uid| self.pods.get(uid));
        sent.filter(|entry| entry.pod.node().is_none()).count()
    }
}

/// What pods of this step count against.
pub(super) fn slot(policy: &EffectivePolicy, step: Step) -> Slot {
    match step.checked_sub(1).and_then(|index| policy.tiers.get(index)).map(|tier| &tier.place) {
        None => Slot::Base,
        Some(Place::Pool(pool)) => Slot::Pool(pool.clone()),
        Some(Place::Real { .. }) => Slot::Real(real_number(policy, step)),
    }
}

/// Which of the policy's tiers on real nodes this step is, from 0.
pub(super) fn real_number(policy: &EffectivePolicy, step: Step) -> u8 {
    let before = policy.tiers.iter().take(step.saturating_sub(1));
    let real = before.filter(|tier| matches!(tier.place, Place::Real { .. })).count();
    u8::try_from(real).unwrap_or(u8::MAX)
}

/// The step of the policy's tier on real nodes with this number.
pub(super) fn step_of_real(policy: &EffectivePolicy, number: u8) -> Option<Step> {
    let mut real = (1..=policy.tiers.len())
        .filter(|step| matches!(policy.tiers.get(step - 1).map(|tier| &tier.place), Some(Place::Real { .. })));
    real.nth(usize::from(number))
}

/// The name of a place, for people.
pub(super) fn place_name(policy: &EffectivePolicy, step: Step) -> String {
    let tier = step.checked_sub(1).and_then(|index| policy.tiers.get(index));
    match tier.map(|tier| (&tier.place, &tier.falls_back_from)) {
        None => "base".to_owned(),
        Some((Place::Pool(pool), None)) => format!("pool {pool}"),
        Some((Place::Pool(pool), Some(from))) => format!("pool {pool} (fallback of {from})"),
        Some((Place::Real { .. }, _)) => format!("tier {} (real nodes)", as_written(policy, step)),
    }
}

/// A note as a clause, told of a place of this policy.
pub(super) struct Told<'a>(pub(super) &'a EffectivePolicy, pub(super) &'a Note);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(policy, Note { step, said }) = self;
        let place = || place_name(policy, *step);
        match said {
            Said::Base { number, of } => write!(f, "{number} of {of} of the base"),
            Said::Real(why) => write!(f, "{why}"),
            Said::Takes => write!(f, "{} has room", place()),
            Said::BaseFull { of: Some(of) } => write!(f, "the base of {of} is full"),
            Said::BaseFull { of: None } => f.write_str("the base is full"),
            Said::Full { used, of: Some(of) } => write!(f, "{} has {} of {of} pods", place(), used.pods),
            Said::Full { used, of: None } => {
                write!(f, "{} has its CPU or memory ({}m CPU)", place(), used.requests.cpu.0)
            }
            Said::NoRealRoom => f.write_str("no real node has room"),
            Said::Short(obstacle) => write!(f, "{} {obstacle}", place()),
            Said::Never(why) | Said::Spent(why) => f.write_str(why),
            Said::NoPlace => f.write_str("no pool is configured"),
        }
    }
}
