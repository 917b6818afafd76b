//! When calls to one side stop, and how it is found out that they may go on: the decision alone.
//!
//! Every pod backs off by itself after its own failures. Where many fail for a reason that they share (no answer, server
//! errors, throttling, keys refused), each of thousands of pods would still try in turn, and find out what the others
//! have. After [`TRIP`] such failures in a row no further call is begun; from time to time, one alone is let through, and
//! the first that the other side answers, with whatever, lets all go on. What is let through is a call that is wanted
//! anyway and safe to repeat, so that trying costs no pod anything.

use std::time::Duration;

use super::{backoff::Backoff, sync::Moment};

/// Failures in a row after which calls stop.
const TRIP: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct Breaker {
    pauses: Backoff,
    /// Moves the pauses, so that many pools do not try at one time.
    seed: u64,
    /// Failures in a row, up to [`TRIP`].
    streak: u32,
    /// Pauses since calls stopped.
    paused: u32,
    until: Moment,
    trips: u64,
}

impl Breaker {
    pub(crate) fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { pauses: Backoff { first, most }, seed, streak: 0, paused: 0, until: Moment::ZERO, trips: 0 }
    }

    /// Whether another call may begin, where `in_flight` are under way.
    pub(crate) fn takes(&self, now: Moment, in_flight: usize) -> bool {
        !self.is_open() || (in_flight == 0 && now >= self.until)
    }

    /// When a call is let through although the others are stopped; `None` where none is.
    pub(crate) fn tries_at(&self) -> Option<Moment> {
        self.is_open().then_some(self.until)
    }

    /// The other side has answered a call.
    pub(crate) fn answered(&mut self) {
        (self.streak, self.paused) = (0, 0);
    }

    /// A call failed for a reason that the others share; the other side asked for a pause of `after`.
    pub(crate) fn failed(&mut self, now: Moment, after: Option<Duration>) {
        if self.is_open() && now < self.until {
            // Begun before the calls stopped.
            return;
        }
        let was_open = self.is_open();
        self.streak = (self.streak + 1).min(TRIP);
        if !self.is_open() {
            return;
        }
        self.trips += u64::from(!was_open);
        self.paused = self.paused.saturating_add(1);
        self.until = now + self.pauses.delay(self.paused, self.seed).max(after.unwrap_or_default());
    }

    /// How many times calls have stopped.
    pub(crate) fn trips(&self) -> u64 {
        self.trips
    }

    fn is_open(&self) -> bool {
        self.streak >= TRIP
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_secs(5);
    const MOST: Duration = Duration::from_mins(1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open(at: Duration) -> Breaker {
        let mut breaker = Breaker::new(FIRST, MOST, 0);
        (0..TRIP).for_each(|_| breaker.failed(at, None));
        breaker
    }

    #[test]
    fn failures_in_a_row_stop_calls_and_an_answer_between_them_does_not() {
        let mut breaker = Breaker::new(FIRST, MOST, 0);
        for _ in 0..100 {
            (1..TRIP).for_each(|_| breaker.failed(seconds(1), None));
            assert!(breaker.takes(seconds(1), 63));
            breaker.answered();
        }
        assert_eq!(breaker.trips(), 0);
        let breaker = open(seconds(1));
        assert!(!breaker.takes(seconds(2), 0));
        assert_eq!(breaker.trips(), 1);
    }

    #[test]
    fn one_call_alone_is_let_through_and_its_answer_lets_all_go_on() {
        let mut breaker = open(seconds(0));
        let tries = breaker.tries_at().unwrap();
        assert!(tries >= FIRST && tries <= FIRST * 5 / 4, "{tries:?}");
        assert!(breaker.takes(tries, 0) && !breaker.takes(tries, 1));
        breaker.failed(tries, None);
        let next = breaker.tries_at().unwrap();
        assert!(next >= tries + FIRST * 2, "{next:?}");
        breaker.answered();
        assert!(breaker.takes(next, 63) && breaker.tries_at().is_none());
    }

    #[test]
    fn calls_begun_before_the_stop_make_no_pause_longer() {
        let mut breaker = open(seconds(0));
        let tries = breaker.tries_at();
        (0..64).for_each(|_| breaker.failed(seconds(1), None));
        assert_eq!(breaker.tries_at(), tries);
    }

    #[test]
    fn the_pause_that_the_other_side_asks_for_is_kept() {
        let mut breaker = Breaker::new(FIRST, MOST, 0);
        (0..TRIP).for_each(|_| breaker.failed(seconds(0), Some(seconds(300))));
        assert_eq!(breaker.tries_at(), Some(seconds(300)));
    }

    proptest! {
        #[test]
        fn whatever_happened_a_call_is_let_through_within_the_longest_pause(
            seed in any::<u64>(),
            events in prop::collection::vec((any::<bool>(), 0_u64..90), 0..200),
        ) {
            let mut breaker = Breaker::new(FIRST, MOST, seed);
            let mut now = Duration::ZERO;
            for (fails, later) in events {
                now += seconds(later);
                if fails { breaker.failed(now, None) } else { breaker.answered() }
                prop_assert!(breaker.tries_at().is_none_or(|at| at <= now + MOST * 5 / 4));
                prop_assert!(breaker.takes(now + MOST * 5 / 4, 0));
            }
        }
    }
}
