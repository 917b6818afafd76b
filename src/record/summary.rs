//! What a recording holds, for people and for programs.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::traffic::{
    Recording,
    import::{Found, ImportReport},
    in_utc,
};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde::Serialize;

/// A recording's summary as a JSON object; times in seconds, rates in requests per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SummaryJson {
    /// How the trace is written; none where it is a sum of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Rows that count.
    pub rows: u64,
    /// When it begins, in universal time; null where it does not say.
    pub start: Option<String>,
    /// How long it lasts.
    pub span_s: f64,
    /// Length of a step.
    pub step_s: f64,
    /// How many steps.
    pub steps: usize,
    /// Requests in all.
    pub requests: f64,
    /// The lowest rate of a step.
    pub min: f64,
    /// The mean rate.
    pub mean: f64,
    /// The highest rate of a step.
    pub max: f64,
    /// The longest time without a request.
    pub silence_s: f64,
    /// What was wrong with the trace, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, FaultsJson>,
    /// What was taken for what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
}

/// Faults of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultsJson {
    /// How many.
    pub count: u64,
    /// Where the first one is and what it says.
    pub first: String,
    /// How they were repaired; null where they were only told of.
    pub repaired: Option<String>,
}

impl SummaryJson {
    /// Of `recording`, read from traces as `reports` say.
    pub fn new(recording: &Recording, reports: &[ImportReport]) -> Self {
        let (min, mean, max) = recording.rates();
        let mut faults: BTreeMap<String, FaultsJson> = BTreeMap::new();
        for (kind, found) in reports.iter().flat_map(|report| &report.faults) {
            let known = faults.entry(kind.to_string()).or_insert_with(|| first_of(found));
            known.count += found.count;
        }
        let mut assumptions: Vec<String> = Vec::new();
        for told in reports.iter().flat_map(notes) {
            if !assumptions.contains(&told) {
                assumptions.push(told);
            }
        }
        let step = recording.step().length();
        Self {
            format: if let [report] = reports { Some(report.format.to_string()) } else { None },
            rows: reports.iter().map(|report| report.rows).sum(),
            start: recording.start().map(in_utc),
            span_s: recording.duration().as_secs_f64(),
            step_s: step.as_secs_f64(),
            steps: recording.requests().len(),
            requests: recording.total(),
            min: min.per_second(),
            mean: mean.per_second(),
            max: max.per_second(),
            silence_s: longest_silence(recording).as_secs_f64(),
            faults,
            assumptions,
        }
    }
}

fn first_of(found: &Found) -> FaultsJson {
    FaultsJson {
        count: 0,
        first: format!("{}: {}", found.place, found.first),
        repaired: found.repaired.map(ToOwned::to_owned),
    }
}

/// What was assumed, and what was met that changes nothing.
fn notes(report: &ImportReport) -> Vec<String> {
    let mut notes = report.assumptions.clone();
    if let Some(disorder) = &report.disorder {
        notes.push(format!(
            "{} requests come after later ones, by up to {}, the first in line {}; counts do not depend on it",
            disorder.rows,
            humantime::format_duration(disorder.most),
            disorder.line
        ));
    }
    if report.resets > 0 {
        notes.push(format!("counters restarted {} times", report.resets));
    }
    notes
}

fn longest_silence(recording: &Recording) -> Duration {
    let longest = recording.requests().split(|requests| *requests > 0.0).map(<[f64]>::len).max().unwrap_or(0);
    recording.step().length().saturating_mul(u32::try_from(longest).unwrap_or(u32::MAX))
}

/// The summary for people: a line a fact.
pub fn summary_table(summary: &SummaryJson) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    let duration = |seconds: f64| Duration::try_from_secs_f64(seconds).map(in_days).unwrap_or_default();
    if let Some(format) = &summary.format {
        row("format", format.clone());
    }
    row("rows", summary.rows.to_string());
    row("start", summary.start.clone().unwrap_or_else(|| "not known".to_owned()));
    row("span", duration(summary.span_s));
    row("resolution", format!("{} ({} steps)", duration(summary.step_s), summary.steps));
    row("requests", format!("{:.0}", summary.requests));
    row("requests/s", format!("min {}, mean {}, max {}", short(summary.min), short(summary.mean), short(summary.max)));
    row("longest silence", if summary.silence_s > 0.0 { duration(summary.silence_s) } else { "none".to_owned() });
    if summary.faults.is_empty() {
        row("faults", "none".to_owned());
    }
    for (kind, faults) in &summary.faults {
        let how = faults.repaired.as_ref().map_or_else(|| "not repaired".to_owned(), |way| format!("repaired: {way}"));
        row(kind, format!("{}, {how}; first at {}", faults.count, faults.first));
    }
    for note in &summary.assumptions {
        row("note", note.clone());
    }
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table.trim_fmt()
}

/// In days and what is smaller: a month is no fixed time.
fn in_days(duration: Duration) -> String {
    let days = duration.as_secs() / 86_400;
    let rest = duration.saturating_sub(Duration::from_secs(days * 86_400));
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(rest).to_string(),
        (_, true) => format!("{days}d"),
        _ => format!("{days}d {}", humantime::format_duration(rest)),
    }
}

/// Three decimals at most.
fn short(rate: f64) -> String {
    let text = format!("{rate:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use burstlet_engine::traffic::import::{Import, Importer, Settings};

    use super::*;

    fn import(text: &str, settings: Settings) -> Import {
        let mut importer = Importer::new(settings);
        importer.push(text.as_bytes()).unwrap();
        importer.finish().unwrap()
    }

    #[test]
    fn a_summary_says_what_there_is_and_what_was_repaired() {
        let repairs = ["gaps=zero".parse().unwrap()].into_iter().collect();
        let text = "period,count\n1998-04-30 21:30:00,60\n1998-04-30 21:31:00,90\n1998-04-30 21:35:00,30\n1998-04-30 21:36:00,1\n";
        let import = import(text, Settings { repairs, ..Settings::default() });
        let summary = SummaryJson::new(&import.recording, &[import.report]);
        insta::assert_snapshot!(summary_table(&summary), @r#"
        format           table
        rows             4
        start            1998-04-30T21:30:00Z
        span             7m
        resolution       1m (7 steps)
        requests         181
        requests/s       min 0, mean 0.431, max 1.5
        longest silence  3m
        gaps             3, repaired: zero; first at line 4: 3 intervals are missing after 1998-04-30T21:31:00Z
        note             "count" counts requests of an interval, at "period"
        note             times state no zone; they were taken as +00:00
        "#);
        insta::assert_snapshot!(serde_json::to_string(&summary).unwrap(), @r#"{"format":"table","rows":4,"start":"1998-04-30T21:30:00Z","span_s":420.0,"step_s":60.0,"steps":7,"requests":181.0,"min":0.0,"mean":0.430952380952381,"max":1.5,"silence_s":180.0,"faults":{"gaps":{"count":3,"first":"line 4: 3 intervals are missing after 1998-04-30T21:31:00Z","repaired":"zero"}},"assumptions":["\"count\" counts requests of an interval, at \"period\"","times state no zone; they were taken as +00:00"]}"#);
    }
}
