//! Values over time: what they count, and the holes between them.

use std::time::Duration;

use super::{Fault, FaultKind, Faults, ImportError, Place};
use crate::{
    model::Timestamp,
    traffic::{Rate, Recording, Step, in_utc, recording::Span},
};

/// Values that are held at most: half a year of seconds is more than a source is asked for.
const MOST: usize = 1 << 24;

/// What the values of a trace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Requests within the interval that begins at the row's time.
    Counts,
    /// Requests per second from the row's time until the next row's (or any level that is to stand for them).
    Rates,
    /// All requests so far: only differences count, and a fall is a restart from 0.
    Counters,
    /// None: each row is one request.
    Events,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: u64,
    value: f64,
    number: u32,
}

/// One series: the values of one place to measure.
#[derive(Debug)]
pub(super) struct Series {
    values: Values,
    /// Which series of an answer it is; None for the lines of a table.
    index: Option<u64>,
    points: Vec<Point>,
    is_clock: bool,
}

/// What a series counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) spans: Vec<Span>,
    /// Falls of a counter.
    pub(super) resets: u64,
}

impl Series {
    pub(super) fn new(values: Values, index: Option<u64>, is_clock: bool) -> Self {
        Self { values, index, points: Vec::new(), is_clock }
    }

    pub(super) fn of_clock(&mut self, is_clock: bool) {
        self.is_clock = is_clock;
    }

    fn place(&self, number: u64) -> Place {
        self.index.map_or(Place::Line(number), |series| Place::Value { series, value: number })
    }

    fn time(&self, at: u64) -> String {
        if self.is_clock { in_utc(Timestamp::from_millis(at)) } else { format!("{:?}", Duration::from_millis(at)) }
    }

    /// Adds the value of row `number`.
    pub(super) fn push(&mut self, at: u64, value: f64, number: u64, faults: &mut Faults) -> Result<(), ImportError> {
        if let Some(previous) = self.points.last().filter(|previous| at < previous.at) {
            let fault = Fault::Order { time: self.time(at), previous: self.time(previous.at) };
            faults.meet(self.place(number), fault)?;
        }
        if self.points.len() == MOST {
            return Err(ImportError::TooMuch { most: MOST, what: "values" });
        }
        self.points.push(Point { at, value, number: u32::try_from(number).unwrap_or(u32::MAX) });
        Ok(())
    }

    /// In the order of time, each time once. `merges` adds up values of one time without calling it a fault.
    pub(super) fn settle(&mut self, merges: bool, faults: &mut Faults) -> Result<(), ImportError> {
        // Stable: rows of one time stay in the order of the file.
        self.points.sort_by_key(|point| point.at);
        let way = if merges { Some("sum") } else { faults.way(FaultKind::Duplicates) };
        let mut settled: Vec<Point> = Vec::with_capacity(self.points.len());
        for point in &self.points {
            match settled.last_mut().filter(|last| last.at == point.at) {
                None => settled.push(*point),
                Some(last) => {
                    if !merges {
                        let fault = Fault::Duplicate { time: self.time(point.at) };
                        faults.meet(self.place(point.number.into()), fault)?;
                    }
                    match way {
                        Some("sum") => last.value += point.value,
                        Some("last") => *last = *point,
                        _ => {}
                    }
                }
            }
        }
        self.points = settled;
        Ok(())
    }

    /// Milliseconds between neighbours.
    pub(super) fn differences(&self) -> impl Iterator<Item = u64> {
        self.points.windows(2).map(|pair| pair[1].at - pair[0].at)
    }

    /// What was counted between the points, holes repaired; each interval is `interval` long, or shorter where the next
    /// point comes early.
    pub(super) fn count(&self, interval: u64, faults: &mut Faults) -> Result<Counted, ImportError> {
        let mut counted = Counted::default();
        for pair in self.points.windows(2) {
            let (here, next) = (pair[0], pair[1]);
            let missing = missing(next.at - here.at, interval);
            if missing > 0 {
                let fault = Fault::Gap { missing, after: self.time(here.at) };
                faults.meet_many(self.place(next.number.into()), fault, missing)?;
            }
            let way = faults.way(FaultKind::Gaps).filter(|_| missing > 0);
            if self.values == Values::Counters {
                self.count_counter(here, next, missing, way, &mut counted)?;
                continue;
            }
            let end = if missing > 0 { here.at + interval } else { next.at };
            counted.spans.push(self.span(here.at, end, here.value, interval));
            let hole = (next.at - end).checked_div(missing).unwrap_or(0);
            for index in 0..missing {
                let from = end + index * hole;
                let to = if index + 1 == missing { next.at } else { from + hole };
                let value = match way {
                    Some("hold") => here.value,
                    Some("interpolate") => between(here.value, next.value, index + 1, missing + 1),
                    _ => 0.0,
                };
                counted.spans.push(self.span(from, to, value, interval));
            }
        }
        if let Some(last) = self.points.last().filter(|_| self.values != Values::Counters) {
            counted.spans.push(self.span(last.at, last.at + interval, last.value, interval));
        }
        Ok(counted)
    }

    fn count_counter(
        &self,
        here: Point,
        next: Point,
        missing: u64,
        way: Option<&str>,
        counted: &mut Counted,
    ) -> Result<(), ImportError> {
        if missing > 0 && matches!(way, Some("zero" | "hold")) {
            let place = self.place(next.number.into());
            return Err(ImportError::Asked(format!(
                "{place}: a counter tells how much came in a gap, so gaps=interpolate alone can mend it"
            )));
        }
        let has_fallen = next.value < here.value;
        counted.resets += u64::from(has_fallen);
        let requests = if has_fallen { next.value } else { next.value - here.value };
        counted.spans.push(Span { from: here.at, to: next.at, requests });
        Ok(())
    }

    /// What `value` says of the time between.
    fn span(&self, from: u64, to: u64, value: f64, interval: u64) -> Span {
        let length = |millis| Duration::from_millis(millis).as_secs_f64();
        let requests = match self.values {
            Values::Rates => value * length(to - from),
            _ if to - from == interval => value,
            // A count whose interval a neighbour cuts short, or a repaired one of another length, keeps its rate.
            _ => value * length(to - from) / length(interval),
        };
        Span { from, to, requests }
    }
}

/// How many intervals are missing between points that are `difference` apart.
fn missing(difference: u64, interval: u64) -> u64 {
    // Up to half an interval late is late, not missing.
    if difference * 2 <= interval * 3 { 0 } else { (difference + interval / 2) / interval - 1 }
}

fn between(from: f64, to: f64, index: u64, of: u64) -> f64 {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    from + (to - from) * number(index) / number(of)
}

/// The interval of a trace: the commonest difference if half of all are it, else the median, rounded to a usual one if
/// that is within a twentieth of it (clocks drift).
pub(super) fn interval(mut differences: Vec<u64>) -> Option<u64> {
    const USUAL: [u64; 17] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 21_600, 86_400];
    differences.retain(|difference| *difference > 0);
    differences.sort_unstable();
    let median = *differences.get(differences.len().checked_sub(1)? / 2)?;
    let commonest =
        differences.chunk_by(|a, b| a == b).max_by_key(|chunk| (chunk.len(), std::cmp::Reverse(chunk[0])))?;
    if commonest.len() * 2 >= differences.len() {
        return Some(commonest[0]);
    }
    let usual = USUAL.iter().map(|seconds| seconds * 1000).find(|usual| usual.abs_diff(median) * 20 <= *usual);
    Some(usual.unwrap_or(median))
}

/// What any number of series counted, holes repaired, and the interval that is one for all.
pub(super) fn count_all(
    series: &mut [Series],
    asked: Option<u64>,
    faults: &mut Faults,
) -> Result<(Counted, u64), ImportError> {
    for series in &mut *series {
        series.settle(false, faults)?;
    }
    let differences = series.iter().flat_map(|series| series.differences().collect::<Vec<_>>()).collect();
    let interval = asked.or_else(|| interval(differences));
    let interval = interval.ok_or(ImportError::Empty("a recording needs two values of different times at least"))?;
    let mut all = Counted::default();
    for series in series {
        let counted = series.count(interval, faults)?;
        all.spans.extend(counted.spans);
        all.resets += counted.resets;
    }
    Ok((all, interval))
}

/// Spans of any number of series as one recording in steps of `step`.
pub(super) fn lay_out(mut spans: Vec<Span>, is_clock: bool, step: Step) -> Result<Recording, ImportError> {
    spans.retain(|span| span.to > span.from);
    spans.sort_by_key(|span| (span.from, span.to));
    let most = Rate::MAX.per_second();
    let too_fast = |span: &&Span| span.requests > most * Duration::from_millis(span.to - span.from).as_secs_f64();
    if let Some(span) = spans.iter().find(too_fast) {
        let requests = span.requests;
        return Err(ImportError::Asked(format!(
            "a value of {requests} is more than {most} requests a second; say what values are with --values"
        )));
    }
    Ok(Recording::of_spans(is_clock, step, &spans)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(repairs: &[&str]) -> Faults {
        Faults::new(repairs.iter().map(|repair| repair.parse().unwrap()).collect(), false)
    }

    fn requests(values: Values, points: &[(u64, f64)], repairs: &[&str]) -> Result<Vec<f64>, ImportError> {
        let mut faults = faults(repairs);
        let mut series = Series::new(values, None, false);
        for (number, (seconds, value)) in (2..).zip(points) {
            series.push(seconds * 1000, *value, number, &mut faults)?;
        }
        series.settle(false, &mut faults)?;
        let interval = interval(series.differences().collect()).unwrap();
        let counted = series.count(interval, &mut faults)?;
        let step = Step::new(Duration::from_millis(interval)).unwrap();
        Ok(lay_out(counted.spans, false, step)?.requests().to_vec())
    }

    #[test]
    fn counts_and_rates_hold_for_their_interval() {
        let points = [(0, 5.0), (10, 7.0), (20, 0.5)];
        assert_eq!(requests(Values::Counts, &points, &[]).unwrap(), [5.0, 7.0, 0.5]);
        assert_eq!(requests(Values::Rates, &points, &[]).unwrap(), [50.0, 70.0, 5.0]);
    }

    #[test]
    fn a_counter_counts_differences_and_restarts_from_zero() {
        let points = [(0, 100.0), (10, 107.0), (20, 3.0), (30, 4.0)];
        assert_eq!(requests(Values::Counters, &points, &[]).unwrap(), [7.0, 3.0, 1.0]);
    }

    #[test]
    fn a_gap_is_refused_or_filled_as_asked() {
        let points = [(0, 5.0), (10, 6.0), (20, 7.0), (50, 1.0), (60, 2.0)];
        assert_eq!(
            requests(Values::Counts, &points, &[]).unwrap_err().to_string(),
            "line 5: 2 intervals are missing after 20s; to go on all the same, say --repair gaps=zero or gaps=hold or \
             gaps=interpolate"
        );
        for (repair, filled) in [("gaps=zero", [0.0, 0.0]), ("gaps=hold", [7.0, 7.0]), ("gaps=interpolate", [5.0, 3.0])]
        {
            let expected = [&[5.0, 6.0, 7.0][..], &filled, &[1.0, 2.0]].concat();
            assert_eq!(requests(Values::Counts, &points, &[repair]).unwrap(), expected, "{repair}");
        }
        let counter = [(0, 0.0), (10, 6.0), (20, 7.0), (50, 10.0)];
        assert_eq!(
            requests(Values::Counters, &counter, &["gaps=interpolate"]).unwrap(),
            [6.0, 1.0, 1.0, 1.0, 1.0],
            "the increase is known and shared out"
        );
        assert!(requests(Values::Counters, &counter, &["gaps=hold"]).is_err());
    }

    #[test]
    fn disorder_and_duplicates_are_refused_or_repaired_as_asked() {
        let disorder = [(0, 5.0), (20, 7.0), (10, 6.0)];
        assert_eq!(
            requests(Values::Counts, &disorder, &[]).unwrap_err().to_string(),
            "line 4: time 10s is before 20s of the row before; to go on all the same, say --repair order=sort"
        );
        assert_eq!(requests(Values::Counts, &disorder, &["order=sort"]).unwrap(), [5.0, 6.0, 7.0]);
        let twice = [(0, 5.0), (10, 6.0), (10, 8.0), (20, 1.0)];
        assert!(
            requests(Values::Counts, &twice, &[]).unwrap_err().to_string().starts_with("line 4: time 10s has a row")
        );
        for (repair, middle) in [("duplicates=first", 6.0), ("duplicates=last", 8.0), ("duplicates=sum", 14.0)] {
            assert_eq!(requests(Values::Counts, &twice, &[repair]).unwrap(), [5.0, middle, 1.0], "{repair}");
        }
    }

    #[test]
    fn the_interval_is_the_commonest_or_the_usual_one_near_the_median() {
        assert_eq!(interval(vec![57_000, 57_000, 114_000, 57_000, 300]), Some(57_000));
        assert_eq!(interval(vec![5101, 5102, 5105, 5099, 11_000]), Some(5000));
        assert_eq!(interval(vec![7100, 7300, 7200]), Some(7200));
        assert_eq!(interval(vec![0]), None);
    }
}
