//! `burstlet replay --on local`: the simulation against a real control plane.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burstlet_engine::simulator::Setup;
use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{demo::TrialArgs, printed, stop_on_signal},
    lab::{
        demo::{Alone, Play, Record, Scenario},
        stand::StandError,
    },
    study::{Clocks, Fidelity, LEAST_MOMENTS, Phases, Run, judge},
    telemetry::{self, LogFormat},
};

#[derive(Debug, Args)]
pub(super) struct RealArgs {
    /// Play it on a control plane on this machine as well, as demo does, and tell how well they agree
    #[arg(long, value_name = "WHERE", conflicts_with = "context")]
    on: Option<Place>,
    /// Compare it with a real run that was kept: what --on local --json, or --context, printed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["on", "context"])]
    against: Option<PathBuf>,
    #[command(flatten)]
    trial: TrialArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Place {
    /// A control plane on this machine.
    Local,
}

impl RealArgs {
    /// Whether a real control plane is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.on.is_some() || self.against.is_some() || self.trial.context.is_some()
    }
}

/// A line of what is printed as JSON: the real run's records, its clocks, and how well the simulation agrees.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Record(Record),
    Clocks { clocks: Clocks },
    Fidelity { fidelity: Fidelity },
}

pub(super) async fn fidelity(args: &RealArgs, scenario: Scenario, setup: Setup, json: bool) -> anyhow::Result<()> {
    let unplayed: Vec<_> = scenario.only_simulated().into_iter().filter(|field| *field != "realNodes.price").collect();
    if !unplayed.is_empty() {
        bail!("{}: a real control plane cannot play {}; leave it out to compare", scenario.name, unplayed.join(", "));
    }
    let name = scenario.name.clone();
    let (real, clocks) = match &args.against {
        Some(file) => kept(file)?,
        None => Box::pin(play(args, scenario)).await?,
    };
    let best = judge(&real, &clocks, &setup).context(name)?;
    let is_enough = best.moments >= LEAST_MOMENTS;
    let moments = best.moments;
    printed(&if json { lines(real, clocks, best)? } else { table(&best) + "\n" })?;
    if !is_enough {
        bail!("{moments} moments near a change are too few to say anything; {LEAST_MOMENTS} are needed");
    }
    Ok(())
}

/// Plays it on a real control plane.
async fn play(args: &RealArgs, scenario: Scenario) -> anyhow::Result<(Run, Clocks)> {
    telemetry::init(LogFormat::Human);
    let stop = stop_on_signal()?;
    let length = scenario.duration() + scenario.settle;
    eprintln!("playing {} on a real control plane for {} s …", scenario.name, length.as_secs());
    Box::pin(played(args, scenario.alone()?, &stop)).await
}

async fn played(args: &RealArgs, scenario: Alone, stop: &CancellationToken) -> anyhow::Result<(Run, Clocks)> {
    let mut samples = Vec::new();
    let mut whole = None;
    let tell = |record| match record {
        Record::Sample(sample) => samples.push(sample),
        Record::Summary { summary } => whole = Some(summary),
    };
    let clocks = if let Some(host) = args.trial.host().await? {
        let play = Box::pin(Play::set_up_in(host, scenario, stop)).await?;
        Box::pin(play.run(tell, stop)).await?
    } else {
        let play = tokio::select! {
            play = Play::set_up(scenario) => play?,
            () = stop.cancelled() => return Err(StandError::Interrupted.into()),
        };
        Box::pin(play.run(tell, stop)).await?
    };
    let summary = whole.filter(|_| !stop.is_cancelled()).context("interrupted before the traffic's end")?;
    Ok((Run { samples, summary }, clocks))
}

/// A real run that was kept.
fn kept(file: &Path) -> anyhow::Result<(Run, Clocks)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}: unable to read", file.display()))?;
    let (mut samples, mut summary, mut clocks) = (Vec::new(), None, None);
    for (number, text) in (1..).zip(text.lines()) {
        let line = serde_json::from_str(text)
            .with_context(|| format!("{}: line {number}: no line of replay --on local --json", file.display()))?;
        match line {
            Line::Record(Record::Sample(sample)) => samples.push(sample),
            Line::Record(Record::Summary { summary: whole }) => summary = Some(whole),
            Line::Clocks { clocks: read } => clocks = Some(read),
            Line::Fidelity { .. } => {}
        }
    }
    let missing =
        || format!("{}: the run's end is missing; keep all that replay --on local --json prints", file.display());
    let (summary, clocks) = summary.zip(clocks).with_context(missing)?;
    Ok((Run { samples, summary }, clocks))
}

/// All as JSON, one object a line: what is kept may be compared again.
fn lines(Run { samples, summary }: Run, clocks: Clocks, fidelity: Fidelity) -> anyhow::Result<String> {
    let records = samples.into_iter().map(Record::Sample).chain([Record::Summary { summary }]);
    let ends = [Line::Clocks { clocks }, Line::Fidelity { fidelity }];
    let mut text = String::new();
    for line in records.map(Line::Record).chain(ends) {
        text += &serde_json::to_string(&line)?;
        text.push('\n');
    }
    Ok(text)
}

fn table(fidelity: &Fidelity) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let seconds = |delay: Option<f64>| delay.map_or_else(|| "–".to_owned(), |delay| format!("{delay:.1} s"));
    let delay = |index: usize| {
        let [real, simulated] = fidelity.delays_s.map(|delays| delays.get(index).copied().flatten());
        format!("{} and {}", seconds(real), seconds(simulated))
    };
    let mut rows = vec![
        ("moments within 5 min of a real change".to_owned(), fidelity.moments.to_string()),
        ("everything within 1 pod".to_owned(), share(fidelity.within_one_pod)),
    ];
    rows.extend(fidelity.by_figure.iter().map(|(figure, part)| (format!("  {figure}"), share(*part))));
    rows.push(("created to Ready, median, real and simulated".to_owned(), delay(0)));
    rows.push(("created to Ready, p95, real and simulated".to_owned(), delay(1)));
    let how = match fidelity.phases {
        Phases::Read => "read off its clock",
        Phases::Fitted => "fitted",
    };
    let clock = |[period, phase]: [f64; 2]| format!("{period:.2} s and {phase:.1} s");
    rows.push((format!("the HPA's period and phase, {how}"), clock(fidelity.hpa_s)));
    rows.push((format!("metrics-server's period and phase, {how}"), clock(fidelity.metrics_s)));
    rows.push(("everything within 1 pod, phases fitted".to_owned(), share(fidelity.fitted_within_one_pod)));
    for (name, figure) in rows {
        table.add_row([Cell::new(name), Cell::new(figure).set_alignment(CellAlignment::Right)]);
    }
    table.to_string()
}
