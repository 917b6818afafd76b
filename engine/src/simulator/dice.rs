//! All that is random in a run, from one seed.
//!
//! Each roll is a function of the seed, of what is rolled for, and of whose number comes: splitmix64's mixing of these
//! three. So no roll depends on the order of others, and a change to one pod leaves the luck of all others alone.

use std::time::Duration;

use crate::simulator::setup::Latency;

/// What is rolled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    StartUp = 1,
    ReadyAfter,
    Boot,
    Reclaim,
    ReclaimWave,
    Victim,
    Retry,
}

/// The seeded dice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice {
    seed: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// A number for `which`, evenly spread.
    pub(super) fn roll(self, purpose: Purpose, which: u64) -> u64 {
        mix(mix(self.seed ^ (purpose as u64) << 56).wrapping_add(which))
    }

    /// Whether something of so many chances in a million happens.
    pub(super) fn happens(self, purpose: Purpose, which: u64, per_million: u32) -> bool {
        (u128::from(self.roll(purpose, which)) * 1_000_000) >> 64 < u128::from(per_million)
    }

    /// How long it takes `which`.
    pub(super) fn latency(self, latency: &Latency, purpose: Purpose, which: u64) -> Duration {
        latency.at(self.roll(purpose, which))
    }
}

/// The output function of splitmix64 (Steele, Lea, Flood 2014), its constant step included.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let outputs = [0, 1].map(|index: u64| mix(1_234_567_u64.wrapping_add(step.wrapping_mul(index))));
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn chances_are_met_and_purposes_differ() {
        let dice = Dice::new(7);
        let met = (0..100_000).filter(|which| dice.happens(Purpose::Reclaim, *which, 250_000)).count();
        assert!((24_000..26_000).contains(&met), "{met}");
        assert_ne!(dice.roll(Purpose::Reclaim, 1), dice.roll(Purpose::StartUp, 1));
        assert_ne!(Dice::new(8).roll(Purpose::Reclaim, 1), dice.roll(Purpose::Reclaim, 1));
    }
}
