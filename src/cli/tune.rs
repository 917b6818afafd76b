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
    study::{
        CappedChoice, Choice, Figures, Judged, Limits, Objective, Piece, Policy, Prices, RunError, Runner, cheapest,
        cheapest_capped, days,
    },
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
    /// Search the most pods of a revision in the last pool, too; needs an objective of late or unserved requests
    #[arg(long)]
    caps: bool,
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

/// A base, and the cap of the last pool where caps are searched.
type Key = (u32, Option<u32>);

/// What a search has found: the cheapest, and all that was simulated.
struct Found {
    choice: Option<Key>,
    judged: BTreeMap<Key, Judged>,
}

/// The search for one workload.
struct Tuning<'a> {
    args: &'a TuneArgs,
    runner: &'a Runner<'a>,
    /// The workload, where there are several.
    workload: Option<String>,
    /// The days that are searched.
    seen: Vec<Setup>,
    prices: Prices,
    /// The figures of all that was simulated, a piece each.
    figures: BTreeMap<Key, Vec<Figures>>,
}

pub(super) fn tune(args: &TuneArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let scenario = Scenario::open(&args.scenario)?;
    let whole = scenario.setup()?;
    if !has_node_price(&scenario) {
        bail!(
            "{}: real nodes have no price, so the largest base is always the cheapest; set realNodes.price",
            scenario.name
        );
    }
    if args.caps && !args.objective.iter().any(Objective::is_of_requests) {
        bail!(
            "--caps needs an objective of requests, such as unserved<1%: a delay alone is kept best by starting no pod"
        );
    }
    let progress = Progress::new();
    let show = |done, all, label: &str| progress.show(done, all, label);
    let runner = Runner::new(args.study.results()?, args.study.threads(), stop, &show);
    let currency = scenario.currency().map(ToString::to_string).unwrap_or_default();
    let mut missed = Vec::new();
    for workload in &whole.workloads {
        let setup = Setup { workloads: vec![workload.clone()], ..whole.clone() };
        let mut seen = days(&setup, args.day);
        let (unseen, what) = if seen.len() > 1 {
            (seen.pop(), "the last day, which was not searched")
        } else {
            (None, "seeds that were not searched")
        };
        let unseen = unseen.unwrap_or_else(|| setup.clone());
        let name = (whole.workloads.len() > 1).then(|| workload.name.to_string());
        let prices = Prices::of(&setup);
        let mut tuning = Tuning { args, runner: &runner, workload: name, prices, seen, figures: BTreeMap::new() };
        let most = args.most.unwrap_or_else(|| u32::try_from(workload.hpa.max_replicas).unwrap_or_default());
        let found = tuning.search(most).and_then(|found| {
            let check = found.choice.map(|key| tuning.check(&unseen, key)).transpose()?;
            Ok((found, check))
        });
        progress.clear();
        let (found, check) = found?;
        tuning.tell(&found, check.as_deref(), what, &currency)?;
        missed.extend(found.choice.is_none().then(|| tuning.best_reachable()));
    }
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("; ")) }
}

impl Tuning<'_> {
    fn search(&mut self, most: u32) -> Result<Found, RunError> {
        if self.args.caps { self.search_capped(most) } else { self.search_bases(most) }
    }

    fn search_bases(&mut self, most: u32) -> Result<Found, RunError> {
        let uncapped = |choice: Choice| Found {
            choice: choice.base.map(|base| (base, None)),
            judged: choice.judged.into_iter().map(|(base, judged)| ((base, None), judged)).collect(),
        };
        if self.args.exhaustive {
            let keys: Vec<Key> = (0..=most).map(|base| (base, None)).collect();
            let judged = self.judge(&keys)?;
            let judged: BTreeMap<u32, Judged> = keys.iter().map(|(base, _)| *base).zip(judged).collect();
            let holding = judged.iter().filter(|(_, judged)| judged.holds);
            let base = holding.reduce(|best, next| if next.1.cost < best.1.cost { next } else { best });
            return Ok(uncapped(Choice { base: base.map(|(base, _)| *base), judged }));
        }
        let figures = std::cell::RefCell::new(BTreeMap::new());
        let prices = self.prices;
        let choice = cheapest(
            most,
            |bases| {
                let keys: Vec<Key> = bases.iter().map(|base| (*base, None)).collect();
                let judged = self.judge(&keys)?;
                figures.borrow_mut().clone_from(&self.figures);
                Ok(judged)
            },
            |reference, base| {
                let figures = figures.borrow();
                let of = figures.get(&(reference, None)).map(Vec::as_slice).unwrap_or_default();
                mean(of.iter().map(|figures| prices.predict(figures, base)))
            },
        )?;
        Ok(uncapped(choice))
    }

    fn search_capped(&mut self, most: u32) -> Result<Found, RunError> {
        let key = |(base, cap): Limits| (base, Some(cap));
        let choice = if self.args.exhaustive {
            let all: Vec<Limits> = (0..=most).flat_map(|base| (1..=most.max(1)).map(move |cap| (base, cap))).collect();
            let judged = self.judge(&all.iter().copied().map(key).collect::<Vec<_>>())?;
            CappedChoice::of(all.into_iter().zip(judged).collect())
        } else {
            let figures = std::cell::RefCell::new(BTreeMap::<Key, Vec<Figures>>::new());
            let prices = self.prices;
            let judge = |limits: Limits| {
                let judged = self.judge(&[key(limits)])?;
                figures.borrow_mut().clone_from(&self.figures);
                Ok(judged.into_iter().next().unwrap_or(Judged { cost: 0.0, holds: false }))
            };
            cheapest_capped(most, judge, |(base, cap)| {
                let figures = figures.borrow();
                // The most pods at once tell most of what is wanted.
                let reference = figures.iter().max_by_key(|((base, cap), _)| base + cap.unwrap_or_default());
                let of = reference.map(|(_, figures)| figures.as_slice()).unwrap_or_default();
                mean(of.iter().map(|figures| prices.predict_capped(figures, base, cap)))
            })?
        };
        Ok(Found {
            choice: choice.limits.map(key),
            judged: choice.judged.into_iter().map(|(limits, judged)| (key(limits), judged)).collect(),
        })
    }

    /// Simulates under every seed and on every day that is searched.
    fn judge(&mut self, keys: &[Key]) -> Result<Vec<Judged>, RunError> {
        let pieces: Vec<Piece> = keys.iter().flat_map(|key| self.pieces(&self.seen, *key, 0)).collect();
        let figures = self.runner.run(&pieces)?;
        let each = pieces.len() / keys.len().max(1);
        for (key, figures) in keys.iter().zip(figures.chunks(each.max(1))) {
            self.figures.insert(*key, figures.to_vec());
        }
        Ok(keys.iter().map(|key| self.judged(self.figures.get(key).map(Vec::as_slice).unwrap_or_default())).collect())
    }

    fn judged(&self, figures: &[Figures]) -> Judged {
        let holds = |figures: &Figures| self.args.objective.iter().all(|objective| objective.holds(figures));
        Judged { cost: mean(figures.iter().map(|figures| figures.cost)), holds: figures.iter().all(holds) }
    }

    /// The choice under seeds, or on a day, that were not searched.
    fn check(&self, unseen: &Setup, key: Key) -> Result<Vec<Figures>, RunError> {
        self.runner.run(&self.pieces(std::slice::from_ref(unseen), key, u64::from(self.args.seeds.get())))
    }

    fn pieces(&self, days: &[Setup], (base, cap): Key, from: u64) -> Vec<Piece> {
        let policy = cap.map_or(Policy::Base(base), |cap| Policy::Capped(base, cap));
        let seeds = (0..u64::from(self.args.seeds.get())).map(|seed| seed + from);
        let piece = |seed: u64, (day, setup): (usize, &Setup)| {
            let setup = Setup { seed: setup.seed + seed, ..policy.apply(setup.clone()) };
            Piece { label: format!("{}, day {}, seed {}", limits((base, cap)), day + 1, setup.seed), setup }
        };
        seeds.flat_map(|seed| days.iter().enumerate().map(move |day| piece(seed, day))).collect()
    }

    fn tell(&self, found: &Found, check: Option<&[Figures]>, what: &str, currency: &str) -> anyhow::Result<()> {
        let checked = check.map(|figures| self.judged(figures));
        if self.args.json {
            return printed(&self.lines(found, checked.as_ref()));
        }
        let verdict = match (found.choice, &checked) {
            (Some(key), Some(judged)) => {
                let kept = if judged.holds { "meets the objectives there, too" } else { "MISSES the objectives there" };
                let chosen = limits(key);
                format!("{chosen} is the cheapest that meets {}; checked on {what}: it {kept}", self.objectives())
            }
            _ => format!("no base meets {}: see by how much in the table", self.objectives()),
        };
        let title = self.workload.as_ref().map(|name| format!("{name}, as if alone:\n")).unwrap_or_default();
        printed(&format!("{title}{}\n{verdict}\n", self.table(found, currency)))
    }

    fn lines(&self, found: &Found, checked: Option<&Judged>) -> String {
        let named = |mut line: serde_json::Value, cap: Option<u32>| {
            if let Some(fields) = line.as_object_mut() {
                fields.extend(self.workload.clone().map(|name| ("workload".to_owned(), name.into())));
                fields.extend(cap.map(|cap| ("cap".to_owned(), cap.into())));
            }
            line.to_string() + "\n"
        };
        let each = found.judged.iter().map(|(key, judged)| {
            let figures = self.figures.get(key);
            named(json!({"base": key.0, "cost": judged.cost, "holds": judged.holds, "pieces": figures}), key.1)
        });
        let unseen = checked.map(|judged| json!({"cost": judged.cost, "holds": judged.holds}));
        let base = found.choice.map(|(base, _)| base);
        let choice = json!({"choice": base, "simulated": found.judged.len(), "unseen": unseen});
        each.collect::<String>() + &named(choice, found.choice.and_then(|(_, cap)| cap))
    }

    /// What is as near to the objectives as anything simulated came.
    fn best_reachable(&self) -> String {
        let reached = self.args.objective.iter().filter_map(|objective| {
            let (key, figures) =
                objective.least(self.figures.iter().map(|(key, figures)| (*key, figures.as_slice())))?;
            Some(format!("for {objective} the best is {}, with {}", objective.told(figures), limits(key)))
        });
        let reached: Vec<_> = reached.collect();
        let whose = self.workload.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        format!("{whose}no base meets {}: {}", self.objectives(), reached.join(", "))
    }

    fn objectives(&self) -> String {
        self.args.objective.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    }

    /// The curve of cost against delay, where it was simulated; the worst of each figure over seeds and days.
    fn table(&self, found: &Found, currency: &str) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        let header = [
            if self.args.caps { "base + cap" } else { "base" }.to_owned(),
            format!("cost {currency}"),
            "nodes".to_owned(),
            "p95".to_owned(),
            "p99".to_owned(),
        ];
        let objectives = self.args.objective.iter().map(ToString::to_string);
        table.set_header(header.into_iter().chain(objectives).chain([String::new()]));
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        for (key, judged) in &found.judged {
            let figures = self.figures.get(key).map(Vec::as_slice).unwrap_or_default();
            let worst = |value: fn(&Figures) -> Option<f64>| {
                let worst = figures.iter().filter_map(value).reduce(f64::max);
                worst.map_or_else(|| "–".to_owned(), |delay| format!("{delay:.1} s"))
            };
            let told = |objective: &Objective| {
                let breach = figures.iter().find(|figures| !objective.holds(figures));
                breach.or(figures.first()).map(|figures| objective.told(figures)).unwrap_or_default()
            };
            let nodes = figures.iter().map(|figures| figures.nodes_peak).max().unwrap_or_default();
            let mark = match (found.choice == Some(*key), judged.holds) {
                (true, _) => "◀ cheapest",
                (false, true) => "",
                (false, false) => "misses",
            };
            let cells = [
                key.1.map_or_else(|| key.0.to_string(), |cap| format!("{} + {cap}", key.0)),
                format!("{:.4}", judged.cost),
                nodes.to_string(),
            ]
            .into_iter()
            .chain([worst(|figures| figures.delay_p95_s), worst(|figures| figures.delay_p99_s)])
            .chain(self.args.objective.iter().map(told));
            table.add_row(cells.map(right).chain([Cell::new(mark)]));
        }
        table.to_string()
    }
}

fn limits((base, cap): Key) -> String {
    cap.map_or_else(|| format!("base {base}"), |cap| format!("base {base} with a cap of {cap}"))
}

#[allow(clippy::cast_precision_loss, reason = "pieces are few")]
fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    // Not `sum`, whose zero is negative.
    numbers.fold(0.0, |all, number| all + number) / count
}
