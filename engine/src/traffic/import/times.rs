//! The time column of a trace: one notation and one zone from the first row to the last.

use super::{Fault, FaultKind, Faults, ImportError, Place};
use crate::model::Timestamp;
use crate::traffic::{Zone, clock::Written, csv::shortened};

/// How a trace writes its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// Date and time.
    Calendar,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMillis,
    /// Seconds since the recording's start.
    Offset,
}

impl Notation {
    /// The notation of `text`, if it is a time at all. Numbers below 100 million (three years) are seconds since the
    /// start, those below 100 billion seconds since 1970, larger ones milliseconds.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        if Written::parse(text).is_some() {
            return Some(Self::Calendar);
        }
        let number = number(text)?;
        match number {
            number if number < 1e8 => Some(Self::Offset),
            number if number < 1e11 => Some(Self::UnixSeconds),
            number if number < 1e14 => Some(Self::UnixMillis),
            _ => None,
        }
    }
}

/// A number that is neither negative nor endless.
pub(super) fn number(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    // Adding zero turns -0 into 0.
    (number.is_finite() && number >= 0.0).then_some(number + 0.0)
}

/// Whole milliseconds of seconds, the nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are 0 to 1e14 ms here")]
pub(super) fn millis(seconds: f64) -> u64 {
    (seconds.clamp(0.0, 1e11) * 1000.0).round() as u64
}

/// Reads the times of one trace.
#[derive(Debug)]
pub(super) struct Times {
    /// What a time without a zone means.
    assumed: Zone,
    notation: Option<Notation>,
    /// The first calendar time, whose zone all others must have.
    first: Option<Written>,
}

impl Times {
    pub(super) fn new(assumed: Zone) -> Self {
        Self { assumed, notation: None, first: None }
    }

    /// Whether times are moments of the calendar, not offsets from a start.
    pub(super) fn is_clock(&self) -> bool {
        !matches!(self.notation, None | Some(Notation::Offset))
    }

    /// What had to be assumed of the zone.
    pub(super) fn assumption(&self) -> Option<String> {
        let is_assumed = self.first.is_some_and(|first| first.zone.is_none());
        is_assumed.then(|| format!("times state no zone; they were taken as {}", self.assumed))
    }

    /// The zone that times state.
    pub(super) fn zone(&self) -> Option<Zone> {
        self.first.and_then(|first| first.zone)
    }

    /// Milliseconds since 1970, or since the start. None where the row is skipped.
    pub(super) fn read(
        &mut self,
        text: &[u8],
        column: &str,
        place: Place,
        faults: &mut Faults,
    ) -> Result<Option<u64>, ImportError> {
        let notation = match self.notation {
            Some(notation) => Some(notation),
            None => Notation::of(text),
        };
        let found = match notation {
            Some(Notation::Calendar) => match Written::parse(text) {
                Some(written) => self.of_calendar(written, place, faults)?,
                None => None,
            },
            Some(Notation::UnixMillis) => {
                number(text).filter(|number| *number < 1e14).map(|number| millis(number / 1e3))
            }
            Some(Notation::UnixSeconds | Notation::Offset) => number(text).filter(|number| *number < 1e11).map(millis),
            None => None,
        };
        if found.is_some() {
            self.notation = notation;
        } else {
            let found = shortened(&String::from_utf8_lossy(text));
            faults.meet(place, Fault::NoTime { column: column.to_owned(), found })?;
        }
        Ok(found)
    }

    /// The same for a time that is read already.
    pub(super) fn of_calendar(
        &mut self,
        written: Written,
        place: Place,
        faults: &mut Faults,
    ) -> Result<Option<u64>, ImportError> {
        self.notation = Some(Notation::Calendar);
        let first = self.first.get_or_insert(written).zone;
        if first != written.zone {
            faults.meet(place, Fault::Zone { found: written.zone, before: first })?;
        }
        // Where zones differ and only a summary is wanted, each time counts by its own zone, too.
        debug_assert!(matches!(faults.way(FaultKind::Zones), None | Some("each")));
        Ok(written.moment(self.assumed).map(Timestamp::as_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(texts: &[&str], faults: &mut Faults) -> Result<Vec<Option<u64>>, ImportError> {
        let mut times = Times::new("+01:00".parse().unwrap());
        let lines = (1..).zip(texts);
        lines.map(|(line, text)| times.read(text.as_bytes(), "time", Place::Line(line), faults)).collect()
    }

    #[test]
    fn a_trace_keeps_to_the_notation_of_its_first_row() {
        let read = |texts: &[&str]| read_all(texts, &mut Faults::default());
        assert_eq!(read(&["0", "0.25", "99999999", "100000001"]).unwrap()[3], Some(100_000_001_000));
        assert_eq!(read(&["1446249499.322", "5"]).unwrap(), [Some(1_446_249_499_322), Some(5000)]);
        assert_eq!(read(&["1446249499322"]).unwrap(), [Some(1_446_249_499_322)]);
        assert_eq!(read(&["1970-01-01 02:00"]).unwrap(), [Some(3_600_000)]);
        assert_eq!(
            read(&["1970-01-02", "17"]).unwrap_err().to_string(),
            "line 2: time is \"17\", which is no time (such as 1995-07-12T00:00:01-04:00, or seconds since 1970); to go on \
             all the same, say --repair rows=skip"
        );
        for text in ["-1", "NaN", "inf", "1e300", "", "noon"] {
            assert!(read(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn another_zone_is_refused_or_read_by_its_own() {
        let texts = ["1995-10-29T00:00:00-04:00", "1995-10-29T00:00:00-05:00", "1995-10-29T00:00:00"];
        assert_eq!(
            read_all(&texts, &mut Faults::default()).unwrap_err().to_string(),
            "line 2: the zone is -05:00, that of the rows before is -04:00; to go on all the same, say --repair zones=each"
        );
        let mut faults = Faults::new(["zones=each".parse().unwrap()].into_iter().collect(), false);
        let read = read_all(&texts, &mut faults).unwrap();
        assert_eq!(read[1].unwrap() - read[0].unwrap(), 3_600_000);
        assert_eq!(read[0].unwrap() - read[2].unwrap(), 5 * 3_600_000);
        assert_eq!(faults.found[&FaultKind::Zones].count, 2);
    }
}
