//! Gauges of how each pool stands.

use burstlet_engine::{
    placement::PoolSight,
    policy::{Budget, Money, Spend},
};
use prometheus::{
    GaugeVec, Opts,
    core::{Collector, GenericGaugeVec},
};

use crate::telemetry::listed;

/// How each pool stands.
#[derive(Clone)]
pub(super) struct PoolGauges {
    nodes: GaugeVec,
    pods: GaugeVec,
    stock: GaugeVec,
    is_open: GaugeVec,
    requested_cpu: GaugeVec,
    requested_memory: GaugeVec,
    quota_pods: GaugeVec,
    quota_cpu: GaugeVec,
    quota_memory: GaugeVec,
    cost_per_hour: GaugeVec,
    cost_this_hour: GaugeVec,
    cost_today: GaugeVec,
    budget_per_hour: GaugeVec,
    budget_per_day: GaugeVec,
    budget_used: GaugeVec,
}

impl PoolGauges {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let of = |name: &str, help: &str, labels: &[&str]| {
            GaugeVec::new(Opts::new(format!("burstlet_pool_{name}"), help), labels)
        };
        let plain = |name: &str, help: &str| of(name, help, &["pool"]);
        let money = |name: &str, help: &str| of(name, help, &["pool", "currency"]);
        Ok(Self {
            nodes: plain("nodes", "Open virtual nodes of a pool.")?,
            pods: plain("pods", "Pods that are in a pool or on their way.")?,
            stock: plain("stock", "Instances that a pool's provider can still create, where it tells.")?,
            is_open: plain("open", "1 where a pool takes pods now, else 0.")?,
            requested_cpu: plain("requested_cpu_cores", "CPU that a pool's pods request.")?,
            requested_memory: plain("requested_memory_bytes", "Memory that a pool's pods request.")?,
            quota_pods: plain("quota_pods", "Pods that a pool's quota allows, where it has one.")?,
            quota_cpu: plain("quota_cpu_cores", "CPU that a pool's quota allows, where it has one.")?,
            quota_memory: plain("quota_memory_bytes", "Memory that a pool's quota allows, where it has one.")?,
            cost_per_hour: money(
                "cost_per_hour",
                "What a pool's pods cost an hour as they are now, in the price's currency.",
            )?,
            cost_this_hour: money(
                "cost_this_hour",
                "What a pool's pods have cost in the running hour (UTC), in the price's currency.",
            )?,
            cost_today: money(
                "cost_today",
                "What a pool's pods have cost in the running day (UTC), in the price's currency.",
            )?,
            budget_per_hour: money(
                "budget_per_hour",
                "What may be spent in a pool an hour, where its budget is in money.",
            )?,
            budget_per_day: money(
                "budget_per_day",
                "What may be spent in a pool a day, where its budget is in money.",
            )?,
            budget_used: of(
                "budget_used_ratio",
                "Share of a pool's own budget of the running hour or day (UTC) that is used, 1 where all of it is.",
                &["pool", "period"],
            )?,
        })
    }

    /// All of them: what is listed is registered, and shown no more once its pool is gone.
    fn all(&self) -> [&GaugeVec; 15] {
        let Self { nodes, pods, stock, is_open, requested_cpu, requested_memory, .. } = self;
        let Self { quota_pods, quota_cpu, quota_memory, cost_per_hour, cost_this_hour, cost_today, .. } = self;
        let Self { budget_per_hour, budget_per_day, budget_used, .. } = self;
        [
            nodes,
            pods,
            stock,
            is_open,
            requested_cpu,
            requested_memory,
            quota_pods,
            quota_cpu,
            quota_memory,
            cost_per_hour,
            cost_this_hour,
            cost_today,
            budget_per_hour,
            budget_per_day,
            budget_used,
        ]
    }

    pub(super) fn collectors(&self) -> impl Iterator<Item = Box<dyn Collector>> {
        self.all().map(listed).into_iter()
    }

    pub(super) fn show(&self, pools: &[PoolSight]) {
        self.all().into_iter().for_each(GenericGaugeVec::reset);
        for pool in pools {
            self.show_room(pool);
            self.show_money(pool);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "whole pods, cores and bytes of this age are exact")]
    fn show_room(&self, pool: &PoolSight) {
        let set = |gauge: &GaugeVec, value: f64| gauge.with_label_values(&[pool.name.as_str()]).set(value);
        set(&self.nodes, pool.nodes.len() as f64);
        set(&self.pods, pool.pods as f64);
        set(&self.is_open, f64::from(u8::from(pool.obstacle.is_none())));
        set(&self.requested_cpu, pool.requests.cpu.0 as f64 / 1e3);
        set(&self.requested_memory, pool.requests.memory.0 as f64);
        let limits = [
            (&self.stock, pool.stock.map(|instances| instances as f64)),
            (&self.quota_pods, pool.quota.pods.map(|pods| pods as f64)),
            (&self.quota_cpu, pool.quota.cpu.map(|cpu| cpu.0 as f64 / 1e3)),
            (&self.quota_memory, pool.quota.memory.map(|memory| memory.0 as f64)),
        ];
        for (gauge, limit) in limits.into_iter().filter_map(|(gauge, limit)| Some((gauge, limit?))) {
            set(gauge, limit);
        }
    }

    fn show_money(&self, pool: &PoolSight) {
        let limit = |of: fn(&Budget) -> Option<&Spend>| match of(pool.budget.as_ref()?)? {
            Spend::Money(money) => Some(money),
            Spend::PodMinutes(_) => None,
        };
        let amounts = [
            (&self.cost_per_hour, pool.rate.as_ref()),
            (&self.cost_this_hour, pool.spent.as_ref().map(|(hour, _)| hour)),
            (&self.cost_today, pool.spent.as_ref().map(|(_, today)| today)),
            (&self.budget_per_hour, limit(|budget| budget.per_hour.as_ref())),
            (&self.budget_per_day, limit(|budget| budget.per_day.as_ref())),
        ];
        for (gauge, money) in amounts.into_iter().filter_map(|(gauge, money)| Some((gauge, money?))) {
            gauge.with_label_values(&[pool.name.as_str(), money.currency().as_str()]).set(amount(money));
        }
        for used in &pool.used {
            self.budget_used.with_label_values(&[pool.name.as_str(), used.period]).set(used.share);
        }
    }
}

/// In whole units of the currency.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) fn amount(money: &Money) -> f64 {
    money.nanos() as f64 / 1e9
}
