//! `burstlet demo`.

use std::{
    io::{IsTerminal, Write},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use anyhow::Context;
use burstlet_engine::simulator;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{
        ClusterArgs, printed,
        replay::{lines, opened, table},
    },
    lab::{
        controlplane,
        demo::{Alone, Play, Record, Scenario},
        stand::{Footing, Host, StandError},
    },
    report::{LiveTable, Paint, summary_table},
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
    /// Show the simulated run alone: at once, and without Go
    #[arg(long, conflicts_with = "context")]
    simulated: bool,
    #[command(flatten)]
    trial: TrialArgs,
}

/// A cluster to play in, other than one of the demo's own.
#[derive(Debug, Args)]
pub(super) struct TrialArgs {
    /// Play in the cluster of this kubeconfig context, which must have metrics-server; nothing is left there
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The context's kubeconfig file; else $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", requires = "context")]
    kubeconfig: Option<PathBuf>,
    /// Address of this machine at which the cluster's API server and metrics-server reach it
    #[arg(long, value_name = "IP", requires = "context", default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
}

impl TrialArgs {
    /// The cluster of the context, if one is named.
    pub(super) async fn host(&self) -> anyhow::Result<Option<Host>> {
        let Some(context) = self.context.clone() else { return Ok(None) };
        let cluster = ClusterArgs { kubeconfig: self.kubeconfig.clone(), context: Some(context.clone()) };
        let client = cluster.client().await.with_context(|| format!("unable to use the context {context}"))?;
        Ok(Some(Host { client, context, address: self.address }))
    }
}

pub(super) async fn demo(args: DemoArgs, stop: CancellationToken) -> anyhow::Result<()> {
    telemetry::init(LogFormat::Human);
    let scenario = opened(&args.scenario)?;
    eprintln!("{}: {}", scenario.name, scenario.about);
    let simulate = || simulator::run(&scenario.setup()?).with_context(|| scenario.name.clone());
    if args.simulated {
        let outcome = simulate()?;
        return printed(&if args.json { lines(&outcome)? } else { table(&scenario, &outcome) });
    }
    let unplayed = scenario.only_simulated();
    let simulated = || Ok::<_, anyhow::Error>(table(&scenario, &simulate()?));
    let alone = scenario.clone().alone()?;
    let show = Show::new(&alone, args.json)?;
    if !unplayed.is_empty() {
        eprintln!("a real control plane plays it without {}; burstlet replay simulates all of it", unplayed.join(", "));
    }
    if let Some(host) = args.trial.host().await? {
        eprintln!(
            "setting up in the cluster of context {}; burstlet and its nodes run in this process …",
            host.context
        );
        eprintln!("its HPA looks as often as its controller manager is told to: every 15s where nobody said otherwise");
        let play = Box::pin(Play::set_up_in(host, alone, &stop)).await?;
        Box::pin(watch(play, show, &stop)).await?;
        eprintln!("the cluster is as it was");
        return Ok(());
    }
    if !args.json && !controlplane::is_ready() {
        eprintln!("the control plane has to be built first, once; meanwhile, the same simulated:");
        printed(&simulated()?)?;
    }
    eprintln!("starting a control plane on this machine …");
    let play = tokio::select! {
        play = Play::set_up(alone) => play?,
        () = stop.cancelled() => return Err(StandError::Interrupted.into()),
    };
    Box::pin(watch(play, show, &stop)).await
}

/// Plays and prints.
async fn watch<C: Footing>(play: Play<C>, show: Show, stop: &CancellationToken) -> anyhow::Result<()> {
    let (address, _served) = play.page().await.context("unable to show the live page")?;
    eprintln!("watch it live at http://{address}/");
    eprintln!("waiting until the base is ready and metrics-server tells of it …");
    let mut failed = show.begin().inspect_err(|_| stop.cancel()).err();
    let tell = |record| {
        if failed.is_some() {
            return;
        }
        failed = show.tell(&record).err();
        if failed.is_some() {
            // Nobody reads any more: the demo ends, and clears away as always.
            stop.cancel();
        }
    };
    let played = play.run(tell, stop).await;
    match (failed, played) {
        (Some(error), Ok(_) | Err(StandError::Interrupted)) => match error.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error).context("unable to print"),
        },
        (_, played) => Ok(played.map(drop)?),
    }
}

/// Prints what is told: as a table, or as JSON.
struct Show {
    table: Option<LiveTable>,
    currency: String,
}

impl Show {
    fn new(alone: &Alone, json: bool) -> anyhow::Result<Self> {
        let scenario = &alone.scenario;
        let pools = scenario.pools.iter().map(|pool| pool.name.clone()).collect();
        let paint = Paint::choose(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        let currency = scenario.currency().context("the scenario names no pool")?.to_string();
        let table = (!json).then(|| LiveTable::new(pools, currency.clone(), alone.driven.workload.most, paint));
        Ok(Self { table, currency })
    }

    fn begin(&self) -> std::io::Result<()> {
        self.table.as_ref().map_or(Ok(()), |table| print(&table.header()))
    }

    fn tell(&self, record: &Record) -> std::io::Result<()> {
        let Some(table) = &self.table else { return print(&serde_json::to_string(record)?) };
        match record {
            Record::Sample(sample) => print(&table.row(sample)),
            Record::Summary { summary } => print(&summary_table(summary, &self.currency)),
        }
    }
}

/// Prints a line at once, also into a pipe.
fn print(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
