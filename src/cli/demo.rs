//! `burstlet demo`.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::{
    lab::demo::{Currency, LiveTable, Paint, Play, Record, Scenario, summary_table},
    telemetry::{self, LogFormat},
};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// A scenario that burstlet ships (flash-crowd, daily-wave), or a scenario's file or folder
    #[arg(default_value = Scenario::DEFAULT)]
    scenario: String,
    /// Print one JSON object a sample, and the summary last
    #[arg(long)]
    json: bool,
}

pub(super) async fn demo(args: DemoArgs, stop: CancellationToken) -> anyhow::Result<()> {
    telemetry::init(LogFormat::Human);
    let scenario = Scenario::open(&args.scenario)?;
    eprintln!("{}: {}", scenario.name, scenario.about);
    eprintln!("starting a control plane on this machine …");
    let mut show = Show::new(&scenario, args.json)?;
    let play = tokio::select! {
        play = Play::set_up(scenario) => play?,
        () = stop.cancelled() => anyhow::bail!("interrupted; everything is stopped and removed"),
    };
    eprintln!("waiting until the base is ready and metrics-server tells of it …");
    show.begin()?;
    let mut failed = None;
    let tell = |record| {
        if let Err(error) = show.tell(&record) {
            // Nobody reads any more: the demo ends, and clears away as always.
            failed.get_or_insert(error);
            stop.cancel();
        }
    };
    Box::pin(play.run(tell, &stop)).await?;
    match failed {
        Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("unable to print"),
        _ => Ok(()),
    }
}

/// Prints what is told: as a table, or as JSON.
struct Show {
    table: Option<LiveTable>,
    currency: Currency,
    /// The last sample's.
    cost: f64,
}

impl Show {
    fn new(scenario: &Scenario, json: bool) -> anyhow::Result<Self> {
        let pools = scenario.pools.iter().map(|pool| pool.name.clone()).collect();
        let paint = Paint::choose(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        let currency = scenario.currency().context("the scenario names no pool")?.clone();
        let table = (!json).then(|| LiveTable::new(pools, currency.clone(), scenario.workload.most, paint));
        Ok(Self { table, currency, cost: 0.0 })
    }

    fn begin(&self) -> std::io::Result<()> {
        self.table.as_ref().map_or(Ok(()), |table| print(&table.header()))
    }

    fn tell(&mut self, record: &Record) -> std::io::Result<()> {
        let Some(table) = &self.table else { return print(&serde_json::to_string(record)?) };
        match record {
            Record::Sample(sample) => {
                self.cost = sample.cost;
                print(&table.row(sample))
            }
            Record::Summary { summary } => print(&summary_table(summary, self.cost, &self.currency)),
        }
    }
}

/// Prints a line at once, also into a pipe.
fn print(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
