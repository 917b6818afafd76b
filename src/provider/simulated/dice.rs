//! Chance that is the same in every run with the same seed.

use std::time::Duration;

/// `SplitMix64`: small, good enough for latencies and failures, and stable across versions.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// True in `per_mille` of 1,000 cases.
    pub(crate) fn chance(&mut self, per_mille: u16) -> bool {
        self.roll() % 1000 < u64::from(per_mille)
    }

    /// A duration of the range, both ends included.
    pub(crate) fn between(&mut self, min: Duration, max: Duration) -> Duration {
        let span = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX - 1);
        min + Duration::from_nanos(if span == 0 { 0 } else { self.roll() % (span + 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same() {
        let (mut a, mut b) = (Dice::new(7), Dice::new(7));
        let range = (Duration::from_millis(10), Duration::from_millis(20));
        for _ in 0..100 {
            let drawn = a.between(range.0, range.1);
            assert_eq!(drawn, b.between(range.0, range.1));
            assert!(range.0 <= drawn && drawn <= range.1);
        }
    }

    #[test]
    fn chance_keeps_its_share() {
        let mut dice = Dice::new(1);
        let hits = (0..10_000).filter(|_| dice.chance(250)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!(!dice.chance(0));
        assert!(dice.chance(1000));
    }
}
