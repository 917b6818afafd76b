//! Recordings: requests counted in steps of one length.

use std::time::Duration;

use super::{Factor, Rate, Traffic};
use crate::model::Timestamp;

/// The length of one step: whole milliseconds, up to a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(u64);

/// Why a duration is no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no step; allowed are whole milliseconds from 1ms to 1day")]
pub struct StepError(Duration);

impl Step {
    /// One second.
    pub const SECOND: Self = Self(1000);

    /// A quarter of a minute, at which HPAs look and much is scraped.
    pub const QUARTER_MINUTE: Self = Self(15_000);

    /// One minute.
    pub const MINUTE: Self = Self(60_000);

    /// A step as long as `length`.
    pub fn new(length: Duration) -> Result<Self, StepError> {
        let millis = u64::try_from(length.as_millis()).ok();
        let whole = millis.filter(|millis| (1..=86_400_000).contains(millis));
        whole.filter(|millis| Duration::from_millis(*millis) == length).map(Self).ok_or(StepError(length))
    }

    /// Its length.
    pub fn length(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Its length in milliseconds.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    fn seconds(self) -> f64 {
        self.length().as_secs_f64()
    }
}

/// Requests counted from `from` until `to`, in milliseconds on any one clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) requests: f64,
}

/// Requests in steps of one length, one step after the other without a hole: what importing makes of any source, and
/// what a traffic file holds. [`Recording::traffic`] is what a workload meets.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    start: Option<Timestamp>,
    step: Step,
    /// Requests of each step; at least one, none negative, none above [`Rate::MAX`].
    requests: Vec<f64>,
}

/// Why something cannot be done with a recording.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecordingError {
    /// Nothing is left of it.
    #[error("nothing of the recording lies there: it lasts {0:?}")]
    Empty(Duration),
    /// More steps than are handled.
    #[error("{span:?} in steps of {step:?} are {steps} steps; at most {most} are handled: use a longer step, or a part of it", most = Recording::MOST_STEPS)]
    TooLong {
        /// How long it would be.
        span: Duration,
        /// The step.
        step: Duration,
        /// How many.
        steps: u64,
    },
    /// A step has no possible count.
    #[error("step {index} has {requests} requests; allowed are 0 to {per_second} a second", per_second = Rate::MAX.per_second())]
    Requests {
        /// Which step, from 0.
        index: usize,
        /// What it has.
        requests: f64,
    },
    /// Recordings to be added up do not overlap.
    #[error("the recordings have no moment in common; add them up from their starts instead")]
    Apart,
    /// Some recordings to be added up say when they were made, others do not.
    #[error("some of the recordings know the time of day, others do not; add them up from their starts instead")]
    NoClock,
}

/// How recordings that are added up lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// By the time of day and date; what they have in common is kept.
    Clock,
    /// All begin at once; what the shortest covers is kept.
    Start,
}

impl Recording {
    /// Steps that are handled at most: 48 days of seconds, 8 years of minutes.
    pub const MOST_STEPS: u64 = 1 << 22;

    /// A recording of `requests` in each step, the first of which began at `start`, where that is known.
    pub fn new(start: Option<Timestamp>, step: Step, requests: Vec<f64>) -> Result<Self, RecordingError> {
        let most = Rate::MAX.per_second() * step.seconds();
        if requests.is_empty() {
            return Err(RecordingError::Empty(Duration::ZERO));
        }
        check_length(step, to_u64(requests.len()).saturating_mul(step.0))?;
        match requests.iter().enumerate().find(|(_, requests)| !(0.0..=most).contains(*requests)) {
            Some((index, &requests)) => Err(RecordingError::Requests { index, requests }),
            // Adding zero turns -0 into 0.
            None => Ok(Self { start, step, requests: requests.into_iter().map(|requests| requests + 0.0).collect() }),
        }
    }

    /// What was counted in `spans`, in the order of time, laid out in steps from the start of the first one. A span that
    /// crosses steps is shared out evenly over its time; what begins a last step and does not fill it is left out.
    pub(super) fn of_spans(is_clock: bool, step: Step, spans: &[Span]) -> Result<Self, RecordingError> {
        let (Some(first), Some(end)) = (spans.first(), spans.iter().map(|span| span.to).max()) else {
            return Err(RecordingError::Empty(Duration::ZERO));
        };
        let whole = end.saturating_sub(first.from) / step.0 * step.0;
        if whole == 0 {
            return Err(RecordingError::Empty(Duration::from_millis(end.saturating_sub(first.from))));
        }
        let mut requests = vec![0.0; check_length(step, whole)?];
        for span in spans {
            share_out(*span, first.from, step, &mut requests);
        }
        Self::new(is_clock.then(|| Timestamp::from_millis(first.from)), step, requests)
    }

    /// When the first step began, where that is known.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// The length of a step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Requests of each step.
    pub fn requests(&self) -> &[f64] {
        &self.requests
    }

    /// From the start of the first step to the end of the last.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.millis())
    }

    /// All requests.
    pub fn total(&self) -> f64 {
        self.requests.iter().sum()
    }

    /// The lowest, the mean and the highest rate of a step.
    pub fn rates(&self) -> (Rate, Rate, Rate) {
        let lowest = self.requests.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.requests.iter().copied().fold(0.0, f64::max);
        let rate = |requests: f64, seconds: f64| Rate::new(requests / seconds).unwrap_or(Rate::MAX);
        let step = self.step.seconds();
        (rate(lowest, step), rate(self.total(), self.duration().as_secs_f64()), rate(highest, step))
    }

    /// What a workload meets: each step's rate, and the last one's from then on.
    pub fn traffic(&self) -> Traffic {
        let seconds = self.step.seconds();
        let rate = |requests: f64| Rate::new(requests / seconds).unwrap_or(Rate::MAX);
        let starts = (0..).map(|index: u64| Duration::from_millis(index * self.step.0));
        let mut rows: Vec<_> = starts.zip(self.requests.iter().map(|requests| rate(*requests))).collect();
        let last = self.requests.last().map_or(Rate::ZERO, |requests| rate(*requests));
        rows.push((self.duration(), last));
        Traffic::of_checked(rows)
    }

    /// The same traffic in steps: without a `step`, in the longest that keeps every row.
    pub fn of_traffic(traffic: &Traffic, step: Option<Step>) -> Result<Self, RecordingError> {
        let spans: Vec<Span> = traffic.spans().collect();
        let common = spans.iter().fold(0, |common, span| greatest_divisor(common, span.to));
        let step = step.unwrap_or(Step(common.clamp(1, 86_400_000)));
        Self::of_spans(false, step, &spans)
    }

    /// The same requests, `factor` times as many.
    #[must_use]
    pub fn scaled(mut self, factor: Factor) -> Self {
        let most = Rate::MAX.per_second() * self.step.seconds();
        for requests in &mut self.requests {
            *requests = (*requests * factor.get()).min(most);
        }
        self
    }

    /// The same requests in other steps. A step that is cut in pieces is shared out evenly; a last step that is not
    /// full is left out, because its rate would be too low.
    pub fn in_steps(&self, step: Step) -> Result<Self, RecordingError> {
        if step == self.step {
            return Ok(self.clone());
        }
        let steps = self.millis() / step.0;
        if steps == 0 {
            return Err(RecordingError::Empty(self.duration()));
        }
        check_length(step, steps * step.0)?;
        let mut requests = vec![0.0; usize::try_from(steps).unwrap_or(usize::MAX)];
        self.spans().for_each(|span| share_out(span, 0, step, &mut requests));
        Self::new(self.start, step, requests)
    }

    /// The part from the offset `from` until the offset `to`, widened to whole steps.
    pub fn part(&self, from: Duration, to: Duration) -> Result<Self, RecordingError> {
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.requests.len());
        let first = index(millis(from) / self.step.0);
        let end = index(millis(to).div_ceil(self.step.0));
        if first >= end {
            return Err(RecordingError::Empty(self.duration()));
        }
        let start = self.start.map(|start| start.after(Duration::from_millis(to_u64(first) * self.step.0)));
        Self::new(start, self.step, self.requests[first..end].to_vec())
    }

    /// All of `recordings` together, in steps of the longest step among them.
    pub fn together(recordings: &[Self], align: Align) -> Result<Self, RecordingError> {
        let starts: Vec<u64> = match align {
            Align::Start => vec![0; recordings.len()],
            Align::Clock => recordings
                .iter()
                .map(|recording| recording.start.map(Timestamp::as_millis))
                .collect::<Option<_>>()
                .ok_or(RecordingError::NoClock)?,
        };
        let step = recordings.iter().map(|recording| recording.step).max().unwrap_or(Step::SECOND);
        let begin = starts.iter().copied().max().unwrap_or(0);
        let ends = recordings.iter().zip(&starts).map(|(recording, start)| start + recording.millis());
        let steps = ends.min().unwrap_or(0).saturating_sub(begin) / step.0;
        if steps == 0 {
            return Err(RecordingError::Apart);
        }
        let mut requests = vec![0.0; usize::try_from(steps).unwrap_or(usize::MAX)];
        for (recording, start) in recordings.iter().zip(&starts) {
            for span in recording.spans() {
                let at = |offset: u64| start + offset;
                share_out(Span { from: at(span.from), to: at(span.to), ..span }, begin, step, &mut requests);
            }
        }
        Self::new((align == Align::Clock).then(|| Timestamp::from_millis(begin)), step, requests)
    }

    fn millis(&self) -> u64 {
        to_u64(self.requests.len()) * self.step.0
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        let step = self.step.0;
        let starts = (0..).map(move |index: u64| index * step);
        starts.zip(&self.requests).map(move |(from, requests)| Span { from, to: from + step, requests: *requests })
    }
}

/// How many steps cover `span` milliseconds.
fn check_length(step: Step, span: u64) -> Result<usize, RecordingError> {
    let steps = span.div_ceil(step.0);
    if steps > Recording::MOST_STEPS {
        return Err(RecordingError::TooLong { span: Duration::from_millis(span), step: step.length(), steps });
    }
    Ok(usize::try_from(steps).unwrap_or(usize::MAX))
}

/// Adds what `span` counted to the steps from `begin` on; what lies outside of them is dropped.
fn share_out(span: Span, begin: u64, step: Step, requests: &mut [f64]) {
    let (from, to) = (span.from.max(begin), span.to);
    if from >= to {
        return;
    }
    let index = |at: u64| usize::try_from((at - begin) / step.0).unwrap_or(usize::MAX);
    let (first, last) = (index(from), index(to - 1));
    let length = Duration::from_millis(span.to - span.from).as_secs_f64();
    for (index, count) in requests.iter_mut().enumerate().take(last.saturating_add(1)).skip(first) {
        let opens = begin + to_u64(index) * step.0;
        let part = to.min(opens + step.0) - from.max(opens);
        // A span in one step adds exactly what it counted.
        let is_whole = part == span.to - span.from;
        let share = if is_whole { 1.0 } else { Duration::from_millis(part).as_secs_f64() / length };
        *count += span.requests * share;
    }
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(seconds: u64) -> Step {
        Step::new(Duration::from_secs(seconds)).unwrap()
    }

    fn recording(start: Option<u64>, seconds: u64, requests: &[f64]) -> Recording {
        let start = start.map(|seconds| Timestamp::from_millis(seconds * 1000));
        Recording::new(start, step(seconds), requests.to_vec()).unwrap()
    }

    #[test]
    fn a_step_is_whole_milliseconds_up_to_a_day() {
        for length in [Duration::ZERO, Duration::from_micros(1500), Duration::from_secs(86_401)] {
            assert!(Step::new(length).is_err(), "{length:?}");
        }
        assert_eq!(Step::new(Duration::from_hours(24)).unwrap().as_millis(), 86_400_000);
    }

    #[test]
    fn a_recording_becomes_the_rates_that_a_workload_meets() {
        let traffic = recording(None, 60, &[60.0, 120.0, 30.0]).traffic();
        let at = |seconds| traffic.rate_at(Duration::from_secs(seconds));
        let expected = [1.0, 1.0, 2.0, 0.5, 0.5].map(|rate| Rate::new(rate).unwrap());
        assert_eq!([at(0), at(59), at(60), at(179), at(999)], expected);
        assert_eq!(traffic.duration(), Duration::from_mins(3));
    }

    #[test]
    fn traffic_comes_back_as_it_was_recorded() {
        let before = recording(None, 5, &[10.0, 0.0, 7.0, 7.0]);
        assert_eq!(Recording::of_traffic(&before.traffic(), None).unwrap(), before);
        let uneven = Traffic::from_csv("seconds,requests_per_second\n0,1\n1.5,2\n4,0\n").unwrap();
        let steps = Recording::of_traffic(&uneven, None).unwrap();
        assert_eq!((steps.step().as_millis(), steps.requests().len(), steps.total()), (500, 8, 6.5));
    }

    #[test]
    fn other_steps_keep_the_requests() {
        let minutes = recording(Some(60), 60, &[60.0, 120.0]);
        let longer = minutes.in_steps(step(120)).unwrap();
        assert_eq!((longer.requests(), longer.start()), (&[180.0][..], minutes.start()));
        assert_eq!(minutes.in_steps(step(30)).unwrap().requests(), [30.0, 30.0, 60.0, 60.0]);
        assert_eq!(minutes.in_steps(step(40)).unwrap().requests(), [40.0, 60.0, 80.0]);
        // 120 s in steps of 50 s: the last one would be 20 s long.
        assert_eq!(minutes.in_steps(step(50)).unwrap().requests(), [50.0, 90.0]);
        assert!(minutes.in_steps(step(121)).is_err());
    }

    #[test]
    fn a_part_knows_when_it_began() {
        let whole = recording(Some(1000), 10, &[1.0, 2.0, 3.0, 4.0]);
        let part = whole.part(Duration::from_secs(15), Duration::from_secs(30)).unwrap();
        assert_eq!((part.requests(), part.start()), (&[2.0, 3.0][..], Some(Timestamp::from_millis(1_010_000))));
        let none = whole.part(Duration::from_secs(40), Duration::from_secs(50)).unwrap_err();
        assert_eq!(none.to_string(), "nothing of the recording lies there: it lasts 40s");
    }

    #[test]
    fn recordings_add_up_by_the_clock_or_from_their_starts() {
        let (a, b) = (recording(Some(100), 10, &[1.0, 2.0, 3.0]), recording(Some(110), 10, &[10.0, 20.0, 30.0]));
        let by_clock = Recording::together(&[a.clone(), b.clone()], Align::Clock).unwrap();
        assert_eq!((by_clock.requests(), by_clock.start().unwrap().as_millis()), (&[12.0, 23.0][..], 110_000));
        let by_start = Recording::together(&[a.clone(), b], Align::Start).unwrap();
        assert_eq!((by_start.requests(), by_start.start()), (&[11.0, 22.0, 33.0][..], None));
        let later = recording(Some(900), 10, &[1.0]);
        assert_eq!(Recording::together(&[a.clone(), later], Align::Clock), Err(RecordingError::Apart));
        assert_eq!(Recording::together(&[a, recording(None, 10, &[1.0])], Align::Clock), Err(RecordingError::NoClock));
    }

    #[test]
    fn a_recording_is_neither_negative_nor_endless() {
        let new = |requests| Recording::new(None, step(1), requests).unwrap_err().to_string();
        assert_eq!(new(vec![1.0, -1.0]), "step 1 has -1 requests; allowed are 0 to 1000000000 a second");
        assert_eq!(new(vec![f64::NAN]), "step 0 has NaN requests; allowed are 0 to 1000000000 a second");
        let many = usize::try_from(Recording::MOST_STEPS).unwrap() + 1;
        assert!(new(vec![0.0; many]).starts_with("4194305s in steps of 1s are 4194305 steps; at most 4194304 are"));
    }
}
