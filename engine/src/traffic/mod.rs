//! Recorded traffic: how many requests a workload met, and when.
//!
//! The project's own format is a CSV file that people can read, write and plot:
//!
//! ```csv
//! # anything after a hash at a line's start is for people
//! seconds,requests_per_second
//! 0,15
//! 5,15.4
//! 10,120
//! ```
//!
//! - `seconds`: offset from the start of the recording. The first row is at 0, each next row later than the one before.
//! - `requests_per_second`: the [`Rate`] from that moment **until the next row** (a step, not a slope: recordings count
//!   requests over intervals, and a step keeps each interval's count).
//! - The last row closes the recording: its time is the [duration](Traffic::duration), its rate holds from then on.
//!
//! [`Recording`] writes the same in a tenth of the room: steps of one length, as few bytes each as they need.
//!
//! A row that does not keep to this is refused with its line number and what is allowed; nothing is repaired silently.

mod clock;
mod compact;
mod csv;
pub mod import;
mod rate;
mod recording;
mod series;

pub use clock::{Zone, ZoneError, in_utc, moment};
pub use compact::CompactError;
pub use csv::{CsvError, HEADER, RowFault};
pub use rate::{Factor, FactorError, Rate, RateError};
pub use recording::{Align, Recording, RecordingError, Step, StepError};
pub use series::{Traffic, TrafficError};
