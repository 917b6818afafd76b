//! `burstlet tune`.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use anyhow::bail;
use burstlet_engine::simulator::Setup;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{
        compare::{StudyArgs, has_node_price},
        printed,
        progress::Progress,
    },
    scenario::Scenario,
    study::{Choice, Figures, Judged, Objective, Piece, Policy, Prices, RunError, Runner, cheapest, days},
};

#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// A scenario that burstlet ships (see simulations/), or a scenario's file or folder
    #[arg(default_value = Scenario::DEFAULT)]
    scenario: String,
    /// What must hold, such as p95<30s, p99<1m, late<1% or unserved<0.1%; may be given several times
    #[arg(long, value_name = "OBJECTIVE", required = true)]
    objective: Vec<Objective>,
    /// Seeds under which the objectives must hold
    #[arg(long, value_name = "NUMBER", default_value = "3")]
    seeds: NonZeroU32,
    /// Length of a day: longer traffic is cut into days, of which the last is not searched but checked
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = day)]
    day: Duration,
    /// Largest base to look at; by default the HPA's maximum
    #[arg(long, value_name = "PODS")]
    most: Option<u32>,
    /// Simulate every base, to see the whole curve
    #[arg(long)]
    exhaustive: bool,
    /// Print one JSON object a base that was simulated, and the choice last
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    study: StudyArgs,
}

fn day(text: &str) -> Result<Duration, String> {
    let day = text.parse::<humantime::Duration>().map(Duration::from).map_err(|error| error.to_string())?;
    if day < Duration::from_mins(1) { Err("a day is a minute at least".to_owned()) } else { Ok(day) }
}

/// A search under way.
struct Tuning<'a> {
    args: &'a TuneArgs,
    runner: Runner<'a>,
    /// The days that are searched.
    seen: Vec<Setup>,
    prices: Prices,
    /// The figures of each base, a piece each.
    figures: BTreeMap<u32, Vec<Figures>>,
}

pub(super) fn tune(args: &TuneArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let scenario = Scenario::open(&args.scenario)?;
    let setup = scenario.setup()?;
    if !has_node_price(&scenario) {
        bail!(
            "{}: real nodes have no price, so the largest base is always the cheapest; set realNodes.price",
            scenario.name
        );
    }
    let mut seen = days(&setup, args.day);
    let (unseen, what) = if seen.len() > 1 {
        (seen.pop(), "the last day, which was not searched")
    } else {
        (None, "seeds that were not searched")
    };
    let unseen = unseen.unwrap_or_else(|| seen[0].clone());
    let progress = Progress::new();
    let show = |done, all, label: &str| progress.show(done, all, label);
    let runner = Runner::new(args.study.results()?, args.study.threads(), stop, &show);
    let mut tuning = Tuning { args, runner, prices: Prices::of(&setup), seen, figures: BTreeMap::new() };
    let most =
        args.most.unwrap_or_else(|| scenario.workloads.iter().map(|driven| driven.workload.most).max().unwrap_or(0));
    let found = tuning.search(most).and_then(|choice| {
        let check = choice.base.map(|base| tuning.check(&unseen, base)).transpose()?;
        Ok((choice, check))
    });
    progress.clear();
    let (choice, check) = found?;
    let currency = scenario.currency().map(ToString::to_string).unwrap_or_default();
    tuning.tell(&choice, check.as_deref(), what, &currency)
}

impl Tuning<'_> {
    fn search(&mut self, most: u32) -> Result<Choice, RunError> {
        if self.args.exhaustive {
            let bases: Vec<u32> = (0..=most).collect();
            let judged = self.judge(&bases)?;
            let judged: BTreeMap<_, _> = bases.into_iter().zip(judged).collect();
            let holding = judged.iter().filter(|(_, judged)| judged.holds);
            let base = holding.reduce(|best, next| if next.1.cost < best.1.cost { next } else { best });
            return Ok(Choice { base: base.map(|(base, _)| *base), judged });
        }
        let figures = std::cell::RefCell::new(BTreeMap::new());
        let prices = self.prices;
        cheapest(
            most,
            |bases| {
                let judged = self.judge(bases)?;
                figures.borrow_mut().clone_from(&self.figures);
                Ok(judged)
            },
            |reference, base| {
                let figures = figures.borrow();
                let of = figures.get(&reference).map(Vec::as_slice).unwrap_or_default();
                mean(of.iter().map(|figures| prices.predict(figures, base)))
            },
        )
    }

    /// Simulates bases under every seed and on every day that is searched.
    fn judge(&mut self, bases: &[u32]) -> Result<Vec<Judged>, RunError> {
        let pieces: Vec<Piece> = bases.iter().flat_map(|base| self.pieces(&self.seen, *base, 0)).collect();
        let figures = self.runner.run(&pieces)?;
        let each = pieces.len() / bases.len().max(1);
        for (base, figures) in bases.iter().zip(figures.chunks(each.max(1))) {
            self.figures.insert(*base, figures.to_vec());
        }
        Ok(bases
            .iter()
            .map(|base| self.judged(self.figures.get(base).map(Vec::as_slice).unwrap_or_default()))
            .collect())
    }

    fn judged(&self, figures: &[Figures]) -> Judged {
        let holds = |figures: &Figures| self.args.objective.iter().all(|objective| objective.holds(figures));
        Judged { cost: mean(figures.iter().map(|figures| figures.cost)), holds: figures.iter().all(holds) }
    }

    /// The choice under seeds, or on a day, that were not searched.
    fn check(&self, unseen: &Setup, base: u32) -> Result<Vec<Figures>, RunError> {
        self.runner.run(&self.pieces(std::slice::from_ref(unseen), base, u64::from(self.args.seeds.get())))
    }

    fn pieces(&self, days: &[Setup], base: u32, from: u64) -> Vec<Piece> {
        let seeds = (0..u64::from(self.args.seeds.get())).map(|seed| seed + from);
        let piece = |seed: u64, (day, setup): (usize, &Setup)| {
            let setup = Setup { seed: setup.seed + seed, ..Policy::Base(base).apply(setup.clone()) };
            Piece { label: format!("base {base}, day {}, seed {}", day + 1, setup.seed), setup }
        };
        seeds.flat_map(|seed| days.iter().enumerate().map(move |day| piece(seed, day))).collect()
    }

    fn tell(&self, choice: &Choice, check: Option<&[Figures]>, what: &str, currency: &str) -> anyhow::Result<()> {
        let checked = check.map(|figures| self.judged(figures));
        if self.args.json {
            let mut text = String::new();
            for (base, judged) in &choice.judged {
                let figures = self.figures.get(base);
                let line = json!({"base": base, "cost": judged.cost, "holds": judged.holds, "pieces": figures});
                text.extend([&line.to_string(), "\n"]);
            }
            let unseen = checked.as_ref().map(|judged| json!({"cost": judged.cost, "holds": judged.holds}));
            let line = json!({"choice": choice.base, "simulated": choice.judged.len(), "unseen": unseen});
            return printed(&format!("{text}{line}\n"));
        }
        let verdict = match (choice.base, &checked) {
            (Some(base), Some(judged)) => {
                let kept = if judged.holds { "meets the objectives there, too" } else { "MISSES the objectives there" };
                format!("base {base} is the cheapest that meets {}; checked on {what}: it {kept}", self.objectives())
            }
            _ => format!("no base meets {}: see by how much in the table", self.objectives()),
        };
        printed(&format!("{}\n{verdict}\n", self.table(choice, currency)))?;
        if choice.base.is_none() {
            bail!("no base meets {}", self.objectives());
        }
        Ok(())
    }

    fn objectives(&self) -> String {
        self.args.objective.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    }

    /// The curve of cost against delay, where it was simulated; the worst of each figure over seeds and days.
    fn table(&self, choice: &Choice, currency: &str) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        let header =
            ["base".to_owned(), format!("cost {currency}"), "nodes".to_owned(), "p95".to_owned(), "p99".to_owned()];
        let objectives = self.args.objective.iter().map(ToString::to_string);
        table.set_header(header.into_iter().chain(objectives).chain([String::new()]));
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        for (base, judged) in &choice.judged {
            let figures = self.figures.get(base).map(Vec::as_slice).unwrap_or_default();
            let worst = |value: fn(&Figures) -> Option<f64>| {
                let worst = figures.iter().filter_map(value).reduce(f64::max);
                worst.map_or_else(|| "–".to_owned(), |delay| format!("{delay:.1} s"))
            };
            let told = |objective: &Objective| {
                let breach = figures.iter().find(|figures| !objective.holds(figures));
                breach.or(figures.first()).map(|figures| objective.told(figures)).unwrap_or_default()
            };
            let nodes = figures.iter().map(|figures| figures.nodes_peak).max().unwrap_or_default();
            let mark = match (choice.base == Some(*base), judged.holds) {
                (true, _) => "◀ cheapest",
                (false, true) => "",
                (false, false) => "misses",
            };
            let cells = [base.to_string(), format!("{:.4}", judged.cost), nodes.to_string()]
                .into_iter()
                .chain([worst(|figures| figures.delay_p95_s), worst(|figures| figures.delay_p99_s)])
                .chain(self.args.objective.iter().map(told));
            table.add_row(cells.map(right).chain([Cell::new(mark)]));
        }
        table.to_string()
    }
}

#[allow(clippy::cast_precision_loss, reason = "pieces are few")]
fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    // Not `sum`, whose zero is negative.
    numbers.fold(0.0, |all, number| all + number) / count
}
