//! `burstlet record`.

mod cluster;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use burstlet_engine::traffic::{
    Align, Factor, Recording, Step, Zone,
    import::{Filter, Format, Import, ImportReport, Importer, Repair, Settings, Values},
    moment,
};
use clap::{Args, ValueEnum};
use http::Uri;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::record::{
    Access, Query, RecordError, SummaryJson, Window, import_file, now, summary_table, write_recording,
};

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Traces: access logs, CSV, Azure's tables, saved answers of Prometheus, traffic files; gzip or not; - for standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["prometheus", "context"], conflicts_with_all = ["prometheus", "context"])]
    files: Vec<PathBuf>,
    /// Traffic file to write; CSV where the name ends in .csv, compressed where it ends in .gz; - for standard output
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["summary", "context"])]
    output: Option<PathBuf>,
    /// Tell what is there and what is wrong with it; refuse nothing, write nothing
    #[arg(long, conflicts_with = "output")]
    summary: bool,
    /// Print the summary as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    shaping: Shaping,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    live: cluster::Live,
}

/// How traces are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
struct Reading {
    /// Format of the traces; else it is found out
    #[arg(long, value_name = "FORMAT", value_parser = format_of)]
    format: Option<Format>,
    /// Column of a table that holds times
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Column of a table that holds values
    #[arg(long, value_name = "COLUMN")]
    value: Option<String>,
    /// What values are: requests of an interval, requests per second, all requests so far; or each row is a request
    #[arg(long, value_enum)]
    values: Option<ValuesArg>,
    /// Take only rows whose column, or series whose label, has this value; may be given several times
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    filters: Vec<Filter>,
    /// How far rows are apart, where they have no time or do not show it
    #[arg(long, value_name = "DURATION", value_parser = step_of)]
    interval: Option<Step>,
    /// What times without a zone mean, as an offset from UTC
    #[arg(long, value_name = "OFFSET", default_value = "Z", allow_hyphen_values = true)]
    zone: Zone,
    /// Repair what is wrong, and count it: gaps=zero|hold|interpolate, order=sort, duplicates=first|last|sum, zones=each,
    /// rows=skip, end=cut; several, with commas
    #[arg(long, value_name = "FAULT=WAY", value_delimiter = ',')]
    repair: Vec<Repair>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ValuesArg {
    Counts,
    Rates,
    Counters,
    Events,
}

/// What is made of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shaping")]
struct Shaping {
    /// Begin here: a time such as 1998-06-10T12:00:00Z, or an offset from the start such as 2h; for Prometheus also now-6h
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End here, written as --from is
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Length of a step; else that of the trace, and a second (longer for long ones) where it has single requests
    #[arg(long, value_name = "DURATION", value_parser = step_of)]
    step: Option<Step>,
    /// Multiply all rates
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor_of)]
    scale: Factor,
    /// How much each of several traces counts, in their order; else 1 each
    #[arg(long = "weight", value_name = "FACTOR", value_parser = factor_of)]
    weights: Vec<Factor>,
    /// Add several traces up by their times, or all from their starts; what not all of them cover is left out
    #[arg(long, value_enum, default_value_t = AlignArg::Clock)]
    align: AlignArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AlignArg {
    Clock,
    Start,
}

/// A live source.
#[derive(Debug, Args)]
#[command(next_help_heading = "From Prometheus")]
struct Asking {
    /// Address of a Prometheus, such as `http://127.0.0.1:9090`
    #[arg(long, value_name = "URL", requires_all = ["query", "from"])]
    prometheus: Option<Uri>,
    /// What to ask it; counters (names in _total) become rates
    #[arg(long, value_name = "PROMQL", requires = "prometheus")]
    query: Option<String>,
    /// File that holds a bearer token for it
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    token_file: Option<PathBuf>,
    /// File that holds the certificates, in PEM, of those that may vouch for it, instead of the system's
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    ca_file: Option<PathBuf>,
}

pub(super) async fn record(args: RecordArgs, stop: CancellationToken) -> anyhow::Result<()> {
    if args.live.context.is_some() {
        return args.live.record(args.shaping.step, args.output.as_ref(), args.json, &stop).await;
    }
    let settings = args.reading.settings(&args.shaping, args.summary);
    let mut recordings = Vec::new();
    let mut reports = Vec::new();
    if let Some(url) = &args.asking.prometheus {
        let answer = tokio::select! {
            answer = ask(url, &args) => answer?,
            () = stop.cancelled() => return Err(RecordError::Stopped.into()),
        };
        let mut importer = Importer::new(Settings { format: Some(Format::Prometheus), ..settings });
        let import = importer.push(&answer).and_then(|()| importer.finish()).with_context(|| url.to_string())?;
        recordings.push(import.recording);
        reports.push(import.report);
    } else {
        if !args.shaping.weights.is_empty() && args.shaping.weights.len() != args.files.len() {
            bail!("{} weights for {} files; give one for each, or none", args.shaping.weights.len(), args.files.len());
        }
        for (index, path) in args.files.iter().enumerate() {
            if stop.is_cancelled() {
                return Err(RecordError::Stopped.into());
            }
            let import = read(path, &settings, &stop).await?;
            let weight = args.shaping.weights.get(index).copied().unwrap_or_default();
            recordings.push(import.recording.scaled(weight));
            reports.push(import.report);
        }
    }
    let recording = args.shaping.shape(&recordings, args.asking.prometheus.is_some(), args.reading.zone)?;
    tell(&args, &recording, &reports)
}

/// Reads a file on a thread of its own, with a progress bar where somebody watches.
async fn read(path: &Path, settings: &Settings, stop: &CancellationToken) -> anyhow::Result<Import> {
    let (path, settings, stop) = (path.to_owned(), settings.clone(), stop.clone());
    let import = tokio::task::spawn_blocking(move || {
        let bar = bar_of(&path);
        let import = import_file(&path, &settings, |bytes| {
            bar.set_position(bytes);
            !stop.is_cancelled()
        });
        bar.finish_and_clear();
        import
    });
    Ok(import.await??)
}

fn bar_of(path: &Path) -> ProgressBar {
    let length = std::fs::metadata(path).ok().map(|file| file.len()).filter(|length| *length > 0);
    let bar = match length {
        Some(length) if std::io::stderr().is_terminal() => ProgressBar::new(length),
        _ => ProgressBar::hidden(),
    };
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

async fn ask(url: &Uri, args: &RecordArgs) -> anyhow::Result<Vec<u8>> {
    let (from, to) = (args.shaping.from.as_deref().unwrap_or("now-1h"), args.shaping.to.as_deref().unwrap_or("now"));
    let window = Window::parse(from, to, args.shaping.step.unwrap_or(DEFAULT_STEP), now())?;
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("{}: unable to read", path.display()));
    let token = args.asking.token_file.as_ref().map(read).transpose()?;
    let access = Access {
        token: token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()),
        authority: args.asking.ca_file.as_ref().map(read).transpose()?,
    };
    let query = Query { url: url.clone(), text: args.asking.query.clone().unwrap_or_default(), window };
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(window.to.since(window.from).as_secs())
    } else {
        ProgressBar::hidden()
    };
    let answer = query.ask(access, |until| bar.set_position(until.since(window.from).as_secs())).await?;
    bar.finish_and_clear();
    Ok(answer)
}

/// The usual interval of scraping.
const DEFAULT_STEP: Step = Step::QUARTER_MINUTE;

fn tell(args: &RecordArgs, recording: &Recording, reports: &[ImportReport]) -> anyhow::Result<()> {
    let summary = SummaryJson::new(recording, reports);
    let text = if args.json { serde_json::to_string(&summary)? } else { summary_table(&summary) };
    let Some(path) = &args.output else {
        return Ok(writeln!(std::io::stdout().lock(), "{text}")?);
    };
    let bytes = write_recording(path, recording)?;
    // Standard output may be the traffic itself.
    let mut out = std::io::stderr().lock();
    writeln!(out, "{text}")?;
    Ok(writeln!(out, "{}: {bytes} bytes", path.display())?)
}

impl Reading {
    fn settings(&self, shaping: &Shaping, lenient: bool) -> Settings {
        let values = self.values.map(|values| match values {
            ValuesArg::Counts => Values::Counts,
            ValuesArg::Rates => Values::Rates,
            ValuesArg::Counters => Values::Counters,
            ValuesArg::Events => Values::Events,
        });
        Settings {
            format: self.format,
            time: self.time.clone(),
            value: self.value.clone(),
            values,
            filters: self.filters.clone(),
            interval: self.interval,
            step: shaping.step,
            zone: self.zone,
            repairs: self.repair.iter().copied().collect(),
            lenient,
        }
    }
}

impl Shaping {
    /// One recording of all: added up, cut and scaled. What Prometheus answered is cut already.
    fn shape(&self, recordings: &[Recording], is_cut: bool, zone: Zone) -> anyhow::Result<Recording> {
        let align = match self.align {
            AlignArg::Clock => Align::Clock,
            AlignArg::Start => Align::Start,
        };
        let whole = match recordings {
            [one] => one.clone(),
            several => Recording::together(several, align).context("unable to add the traces up (see --align)")?,
        };
        let offset = |text: &Option<String>, none: Duration| {
            text.as_ref().map_or(Ok(none), |text| offset_of(text, &whole, zone))
        };
        let part = if is_cut || (self.from.is_none() && self.to.is_none()) {
            whole
        } else {
            whole.part(offset(&self.from, Duration::ZERO)?, offset(&self.to, Duration::MAX)?)?
        };
        Ok(part.scaled(self.scale))
    }
}

/// How far from the recording's start a time is.
fn offset_of(text: &str, recording: &Recording, zone: Zone) -> anyhow::Result<Duration> {
    if let Ok(offset) = humantime::parse_duration(text) {
        return Ok(offset);
    }
    let Some(moment) = moment(text, zone) else {
        bail!("{text:?} is neither a time such as 1998-06-10T12:00:00Z nor an offset such as 2h");
    };
    let start = recording
        .start()
        .context("the trace does not know the time of day; give --from and --to as offsets such as 2h")?;
    Ok(moment.since(start))
}

fn format_of(text: &str) -> Result<Format, String> {
    let names = Format::ALL.map(|(name, _)| name).join(", ");
    let known = Format::ALL.into_iter().find(|(name, _)| *name == text);
    known.map(|(_, format)| format).ok_or_else(|| format!("there are {names}"))
}

fn step_of(text: &str) -> Result<Step, String> {
    let length = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Step::new(length).map_err(|error| error.to_string())
}

fn factor_of(text: &str) -> Result<Factor, String> {
    let number = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    Factor::new(number).map_err(|error| error.to_string())
}
