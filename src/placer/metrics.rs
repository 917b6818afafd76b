//! What the placer counts.

use std::time::Duration;

use burstlet_engine::{
    placement::{Annotated, Observation, Outcome, Placement, PoolSight, Reason},
    policy::{Fault, Money, Spend},
};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::{Collector, GenericGaugeVec},
};

use super::misplaced::MisplacedBases;
use crate::telemetry::{Collectors, listed, register};

/// From what a person does not notice to what nobody waits for.
const BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 1800.0];

/// Decisions, writes, and how each workload's pods stand.
#[derive(Clone)]
pub struct PlacerMetrics {
    decisions: IntCounterVec,
    writes: IntCounterVec,
    pods: IntGaugeVec,
    faults: IntGaugeVec,
    gated: Histogram,
    scale_out: HistogramVec,
    pools: PoolGauges,
    observed_pods: IntGaugeVec,
    observed_pod_minutes: IntGaugeVec,
    observed_cost: GaugeVec,
    observed_since: Gauge,
}

/// How each pool stands.
#[derive(Clone)]
struct PoolGauges {
    nodes: IntGaugeVec,
    pods: IntGaugeVec,
    stock: IntGaugeVec,
    quota: IntGaugeVec,
    is_open: IntGaugeVec,
    cost_per_hour: GaugeVec,
    cost_this_hour: GaugeVec,
    cost_today: GaugeVec,
    budget_per_hour: GaugeVec,
    budget_per_day: GaugeVec,
}

impl PoolGauges {
    fn new() -> Result<Self, prometheus::Error> {
        let count = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pool"]);
        let money = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["pool", "currency"]);
        Ok(Self {
            nodes: count("burstlet_pool_nodes", "Open virtual nodes of a pool.")?,
            pods: count("burstlet_pool_pods", "Pods that are in a pool or on their way.")?,
            stock: count("burstlet_pool_stock", "Instances that a pool's provider can still create, where it tells.")?,
            quota: count("burstlet_pool_quota_pods", "Pods that a pool's quota allows, where it has one.")?,
            is_open: count("burstlet_pool_open", "1 where a pool takes pods now, else 0.")?,
            cost_per_hour: money(
                "burstlet_pool_cost_per_hour",
                "What a pool's pods cost an hour as they are now, in the price's currency.",
            )?,
            cost_this_hour: money(
                "burstlet_pool_cost_this_hour",
                "What a pool's pods have cost in the running hour (UTC), in the price's currency.",
            )?,
            cost_today: money(
                "burstlet_pool_cost_today",
                "What a pool's pods have cost in the running day (UTC), in the price's currency.",
            )?,
            budget_per_hour: money(
                "burstlet_pool_budget_per_hour",
                "What may be spent in a pool an hour, where its budget is in money.",
            )?,
            budget_per_day: money(
                "burstlet_pool_budget_per_day",
                "What may be spent in a pool a day, where its budget is in money.",
            )?,
        })
    }

    /// All of them: what is listed is registered, and shown no more once its pool is gone.
    fn all(&self) -> ([&IntGaugeVec; 5], [&GaugeVec; 5]) {
        let Self { nodes, pods, stock, quota, is_open, cost_per_hour, cost_this_hour, cost_today, .. } = self;
        let Self { budget_per_hour, budget_per_day, .. } = self;
        let money = [cost_per_hour, cost_this_hour, cost_today, budget_per_hour, budget_per_day];
        ([nodes, pods, stock, quota, is_open], money)
    }

    fn collectors(&self) -> impl Iterator<Item = Box<dyn Collector>> {
        let (counts, money) = self.all();
        counts.map(listed).into_iter().chain(money.map(listed))
    }

    fn show(&self, pools: &[PoolSight]) {
        let (counts, money) = self.all();
        counts.into_iter().for_each(GenericGaugeVec::reset);
        money.into_iter().for_each(GenericGaugeVec::reset);
        for pool in pools {
            let name = [pool.name.as_str()];
            let set = |gauge: &IntGaugeVec, value: u64| {
                gauge.with_label_values(&name).set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            set(&self.nodes, pool.nodes.len() as u64);
            set(&self.pods, pool.pods);
            pool.stock.into_iter().for_each(|stock| set(&self.stock, stock));
            pool.quota.into_iter().for_each(|quota| set(&self.quota, quota));
            set(&self.is_open, u64::from(pool.obstacle.is_none()));
            let pay = |gauge: &GaugeVec, money: Option<&Money>| {
                if let Some(money) = money {
                    gauge.with_label_values(&[name[0], money.currency().as_str()]).set(amount(money));
                }
            };
            pay(&self.cost_per_hour, pool.rate.as_ref());
            pay(&self.cost_this_hour, pool.spent.as_ref().map(|(hour, _)| hour));
            pay(&self.cost_today, pool.spent.as_ref().map(|(_, today)| today));
            let limit = |limit: Option<&'_ Spend>| match limit {
                Some(Spend::Money(money)) => Some(money.clone()),
                _ => None,
            };
            let budget = pool.budget.as_ref();
            pay(&self.budget_per_hour, limit(budget.and_then(|budget| budget.per_hour.as_ref())).as_ref());
            pay(&self.budget_per_day, limit(budget.and_then(|budget| budget.per_day.as_ref())).as_ref());
        }
    }
}

/// In whole units of the currency.
fn amount(money: &Money) -> f64 {
    money.to_string().split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

impl PlacerMetrics {
    /// Registers the metrics; an error says that a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let gauges = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let times = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let observed = ["namespace", "workload", "pool"];
        let metrics = Self {
            decisions: counters("burstlet_decisions_total", "Decisions by reason.", "reason")?,
            writes: counters("burstlet_placer_writes_total", "The placer's writes by outcome.", "outcome")?,
            pods: gauges(
                "burstlet_workload_pods",
                "Live pods of governed workloads by what they count as.",
                &["namespace", "workload", "tier"],
            )?,
            faults: gauges(
                "burstlet_annotation_faults",
                "Objects whose base annotation is left aside, each 1 while it is.",
                &["kind", "namespace", "name", "fault"],
            )?,
            gated: Histogram::with_opts(times(
                "burstlet_gated_seconds",
                "Time from a pod's creation until placement decided where it goes.",
            ))?,
            scale_out: HistogramVec::new(
                times(
                    "burstlet_scale_out_seconds",
                    "Time from a governed pod's creation until it was Ready for the first time, by tier.",
                ),
                &["tier"],
            )?,
            pools: PoolGauges::new()?,
            observed_pods: gauges(
                "burstlet_observed_pods",
                "Pods of workloads in mode Observe that would have burst since this leader began.",
                &observed,
            )?,
            observed_pod_minutes: gauges("burstlet_observed_pod_minutes", "Their minutes.", &observed)?,
            observed_cost: GaugeVec::new(
                Opts::new("burstlet_observed_cost", "What they would have cost at the pool's present price."),
                &["namespace", "workload", "pool", "currency"],
            )?,
            observed_since: Gauge::new(
                "burstlet_observed_since_seconds",
                "When this leader began to observe, in seconds since the epoch.",
            )?,
        };
        register(registry, metrics.collectors())?;
        Ok(metrics)
    }

    /// All of them, to register and to document.
    pub fn collectors(&self) -> Collectors {
        let Self { decisions, writes, pods, faults, gated, scale_out, pools, .. } = self;
        let Self { observed_pods, observed_pod_minutes, observed_cost, observed_since, .. } = self;
        let mut all =
            vec![listed(decisions), listed(writes), listed(pods), listed(faults), listed(gated), listed(scale_out)];
        all.extend([
            listed(observed_pods),
            listed(observed_pod_minutes),
            listed(observed_cost),
            listed(observed_since),
        ]);
        all.extend(pools.collectors());
        all
    }

    /// A pod of the tier was Ready for the first time, so long after its creation.
    pub(super) fn was_ready(&self, tier: &str, after: Duration) {
        self.scale_out.with_label_values(&[tier]).observe(after.as_secs_f64());
    }

    /// Placement decided on a pod that had waited so long since its creation.
    pub(super) fn waited(&self, seconds: f64) {
        self.gated.observe(seconds);
    }

    /// How the pools stand now.
    pub(super) fn show_pools(&self, pools: &[PoolSight]) {
        self.pools.show(pools);
    }

    pub(super) fn decided(&self, reason: &Reason) {
        self.decisions.with_label_values(&[reason.word()]).inc();
    }

    pub(super) fn wrote(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Applied => "applied",
            Outcome::Refused => "refused",
        };
        self.writes.with_label_values(&[outcome]).inc();
    }

    /// Shows how everything stands now; what is gone is shown no more.
    pub(super) fn show(&self, placement: &Placement, misplaced: &MisplacedBases) {
        self.pods.reset();
        for (workload, census) in placement.census() {
            let set = |tier: &str, count: usize| {
                let labels = [&*workload.namespace, &*workload.name, tier];
                self.pods.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            };
            set("waiting", census.waiting);
            set("base", census.base - census.strayed);
            set("base-short", census.strayed);
            set("burst", census.burst);
            set("real", census.beyond);
        }
        self.show_observations(placement);
        self.faults.reset();
        for (object, fault) in placement.faults() {
            self.show_fault(&object, &fault);
        }
        for (kind, name, fault) in misplaced.all() {
            self.faults.with_label_values(&[kind, &*name.namespace, &*name.name, fault.word()]).set(1);
        }
    }

    /// This replica begins to lead.
    pub(super) fn begins(&self) {
        #[expect(clippy::cast_precision_loss, reason = "whole seconds of this age are exact")]
        self.observed_since.set(jiff::Timestamp::now().as_second() as f64);
    }

    /// This replica leads no more: what it observed, it can tell no longer.
    pub(super) fn ends(&self) {
        self.observed_pods.reset();
        self.observed_pod_minutes.reset();
        self.observed_cost.reset();
        self.observed_since.set(0.0);
    }

    fn show_observations(&self, placement: &Placement) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.observed_cost.reset();
        for (workload, pools) in placement.observations() {
            for (pool, Observation { pods, pod_minutes, cost }) in pools {
                let labels = [&*workload.namespace, &*workload.name, pool.as_str()];
                self.observed_pods.with_label_values(&labels).set(count(pods));
                self.observed_pod_minutes.with_label_values(&labels).set(count(pod_minutes));
                if let Some(cost) = cost {
                    let [namespace, workload, pool] = labels;
                    let labels = [namespace, workload, pool, cost.currency().as_str()];
                    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
                    self.observed_cost.with_label_values(&labels).set(cost.nanos() as f64 / 1e9);
                }
            }
        }
    }

    fn show_fault(&self, object: &Annotated, fault: &Fault) {
        let (kind, namespace, name) = match object {
            Annotated::Namespace(name) => ("Namespace", "", name.as_str()),
            Annotated::Workload { kind, name, .. } => (&**kind, &*name.namespace, &*name.name),
        };
        self.faults.with_label_values(&[kind, namespace, name, fault.error.word()]).set(1);
    }
}
