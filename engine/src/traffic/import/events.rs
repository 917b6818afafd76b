//! Requests counted one by one, in any order, in bounded memory.

use std::{collections::BTreeMap, time::Duration};

use super::ImportError;
use crate::{
    model::Timestamp,
    traffic::{Recording, RecordingError, Step},
};

/// Steps that are tried, in milliseconds; each holds a whole number of the one before.
const STEPS: [u64; 8] = [1000, 5000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 86_400_000];

/// More steps than these, and the next longer step is taken: twelve days of seconds, two years of minutes.
const MOST: u64 = 1 << 20;

/// Rows that are earlier than a row before. The counts do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disorder {
    /// How many rows.
    pub rows: u64,
    /// Line of the first.
    pub line: u64,
    /// How far back the worst lies.
    pub most: Duration,
}

/// Counts requests in steps. Without a step that is asked for, steps are seconds, and longer ones where the trace is
/// too long for seconds: memory does not grow with the trace.
#[derive(Debug)]
pub(super) struct Events {
    step: u64,
    is_asked: bool,
    counts: BTreeMap<u64, u64>,
    /// The step counted last, not yet in `counts`.
    current: Option<(u64, u64)>,
    first: u64,
    last: u64,
    latest: u64,
    disorder: Option<Disorder>,
}

impl Events {
    pub(super) fn new(step: Option<Step>) -> Self {
        Self {
            step: step.map_or(STEPS[0], Step::as_millis),
            is_asked: step.is_some(),
            counts: BTreeMap::new(),
            current: None,
            first: u64::MAX,
            last: 0,
            latest: 0,
            disorder: None,
        }
    }

    /// Counts one request at `at` milliseconds, told of in `line`.
    pub(super) fn count(&mut self, at: u64, line: u64) -> Result<(), ImportError> {
        if at < self.latest {
            let back = Duration::from_millis(self.latest - at);
            let disorder = self.disorder.get_or_insert(Disorder { rows: 0, line, most: Duration::ZERO });
            disorder.rows += 1;
            disorder.most = disorder.most.max(back);
        }
        self.latest = self.latest.max(at);
        match &mut self.current {
            Some((step, count)) if at / self.step == *step => *count += 1,
            _ => {
                self.put_away();
                self.current = Some((at / self.step, 1));
            }
        }
        if at < self.first || at > self.last {
            (self.first, self.last) = (self.first.min(at), self.last.max(at));
            self.keep_bounded()?;
        }
        Ok(())
    }

    fn put_away(&mut self) {
        if let Some((step, count)) = self.current.take() {
            *self.counts.entry(step).or_default() += count;
        }
    }

    fn steps(&self) -> u64 {
        (self.last / self.step) - (self.first / self.step) + 1
    }

    fn keep_bounded(&mut self) -> Result<(), ImportError> {
        let most = if self.is_asked { Recording::MOST_STEPS } else { MOST };
        while self.steps() > most {
            let longer = STEPS.into_iter().find(|step| *step > self.step);
            let Some(longer) = longer.filter(|_| !self.is_asked) else {
                let span = Duration::from_millis(self.last - self.first);
                let step = Duration::from_millis(self.step);
                return Err(RecordingError::TooLong { span, step, steps: self.steps() }.into());
            };
            self.put_away();
            let factor = longer / self.step;
            let mut counts = BTreeMap::new();
            for (step, count) in &self.counts {
                *counts.entry(step / factor).or_default() += count;
            }
            (self.counts, self.step) = (counts, longer);
        }
        Ok(())
    }

    /// The counts, and what was out of order; None where nothing was counted.
    pub(super) fn finish(mut self, is_clock: bool) -> Result<Option<(Recording, Option<Disorder>)>, ImportError> {
        self.put_away();
        let (Some(&first), Some(&last)) = (self.counts.keys().next(), self.counts.keys().next_back()) else {
            return Ok(None);
        };
        let count = |step| f64::from(u32::try_from(self.counts.get(&step).copied().unwrap_or(0)).unwrap_or(u32::MAX));
        let requests = (first..=last).map(count).collect();
        let start = is_clock.then(|| Timestamp::from_millis(first * self.step));
        let step =
            Step::new(Duration::from_millis(self.step)).map_err(|error| ImportError::Asked(error.to_string()))?;
        Ok(Some((Recording::new(start, step, requests)?, self.disorder)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(times: &[u64], step: Option<Step>) -> (Recording, Option<Disorder>) {
        let mut events = Events::new(step);
        for (line, at) in (1..).zip(times) {
            events.count(*at, line).unwrap();
        }
        events.finish(true).unwrap().unwrap()
    }

    #[test]
    fn requests_are_counted_in_seconds_whatever_their_order() {
        let (recording, disorder) = counted(&[5100, 7000, 5900, 7001], None);
        assert_eq!((recording.requests(), recording.start().unwrap().as_millis()), (&[2.0, 0.0, 2.0][..], 5000));
        assert_eq!(disorder, Some(Disorder { rows: 1, line: 3, most: Duration::from_millis(1100) }));
        assert_eq!(counted(&[5100, 5900, 7000, 7001], None), (recording, None));
    }

    #[test]
    fn a_long_trace_takes_longer_steps_and_no_more_memory() {
        let day = 86_400_000;
        let times: Vec<u64> = (0..400).map(|index| index * day).collect();
        let (recording, _) = counted(&times, None);
        assert_eq!((recording.step().as_millis(), recording.requests().len()), (60_000, 399 * 1440 + 1));
        assert!((recording.total() - 400.0).abs() < 1e-9);
        let mut far = times.clone();
        far.reverse();
        assert_eq!(counted(&far, None).0, recording, "the steps depend on the order");
    }

    #[test]
    fn an_asked_step_is_kept_or_refused() {
        let minute = Step::new(Duration::from_mins(1)).unwrap();
        assert_eq!(counted(&[0, 59_999, 60_000], Some(minute)).0.requests(), [2.0, 1.0]);
        let mut events = Events::new(Some(Step::SECOND));
        events.count(0, 1).unwrap();
        assert!(events.count(Recording::MOST_STEPS * 1000, 2).is_err());
    }
}
