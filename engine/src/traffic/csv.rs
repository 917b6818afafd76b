//! The project's own format of recorded traffic, read row by row.

use std::time::Duration;

use super::{Rate, RateError, Traffic};

/// The header that names the two columns.
pub const HEADER: &str = "seconds,requests_per_second";

/// No recording is longer: a larger offset is a timestamp in the wrong column.
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// Why a file is no recorded traffic. Lines count from 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CsvError {
    /// The file has no header, or another one.
    #[error("line {line}: header is {found:?}; it must be \"{HEADER}\"")]
    Header {
        /// Line that should be the header.
        line: usize,
        /// What stands there, shortened.
        found: String,
    },
    /// A row cannot be used.
    #[error("line {line}: {fault}")]
    Row {
        /// Line of the row.
        line: usize,
        /// What is wrong with it.
        fault: RowFault,
    },
    /// Fewer than two rows: no duration.
    #[error("{rows} rows after the header; at least 2 are needed, the last one closes the recording")]
    TooShort {
        /// Rows found.
        rows: usize,
    },
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowFault {
    /// Not two columns.
    #[error("{0} columns; a row has 2, such as 12.5,340")]
    Columns(usize),
    /// A column holds no number.
    #[error("{column} is {found:?}; it must be a decimal number, such as 12.5")]
    NoNumber {
        /// Name of the column.
        column: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// The offset is out of its range.
    #[error("seconds is {0}; allowed are 0 to {longest}", longest = LONGEST.as_secs())]
    Offset(f64),
    /// The rate is out of its range.
    #[error("requests_per_second: {0}")]
    Rate(RateError),
    /// The first row is not at 0.
    #[error("the first row is at {first:?}; it must be at 0 seconds")]
    LateStart {
        /// Offset of the first row.
        first: Duration,
    },
    /// The row's time is not after the row's before.
    #[error("time {time:?} is not after {previous:?} of the row before; times must strictly increase")]
    Order {
        /// Offset of this row.
        time: Duration,
        /// Offset of the row before.
        previous: Duration,
    },
}

impl Traffic {
    /// Reads the format that the [module](super) describes.
    pub fn from_csv(text: &str) -> Result<Self, CsvError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#'));
        let (line, header) = lines.next().unwrap_or((1, ""));
        if header.trim_end() != HEADER {
            return Err(CsvError::Header { line, found: shortened(header) });
        }
        let mut rows = Vec::<(Duration, Rate)>::new();
        for (line, text) in lines {
            let refused = |fault| CsvError::Row { line, fault };
            let (time, rate) = row(text).map_err(refused)?;
            match rows.last() {
                None if !time.is_zero() => return Err(refused(RowFault::LateStart { first: time })),
                Some(&(previous, _)) if time <= previous => return Err(refused(RowFault::Order { time, previous })),
                _ => rows.push((time, rate)),
            }
        }
        if rows.len() < 2 { Err(CsvError::TooShort { rows: rows.len() }) } else { Ok(Self::of_checked(rows)) }
    }
}

fn row(text: &str) -> Result<(Duration, Rate), RowFault> {
    let mut columns = text.split(',');
    let (Some(seconds), Some(rate), None) = (columns.next(), columns.next(), columns.next()) else {
        return Err(RowFault::Columns(text.split(',').count()));
    };
    let seconds = number("seconds", seconds)?;
    let offset = Duration::try_from_secs_f64(seconds).ok().filter(|offset| *offset <= LONGEST);
    let offset = offset.ok_or(RowFault::Offset(seconds))?;
    let rate = Rate::new(number("requests_per_second", rate)?).map_err(RowFault::Rate)?;
    Ok((offset, rate))
}

fn number(column: &'static str, text: &str) -> Result<f64, RowFault> {
    text.trim().parse().map_err(|_| RowFault::NoNumber { column, found: shortened(text) })
}

/// Enough of `text` to know it again, and never a whole broken file in one error.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(rows: &str) -> String {
        Traffic::from_csv(&format!("{HEADER}\n{rows}")).unwrap_err().to_string()
    }

    #[test]
    fn comments_and_both_line_endings_are_read() {
        let text = format!("# made by hand\r\n{HEADER}\r\n0,1\r\n# a note\r\n0.5, 2.5\r\n");
        let traffic = Traffic::from_csv(&text).unwrap();
        assert_eq!(traffic.duration(), Duration::from_millis(500));
        assert_eq!(traffic.peak(), Rate::new(2.5).unwrap());
    }

    #[test]
    fn a_file_without_the_header_is_refused_at_its_line() {
        for (text, message) in [
            ("", r#"line 1: header is ""; it must be "seconds,requests_per_second""#),
            ("0,1\n1,2\n", r#"line 1: header is "0,1"; it must be "seconds,requests_per_second""#),
            ("# note\ntime,rps\n", r#"line 2: header is "time,rps"; it must be "seconds,requests_per_second""#),
        ] {
            assert_eq!(Traffic::from_csv(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_recording_needs_a_duration() {
        assert_eq!(fault_of(""), "0 rows after the header; at least 2 are needed, the last one closes the recording");
        assert_eq!(
            fault_of("0,1\n"),
            "1 rows after the header; at least 2 are needed, the last one closes the recording"
        );
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_and_what_is_allowed() {
        for (rows, message) in [
            ("0,1\n1\n", "line 3: 1 columns; a row has 2, such as 12.5,340"),
            ("0,1,2\n", "line 2: 3 columns; a row has 2, such as 12.5,340"),
            ("0,1\n\n1,2\n", "line 3: 1 columns; a row has 2, such as 12.5,340"),
            ("0,x\n", r#"line 2: requests_per_second is "x"; it must be a decimal number, such as 12.5"#),
            ("1995-07-12,1\n", r#"line 2: seconds is "1995-07-12"; it must be a decimal number, such as 12.5"#),
            ("-1,1\n", "line 2: seconds is -1; allowed are 0 to 316224000"),
            ("NaN,1\n", "line 2: seconds is NaN; allowed are 0 to 316224000"),
            ("0,1\n1700000000000,1\n", "line 3: seconds is 1700000000000; allowed are 0 to 316224000"),
            (
                "0,1\n1,NaN\n",
                "line 3: requests_per_second: NaN is no rate; allowed are 0 to 1000000000 requests per second",
            ),
            (
                "0,1\n1,-2\n",
                "line 3: requests_per_second: -2 is no rate; allowed are 0 to 1000000000 requests per second",
            ),
            ("0,inf\n", "line 2: requests_per_second: inf is no rate; allowed are 0 to 1000000000 requests per second"),
            ("5,1\n6,1\n", "line 2: the first row is at 5s; it must be at 0 seconds"),
            ("0,1\n2,1\n2,1\n", "line 4: time 2s is not after 2s of the row before; times must strictly increase"),
            ("0,1\n2,1\n1,1\n", "line 4: time 1s is not after 2s of the row before; times must strictly increase"),
        ] {
            assert_eq!(fault_of(rows), message, "{rows:?}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_whole_broken_file() {
        assert!(Traffic::from_csv(&"x".repeat(1_000_000)).unwrap_err().to_string().len() < 200);
    }
}
