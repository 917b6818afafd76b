//! `burstlet replay`.

use std::{io::IsTerminal, path::PathBuf};

use anyhow::Context;
use burstlet_engine::simulator::{self, Outcome, Played};
use clap::Args;

use crate::{
    cli::printed,
    report::{LiveTable, Paint, Subject, html_page, summary_table},
    scenario::Scenario,
};

/// Rows of the table at most.
const ROWS: usize = 40;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A scenario that burstlet ships (see simulations/), or a scenario's file or folder
    #[arg(default_value = Scenario::DEFAULT)]
    scenario: String,
    /// Print one JSON object a sample, and the summary last: the same objects as those of demo --json
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the samples as comma-separated values
    #[arg(long)]
    csv: bool,
    /// Seed of all that is random, instead of the scenario's own
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Write the run as one HTML file, too, that needs no network
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "lab", arg(conflicts_with_all = ["on", "against", "context"]))]
    report: Option<PathBuf>,
    /// Play it on a real control plane as well, as demo does, and compare
    #[cfg(feature = "lab")]
    #[command(flatten)]
    real: super::fidelity::RealArgs,
}

#[cfg_attr(not(feature = "lab"), allow(clippy::unused_async, reason = "only a real control plane is waited for"))]
pub(super) async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let scenario = opened(&args.scenario)?;
    let mut setup = scenario.setup()?;
    setup.seed = args.seed.unwrap_or(setup.seed);
    #[cfg(feature = "lab")]
    if args.real.is_asked() {
        return Box::pin(super::fidelity::fidelity(&args.real, scenario, setup, args.json)).await;
    }
    let outcome = simulator::run(&setup).with_context(|| scenario.name.clone())?;
    if let Some(path) = &args.report {
        let currency = scenario.currency().map(ToString::to_string).unwrap_or_default();
        let subject = Subject { name: &scenario.name, about: &scenario.about, currency: &currency };
        let written = std::fs::write(path, html_page(subject, &outcome));
        written.with_context(|| format!("{}: unable to write the report", path.display()))?;
    }
    let text = if args.json {
        lines(&outcome)?
    } else if args.csv {
        outcome.csv()
    } else {
        table(&scenario, &outcome)
    };
    printed(&text)
}

/// A scenario, after saying what of its manifests a replay leaves out.
pub(super) fn opened(name: &str) -> anyhow::Result<Scenario> {
    let scenario = Scenario::open(name)?;
    for field in scenario.left_out() {
        eprintln!("not simulated: {field}");
    }
    Ok(scenario)
}

/// The run as JSON, one object a line.
pub(super) fn lines(outcome: &Outcome) -> anyhow::Result<String> {
    let mut text = String::new();
    for record in outcome.records() {
        text += &serde_json::to_string(&record)?;
        text.push('\n');
    }
    Ok(text)
}

/// Some moments of the run, evenly spaced, and its summary.
pub(super) fn table(scenario: &Scenario, outcome: &Outcome) -> String {
    let paint = Paint::choose(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let currency = scenario.currency().map(ToString::to_string).unwrap_or_default();
    let pools: Vec<_> = scenario.pools.iter().map(|pool| pool.name.clone()).collect();
    let mut text = format!("{}: {}\n", scenario.name, scenario.about);
    let most = |played: &Played| {
        let own = scenario.workloads.iter().find(|driven| driven.workload.name().to_string() == played.workload);
        let all = || scenario.workloads.iter().map(|driven| driven.workload.most).sum();
        own.map_or_else(all, |driven| driven.workload.most)
    };
    let is_alone = outcome.workloads.len() == 1;
    for played in outcome.workloads.iter().chain(outcome.total().as_ref()) {
        if !is_alone {
            text.extend(["\n", &played.workload, "\n"]);
        }
        let table = LiveTable::new(pools.clone(), currency.clone(), most(played), paint);
        text.extend([&table.header(), "\n"]);
        let step = played.samples.len().div_ceil(ROWS).max(1);
        for sample in played.samples.iter().step_by(step) {
            text.extend([&table.row(sample), "\n"]);
        }
        text.extend([&summary_table(&played.summary, &currency), "\n"]);
    }
    text
}
