//! Moments of a sync: nanoseconds from the scenario's start, on either side of it.

use std::time::Duration;

use super::arithmetic::nanoseconds;
use crate::model::Timestamp;

/// A moment, in nanoseconds from a simulation's start; negative ones lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(i64);

impl Moment {
    /// The start itself.
    pub const START: Self = Self(0);

    const SECOND: i64 = 1_000_000_000;

    /// The moment so many whole seconds from the start.
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(Self::SECOND))
    }

    /// The moment so many seconds from the start, to the nearest nanosecond.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self(nanoseconds(seconds))
    }

    /// This moment and `wait` after it.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// `wait` before this moment.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The whole second at or before it: the API keeps no fractions.
    #[must_use]
    pub fn whole_second(self) -> Self {
        Self(self.0.div_euclid(Self::SECOND).saturating_mul(Self::SECOND))
    }

    /// Whether `window` has passed since this moment. A sync takes a moment, so an age of exactly `window` is past it.
    pub(super) fn is_past(self, window: Duration, now: Self) -> bool {
        self.after(window) <= now
    }
}

impl From<Timestamp> for Moment {
    fn from(moment: Timestamp) -> Self {
        Self(i64::try_from(moment.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_cut_downwards_on_both_sides_of_the_start() {
        assert_eq!(Moment::from_secs_f64(1.9).whole_second(), Moment::from_secs(1));
        assert_eq!(Moment::from_secs_f64(-1.1).whole_second(), Moment::from_secs(-2));
        assert_eq!(Moment::from_secs(-2).whole_second(), Moment::from_secs(-2));
    }

    #[test]
    fn an_age_of_exactly_the_window_is_past_it() {
        let window = Duration::from_mins(5);
        assert!(Moment::default().is_past(window, Moment::from_secs(300)));
        assert!(!Moment::default().is_past(window, Moment::from_secs(299)));
    }
}
