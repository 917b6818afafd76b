//! One reader a format, and what each makes of its trace in the end.

use std::time::Duration;

use super::{
    Events, Faults, Format, Import, ImportError, ImportReport, Settings,
    access_log::AccessLog,
    minutes::Minutes,
    nginx::Statuses,
    prometheus::Matrix,
    series::{Series, count_all, lay_out},
    table::{Gathered, Table},
    times::Times,
};
use crate::traffic::{HEADER, Recording, Step, Traffic, compact};

/// A JSON answer or a traffic file is held whole; neither comes this large.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// Reads one trace.
#[derive(Debug)]
pub(super) enum Reader {
    Own(Vec<u8>),
    Prometheus(Vec<u8>),
    AccessLog(AccessLog),
    Nginx(Statuses),
    /// Waits for its first line.
    TableToBe,
    MinutesToBe,
    Table(Table),
    Minutes(Minutes),
}

impl Reader {
    pub(super) fn new(format: Format, settings: &Settings) -> Self {
        match format {
            Format::Traffic => Self::Own(Vec::new()),
            Format::Prometheus => Self::Prometheus(Vec::new()),
            Format::AccessLog => Self::AccessLog(AccessLog::new(Times::new(settings.zone), Events::new(settings.step))),
            Format::NginxStatus => Self::Nginx(Statuses::new()),
            Format::Table => Self::TableToBe,
            Format::Minutes => Self::MinutesToBe,
        }
    }

    /// Whether it reads bytes, not lines.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self, Self::Own(_) | Self::Prometheus(_))
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), ImportError> {
        if let Self::Own(bytes) | Self::Prometheus(bytes) = self {
            if bytes.len() + piece.len() > MOST_BYTES {
                return Err(ImportError::TooMuch { most: MOST_BYTES, what: "bytes of such a file" });
            }
            bytes.extend_from_slice(piece);
        }
        Ok(())
    }

    pub(super) fn line(
        &mut self,
        number: u64,
        line: &[u8],
        settings: &Settings,
        faults: &mut Faults,
    ) -> Result<(), ImportError> {
        match self {
            Self::AccessLog(log) => log.line(number, line, faults),
            Self::Nginx(statuses) => statuses.line(number, line, faults),
            Self::Table(table) => table.line(number, line, faults),
            Self::Minutes(minutes) => minutes.line(number, line, faults),
            Self::TableToBe | Self::MinutesToBe if line.is_empty() || line.starts_with(b"#") => Ok(()),
            Self::MinutesToBe => {
                *self = Self::Minutes(Minutes::open(line, settings)?);
                Ok(())
            }
            Self::TableToBe => {
                let (mut table, is_row) = Table::open(line, settings)?;
                if is_row {
                    table.line(number, line, faults)?;
                }
                *self = Self::Table(table);
                Ok(())
            }
            Self::Own(_) | Self::Prometheus(_) => Ok(()),
        }
    }

    pub(super) fn finish(self, settings: &Settings, faults: Faults) -> Result<Import, ImportError> {
        let mut end = End { settings, faults, assumptions: Vec::new() };
        match self {
            Self::Own(bytes) => end.own(&bytes),
            Self::Prometheus(bytes) => {
                let matrix = Matrix::read(&bytes, settings, &mut end.faults)?;
                end.assumptions.extend(matrix.assumptions);
                end.series(Format::Prometheus, matrix.rows, matrix.series, true)
            }
            Self::AccessLog(log) => {
                let rows = log.rows;
                let (events, times) = log.finish();
                end.events(Format::AccessLog, rows, events, &times)
            }
            Self::Nginx(statuses) => {
                let rows = statuses.rows;
                end.series(Format::NginxStatus, rows, vec![statuses.finish()], true)
            }
            Self::TableToBe | Self::MinutesToBe => Err(ImportError::Empty("it has no rows")),
            Self::Table(table) => {
                let rows = table.rows;
                end.assumptions.push(table.assumption());
                let (gathered, times, merges) = table.finish();
                end.assumptions.extend(times.assumption());
                match gathered {
                    Gathered::Events(events) => end.events(Format::Table, rows, events, &times),
                    Gathered::Series(mut series) => {
                        if merges {
                            series.settle(true, &mut end.faults)?;
                        }
                        end.series(Format::Table, rows, vec![series], times.is_clock())
                    }
                }
            }
            Self::Minutes(minutes) => {
                let rows = minutes.rows;
                end.assumptions.push(minutes.assumption());
                let recording = minutes.finish()?.ok_or(NO_ROWS)?;
                let requests = recording.total();
                end.import(Format::Minutes, rows, recording, requests, Some(Step::MINUTE))
            }
        }
    }
}

const NO_ROWS: ImportError = ImportError::Empty("it has no rows (that --where would take)");

/// What a trace's end needs.
struct End<'a> {
    settings: &'a Settings,
    faults: Faults,
    assumptions: Vec<String>,
}

impl End<'_> {
    fn own(self, bytes: &[u8]) -> Result<Import, ImportError> {
        let refused = |error: &dyn std::fmt::Display| ImportError::Own(error.to_string());
        let is_compact = bytes.starts_with(compact::MAGIC.as_bytes());
        let recording = if is_compact {
            Recording::from_bytes(bytes).map_err(|error| refused(&error))?
        } else {
            let traffic = Traffic::read(bytes).map_err(|error| refused(&error))?;
            Recording::of_traffic(&traffic, None)?
        };
        let mut end = self;
        if !is_compact {
            end.assumptions.push(format!("a table of {HEADER}"));
        }
        let (rows, requests) = (u64::try_from(recording.requests().len()).unwrap_or(u64::MAX), recording.total());
        let step = recording.step();
        end.import(Format::Traffic, rows, recording, requests, Some(step))
    }

    fn events(self, format: Format, rows: u64, events: Events, times: &Times) -> Result<Import, ImportError> {
        let (recording, disorder) = events.finish(times.is_clock())?.ok_or(NO_ROWS)?;
        let mut end = self;
        if let Some(zone) = times.zone() {
            end.assumptions.push(format!("times are of zone {zone}"));
        }
        let requests = recording.total();
        let mut import = end.import(format, rows, recording, requests, None)?;
        import.report.disorder = disorder;
        Ok(import)
    }

    fn series(mut self, format: Format, rows: u64, series: Vec<Series>, is_clock: bool) -> Result<Import, ImportError> {
        let mut series = series;
        if rows == 0 {
            return Err(NO_ROWS);
        }
        let asked = self.settings.interval.map(Step::as_millis);
        let (counted, interval) = count_all(&mut series, asked, &mut self.faults)?;
        let resolution =
            Step::new(Duration::from_millis(interval)).map_err(|error| ImportError::Asked(error.to_string()))?;
        let requests = counted.spans.iter().map(|span| span.requests).sum();
        // Values off the grid are laid out on it once, in the steps that are wanted.
        let begin = counted.spans.iter().map(|span| span.from).min().unwrap_or(0);
        let is_even = counted.spans.iter().all(|span| (span.from - begin).is_multiple_of(interval));
        let step = if is_even { resolution } else { self.settings.step.unwrap_or(resolution) };
        let recording = lay_out(counted.spans, is_clock, step)?;
        let mut import = self.import(format, rows, recording, requests, Some(resolution))?;
        import.report.resets = counted.resets;
        Ok(import)
    }

    fn import(
        self,
        format: Format,
        rows: u64,
        recording: Recording,
        requests: f64,
        resolution: Option<Step>,
    ) -> Result<Import, ImportError> {
        let recording = match self.settings.step {
            Some(step) => recording.in_steps(step)?,
            None => recording,
        };
        let report = ImportReport {
            format,
            rows,
            requests,
            resolution,
            assumptions: self.assumptions,
            faults: self.faults.found,
            disorder: None,
            resets: 0,
        };
        Ok(Import { recording, report })
    }
}
