//! `burstlet compare`.

use std::{num::NonZeroUsize, path::PathBuf};

use burstlet_engine::{policy::EffectivePolicy, simulator::Setup};
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{printed, progress::Progress, replay::opened},
    scenario::Scenario,
    study::{Figures, Piece, Policy, Results, Runner},
};

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// A scenario that burstlet ships (see simulations/), or a scenario's file or folder
    #[arg(default_value = Scenario::DEFAULT)]
    scenario: String,
    /// A base to compare as well, on just as many real nodes as it needs; may be given several times
    #[arg(long, value_name = "PODS")]
    base: Vec<u32>,
    /// Print one JSON object a policy
    #[arg(long)]
    json: bool,
    /// Seed of all that is random, instead of the scenario's own
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    #[command(flatten)]
    study: StudyArgs,
}

/// How pieces are run and kept.
#[derive(Debug, Args)]
pub(super) struct StudyArgs {
    /// Simulations at a time; by default one a core
    #[arg(long, value_name = "NUMBER")]
    pub(super) threads: Option<NonZeroUsize>,
    /// File that keeps what is done, so that the same command goes on where it was interrupted
    #[arg(long, value_name = "FILE")]
    pub(super) results: Option<PathBuf>,
}

impl StudyArgs {
    pub(super) fn results(&self) -> anyhow::Result<Results> {
        Ok(self.results.as_deref().map(Results::open).transpose()?.unwrap_or_default())
    }

    pub(super) fn threads(&self) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(cores)
    }
}

pub(super) fn compare(args: &CompareArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let scenario = opened(&args.scenario)?;
    let mut setup = scenario.setup()?;
    setup.seed = args.seed.unwrap_or(setup.seed);
    let bases = args.base.iter().map(|base| Policy::Base(*base));
    let policies: Vec<Policy> =
        [Policy::AsWritten, Policy::AllReal, Policy::Autoscaler, Policy::BurstOnly].into_iter().chain(bases).collect();
    let piece = |policy: &Policy| Piece { label: policy.to_string(), setup: policy.apply(setup.clone()) };
    let pieces: Vec<Piece> = policies.iter().map(piece).collect();
    let progress = Progress::new();
    let show = |done, all, label: &str| progress.show(done, all, label);
    let figures = Runner::new(args.study.results()?, args.study.threads(), stop, &show).run(&pieces);
    progress.clear();
    let figures = figures?;
    let currency = scenario.currency().map(ToString::to_string).unwrap_or_default();
    if args.json {
        let line = |(policy, figures): (&Policy, &Figures)| {
            json!({"policy": policy.to_string(), "currency": currency, "figures": figures}).to_string() + "\n"
        };
        return printed(&policies.iter().zip(&figures).map(line).collect::<String>());
    }
    let note = if has_node_price(&scenario) { "" } else { "\nreal nodes have no price here: realNodes.price sets one" };
    printed(&format!(
        "{}: {}\n{}{note}\n",
        scenario.name,
        scenario.about,
        table(&policies, &figures, &pieces, &currency)
    ))
}

pub(super) fn has_node_price(scenario: &Scenario) -> bool {
    scenario.real_nodes.price.is_some_and(|price| price.hour.get() > 0.0)
}

fn table(policies: &[Policy], figures: &[Figures], pieces: &[Piece], currency: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let cost = format!("cost {currency}");
    table.set_header([
        "policy", "base", "nodes", &cost, "real", "burst", "p50", "p95", "p99", "late", "unserved", "evicted",
    ]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let seconds = |delay: Option<f64>| delay.map_or_else(|| "–".to_owned(), |delay| format!("{delay:.1} s"));
    let share = |part: f64| format!("{:.3} %", part * 100.0);
    for ((policy, figures), piece) in policies.iter().zip(figures).zip(pieces) {
        table.add_row([
            Cell::new(policy),
            right(bases(&piece.setup)),
            right(figures.nodes_peak.to_string()),
            right(format!("{:.4}", figures.cost)),
            right(format!("{:.4}", figures.real_cost)),
            right(format!("{:.4}", figures.cost - figures.real_cost)),
            right(seconds(figures.delay_p50_s)),
            right(seconds(figures.delay_p95_s)),
            right(seconds(figures.delay_p99_s)),
            right(share(figures.late)),
            right(share(figures.unserved)),
            right(figures.evictions.to_string()),
        ]);
    }
    table.to_string()
}

/// The bases of the workloads; a dash where there is none.
fn bases(setup: &Setup) -> String {
    let base = |policy: &Option<EffectivePolicy>| {
        let base = policy.as_ref().and_then(|policy| policy.real_share().pods);
        base.map_or_else(|| "–".to_owned(), |base| base.to_string())
    };
    setup.effective_policies().iter().map(base).collect::<Vec<_>>().join(", ")
}
