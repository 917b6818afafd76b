//! What Prometheus answers to a range query, live or saved: a matrix of series.
//!
//! ```json
//! {"status":"success","data":{"resultType":"matrix","result":[
//!   {"metric":{"__name__":"http_requests_total","pod":"a"},"values":[[1446249499.322,"18853899"], …]}]}}
//! ```
//!
//! Series are added up. A metric whose name ends in `_total`, `_count` or `_sum` is a counter; anything else, the result
//! of `rate(…)` too, is requests per second.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Fault, Faults, ImportError, Place, Settings, Values,
    series::Series,
    table::{is_missing, no_number},
    times::{millis, number},
};

#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
    /// What it has to say of a query that it answers.
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    /// What native histograms have in place of values.
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

/// What an answer holds.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) rows: u64,
    pub(super) series: Vec<Series>,
    pub(super) assumptions: Vec<String>,
}

impl Matrix {
    pub(super) fn read(bytes: &[u8], settings: &Settings, faults: &mut Faults) -> Result<Self, ImportError> {
        let (rows, told) = rows(bytes)?;
        let chosen: Vec<(u64, Row)> = (1..).zip(rows).filter(|(_, row)| is_chosen(row, settings)).collect();
        if chosen.is_empty() {
            return Err(ImportError::Empty("the answer has no series (that --where would take)"));
        }
        let name = one_name(&chosen)?;
        if let Some((index, _)) = chosen.iter().find(|(_, row)| !row.histograms.is_empty()) {
            let name = name.unwrap_or("the expression");
            return Err(ImportError::Asked(format!(
                "series {index} of {name} is of native histograms, which are no numbers; ask for histogram_count(rate(…[1m])), \
                 the requests a second"
            )));
        }
        let is_counter =
            ["_total", "_count", "_sum"].into_iter().any(|end| name.is_some_and(|name| name.ends_with(end)));
        let values = settings.values.unwrap_or(if is_counter { Values::Counters } else { Values::Rates });
        let what = match values {
            Values::Counters => "counters, of which differences count",
            Values::Counts => "requests of each interval",
            Values::Rates => "requests per second",
            Values::Events => return Err(ImportError::Asked("values of Prometheus are no single requests".to_owned())),
        };
        let assumption = format!("{} series of {} are {what}", chosen.len(), name.unwrap_or("an expression"));
        let told = told.into_iter().map(|told| format!("Prometheus says: {told}"));
        let assumptions = std::iter::once(assumption).chain(told).collect();
        let mut matrix = Self { rows: 0, series: Vec::new(), assumptions };
        for (index, row) in chosen {
            matrix.series.push(matrix_series(index, &row, values, &mut matrix.rows, faults)?);
        }
        Ok(matrix)
    }
}

/// The series, and what Prometheus has to say of them.
fn rows(bytes: &[u8]) -> Result<(Vec<Row>, Vec<String>), ImportError> {
    let shape = |error: &serde_json::Error| {
        let what = format!("column {}: no answer of Prometheus: {error}", error.column());
        ImportError::Shape { line: u64::try_from(error.line()).unwrap_or(u64::MAX), what }
    };
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| shape(&error))?;
    let Some(data) = answer.data.filter(|_| answer.status == "success") else {
        let told = answer.error.unwrap_or_else(|| format!("its status is {:?}", answer.status));
        return Err(ImportError::Asked(format!("Prometheus refused the query: {told}")));
    };
    if data.result_type != "matrix" {
        let kind = data.result_type;
        return Err(ImportError::Asked(format!(
            "the answer is a {kind}; a range query (/api/v1/query_range) gives a matrix"
        )));
    }
    let rows = serde_json::from_value(data.result).map_err(|error| shape(&error))?;
    Ok((rows, [answer.warnings, answer.infos].concat()))
}

fn is_chosen(row: &Row, settings: &Settings) -> bool {
    settings
        .filters
        .iter()
        .all(|filter| row.metric.get(&filter.column).is_some_and(|value| filter.takes(value.as_bytes())))
}

/// The metric's name; series of different metrics cannot be added up.
fn one_name(rows: &[(u64, Row)]) -> Result<Option<&str>, ImportError> {
    let mut names = rows.iter().map(|(_, row)| row.metric.get("__name__").map(String::as_str)).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    if let [name] = names[..] {
        return Ok(name);
    }
    let all = names.iter().map(|name| name.unwrap_or("an expression")).collect::<Vec<_>>().join(", ");
    Err(ImportError::Asked(format!("the answer has several metrics: {all}; choose one with --where __name__=NAME")))
}

fn matrix_series(
    index: u64,
    row: &Row,
    values: Values,
    rows: &mut u64,
    faults: &mut Faults,
) -> Result<Series, ImportError> {
    let mut series = Series::new(values, Some(index), true);
    for (position, (seconds, text)) in (1..).zip(&row.values) {
        let place = Place::Value { series: index, value: position };
        if !(0.0..1e11).contains(seconds) {
            let found = seconds.to_string();
            faults.meet(place, Fault::NoTime { column: "the time".to_owned(), found })?;
            continue;
        }
        match number(text.as_bytes()) {
            Some(value) => {
                series.push(millis(*seconds), value, position, faults)?;
                *rows += 1;
            }
            None if is_missing(text.as_bytes()) => {
                faults.meet(place, Fault::NoValue { column: "the value".to_owned(), found: text.clone() })?;
            }
            None => faults.meet(place, no_number("the value", text.as_bytes()))?,
        }
    }
    Ok(series)
}
