//! Tables with a column a minute, as Azure Functions 2019 has them: a row a function, its calls in each minute of a day.

use super::{
    Fault, Faults, Filter, ImportError, Place, Settings,
    table::{no_number, split},
    times::number as count,
};
use crate::traffic::{Recording, Step};

/// Reads such a table; all rows that the filters take are added up.
#[derive(Debug)]
pub(super) struct Minutes {
    columns: usize,
    filters: Vec<(usize, Filter)>,
    /// The first column that is a minute. Those after it are its successors.
    first: usize,
    /// The number of that minute.
    minute: u16,
    requests: Vec<f64>,
    pub(super) rows: u64,
}

impl Minutes {
    /// Whether `header` is that of such a table.
    pub(super) fn has_header(header: &[u8]) -> bool {
        let cells = split(header);
        let is_function = cells.iter().take(4).any(|cell| cell.eq_ignore_ascii_case(b"HashFunction"));
        is_function && cells.last().is_some_and(|cell| minute_of(cell).is_some())
    }

    pub(super) fn open(header: &[u8], settings: &Settings) -> Result<Self, ImportError> {
        let shape = |what: String| ImportError::Shape { line: 1, what };
        let cells = split(header);
        let first = cells.iter().position(|cell| minute_of(cell).is_some());
        let first = first.ok_or_else(|| shape("no column is a minute, such as 1 or minute_1".to_owned()))?;
        let minutes: Vec<Option<u16>> = cells[first..].iter().map(|cell| minute_of(cell)).collect();
        let minute = minutes[0].unwrap_or(1);
        if let Some((wanted, _)) = (minute..).zip(&minutes).find(|(wanted, found)| **found != Some(*wanted)) {
            return Err(shape(format!("minute {wanted} is missing after {} columns of minutes", wanted - minute)));
        }
        let filter = |filter: &Filter| {
            let index = cells[..first].iter().position(|cell| cell.eq_ignore_ascii_case(filter.column.as_bytes()));
            let names = cells[..first].iter().map(|cell| String::from_utf8_lossy(cell)).collect::<Vec<_>>().join(", ");
            let unknown = || ImportError::Asked(format!("no column is named {:?}; there are {names}", filter.column));
            Ok((index.ok_or_else(unknown)?, filter.clone()))
        };
        let filters = settings.filters.iter().map(filter).collect::<Result<_, ImportError>>()?;
        Ok(Self { columns: cells.len(), filters, first, minute, requests: vec![0.0; minutes.len()], rows: 0 })
    }

    /// What the columns were taken for.
    pub(super) fn assumption(&self) -> String {
        let last = usize::from(self.minute) + self.requests.len() - 1;
        format!("minutes {} to {last} of a day that is not named; rows are added up", self.minute)
    }

    pub(super) fn line(&mut self, number: u64, line: &[u8], faults: &mut Faults) -> Result<(), ImportError> {
        if line.is_empty() {
            return Ok(());
        }
        let cells = split(line);
        if cells.len() != self.columns {
            return faults.meet(Place::Line(number), Fault::Columns { found: cells.len(), expected: self.columns });
        }
        if !self.filters.iter().all(|(index, filter)| filter.takes(cells[*index])) {
            return Ok(());
        }
        let minutes = &cells[self.first..];
        if let Some((minute, cell)) = (self.minute..).zip(minutes).find(|(_, cell)| count(cell).is_none()) {
            return faults.meet(Place::Line(number), no_number(&format!("minute {minute}"), cell));
        }
        for (sum, cell) in self.requests.iter_mut().zip(minutes) {
            *sum += count(cell).unwrap_or(0.0);
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Option<Recording>, ImportError> {
        if self.rows == 0 {
            return Ok(None);
        }
        Ok(Some(Recording::new(None, Step::MINUTE, self.requests)?))
    }
}

/// The minute of a day that a column is named after: `17` or `minute_17`.
fn minute_of(name: &[u8]) -> Option<u16> {
    let name = name.strip_prefix(b"minute_").unwrap_or(name);
    std::str::from_utf8(name).ok()?.parse().ok().filter(|minute| (1..=1440).contains(minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, filters: &[&str]) -> Result<Option<Recording>, ImportError> {
        let filters = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        let mut lines = text.lines();
        let settings = Settings { filters, ..Settings::default() };
        let mut minutes = Minutes::open(lines.next().unwrap().as_bytes(), &settings)?;
        for (number, line) in (2..).zip(lines) {
            minutes.line(number, line.as_bytes(), &mut Faults::default())?;
        }
        minutes.finish()
    }

    const TABLE: &str = "HashOwner,HashApp,HashFunction,Trigger,480,481\no1,a1,f1,http,1,2\no1,a2,f2,timer,10,20\n";

    #[test]
    fn functions_are_added_up_or_chosen() {
        assert!(Minutes::has_header(TABLE.lines().next().unwrap().as_bytes()));
        assert_eq!(read(TABLE, &[]).unwrap().unwrap().requests(), [11.0, 22.0]);
        assert_eq!(read(TABLE, &["HashApp=a2", "trigger=timer"]).unwrap().unwrap().requests(), [10.0, 20.0]);
        assert_eq!(read(TABLE, &["HashFunction=f3"]).unwrap(), None);
        assert_eq!(
            read(TABLE, &["App=a2"]).unwrap_err().to_string(),
            r#"no column is named "App"; there are HashOwner, HashApp, HashFunction, Trigger"#
        );
    }

    #[test]
    fn a_missing_minute_and_a_bad_count_are_named() {
        let told = |text: &str| read(text, &[]).unwrap_err().to_string();
        assert_eq!(told("HashFunction,minute_1,minute_3\n"), "line 1: minute 2 is missing after 1 columns of minutes");
        assert!(told("HashFunction,1,2\nf,1,NaN\n").starts_with(r#"line 2: minute 2 is "NaN"; it must be a number"#));
        assert!(told("HashFunction,1,2\nf,1\n").starts_with("line 2: 2 columns; the header has 3"));
    }
}
