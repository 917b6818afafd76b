//! `burstlet tune`.

use std::{cell::RefCell, collections::BTreeMap, num::NonZeroU32, time::Duration};

use anyhow::bail;
use burstlet_engine::simulator::Setup;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{
        compare::{StudyArgs, has_node_price},
        printed,
        progress::Progress,
        replay::opened,
    },
    scenario::Scenario,
    study::{
        Figures, Judged, Limits, Objective, Piece, Policy, Prices, RunError, Runner, all_limits, cheapest,
        cheapest_capped, days, pools_of,
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
    /// Largest base and cap to look at; by default the HPA's maximum
    #[arg(long, value_name = "PODS")]
    most: Option<u32>,
    /// Search the most pods of a revision in each pool, too; needs an objective of late or unserved requests
    #[arg(long)]
    caps: bool,
    /// Simulate all that may be chosen, to see the whole curve
    #[arg(long)]
    exhaustive: bool,
    /// Print one JSON object for all limits that were simulated, and the choice last
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    study: StudyArgs,
}

fn day(text: &str) -> Result<Duration, String> {
    let day = text.parse::<humantime::Duration>().map(Duration::from).map_err(|error| error.to_string())?;
    if day < Duration::from_mins(1) { Err("a day is a minute at least".to_owned()) } else { Ok(day) }
}

/// Limits of every workload.
type Key = Vec<Limits>;

/// Most simulations of an exhaustive search.
const MOST_LOOKS: usize = 200_000;
/// Rounds through all workloads, after which the search ends though the last one still changed something.
const MOST_ROUNDS: usize = 5;

/// Most keys around the best that are looked through, and how many of them may disappoint in a row.
const MOST_AROUND: usize = 10_000;
const MOST_MISSES: usize = 8;
/// How much dearer than the best a key may be predicted to be and yet be looked at: predictions err by as much.
const MARGIN: f64 = 1.02;

/// Whose objectives count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    All,
    /// Those of this workload, by its place.
    Own(usize),
}

/// The search for limits of all workloads.
struct Tuning<'a> {
    args: &'a TuneArgs,
    runner: &'a Runner<'a>,
    workloads: Vec<Tuned>,
    /// The days that are searched.
    seen: Vec<Setup>,
    prices: Prices,
    /// The figures of all that was simulated, a piece each.
    figures: RefCell<BTreeMap<Key, Vec<Figures>>>,
}

/// A workload that is tuned.
struct Tuned {
    name: String,
    /// Its largest base and cap.
    most: u32,
    /// Pools whose caps are searched.
    pools: usize,
}

pub(super) fn tune(args: &TuneArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let scenario = opened(&args.scenario)?;
    let setup = scenario.setup()?;
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
    let mut seen = days(&setup, args.day);
    let (unseen, what) = if seen.len() > 1 {
        (seen.pop(), "the last day, which was not searched")
    } else {
        (None, "seeds that were not searched")
    };
    let unseen = unseen.unwrap_or_else(|| setup.clone());
    let tuning = Tuning {
        args,
        runner: &runner,
        workloads: tuned(args, &setup),
        prices: Prices::of(&setup),
        seen,
        figures: RefCell::default(),
    };
    if args.exhaustive && tuning.looks() > MOST_LOOKS {
        bail!("{} combinations are too many to simulate all; name a smaller --most", tuning.looks());
    }
    let found = tuning.search().and_then(|()| {
        let choice = tuning.choice();
        let check = choice.as_ref().map(|key| tuning.check(&unseen, key)).transpose()?;
        Ok((choice, check))
    });
    progress.clear();
    let (choice, check) = found?;
    tuning.tell(choice.as_ref(), check.as_deref(), what, &currency)?;
    if choice.is_some() { Ok(()) } else { bail!("{}", tuning.best_reachable()) }
}

fn tuned(args: &TuneArgs, setup: &Setup) -> Vec<Tuned> {
    let policies = setup.effective_policies();
    let one = |(workload, policy): (&burstlet_engine::simulator::Workload, &Option<_>)| Tuned {
        name: workload.name.to_string(),
        most: args.most.unwrap_or_else(|| u32::try_from(workload.hpa.max_replicas).unwrap_or_default()),
        pools: policy.as_ref().filter(|_| args.caps).map_or(0, |policy| pools_of(setup, policy).len()),
    };
    setup.workloads.iter().zip(&policies).map(one).collect()
}

impl Tuning<'_> {
    /// Looks at limits until the cheapest that meet the objectives are found.
    fn search(&self) -> Result<(), RunError> {
        if self.args.exhaustive {
            let mut all: Vec<Key> = vec![Vec::new()];
            for workload in &self.workloads {
                let each = all_limits(workload.most, workload.pools);
                all = all
                    .iter()
                    .flat_map(|key| {
                        each.iter().map(move |limits| [key.as_slice(), std::slice::from_ref(limits)].concat())
                    })
                    .collect();
            }
            return self.judge(&all, Whose::All).map(|_| ());
        }
        // Each workload in turn, beside the others as they were found last: at first as if only its own objectives counted, for
        // the others are not found yet.
        let most = |of: &Tuned| Limits { base: of.most, caps: vec![of.most.max(1); of.pools] };
        let mut key: Key = self.workloads.iter().map(most).collect();
        let is_alone = self.workloads.len() == 1;
        for round in 0..MOST_ROUNDS {
            let before = key.clone();
            for index in 0..self.workloads.len() {
                let whose = if round == 0 && !is_alone { Whose::Own(index) } else { Whose::All };
                self.search_one(&mut key, index, whose)?;
            }
            if is_alone || round > 0 && key == before {
                break;
            }
        }
        if is_alone { Ok(()) } else { self.search_around() }
    }

    /// Looks at what changes several bases at once, which no workload finds in its turn: one takes what another gives up.
    fn search_around(&self) -> Result<(), RunError> {
        let mut misses = 0;
        while let Some(best) = self.choice().filter(|_| misses < MOST_MISSES) {
            let most = self.predicted(&best, &best) * MARGIN;
            let open = self.around(&best).into_iter().filter(|key| !self.is_hopeless(key));
            let predicted =
                open.map(|key| (self.predicted(&best, &key), key)).filter(|(predicted, _)| *predicted < most);
            let Some((_, key)) = predicted.reduce(|best, next| if next.0 < best.0 { next } else { best }) else {
                break;
            };
            self.judge(&[key], Whose::All)?;
            misses = if self.choice() == Some(best) { misses + 1 } else { 0 };
        }
        Ok(())
    }

    /// Keys with bases near those of this one.
    fn around(&self, best: &Key) -> Vec<Key> {
        let is_few = |reach: &u32| {
            (*reach as usize * 2 + 1).saturating_pow(u32::try_from(best.len()).unwrap_or(u32::MAX)) <= MOST_AROUND
        };
        let reach = (1..=4).rev().find(is_few).unwrap_or(1);
        let mut all: Vec<Key> = vec![Vec::new()];
        for (of, limits) in self.workloads.iter().zip(best) {
            let bases = limits.base.saturating_sub(reach)..=(limits.base + reach).min(of.most);
            let with = |key: &Key, base| [key.as_slice(), &[Limits { base, ..limits.clone() }]].concat();
            all = all.iter().flat_map(|key| bases.clone().map(move |base| with(key, base))).collect();
        }
        all
    }

    /// Whether it is known, or larger bases were not enough.
    fn is_hopeless(&self, key: &Key) -> bool {
        let known = self.figures.borrow();
        let is_less =
            |other: &Key| key.iter().zip(other).all(|(one, other)| one.base <= other.base && one.caps == other.caps);
        known.contains_key(key)
            || known.iter().any(|(other, figures)| is_less(other) && !self.judged(figures, Whose::All).holds)
    }

    /// Finds the limits of one workload, beside those of the others.
    fn search_one(&self, key: &mut Key, index: usize, whose: Whose) -> Result<(), RunError> {
        let Tuned { most, pools, .. } = self.workloads[index];
        let with = |limits: Limits| {
            let mut key = key.clone();
            key[index] = limits;
            key
        };
        let found = if pools == 0 {
            let of = |base: u32| with(Limits::base(base));
            let choice = cheapest(
                most,
                |bases| self.judge(&bases.iter().map(|base| of(*base)).collect::<Vec<_>>(), whose),
                |reference, base| self.predicted(&of(reference), &of(base)),
            )?;
            choice.base.map(Limits::base)
        } else {
            let judge = |limits: &Limits| {
                let judged = self.judge(&[with(limits.clone())], whose)?;
                Ok(judged.into_iter().next().unwrap_or(Judged { cost: 0.0, holds: false }))
            };
            let predict = |limits: &Limits| {
                // The most pods at once tell most of what is wanted.
                let pods = |key: &Key| key.iter().fold(0, |all: u32, limits| all.saturating_add(limits.pods()));
                let reference = self.figures.borrow().keys().max_by_key(|key| pods(key)).cloned();
                reference.map_or(0.0, |reference| self.predicted(&reference, &with(limits.clone())))
            };
            cheapest_capped(most, pools, judge, predict)?.limits
        };
        if let Some(limits) = found {
            key[index] = limits;
        }
        Ok(())
    }

    /// What limits would cost after what the simulation of others has shown.
    fn predicted(&self, reference: &Key, key: &Key) -> f64 {
        let figures = self.figures.borrow();
        let of = figures.get(reference).map(Vec::as_slice).unwrap_or_default();
        mean(of.iter().map(|figures| self.prices.predict(figures, key)))
    }

    /// Simulates under every seed and on every day that is searched, what was not simulated before.
    fn judge(&self, keys: &[Key], whose: Whose) -> Result<Vec<Judged>, RunError> {
        let missing: Vec<&Key> = keys.iter().filter(|key| !self.figures.borrow().contains_key(*key)).collect();
        let pieces: Vec<Piece> = missing.iter().flat_map(|key| self.pieces(&self.seen, key, 0)).collect();
        let figures = self.runner.run(&pieces)?;
        let each = pieces.len() / missing.len().max(1);
        for (key, figures) in missing.into_iter().zip(figures.chunks(each.max(1))) {
            self.figures.borrow_mut().insert(key.clone(), figures.to_vec());
        }
        let known = self.figures.borrow();
        Ok(keys.iter().filter_map(|key| Some(self.judged(known.get(key)?, whose))).collect())
    }

    fn judged(&self, figures: &[Figures], whose: Whose) -> Judged {
        let holds = |figures: &Figures| {
            let figures = match whose {
                Whose::All => figures,
                Whose::Own(index) => figures.each.get(&self.workloads[index].name).unwrap_or(figures),
            };
            self.args.objective.iter().all(|objective| objective.holds(figures))
        };
        Judged { cost: mean(figures.iter().map(|figures| figures.cost)), holds: figures.iter().all(holds) }
    }

    /// The cheapest of all that was simulated and meets the objectives; of equals the smallest limits.
    fn choice(&self) -> Option<Key> {
        let figures = self.figures.borrow();
        let judged = figures.iter().map(|(key, figures)| (key, self.judged(figures, Whose::All)));
        let holding = judged.filter(|(_, judged)| judged.holds);
        let best = holding.reduce(|best, next| if next.1.cost < best.1.cost { next } else { best });
        best.map(|(key, _)| key.clone())
    }

    /// Everything that may be chosen.
    fn looks(&self) -> usize {
        let each = self.workloads.iter().map(|of| {
            let caps = (of.most.max(1) as usize).saturating_pow(u32::try_from(of.pools).unwrap_or(u32::MAX));
            caps.saturating_mul(of.most as usize + 1)
        });
        each.fold(1, usize::saturating_mul)
    }

    /// The choice under seeds, or on a day, that were not searched.
    fn check(&self, unseen: &Setup, key: &Key) -> Result<Vec<Figures>, RunError> {
        self.runner.run(&self.pieces(std::slice::from_ref(unseen), key, u64::from(self.args.seeds.get())))
    }

    fn pieces(&self, days: &[Setup], key: &Key, from: u64) -> Vec<Piece> {
        let policy = Policy::Limited(key.clone());
        let seeds = (0..u64::from(self.args.seeds.get())).map(|seed| seed + from);
        let piece = |seed: u64, (day, setup): (usize, &Setup)| {
            let setup = Setup { seed: setup.seed + seed, ..policy.apply(setup.clone()) };
            Piece { label: format!("{policy}, day {}, seed {}", day + 1, setup.seed), setup }
        };
        let piece = &piece;
        seeds.flat_map(|seed| days.iter().enumerate().map(move |day| piece(seed, day))).collect()
    }

    fn tell(&self, choice: Option<&Key>, check: Option<&[Figures]>, what: &str, currency: &str) -> anyhow::Result<()> {
        let checked = check.map(|figures| self.judged(figures, Whose::All));
        if self.args.json {
            return printed(&self.lines(choice, checked.as_ref()));
        }
        let verdict = match (choice, &checked) {
            (Some(key), Some(judged)) => {
                let kept = if judged.holds { "meets the objectives there, too" } else { "MISSES the objectives there" };
                let chosen = self.named(key);
                format!("{chosen} is the cheapest that meets {}; checked on {what}: it {kept}", self.objectives())
            }
            _ => format!("no base meets {}: see by how much in the table", self.objectives()),
        };
        printed(&format!("{}\n{verdict}\n", self.table(choice, currency)))
    }

    /// Limits, with the names of the workloads where there are several.
    fn named(&self, key: &Key) -> String {
        let one = |(of, limits): (&Tuned, &Limits)| {
            if key.len() == 1 { limits.to_string() } else { format!("{limits} for {}", of.name) }
        };
        self.workloads.iter().zip(key).map(one).collect::<Vec<_>>().join(", ")
    }

    fn lines(&self, choice: Option<&Key>, checked: Option<&Judged>) -> String {
        let own = |limits: &Limits| {
            let caps = (!limits.caps.is_empty()).then(|| json!({"caps": limits.caps}));
            merged(json!({"base": limits.base}), caps)
        };
        // One workload's limits stand in the line itself, those of several by their names.
        let told = |key: &Key| {
            let each = self.workloads.iter().zip(key).map(|(of, limits)| (of.name.clone(), own(limits)));
            if let [limits] = key.as_slice() { own(limits) } else { json!({"limits": each.collect::<Map<_, _>>()}) }
        };
        let known = self.figures.borrow();
        let each = known.iter().map(|(key, figures)| {
            let Judged { cost, holds } = self.judged(figures, Whose::All);
            let judged = json!({"cost": cost, "holds": holds, "pieces": figures});
            merged(told(key), Some(judged)).to_string() + "\n"
        });
        let unseen = checked.map(|judged| json!({"cost": judged.cost, "holds": judged.holds}));
        let last = json!({"choice": choice.map(told), "simulated": known.len(), "unseen": unseen});
        each.collect::<String>() + &last.to_string() + "\n"
    }

    /// What is as near to the objectives as anything simulated came.
    fn best_reachable(&self) -> String {
        let known = self.figures.borrow();
        let reached = self.args.objective.iter().filter_map(|objective| {
            let (key, figures) = objective.least(known.iter().map(|(key, figures)| (key, figures.as_slice())))?;
            Some(format!("for {objective} the best is {}, with {}", objective.told(figures), self.named(key)))
        });
        let reached: Vec<_> = reached.collect();
        format!("no base meets {}: {}", self.objectives(), reached.join(", "))
    }

    fn objectives(&self) -> String {
        self.args.objective.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    }

    /// The curve of cost against delay, where it was simulated; the worst of each figure over seeds and days.
    fn table(&self, choice: Option<&Key>, currency: &str) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        let of = if self.args.caps { "base + caps" } else { "base" };
        let limits = self.workloads.iter().map(|workload| match self.workloads.len() {
            1 => of.to_owned(),
            _ => format!("{of} of {}", workload.name),
        });
        let header = [format!("cost {currency}"), "nodes".to_owned(), "p95".to_owned(), "p99".to_owned()];
        let objectives = self.args.objective.iter().map(ToString::to_string);
        table.set_header(limits.chain(header).chain(objectives).chain([String::new()]));
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        for (key, figures) in &*self.figures.borrow() {
            let judged = self.judged(figures, Whose::All);
            let worst = |value: fn(&Figures) -> Option<f64>| {
                let worst = figures.iter().filter_map(value).reduce(f64::max);
                worst.map_or_else(|| "–".to_owned(), |delay| format!("{delay:.1} s"))
            };
            let told = |objective: &Objective| {
                let breach = figures.iter().find(|figures| !objective.holds(figures));
                breach.or(figures.first()).map(|figures| objective.told(figures)).unwrap_or_default()
            };
            let nodes = figures.iter().map(|figures| figures.nodes_peak).max().unwrap_or_default();
            let mark = match (choice == Some(key), judged.holds) {
                (true, _) => "◀ cheapest",
                (false, true) => "",
                (false, false) => "misses",
            };
            let limits = key
                .iter()
                .map(|Limits { base, caps }| caps.iter().fold(base.to_string(), |text, cap| format!("{text} + {cap}")));
            let cells = [format!("{:.4}", judged.cost), nodes.to_string()]
                .into_iter()
                .chain([worst(|figures| figures.delay_p95_s), worst(|figures| figures.delay_p99_s)])
                .chain(self.args.objective.iter().map(told));
            table.add_row(limits.chain(cells).map(right).chain([Cell::new(mark)]));
        }
        table.to_string()
    }
}

/// An object with the fields of another one.
fn merged(mut object: Value, more: Option<Value>) -> Value {
    if let (Some(fields), Some(Value::Object(more))) = (object.as_object_mut(), more) {
        fields.extend(more);
    }
    object
}

#[allow(clippy::cast_precision_loss, reason = "pieces are few")]
fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    // Not `sum`, whose zero is negative.
    numbers.fold(0.0, |all, number| all + number) / count
}
