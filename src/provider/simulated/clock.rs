//! Time as the cloud counts it: since it was made.

use std::time::Duration;

use tokio::time::Instant;

/// A moment, as time since the cloud was made.
pub(super) type Moment = Duration;

/// Tells moments. Follows tokio's clock, so tests may pause and advance it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    pub(super) fn now(self) -> Moment {
        self.epoch.elapsed()
    }

    pub(super) fn instant(self, moment: Moment) -> Instant {
        self.epoch + moment
    }
}
