//! What is wrong with a trace, and how it may be repaired.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::traffic::{RecordingError, Zone};

/// Kinds of fault that a repair can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Intervals are missing, or say that they hold no number.
    Gaps,
    /// Times go back.
    Order,
    /// Times repeat.
    Duplicates,
    /// Zones differ, or some times have none.
    Zones,
    /// Rows cannot be used at all.
    Rows,
    /// The file ends in the middle.
    End,
}

impl FaultKind {
    const ALL: [(Self, &str, &[&str]); 6] = [
        (Self::Gaps, "gaps", &["zero", "hold", "interpolate"]),
        (Self::Order, "order", &["sort"]),
        (Self::Duplicates, "duplicates", &["first", "last", "sum"]),
        (Self::Zones, "zones", &["each"]),
        (Self::Rows, "rows", &["skip"]),
        (Self::End, "end", &["cut"]),
    ];

    fn ways(self) -> &'static [&'static str] {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(&[], |(_, _, ways)| *ways)
    }

    /// The repairs that mend it, as they are asked for.
    fn offer(self) -> String {
        let offer = self.ways().iter().map(|way| format!("{self}={way}")).collect::<Vec<_>>();
        format!("--repair {}", offer.join(" or "))
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, ..)| kind == self).map_or("", |(_, name, _)| *name);
        f.write_str(name)
    }
}

/// One repair that is asked for, such as `gaps=hold`: a kind of fault and the way to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repair {
    kind: FaultKind,
    way: &'static str,
}

/// Why a text is no repair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no repair; there are {all}", all = all_repairs())]
pub struct RepairError(String);

impl FromStr for Repair {
    type Err = RepairError;

    fn from_str(text: &str) -> Result<Self, RepairError> {
        let unknown = || RepairError(text.to_owned());
        let (name, way) = text.split_once('=').ok_or_else(unknown)?;
        let (kind, _, ways) = FaultKind::ALL.iter().find(|(_, known, _)| *known == name).ok_or_else(unknown)?;
        let way = ways.iter().find(|known| **known == way).ok_or_else(unknown)?;
        Ok(Self { kind: *kind, way })
    }
}

fn all_repairs() -> String {
    let all = FaultKind::ALL.iter().flat_map(|(_, name, ways)| ways.iter().map(move |way| format!("{name}={way}")));
    all.collect::<Vec<_>>().join(", ")
}

/// The repairs that are asked for, at most one a kind of fault: of two the later one counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repairs(BTreeMap<FaultKind, &'static str>);

impl Repairs {
    /// How faults of `kind` are to be mended; None where they are to be refused.
    pub(super) fn way(&self, kind: FaultKind) -> Option<&'static str> {
        self.0.get(&kind).copied()
    }
}

impl FromIterator<Repair> for Repairs {
    fn from_iter<T: IntoIterator<Item = Repair>>(repairs: T) -> Self {
        Self(repairs.into_iter().map(|repair| (repair.kind, repair.way)).collect())
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Intervals without a row.
    #[error("{missing} interval{} missing after {after}", if *.missing == 1 { " is" } else { "s are" })]
    Gap {
        /// How many.
        missing: u64,
        /// The last moment before them.
        after: String,
    },
    /// A row whose value is no number, by its own word.
    #[error("{column} is {found:?}, so this interval is missing")]
    NoValue {
        /// The value's column.
        column: String,
        /// What stands there: `NaN` or nothing.
        found: String,
    },
    /// A row that is earlier than the one before.
    #[error("time {time} is before {previous} of the row before")]
    Order {
        /// This row's time.
        time: String,
        /// The time of the row before.
        previous: String,
    },
    /// A second row of one moment.
    #[error("time {time} has a row already; rows of several series are told apart by --where COLUMN=VALUE")]
    Duplicate {
        /// The time.
        time: String,
    },
    /// A zone other than that of the rows before.
    #[error("the zone is {}, that of the rows before is {}", zone_name(*.found), zone_name(*.before))]
    Zone {
        /// This row's.
        found: Option<Zone>,
        /// That of the first row.
        before: Option<Zone>,
    },
    /// Another number of columns than the header has.
    #[error("{found} columns; the header has {expected}")]
    Columns {
        /// Columns of the row.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A column that should hold a moment.
    #[error("{column} is {found:?}, which is no time (such as 1995-07-12T00:00:01-04:00, or seconds since 1970)")]
    NoTime {
        /// The column.
        column: String,
        /// What stands there, shortened.
        found: String,
    },
    /// A column that should hold a number.
    #[error("{column} is {found:?}; it must be a number from 0")]
    NoNumber {
        /// The column.
        column: String,
        /// What stands there, shortened.
        found: String,
    },
    /// A line that is none of an access log.
    #[error(
        "no line of an access log: {found:?}; it must be: host ident user [01/Aug/1995:00:00:01 -0400] \"GET / HTTP/1.1\" 200 …"
    )]
    NoLogLine {
        /// What stands there, shortened.
        found: String,
    },
    /// A line that is no document of a status page.
    #[error("no status document: {what}")]
    NoStatus {
        /// What is wrong.
        what: String,
    },
    /// A line that is endless.
    #[error("longer than {0} bytes; no log or table has such a line")]
    LongLine(usize),
    /// The file's compressed data ends in the middle, or is damaged.
    #[error("the file is cut off or damaged here ({0}); what comes after is lost")]
    CutOff(String),
}

fn zone_name(zone: Option<Zone>) -> String {
    zone.map_or_else(|| "not stated".to_owned(), |zone| zone.to_string())
}

impl Fault {
    /// Which repair mends it.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Gap { .. } | Self::NoValue { .. } => FaultKind::Gaps,
            Self::Order { .. } => FaultKind::Order,
            Self::Duplicate { .. } => FaultKind::Duplicates,
            Self::Zone { .. } => FaultKind::Zones,
            Self::CutOff(_) => FaultKind::End,
            Self::Columns { .. }
            | Self::NoTime { .. }
            | Self::NoNumber { .. }
            | Self::NoLogLine { .. }
            | Self::NoStatus { .. }
            | Self::LongLine(_) => FaultKind::Rows,
        }
    }
}

/// Where in a trace something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(u64),
    /// A value of a series of a JSON answer, both from 1.
    Value {
        /// Which series.
        series: u64,
        /// Which of its values.
        value: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Value { series, value } => write!(f, "series {series}, value {value}"),
        }
    }
}

/// Why a trace is not imported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// A fault that no repair was asked for.
    #[error("{place}: {fault}; to go on all the same, say {}", fault.kind().offer())]
    Fault {
        /// Where it is.
        place: Place,
        /// What it is.
        fault: Fault,
    },
    /// No bytes, or none but comments and a header.
    #[error("the file is empty: {0}")]
    Empty(&'static str),
    /// The format is none that is known.
    #[error(
        "line 1 is {found:?}: neither an access log nor a table with a time column nor any other format that is known; name it with --format"
    )]
    Unknown {
        /// What the file begins with, shortened.
        found: String,
    },
    /// The file does not have the asked or needed shape.
    #[error("line {line}: {what}")]
    Shape {
        /// Where.
        line: u64,
        /// What is wrong, and what to do.
        what: String,
    },
    /// What was asked for contradicts itself or the file.
    #[error("{0}")]
    Asked(String),
    /// More than is handled.
    #[error("more than {most} {what}; take a part of it, or count it in longer steps first")]
    TooMuch {
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A file of the project's own formats that cannot be used.
    #[error("{0}")]
    Own(String),
    /// The rows make no recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// Faults of one kind, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// How often.
    pub count: u64,
    /// Where the first one is.
    pub place: Place,
    /// The first one.
    pub first: Fault,
    /// How they were repaired; None where they are only told of.
    pub repaired: Option<&'static str>,
}

/// All faults found so far; refuses those that may not be.
#[derive(Debug, Default)]
pub(super) struct Faults {
    repairs: Repairs,
    /// Whether faults are only told of, as a summary does.
    lenient: bool,
    pub(super) found: BTreeMap<FaultKind, Found>,
}

impl Faults {
    pub(super) fn new(repairs: Repairs, lenient: bool) -> Self {
        Self { repairs, lenient, found: BTreeMap::new() }
    }

    /// How faults of `kind` are mended.
    pub(super) fn way(&self, kind: FaultKind) -> Option<&'static str> {
        self.repairs.way(kind)
    }

    /// Counts a fault, or refuses it.
    pub(super) fn meet(&mut self, place: Place, fault: Fault) -> Result<(), ImportError> {
        self.meet_many(place, fault, 1)
    }

    /// Counts `count` faults of which the first is `fault`.
    pub(super) fn meet_many(&mut self, place: Place, fault: Fault, count: u64) -> Result<(), ImportError> {
        let kind = fault.kind();
        let repaired = self.repairs.way(kind);
        if repaired.is_none() && !self.lenient {
            return Err(ImportError::Fault { place, fault });
        }
        let found = self.found.entry(kind);
        found.or_insert(Found { count: 0, place, first: fault, repaired }).count += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_a_kind_and_a_way() {
        assert_eq!("gaps=hold".parse(), Ok(Repair { kind: FaultKind::Gaps, way: "hold" }));
        for text in ["", "gaps", "gaps=sort", "holes=zero"] {
            assert_eq!(
                text.parse::<Repair>().unwrap_err().to_string(),
                format!(
                    "{text:?} is no repair; there are gaps=zero, gaps=hold, gaps=interpolate, order=sort, \
                     duplicates=first, duplicates=last, duplicates=sum, zones=each, rows=skip, end=cut"
                )
            );
        }
    }

    #[test]
    fn a_fault_is_refused_with_its_line_and_the_repair_that_mends_it() {
        let fault = Fault::Order { time: "2s".to_owned(), previous: "3s".to_owned() };
        let refused = Faults::default().meet(Place::Line(7), fault.clone()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "line 7: time 2s is before 3s of the row before; to go on all the same, say --repair order=sort"
        );
        let mut faults = Faults::new(["order=sort".parse().unwrap()].into_iter().collect(), false);
        faults.meet(Place::Line(7), fault.clone()).unwrap();
        faults.meet(Place::Line(9), fault.clone()).unwrap();
        let found = Found { count: 2, place: Place::Line(7), first: fault, repaired: Some("sort") };
        assert_eq!(faults.found, BTreeMap::from([(FaultKind::Order, found)]));
    }
}
