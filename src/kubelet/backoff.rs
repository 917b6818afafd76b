//! How long to wait after failures.

use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// Where only a person can help.
    pub(crate) const HOPELESS: Duration = Duration::from_mins(5);

    /// Longest wait before what a pod refers to is looked for again.
    pub(crate) const UNRESOLVED: Duration = Duration::from_secs(20);

    /// Doubles with every failure up to `most`; `seed` moves it by up to a quarter, so that those that failed together do not
    /// come back together.
    pub(crate) fn delay(&self, failures: u32, seed: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.most);
        let mixed = seed.wrapping_add(u64::from(failures)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
        doubled + doubled / 4 * u32::try_from(mixed % 1024).unwrap_or(0) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_seed() {
        let backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_mins(2) };
        let waits: Vec<_> = (1..20).map(|failures| backoff.delay(failures, 7)).collect();
        assert!(waits[0] >= backoff.first && waits[0] <= backoff.first * 5 / 4);
        assert!(waits[1] >= backoff.first * 2 && waits[18] >= backoff.most && waits[18] <= backoff.most * 5 / 4);
        assert_ne!(backoff.delay(9, 1), backoff.delay(9, 2));
    }
}
