//! Time as an emulator counts it: the machine's, and what the admin endpoint adds to it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A moment, as time since the emulator was started, jumps included.
pub type Moment = Duration;

/// Tells moments to the instances, and the time of day to signatures and stamps.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    began_at: jiff::Timestamp,
    jumped: Mutex<Duration>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), began_at: jiff::Timestamp::now(), jumped: Mutex::default() }
    }
}

impl Clock {
    /// The moment by which instances live.
    pub fn now(&self) -> Moment {
        self.began.elapsed() + *self.jumped()
    }

    /// Lets the instances' clock jump forward.
    pub fn advance(&self, by: Duration) {
        *self.jumped() += by;
    }

    /// The time of day that a request is judged by; jumps do not count.
    pub fn wall(&self) -> jiff::Timestamp {
        self.stamp(self.began.elapsed())
    }

    /// A moment as time of day.
    pub fn stamp(&self, moment: Moment) -> jiff::Timestamp {
        self.began_at.saturating_add(moment).unwrap_or(self.began_at)
    }

    fn jumped(&self) -> MutexGuard<'_, Duration> {
        self.jumped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
