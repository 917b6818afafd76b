//! Traffic as rates over time.

use std::time::Duration;

use super::{CompactError, CsvError, Factor, Rate, Recording, compact, recording::Span};

/// Why bytes are no recorded traffic.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrafficError {
    /// A traffic file that cannot be used.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// A CSV file that cannot be used.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// Neither.
    #[error(
        "byte {0} is no text; recorded traffic is the CSV of \"seconds,requests_per_second\" or what `burstlet record` writes"
    )]
    NotText(usize),
}

/// Recorded traffic: from each row's offset until the next row's, its rate.
///
/// ```
/// use std::time::Duration;
/// use burstlet_engine::traffic::{Rate, Traffic};
///
/// let traffic = Traffic::from_csv("seconds,requests_per_second\n0,15\n10,120\n20,15\n")?;
/// assert_eq!(traffic.rate_at(Duration::from_secs(19)), Rate::new(120.0)?);
/// assert_eq!(traffic.duration(), Duration::from_secs(20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// At least two, the first at 0, in the order of time.
    rows: Vec<(Duration, Rate)>,
}

impl Traffic {
    /// `rows` as the reader has checked them.
    pub(super) fn of_checked(rows: Vec<(Duration, Rate)>) -> Self {
        Self { rows }
    }

    /// Reads recorded traffic in either of the project's formats: its CSV, or what [`Recording::to_bytes`] writes.
    pub fn read(bytes: &[u8]) -> Result<Self, TrafficError> {
        if bytes.starts_with(compact::MAGIC.as_bytes()) {
            return Ok(Recording::from_bytes(bytes)?.traffic());
        }
        let text = std::str::from_utf8(bytes).map_err(|error| TrafficError::NotText(error.valid_up_to()))?;
        Ok(Self::from_csv(text)?)
    }

    /// The format that people read and write, as the [module](super) describes it.
    pub fn to_csv(&self) -> String {
        let row = |(time, rate): &(Duration, Rate)| format!("{},{}\n", time.as_secs_f64(), rate.per_second());
        let rows = self.rows.iter().map(row);
        std::iter::once(format!("{}\n", super::HEADER)).chain(rows).collect()
    }

    /// What each row but the last counts, in milliseconds from the start.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.rows.windows(2).map(move |rows| {
            let ((from, rate), (to, _)) = (rows[0], rows[1]);
            let (from, to) = (millis(from), millis(to));
            let seconds = Duration::from_millis(to - from).as_secs_f64();
            Span { from, to, requests: rate.per_second() * seconds }
        })
    }

    /// The rate at `offset` from the start. After the end the last row's rate holds.
    pub fn rate_at(&self, offset: Duration) -> Rate {
        let later = self.rows.partition_point(|&(time, _)| time <= offset);
        later.checked_sub(1).map_or(Rate::ZERO, |index| self.rows[index].1)
    }

    /// The rows: from each offset until the next, its rate.
    pub fn rows(&self) -> &[(Duration, Rate)] {
        &self.rows
    }

    /// From the first row to the last.
    pub fn duration(&self) -> Duration {
        self.rows.last().map_or(Duration::ZERO, |&(time, _)| time)
    }

    /// The highest rate.
    pub fn peak(&self) -> Rate {
        self.rows
            .iter()
            .map(|&(_, rate)| rate)
            .fold(Rate::ZERO, |highest, rate| if rate > highest { rate } else { highest })
    }

    /// The traffic between two offsets, as traffic of its own that starts at zero.
    #[must_use]
    pub fn part(self, from: Duration, to: Duration) -> Self {
        let begin = (Duration::ZERO, self.rate_at(from));
        let end = (to.saturating_sub(from), self.rate_at(to));
        let within = self.rows.iter().filter(|(time, _)| from < *time && *time < to);
        let rows =
            std::iter::once(begin).chain(within.map(|(time, rate)| (time.saturating_sub(from), *rate))).chain([end]);
        Self { rows: rows.collect() }
    }

    /// The same traffic with every rate times `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: Factor) -> Self {
        for (_, rate) in &mut self.rows {
            *rate = rate.times(factor);
        }
        self
    }

    /// The same rates in a `factor`-th of the time: `sped_up(360)` turns an hour into ten seconds. Where rows fall onto
    /// the same nanosecond, the last one counts.
    #[must_use]
    pub fn sped_up(mut self, factor: Factor) -> Self {
        for (time, _) in &mut self.rows {
            // Bounded: offsets end at ten years, factors at 0.001.
            *time = time.div_f64(factor.get());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(rows: &[(u64, f64)]) -> Traffic {
        Traffic::of_checked(
            rows.iter().map(|&(millis, rate)| (Duration::from_millis(millis), Rate::new(rate).unwrap())).collect(),
        )
    }

    fn rates(traffic: &Traffic, millis: &[u64]) -> Vec<f64> {
        millis.iter().map(|&at| traffic.rate_at(Duration::from_millis(at)).per_second()).collect()
    }

    #[test]
    fn a_rate_holds_until_the_next_row_and_the_last_one_for_ever() {
        let traffic = traffic(&[(0, 1.0), (1000, 5.0), (3000, 2.0)]);
        assert_eq!(rates(&traffic, &[0, 999, 1000, 2999, 3000, 9_000_000]), [1.0, 1.0, 5.0, 5.0, 2.0, 2.0]);
    }

    #[test]
    fn the_peak_and_the_duration_are_those_of_the_rows() {
        let traffic = traffic(&[(0, 1.0), (1000, 5.0), (3000, 2.0)]);
        assert_eq!(traffic.peak(), Rate::new(5.0).unwrap());
        assert_eq!(traffic.duration(), Duration::from_secs(3));
    }

    #[test]
    fn a_part_starts_at_zero_with_the_rate_that_held() {
        let part =
            traffic(&[(0, 1.0), (1000, 5.0), (3000, 2.0)]).part(Duration::from_millis(500), Duration::from_secs(2));
        assert_eq!(part, traffic(&[(0, 1.0), (500, 5.0), (1500, 5.0)]));
    }

    #[test]
    fn scaling_changes_rates_alone_and_speed_times_alone() {
        let traffic = traffic(&[(0, 1.0), (1000, 5.0), (3000, 2.0)]);
        let four = Factor::new(4.0).unwrap();
        let scaled = traffic.clone().scaled(four);
        assert_eq!(rates(&scaled, &[0, 1000, 3000]), [4.0, 20.0, 8.0]);
        assert_eq!(scaled.duration(), traffic.duration());
        let sped_up = traffic.sped_up(four);
        assert_eq!(rates(&sped_up, &[0, 249, 250, 750]), [1.0, 1.0, 5.0, 2.0]);
        assert_eq!(sped_up.duration(), Duration::from_millis(750));
    }

    #[test]
    fn traffic_is_read_from_either_format_and_other_bytes_are_refused() {
        let csv = "seconds,requests_per_second\n0,1\n1,2.5\n2,2.5\n";
        let traffic = Traffic::read(csv.as_bytes()).unwrap();
        assert_eq!(traffic.to_csv(), csv);
        let bytes = Recording::of_traffic(&traffic, None).unwrap().to_bytes();
        assert_eq!(Traffic::read(&bytes).unwrap(), traffic);
        assert!(Traffic::read(b"\x1f\x8b").unwrap_err().to_string().starts_with("byte 1 is no text; recorded"));
    }

    #[test]
    fn the_longest_recording_survives_the_slowest_factor() {
        let ten_years = 10 * 366 * 86_400_000;
        let slow = traffic(&[(0, 1.0), (ten_years, 1.0)]).sped_up(Factor::new(Factor::MIN).unwrap());
        assert_eq!(slow.duration().as_secs(), 1000 * ten_years / 1000);
    }
}
