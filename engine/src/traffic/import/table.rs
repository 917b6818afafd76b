//! Tables with a time in each row: counts, rates or counters over time, or one request a row.

use super::{
    Events, Fault, Faults, Filter, ImportError, Place, Settings, Values,
    series::Series,
    times::{Notation, Times, number},
};
use crate::traffic::{Step, csv::shortened};

/// Columns that hold a row's time, where none is asked for.
const TIMES: [&str; 12] = [
    "timestamp",
    "time",
    "period",
    "date",
    "datetime",
    "ts",
    "epoch",
    "end_timestamp",
    "timestamp_anon",
    "gmt_create",
    "creation_time",
    "t_seconds",
];

/// Columns that hold a value, and what they hold.
const VALUES: [(&str, Values); 12] = [
    ("count", Values::Counts),
    ("counts", Values::Counts),
    ("requests", Values::Counts),
    ("invocations", Values::Counts),
    ("hits", Values::Counts),
    ("value", Values::Counts),
    ("rate", Values::Rates),
    ("qps", Values::Rates),
    ("rps", Values::Rates),
    ("requests_per_second", Values::Rates),
    ("total", Values::Counters),
    ("requests_total", Values::Counters),
];

/// Tables with a row a request, each known by columns that it has.
const REQUESTS: [&[&str]; 3] = [
    // Azure Functions 2021: a row an invocation, with its end and how long it took.
    &["func", "end_timestamp", "duration"],
    // Azure LLM inference 2023.
    &["timestamp", "contexttokens", "generatedtokens"],
    // Alibaba's image generation 2026.
    &["gmt_create", "predict_type"],
];

/// The Alibaba image generation's rates: a row a container and moment, to be added up.
const CONTAINERS: &[&str] = &["timestamp_anon", "value", "container_ip"];

/// Which columns of a table mean what.
#[derive(Debug)]
struct Layout {
    names: Vec<String>,
    /// None: rows follow each other at the interval that was asked for.
    time: Option<usize>,
    /// The end's column holds the end; this one holds how long it took.
    duration: Option<usize>,
    value: Option<usize>,
    filters: Vec<(usize, Filter)>,
    values: Values,
    /// Whether rows of one moment add up.
    merges: bool,
}

/// Reads a table.
#[derive(Debug)]
pub(super) struct Table {
    layout: Layout,
    interval: Option<Step>,
    times: Times,
    gathered: Gathered,
    pub(super) rows: u64,
}

/// What a table is read into.
#[derive(Debug)]
pub(super) enum Gathered {
    Events(Events),
    Series(Series),
}

impl Table {
    /// A table whose first line is `first`: names of columns, or a row of one without names, whose columns are then
    /// called by their numbers from 1.
    pub(super) fn open(first: &[u8], settings: &Settings) -> Result<(Self, bool), ImportError> {
        let cells = split(first);
        let is_row = cells.iter().all(|cell| Notation::of(cell).is_some());
        let name = |(index, cell): (usize, &&[u8])| {
            if is_row { (index + 1).to_string() } else { String::from_utf8_lossy(cell).trim().to_owned() }
        };
        let names: Vec<String> = cells.iter().enumerate().map(name).collect();
        let layout = Layout::of(names, is_row, settings)?;
        let gathered = match layout.values {
            Values::Events => Gathered::Events(Events::new(settings.step)),
            values => Gathered::Series(Series::new(values, None, false)),
        };
        let times = Times::new(settings.zone);
        Ok((Self { layout, interval: settings.interval, times, gathered, rows: 0 }, is_row))
    }

    /// Whether a table may begin with `first`.
    pub(super) fn may_begin_with(first: &[u8]) -> bool {
        let cells = split(first);
        let has_name = |name: &str| cells.iter().any(|cell| cell.eq_ignore_ascii_case(name.as_bytes()));
        cells.len() > 1 && (TIMES.into_iter().any(has_name) || cells.iter().all(|cell| Notation::of(cell).is_some()))
    }

    /// What the columns were taken for.
    pub(super) fn assumption(&self) -> String {
        let layout = &self.layout;
        let name = |index: usize| layout.names.get(index).cloned().unwrap_or_default();
        let time = layout.time.map_or_else(|| "row by row".to_owned(), |index| format!("at {:?}", name(index)));
        let what = match (layout.values, layout.value) {
            (Values::Counts, Some(index)) => format!("{:?} counts requests of an interval", name(index)),
            (Values::Rates, Some(index)) => format!("{:?} is requests per second", name(index)),
            (Values::Counters, Some(index)) => format!("{:?} counts all requests so far", name(index)),
            _ => "each row is a request".to_owned(),
        };
        let began = if layout.duration.is_some() { ", less its duration" } else { "" };
        let added = if layout.merges { "; rows of one moment are added up" } else { "" };
        format!("{what}, {time}{began}{added}")
    }

    pub(super) fn line(&mut self, line_number: u64, line: &[u8], faults: &mut Faults) -> Result<(), ImportError> {
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        let place = Place::Line(line_number);
        let cells = split(line);
        let layout = &self.layout;
        if cells.len() != layout.names.len() {
            return faults.meet(place, Fault::Columns { found: cells.len(), expected: layout.names.len() });
        }
        if !layout.filters.iter().all(|(index, filter)| filter.takes(cells[*index])) {
            return Ok(());
        }
        let at = match (layout.time, self.interval) {
            (Some(index), _) if cells[index].is_empty() && layout.values == Values::Events => return Ok(()),
            (Some(index), _) => self.times.read(cells[index], &layout.names[index], place, faults)?,
            (None, interval) => interval.map(|interval| self.rows * interval.as_millis()),
        };
        let Some(mut at) = at else { return Ok(()) };
        if let Some(index) = layout.duration {
            let Some(seconds) = number(cells[index]) else {
                return faults.meet(place, no_number(&layout.names[index], cells[index]));
            };
            at = at.saturating_sub(super::times::millis(seconds));
        }
        match (&mut self.gathered, layout.value) {
            (Gathered::Events(events), _) => events.count(at, line_number)?,
            (Gathered::Series(series), Some(index)) => {
                series.of_clock(self.times.is_clock());
                match value(&layout.names[index], cells[index]) {
                    Ok(value) => series.push(at, value, line_number, faults)?,
                    Err(fault) => {
                        // A hole keeps its place where rows have no time of their own.
                        self.rows += u64::from(layout.time.is_none());
                        return faults.meet(place, fault);
                    }
                }
            }
            (Gathered::Series(_), None) => {}
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> (Gathered, Times, bool) {
        (self.gathered, self.times, self.layout.merges)
    }
}

impl Layout {
    fn of(names: Vec<String>, is_row: bool, settings: &Settings) -> Result<Self, ImportError> {
        let find = |name: &str| names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let asked = |name: &String| {
            let all = names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
            find(name).ok_or_else(|| ImportError::Asked(format!("no column is named {name:?}; there are {all}")))
        };
        let has = |columns: &[&str]| columns.iter().all(|column| find(column).is_some());
        let is_known = settings.time.is_none() && settings.value.is_none() && settings.values.is_none();
        let are_requests = is_known && REQUESTS.into_iter().any(has);
        let time = match &settings.time {
            Some(name) => Some(asked(name)?),
            None if is_row => Some(0),
            None => TIMES.into_iter().find_map(find),
        };
        if time.is_none() && settings.interval.is_none() {
            let what =
                "no column is a known time; name it with --time COLUMN, or say with --interval how far rows are apart";
            return Err(ImportError::Shape { line: 1, what: what.to_owned() });
        }
        let value = match &settings.value {
            Some(name) => Some(asked(name)?),
            None if are_requests || settings.values == Some(Values::Events) => None,
            None if is_row => Some(1),
            None => VALUES.into_iter().find_map(|(name, _)| find(name)),
        };
        let means =
            value.and_then(|index| VALUES.into_iter().find(|(name, _)| names[index].eq_ignore_ascii_case(name)));
        let merges = is_known && has(CONTAINERS);
        let values = match settings.values {
            Some(values) => values,
            None if are_requests => Values::Events,
            None if merges => Values::Rates,
            None => means.map_or(Values::Counts, |(_, values)| values),
        };
        if value.is_none() && values != Values::Events {
            let what = format!(
                "no column of {} is a known value; name it with --value COLUMN, or say --values events where each row is one request",
                names.iter().take(20).cloned().collect::<Vec<_>>().join(", ")
            );
            return Err(ImportError::Shape { line: 1, what });
        }
        let duration = if are_requests { find("end_timestamp").and_then(|_| find("duration")) } else { None };
        let filters = settings.filters.iter().map(|filter| Ok((asked(&filter.column)?, filter.clone())));
        let filters = filters.collect::<Result<_, ImportError>>()?;
        Ok(Self { names, time, duration, value, filters, values, merges })
    }
}

/// A row's value, or why it has none.
fn value(column: &str, cell: &[u8]) -> Result<f64, Fault> {
    match number(cell) {
        Some(value) => Ok(value),
        None if is_missing(cell) => {
            Err(Fault::NoValue { column: column.to_owned(), found: String::from_utf8_lossy(cell).into_owned() })
        }
        None => Err(no_number(column, cell)),
    }
}

/// Whether a cell says that there is no number.
pub(super) fn is_missing(cell: &[u8]) -> bool {
    let cell = cell.trim_ascii();
    cell.is_empty() || cell.eq_ignore_ascii_case(b"nan") || cell.eq_ignore_ascii_case(b"null")
}

pub(super) fn no_number(column: &str, cell: &[u8]) -> Fault {
    Fault::NoNumber { column: column.to_owned(), found: shortened(&String::from_utf8_lossy(cell)) }
}

/// The cells of a line. A quoted cell may hold commas.
pub(super) fn split(line: &[u8]) -> Vec<&[u8]> {
    if memchr::memchr(b'"', line).is_none() {
        return line.split(|byte| *byte == b',').collect();
    }
    let (mut cells, mut begin, mut is_quoted) = (Vec::new(), 0, false);
    for (index, byte) in line.iter().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                cells.push(&line[begin..index]);
                begin = index + 1;
            }
            _ => {}
        }
    }
    cells.push(&line[begin..]);
    let bare = |cell: &'_ [u8]| -> Option<(usize, usize)> {
        (cell.len() >= 2 && cell.starts_with(b"\"") && cell.ends_with(b"\"")).then(|| (1, cell.len() - 1))
    };
    cells.into_iter().map(|cell| bare(cell).map_or(cell, |(from, to)| &cell[from..to])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_cells_may_hold_commas() {
        let cells = |line: &str| {
            split(line.as_bytes()).iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cells("a,b,,c"), ["a", "b", "", "c"]);
        assert_eq!(cells(r#""Time, local","GET ""/""",3"#), ["Time, local", r#"GET ""/"""#, "3"]);
        assert_eq!(cells(""), [""]);
    }

    fn assumption(header: &str, settings: &Settings) -> Result<String, String> {
        Table::open(header.as_bytes(), settings).map(|(table, _)| table.assumption()).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_known_by_their_names() {
        for (header, told) in [
            ("period,count", r#""count" counts requests of an interval, at "period""#),
            ("timestamp,value", r#""value" counts requests of an interval, at "timestamp""#),
            ("app,func,end_timestamp,duration", r#"each row is a request, at "end_timestamp", less its duration"#),
            ("TIMESTAMP,ContextTokens,GeneratedTokens", r#"each row is a request, at "TIMESTAMP""#),
            (
                "timestamp_anon,value,container_ip,request_type",
                r#""value" is requests per second, at "timestamp_anon"; rows of one moment are added up"#,
            ),
            ("1995-07-12 00:00,7", r#""2" counts requests of an interval, at "1""#),
        ] {
            assert_eq!(assumption(header, &Settings::default()).unwrap(), told);
        }
    }

    #[test]
    fn unknown_columns_are_asked_for() {
        let told = |header: &str| assumption(header, &Settings::default()).unwrap_err();
        assert_eq!(
            told("cpu,mem"),
            "line 1: no column is a known time; name it with --time COLUMN, or say with --interval how far rows are apart"
        );
        assert_eq!(
            told("time,cpu"),
            "line 1: no column of time, cpu is a known value; name it with --value COLUMN, or say --values events where \
             each row is one request"
        );
        let wrong = Settings { time: Some("when".to_owned()), ..Settings::default() };
        assert_eq!(assumption("time,count", &wrong).unwrap_err(), "no column is named \"when\"; there are time, count");
    }
}
