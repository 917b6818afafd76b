//! Calls kept within what a cloud allows: a token bucket, a pause that the cloud asked for, and a circuit breaker.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// How often something may be called, as clouds publish it: `burst` at once, then `per_second`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Calls that may be made at once after a pause.
    pub burst: u32,
    /// Calls a second in the long run.
    pub per_second: f64,
}

impl Rate {
    /// `burst` at once, then `per_second`.
    pub const fn new(burst: u32, per_second: f64) -> Self {
        Self { burst, per_second }
    }

    /// So many a minute, with a burst of a twentieth of them.
    pub fn per_minute(calls: u32) -> Self {
        Self { burst: (calls / 20).max(1), per_second: f64::from(calls) / 60.0 }
    }
}

/// Lets callers pass at a [`Rate`], in the order in which they came.
#[derive(Debug)]
pub struct Bucket {
    /// Time that one call takes.
    interval: Duration,
    /// How far the next slot may lie in the past: what the burst is worth.
    tolerance: Duration,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    /// When the next call is due, were calls evenly spread.
    next: Instant,
    held_until: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate.per_second.max(1e-6));
        let tolerance = interval.saturating_mul(rate.burst.max(1) - 1);
        let now = Instant::now();
        Self { interval, tolerance, slots: Mutex::new(Slots { next: now, held_until: now }) }
    }

    /// Waits until a call may be made.
    pub async fn take(&self) {
        loop {
            let slot = self.reserve(Instant::now());
            sleep_until(slot).await;
            // A pause may have been asked for meanwhile.
            let held_until = self.slots().held_until;
            if held_until <= Instant::now() {
                return;
            }
            sleep_until(held_until).await;
        }
    }

    /// Takes a token if there is one, and tells otherwise how long it will be until there is.
    pub fn try_take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut slots = self.slots();
        let due = slots.next.checked_sub(self.tolerance).unwrap_or(now).max(slots.held_until);
        if due > now {
            return Err(due - now);
        }
        slots.next = slots.next.max(now) + self.interval;
        Ok(())
    }

    /// Nobody passes for `pause`: the cloud has throttled a call.
    pub fn hold(&self, pause: Duration) {
        let mut slots = self.slots();
        slots.held_until = slots.held_until.max(Instant::now() + pause);
    }

    fn reserve(&self, now: Instant) -> Instant {
        let mut slots = self.slots();
        let start = slots.next.max(now).max(slots.held_until);
        let due = slots.next.checked_sub(self.tolerance).unwrap_or(now).max(now).max(slots.held_until);
        slots.next = start + self.interval;
        due
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures in a row after which a cloud counts as out.
const TRIPS_AFTER: u32 = 5;
/// First pause before a cloud that is out is tried again; it doubles up to [`LONGEST_BREAK`].
const FIRST_BREAK: Duration = Duration::from_secs(2);
const LONGEST_BREAK: Duration = Duration::from_secs(30);

/// Stops calling a cloud that does not answer, and lets one call at a time find out whether it is back.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<BreakerState>,
}

#[derive(Debug, Default)]
struct BreakerState {
    failures: u32,
    open_until: Option<Instant>,
    pause: Duration,
}

impl Breaker {
    /// Whether a call may be made now; otherwise how long until one may.
    pub fn check(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut state = self.state();
        match state.open_until {
            Some(until) if until > now => Err(until - now),
            Some(_) => {
                // This call probes; others wait for its outcome, or for as long again.
                state.open_until = Some(now + state.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The cloud answered, be it with a refusal.
    pub fn answered(&self) {
        *self.state() = BreakerState::default();
    }

    /// The cloud did not answer.
    pub fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= TRIPS_AFTER {
            state.pause = (state.pause * 2).clamp(FIRST_BREAK, LONGEST_BREAK);
            state.open_until = Some(Instant::now() + state.pause);
        }
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let bucket = Bucket::new(Rate::new(100, 20.0));
        let began = Instant::now();
        for _ in 0..100 {
            bucket.take().await;
        }
        assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
        for _ in 0..40 {
            bucket.take().await;
        }
        assert!((1950..2100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_passes_while_the_cloud_asked_for_a_pause() {
        let bucket = Bucket::new(Rate::new(10, 10.0));
        bucket.hold(Duration::from_secs(3));
        let began = Instant::now();
        assert!(bucket.try_take().is_err());
        bucket.take().await;
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cloud_that_is_out_is_probed_by_one_call_at_a_time() {
        let breaker = Breaker::default();
        for _ in 0..TRIPS_AFTER {
            assert_eq!(breaker.check(), Ok(()));
            breaker.failed();
        }
        assert_eq!(breaker.check(), Err(FIRST_BREAK));
        tokio::time::sleep(FIRST_BREAK).await;
        assert_eq!(breaker.check(), Ok(()));
        assert!(breaker.check().is_err());
        breaker.answered();
        assert_eq!(breaker.check(), Ok(()));
    }
}
