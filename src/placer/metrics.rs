//! What the placer counts.

use super::misplaced::MisplacedBases;
use burstlet_engine::{
    placement::{Annotated, Observation, Outcome, Placement, PoolSight, Reason},
    policy::{Fault, Money, Spend},
};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::{Collector, GenericGaugeVec},
};

/// Decisions, writes, and how each workload's pods stand.
#[derive(Clone)]
pub struct PlacerMetrics {
    decisions: IntCounterVec,
    writes: IntCounterVec,
    pods: IntGaugeVec,
    faults: IntGaugeVec,
    gated: Histogram,
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
    cost_today: GaugeVec,
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
            cost_today: money(
                "burstlet_pool_cost_today",
                "What a pool's pods have cost in the running day (UTC), in the price's currency.",
            )?,
            budget_per_day: money(
                "burstlet_pool_budget_per_day",
                "What may be spent in a pool a day, where its budget is in money.",
            )?,
        })
    }

    fn collectors(&self) -> [&dyn Collector; 8] {
        let Self { nodes, pods, stock, quota, is_open, cost_per_hour, cost_today, budget_per_day } = self;
        [nodes, pods, stock, quota, is_open, cost_per_hour, cost_today, budget_per_day]
    }

    fn show(&self, pools: &[PoolSight]) {
        self.reset();
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
            pay(&self.cost_today, pool.spent.as_ref().map(|(_, today)| today));
            let daily = pool.budget.as_ref().and_then(|budget| budget.per_day.as_ref());
            pay(
                &self.budget_per_day,
                daily.and_then(|limit| if let Spend::Money(money) = limit { Some(money) } else { None }),
            );
        }
    }

    /// What is gone is shown no more.
    fn reset(&self) {
        let Self { nodes, pods, stock, quota, is_open, cost_per_hour, cost_today, budget_per_day } = self;
        [nodes, pods, stock, quota, is_open].into_iter().for_each(GenericGaugeVec::reset);
        [cost_per_hour, cost_today, budget_per_day].into_iter().for_each(GenericGaugeVec::reset);
    }
}

/// In whole units of the currency.
fn amount(money: &Money) -> f64 {
    money.to_string().split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

impl PlacerMetrics {
    /// Registers the metrics; an error says that a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let gated = Histogram::with_opts(
            HistogramOpts::new(
                "burstlet_gated_seconds",
                "Time from a pod's creation until placement decided where it goes.",
            )
            .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0]),
        )?;
        registry.register(Box::new(gated.clone()))?;
        let pools = PoolGauges::new()?;
        registry.register(Box::new(pools.nodes.clone()))?;
        registry.register(Box::new(pools.pods.clone()))?;
        registry.register(Box::new(pools.stock.clone()))?;
        registry.register(Box::new(pools.quota.clone()))?;
        registry.register(Box::new(pools.is_open.clone()))?;
        registry.register(Box::new(pools.cost_per_hour.clone()))?;
        registry.register(Box::new(pools.cost_today.clone()))?;
        registry.register(Box::new(pools.budget_per_day.clone()))?;
        Ok(Self {
            gated,
            pools,
            decisions: counters("burstlet_decisions_total", "Decisions by reason.", &["reason"])?,
            writes: counters("burstlet_placer_writes_total", "The placer's writes by outcome.", &["outcome"])?,
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
            observed_pods: gauges(
                "burstlet_observed_pods",
                "Pods of workloads in mode Observe that would have burst since this leader began.",
                &["namespace", "workload", "pool"],
            )?,
            observed_pod_minutes: gauges(
                "burstlet_observed_pod_minutes",
                "Their minutes.",
                &["namespace", "workload", "pool"],
            )?,
            observed_cost: {
                let labels = ["namespace", "workload", "pool", "currency"];
                let help = "What they would have cost at the pool's present price.";
                let vec = GaugeVec::new(Opts::new("burstlet_observed_cost", help), &labels)?;
                registry.register(Box::new(vec.clone()))?;
                vec
            },
            observed_since: {
                let help = "When this leader began to observe, in seconds since the epoch.";
                let gauge = Gauge::new("burstlet_observed_since_seconds", help)?;
                registry.register(Box::new(gauge.clone()))?;
                gauge
            },
        })
    }

    /// All of them, as the documentation lists them.
    pub fn collectors(&self) -> Vec<&dyn Collector> {
        let Self { decisions, writes, pods, faults, gated, pools, .. } = self;
        let Self { observed_pods, observed_pod_minutes, observed_cost, observed_since, .. } = self;
        let own: [&dyn Collector; 9] = [
            decisions,
            writes,
            pods,
            faults,
            gated,
            observed_pods,
            observed_pod_minutes,
            observed_cost,
            observed_since,
        ];
        own.into_iter().chain(pools.collectors()).collect()
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
