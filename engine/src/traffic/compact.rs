//! Traffic files: a short text header, then the requests of each step as differences in as few bytes as they need.
//!
//! ```text
//! burstlet traffic 1
//! start 1998-04-30T21:30:00Z
//! step-ms 60000
//! steps 90860
//! decimals 0
//! total 1067022935
//!
//! <one difference a step>
//! ```
//!
//! Each step's requests, times ten to the `decimals`, are a whole number. Its difference to the step before (the first
//! one's to 0) is zigzag coded (0, -1, 1, -2, … become 0, 1, 2, 3, …) and written seven bits a byte, the lowest first,
//! the top bit set on all bytes but the last. `start` is `unknown` where the source has no clock. `total` is the sum
//! of the whole numbers: a file that lost or changed a byte is refused.

use super::{
    Recording, RecordingError, Step,
    clock::{in_utc, moment},
    csv::shortened,
};
use crate::traffic::Zone;
use std::time::Duration;

/// What a traffic file begins with.
pub(super) const MAGIC: &str = "burstlet traffic 1\n";

/// Six decimals of a request are kept, fewer where the counts are so large that they would not fit.
const MOST_DECIMALS: u32 = 6;

/// Whole numbers up to this are exact in a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Why bytes are no traffic file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompactError {
    /// The header is another one.
    #[error("line {line}: {found:?}; it must be \"{expected}\" and its value")]
    Header {
        /// Line, from 1.
        line: usize,
        /// What stands there, shortened.
        found: String,
        /// The field's name.
        expected: &'static str,
    },
    /// The values end early.
    #[error("the file ends within value {index} of {steps}; copy it again, it is not whole")]
    Truncated {
        /// Which value, from 1.
        index: u64,
        /// How many there should be.
        steps: u64,
    },
    /// More bytes than values.
    #[error("{0} bytes follow the last value; copy the file again, it is not what was written")]
    TooMuch(usize),
    /// A value that cannot be.
    #[error("value {index} is out of range; copy the file again, it is not what was written")]
    Value {
        /// Which value, from 1.
        index: u64,
    },
    /// The sum differs.
    #[error("the values add up to {found}, the header says {total}; copy the file again, it is not what was written")]
    Total {
        /// What they add up to.
        found: u128,
        /// What the header says.
        total: u128,
    },
    /// No recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

impl Recording {
    /// The bytes of a traffic file: the same for the same recording, wherever it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let decimals = decimals_of(self.requests());
        let whole: Vec<u64> = self.requests().iter().map(|requests| to_whole(*requests, decimals)).collect();
        let total = whole.iter().copied().map(u128::from).sum::<u128>();
        let start = self.start().map_or_else(|| "unknown".to_owned(), in_utc);
        let (step, steps) = (self.step().as_millis(), whole.len());
        let header =
            format!("{MAGIC}start {start}\nstep-ms {step}\nsteps {steps}\ndecimals {decimals}\ntotal {total}\n\n");
        let mut bytes = header.into_bytes();
        let mut before = 0;
        for value in whole {
            write_varint(zigzag(before, value), &mut bytes);
            before = value;
        }
        bytes
    }

    /// Reads what [`Recording::to_bytes`] wrote. Millionths of a request are lost at most.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CompactError> {
        let mut header = Header { rest: bytes, line: 1 };
        header.field(MAGIC.trim_end(), |value| value.is_empty().then_some(()))?;
        let start = header.field("start", |value| match value {
            "unknown" => Some(None),
            time => moment(time, Zone::UTC).map(Some),
        })?;
        let step = header.field("step-ms", |millis| Step::new(Duration::from_millis(millis.parse().ok()?)).ok())?;
        let steps = header.field("steps", |steps| steps.parse().ok().filter(|steps| *steps <= Self::MOST_STEPS))?;
        let decimals = header.field("decimals", |value| value.parse().ok().filter(|count| *count <= MOST_DECIMALS))?;
        let total = header.field("total", |total| total.parse::<u128>().ok())?;
        header.field("", |value| value.is_empty().then_some(()))?;
        let requests = values(header.rest, steps, total)?;
        let divisor = f64::from(10_u32.pow(decimals));
        Ok(Self::new(start, step, requests.into_iter().map(|value| to_float(value) / divisor).collect())?)
    }
}

/// The header's lines that are still to be read.
struct Header<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Header<'_> {
    /// The value of the next line, which must be of the field `name`.
    fn field<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<T, CompactError> {
        let end = self.rest.iter().take(80).position(|byte| *byte == b'\n');
        let line = end.map_or(&self.rest[..self.rest.len().min(80)], |end| &self.rest[..end]);
        let text = String::from_utf8_lossy(line);
        let value = text.strip_prefix(name).map(|value| value.strip_prefix(' ').unwrap_or(value));
        let (Some(end), Some(value)) = (end, value.and_then(read)) else {
            return Err(CompactError::Header { line: self.line, found: shortened(&text), expected: name });
        };
        self.rest = &self.rest[end + 1..];
        self.line += 1;
        Ok(value)
    }
}

fn values(mut rest: &[u8], steps: u64, total: u128) -> Result<Vec<u64>, CompactError> {
    let mut values = Vec::new();
    let (mut before, mut found) = (0_u64, 0_u128);
    for index in 1..=steps {
        let coded = read_varint(&mut rest, index, steps)?;
        let value = unzigzag(before, coded).filter(|value| to_float(*value) <= EXACT);
        before = value.ok_or(CompactError::Value { index })?;
        found += u128::from(before);
        values.push(before);
    }
    if !rest.is_empty() {
        return Err(CompactError::TooMuch(rest.len()));
    }
    if found == total { Ok(values) } else { Err(CompactError::Total { found, total }) }
}

/// The fewest decimals that write every count exactly, or else as many as fit.
fn decimals_of(requests: &[f64]) -> u32 {
    let highest = requests.iter().copied().fold(0.0, f64::max);
    let fits = |decimals: &u32| highest * f64::from(10_u32.pow(*decimals)) <= EXACT;
    let is_exact = |decimals: &u32| {
        let factor = f64::from(10_u32.pow(*decimals));
        requests.iter().all(|requests| {
            let scaled = requests * factor;
            (scaled - scaled.round()).abs() <= 1e-9 * scaled.max(1.0)
        })
    };
    let fitting = (0..=MOST_DECIMALS).filter(fits).max().unwrap_or(0);
    (0..=fitting).find(is_exact).unwrap_or(fitting)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are not negative, and their decimals are chosen so that they fit"
)]
fn to_whole(requests: f64, decimals: u32) -> u64 {
    (requests * f64::from(10_u32.pow(decimals))).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a file's values are held to what a float holds exactly")]
fn to_float(value: u64) -> f64 {
    value as f64
}

fn zigzag(before: u64, value: u64) -> u64 {
    // Values end far below half of the range.
    if value >= before { (value - before) * 2 } else { (before - value) * 2 - 1 }
}

fn unzigzag(before: u64, coded: u64) -> Option<u64> {
    let half = coded / 2;
    if coded.is_multiple_of(2) { before.checked_add(half) } else { before.checked_sub(half + 1) }
}

fn write_varint(mut value: u64, bytes: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn read_varint(rest: &mut &[u8], index: u64, steps: u64) -> Result<u64, CompactError> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Err(CompactError::Truncated { index, steps });
        };
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CompactError::Value { index })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    fn recording(requests: &[f64]) -> Recording {
        Recording::new(Some(Timestamp::from_millis(893_971_800_000)), Step::SECOND, requests.to_vec()).unwrap()
    }

    #[test]
    fn a_file_is_a_header_and_differences() {
        let bytes = recording(&[3.0, 2.5, 100.0]).to_bytes();
        let header =
            "burstlet traffic 1\nstart 1998-04-30T21:30:00Z\nstep-ms 1000\nsteps 3\ndecimals 1\ntotal 1055\n\n";
        // 30, -5, +975: zigzag 60, 9, 1950 = 0b1111_0011110.
        assert_eq!(bytes, [header.as_bytes(), &[60, 9, 0b1001_1110, 0b1111]].concat());
        assert_eq!(Recording::from_bytes(&bytes).unwrap(), recording(&[3.0, 2.5, 100.0]));
    }

    #[test]
    fn a_file_that_lost_or_changed_a_byte_is_refused() {
        let bytes = recording(&[3.0, 2.5, 100.0]).to_bytes();
        for length in 0..bytes.len() {
            assert!(Recording::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        let first_value = bytes.len() - 4;
        for index in first_value..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(Recording::from_bytes(&changed).is_err(), "{index}");
        }
        let told = |bytes: &[u8]| Recording::from_bytes(bytes).unwrap_err().to_string();
        assert_eq!(
            told(&bytes[..bytes.len() - 1]),
            "the file ends within value 3 of 3; copy it again, it is not whole"
        );
        assert_eq!(
            told(&[&bytes[..], b"x"].concat()),
            "1 bytes follow the last value; copy the file again, it is not what was written"
        );
        assert_eq!(told(b"PK\x03\x04"), r#"line 1: "PK\u{3}\u{4}"; it must be "burstlet traffic 1" and its value"#);
        let fast = String::from_utf8_lossy(&bytes).replace("step-ms 1000", "step-ms 0");
        assert_eq!(told(fast.as_bytes()), r#"line 3: "step-ms 0"; it must be "step-ms" and its value"#);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(
            requests in prop::collection::vec((0_u32..10_000_000, 0_u32..7), 1..200), start in prop::option::of(0_u64..4_000_000_000_000),
        ) {
            let requests = requests.into_iter().map(|(value, decimals)| f64::from(value) / f64::from(10_u32.pow(decimals)));
            let before = Recording::new(start.map(Timestamp::from_millis), Step::SECOND, requests.collect()).unwrap();
            let bytes = before.to_bytes();
            let after = Recording::from_bytes(&bytes).unwrap();
            prop_assert_eq!(after.to_bytes(), bytes);
            prop_assert_eq!(after, before);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Recording::from_bytes(&bytes);
            let _ = Recording::from_bytes(&[&recording(&[1.0]).to_bytes()[..], &bytes].concat());
        }
    }
}
