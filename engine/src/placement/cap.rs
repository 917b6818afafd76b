//! How much a place takes: sums of pods, and the bounds on them.

use std::ops::{Add, AddAssign, SubAssign};

use crate::{
    model::{MilliCpu, Resources},
    policy::{Base, Cap},
};

/// Some pods, and what they request together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) pods: u64,
    pub(super) requests: Resources,
}

impl Sum {
    /// One pod.
    pub(super) fn one(requests: Resources) -> Self {
        Self { pods: 1, requests }
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.pods += other.pods;
        self.requests += other.requests;
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl SubAssign for Sum {
    fn sub_assign(&mut self, other: Self) {
        self.pods = self.pods.saturating_sub(other.pods);
        self.requests -= other.requests;
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), Add::add)
    }
}

/// A cap with its percentage worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bound {
    pub(super) pods: Option<u64>,
    pub(super) cpu: Option<u64>,
    pub(super) memory: Option<u64>,
}

impl Bound {
    /// The base of so many wanted replicas: a percentage rounds up.
    pub(super) fn of_base(cap: Cap, wanted: u32) -> Self {
        let round = |pods: Base| if planted!(ShareRoundsDown) { pods.at_most(wanted) } else { pods.of(wanted) };
        Self { pods: cap.pods.map(|pods| round(pods).into()), ..Self::of_resources(cap) }
    }

    /// A tier of so many wanted replicas: a percentage rounds down.
    pub(super) fn of_tier(cap: Cap, wanted: u32) -> Self {
        Self { pods: cap.pods.map(|pods| pods.at_most(wanted).into()), ..Self::of_resources(cap) }
    }

    fn of_resources(cap: Cap) -> Self {
        Self { pods: None, cpu: cap.cpu.map(|MilliCpu(milli)| milli), memory: cap.memory.map(|bytes| bytes.0) }
    }

    /// How many more pods that each request `each` it takes beside those that are there.
    pub(super) fn room(self, used: Sum, each: Resources) -> u64 {
        let of = |bound: Option<u64>, used: u64, each: u64| {
            // What asks for nothing always fits; else a bound that was exceeded has no room.
            bound.map_or(u64::MAX, |bound| bound.saturating_sub(used).checked_div(each).unwrap_or(u64::MAX))
        };
        of(self.pods, used.pods, 1).min(of(self.cpu, used.requests.cpu.0, each.cpu.0)).min(of(
            self.memory,
            used.requests.memory.0,
            each.memory.0,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Bytes,
        policy::{Base, Cap},
    };

    fn pods(pods: u64, milli: u64) -> Sum {
        Sum { pods, requests: Resources { cpu: MilliCpu(milli), memory: Bytes(milli) } }
    }

    #[test]
    fn the_tightest_bound_decides() {
        let cap = Cap { pods: Some(Base::count(5)), cpu: Some(MilliCpu(1_000)), memory: None };
        let each = Resources { cpu: MilliCpu(300), memory: Bytes(1) };
        let bound = Bound::of_tier(cap, 100);
        assert_eq!(bound.room(Sum::default(), each), 3);
        assert_eq!(bound.room(pods(4, 100), each), 1);
        assert_eq!(bound.room(pods(1, 800), each), 0);
        assert_eq!(bound.room(pods(9, 2_000), each), 0, "exceeded, as after a change of the policy");
        assert_eq!(Bound::default().room(pods(9, 2_000), each), u64::MAX);
    }

    #[test]
    fn half_a_base_and_half_a_tier_make_a_whole() {
        let half = Cap::pods("50%".parse().unwrap());
        for wanted in 0..20 {
            let (base, tier) = (Bound::of_base(half, wanted), Bound::of_tier(half, wanted));
            assert_eq!(base.pods.unwrap() + tier.pods.unwrap(), u64::from(wanted));
        }
    }
}
