//! `burstlet replay --on local`: the simulation against a real control plane.

use anyhow::{Context, bail};
use burstlet_engine::simulator::{self, Setup};
use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{demo::TrialArgs, printed, stop_on_signal},
    lab::{
        demo::{Alone, Clocks, Play, Record, Scenario},
        stand::StandError,
    },
    study::{Fidelity, LEAST_MOMENTS, Phases, Run, compare, phases, read_phases},
    telemetry::{self, LogFormat},
};

#[derive(Debug, Args)]
pub(super) struct RealArgs {
    /// Play it on a control plane on this machine as well, as demo does, and tell how well they agree
    #[arg(long, value_name = "WHERE", conflicts_with = "context")]
    on: Option<Place>,
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
        self.on.is_some() || self.trial.context.is_some()
    }
}

pub(super) async fn fidelity(args: &RealArgs, scenario: Scenario, setup: Setup, json: bool) -> anyhow::Result<()> {
    telemetry::init(LogFormat::Human);
    let unplayed: Vec<_> = scenario.only_simulated().into_iter().filter(|field| *field != "realNodes.price").collect();
    if !unplayed.is_empty() {
        bail!("{}: a real control plane cannot play {}; leave it out to compare", scenario.name, unplayed.join(", "));
    }
    let stop = stop_on_signal()?;
    let length = scenario.duration() + scenario.settle;
    eprintln!("playing {} on a real control plane for {} s …", scenario.name, length.as_secs());
    let (real, clocks) = Box::pin(play(args, scenario.alone()?, &stop)).await?;
    let best = judged(&real, &clocks, &setup)?;
    if json {
        return printed(&(serde_json::to_string(&best)? + "\n"));
    }
    printed(&(table(&best) + "\n"))?;
    if best.moments < LEAST_MOMENTS {
        bail!("{} moments near a change are too few to say anything; {LEAST_MOMENTS} are needed", best.moments);
    }
    Ok(())
}

async fn play(args: &RealArgs, scenario: Alone, stop: &CancellationToken) -> anyhow::Result<(Run, Clocks)> {
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

/// How well the simulation agrees in the phases of the real run's clocks, and in those that agree best.
fn judged(real: &Run, clocks: &Clocks, setup: &Setup) -> anyhow::Result<Fidelity> {
    let mut best: Option<Fidelity> = None;
    for setup in phases(setup) {
        let fidelity = simulated(real, &setup)?;
        if best.as_ref().is_none_or(|best| fidelity.within_one_pod > best.within_one_pod) {
            best = Some(fidelity);
        }
    }
    let best = best.context("no phase was tried")?;
    let Some(setup) = read_phases(setup, &clocks.syncs, &clocks.scrapes) else { return Ok(best) };
    let fitted_within_one_pod = best.within_one_pod;
    Ok(Fidelity { phases: Phases::Read, fitted_within_one_pod, ..simulated(real, &setup)? })
}

fn simulated(real: &Run, setup: &Setup) -> anyhow::Result<Fidelity> {
    let mut outcome = simulator::run(setup)?;
    let played = outcome.workloads.pop().context("the scenario has no workload")?;
    Ok(compare(real, &Run { samples: played.samples, summary: played.summary }, setup))
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
    rows.push((format!("the HPA's phase, {how}"), format!("{:.1} s", fidelity.hpa_phase_s)));
    rows.push((format!("metrics-server's phase, {how}"), format!("{:.1} s", fidelity.metrics_phase_s)));
    rows.push(("everything within 1 pod, phases fitted".to_owned(), share(fidelity.fitted_within_one_pod)));
    for (name, figure) in rows {
        table.add_row([Cell::new(name), Cell::new(figure).set_alignment(CellAlignment::Right)]);
    }
    table.to_string()
}
