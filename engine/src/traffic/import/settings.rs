//! What a trace is read as, and how.

use std::{fmt, str::FromStr};

use super::{ImportError, Repairs, Values, access_log::AccessLog, minutes::Minutes, table::Table};
use crate::traffic::{HEADER, Step, Zone, compact, csv::shortened};

/// Formats of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The project's own: its CSV, or what `burstlet record` writes.
    Traffic,
    /// An access log in the common or the combined log format.
    AccessLog,
    /// A table with a time in each row.
    Table,
    /// A table with a column a minute: Azure Functions 2019.
    Minutes,
    /// An answer of Prometheus to a range query.
    Prometheus,
    /// Documents of NGINX's status API, one a line.
    NginxStatus,
}

impl Format {
    /// All of them, by their names.
    pub const ALL: [(&str, Self); 6] = [
        ("traffic", Self::Traffic),
        ("access-log", Self::AccessLog),
        ("table", Self::Table),
        ("minutes", Self::Minutes),
        ("prometheus", Self::Prometheus),
        ("nginx-status", Self::NginxStatus),
    ];

    /// The format of a trace that begins with `head`.
    pub(super) fn detect(head: &[u8]) -> Result<Self, ImportError> {
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        if head.starts_with(compact::MAGIC.as_bytes()) {
            return Ok(Self::Traffic);
        }
        let holds = |text: &str| head.windows(text.len()).any(|window| window == text.as_bytes());
        if head.trim_ascii_start().starts_with(b"{") {
            if holds("\"nginx_version\"") || holds("\"nginx_build\"") {
                return Ok(Self::NginxStatus);
            }
            // Whatever the order of its fields.
            if ["\"status\"", "\"resultType\"", "\"metric\""].into_iter().any(holds) {
                return Ok(Self::Prometheus);
            }
        }
        // A log may begin with a line of somebody's scanner.
        if lines.clone().take(10).any(AccessLog::is_line) {
            return Ok(Self::AccessLog);
        }
        let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#")).unwrap_or_default();
        if first.trim_ascii_end() == HEADER.as_bytes() {
            return Ok(Self::Traffic);
        }
        if Minutes::has_header(first) {
            return Ok(Self::Minutes);
        }
        if Table::may_begin_with(first) || first.contains(&b',') {
            return Ok(Self::Table);
        }
        Err(ImportError::Unknown { found: shortened(&String::from_utf8_lossy(first)) })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

/// Rows that count: those whose column holds this value, such as `HashApp=2601749e…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(super) column: String,
    value: String,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no choice of rows; write it as COLUMN=VALUE")]
pub struct FilterError(String);

impl Filter {
    pub(super) fn takes(&self, cell: &[u8]) -> bool {
        cell == self.value.as_bytes()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        match text.split_once('=') {
            Some((column, value)) if !column.is_empty() => {
                Ok(Self { column: column.to_owned(), value: value.to_owned() })
            }
            _ => Err(FilterError(text.to_owned())),
        }
    }
}

/// How a trace is read. The default finds out what it can and repairs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Its format; else what its first lines show.
    pub format: Option<Format>,
    /// The column of a table that holds times.
    pub time: Option<String>,
    /// The column of a table that holds values.
    pub value: Option<String>,
    /// What the values are.
    pub values: Option<Values>,
    /// Rows, or series, that count: all filters take them.
    pub filters: Vec<Filter>,
    /// How far rows are apart, where they have no time or their times do not show it.
    pub interval: Option<Step>,
    /// In which steps single requests are counted.
    pub step: Option<Step>,
    /// What times without a zone mean.
    pub zone: Zone,
    /// Faults that are repaired.
    pub repairs: Repairs,
    /// Whether other faults are told of, not refused.
    pub lenient: bool,
}
