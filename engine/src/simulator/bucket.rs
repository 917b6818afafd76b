//! A client's limit on its requests: so many a second, so many at once.

use crate::{model::Timestamp, simulator::setup::RateLimit};

/// A token bucket that tells when the next request may go; requests wait in line, as those of client-go do.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: Option<RateLimit>,
    /// When the bucket will be full again, in microseconds.
    full_at: u64,
}

impl Bucket {
    pub(super) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, full_at: 0 }
    }

    /// Takes a token and answers when the request goes.
    pub(super) fn take(&mut self, now: Timestamp) -> Timestamp {
        let Some(RateLimit { per_second, burst }) = self.limit else { return now };
        let now_micros = now.as_millis() * 1_000;
        let each = 1_000_000 / u64::from(per_second.get());
        self.full_at = self.full_at.max(now_micros) + each;
        let goes = self.full_at.saturating_sub(each * u64::from(burst.max(1)));
        now.max(Timestamp::from_millis(goes.div_ceil(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(NonZeroU32::new(20).map(|per_second| RateLimit { per_second, burst: 3 }));
        let mut take = |millis| bucket.take(Timestamp::from_millis(millis)).as_millis();
        assert_eq!(
            [take(1_000), take(1_000), take(1_000), take(1_000), take(1_000)],
            [1_000, 1_000, 1_000, 1_050, 1_100]
        );
        assert_eq!([take(9_000), take(9_000)], [9_000, 9_000]);
        assert_eq!(Bucket::new(None).take(Timestamp::from_millis(5)).as_millis(), 5);
    }
}
