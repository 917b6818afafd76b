//! Traces of other programs as [`Recording`]s: access logs, tables, answers of Prometheus.
//!
//! An [`Importer`] takes a trace's bytes in pieces of any size, so that a log of 10 GB needs a few megabytes. What is
//! wrong with a trace is named with its line, and refused unless a [`Repair`] was asked for; a repaired fault is counted.

mod access_log;
mod events;
mod fault;
mod lines;
mod minutes;
mod nginx;
mod prometheus;
mod reader;
mod series;
mod settings;
mod table;
mod times;

use std::collections::BTreeMap;

pub use events::Disorder;
pub use fault::{Fault, FaultKind, Found, ImportError, Place, Repair, RepairError, Repairs};
pub use series::Values;
pub use settings::{Filter, FilterError, Format, Settings};

use events::Events;
use fault::Faults;
use lines::Lines;
use reader::Reader;

use super::{Recording, Step};

/// As much of a trace as its format is told from. The same for any pieces, so that pieces do not matter.
const HEAD: usize = 64 * 1024;

/// Takes a trace in pieces.
#[derive(Debug)]
pub struct Importer {
    settings: Settings,
    /// What came before the format was known.
    head: Vec<u8>,
    reader: Option<Reader>,
    lines: Lines,
    faults: Faults,
}

/// A trace, imported.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// What was counted.
    pub recording: Recording,
    /// How it was read, and what was wrong with it.
    pub report: ImportReport,
}

/// How a trace was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportReport {
    /// Its format.
    pub format: Format,
    /// Rows, lines or values that count.
    pub rows: u64,
    /// Requests that they count, as far as they are no rates.
    pub requests: f64,
    /// The resolution of the trace: the time between its values. None where it has single requests.
    pub resolution: Option<Step>,
    /// What was taken for what.
    pub assumptions: Vec<String>,
    /// Faults, by kind.
    pub faults: BTreeMap<FaultKind, Found>,
    /// Requests that came in the wrong order, which changes nothing.
    pub disorder: Option<Disorder>,
    /// Restarts of counters.
    pub resets: u64,
}

impl Importer {
    /// Reads as `settings` say.
    pub fn new(settings: Settings) -> Self {
        let faults = Faults::new(settings.repairs.clone(), settings.lenient);
        Self { settings, head: Vec::new(), reader: None, lines: Lines::default(), faults }
    }

    /// Reads the next `piece`.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ImportError> {
        if self.reader.is_some() {
            return self.feed(piece);
        }
        let (head, rest) = piece.split_at(piece.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        if self.head.len() == HEAD {
            self.begin()?;
            self.feed(rest)?;
        }
        Ok(())
    }

    /// Says that the rest of the trace cannot be had, and why: a compressed file ends in the middle.
    pub fn cut_off(&mut self, why: &str) -> Result<(), ImportError> {
        if self.reader.is_none() {
            self.begin()?;
        }
        let line = self.lines.cut();
        self.faults.meet(Place::Line(line), Fault::CutOff(why.to_owned()))
    }

    /// What was read.
    pub fn finish(mut self) -> Result<Import, ImportError> {
        if self.reader.is_none() {
            self.begin()?;
        }
        let Some(mut reader) = self.reader else { return Err(ImportError::Empty("it has no bytes")) };
        self.lines.finish(|number, line| reader.line(number, line, &self.settings, &mut self.faults))?;
        reader.finish(&self.settings, self.faults)
    }

    fn begin(&mut self) -> Result<(), ImportError> {
        let head = std::mem::take(&mut self.head);
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
        if head.trim_ascii().is_empty() {
            return Err(ImportError::Empty("it has no bytes but blank ones"));
        }
        let format = match self.settings.format {
            Some(format) => format,
            None => Format::detect(head)?,
        };
        self.reader = Some(Reader::new(format, &self.settings));
        self.feed(head)
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), ImportError> {
        match &mut self.reader {
            None => Ok(()),
            Some(reader) if reader.takes_all() => reader.take(piece),
            Some(reader) => {
                self.lines.push(piece, |number, line| reader.line(number, line, &self.settings, &mut self.faults))
            }
        }
    }
}

#[cfg(test)]
mod tests;
