//! What the placer counts.

use super::misplaced::MisplacedBases;
use burstlet_engine::{
    placement::{Annotated, Observation, Outcome, Placement, Reason},
    policy::Fault,
};
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Decisions, writes, and how each workload's pods stand.
#[derive(Clone)]
pub struct PlacerMetrics {
    decisions: IntCounterVec,
    writes: IntCounterVec,
    pods: IntGaugeVec,
    faults: IntGaugeVec,
    observed_pods: IntGaugeVec,
    observed_pod_minutes: IntGaugeVec,
    observed_cost: GaugeVec,
    observed_since: Gauge,
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
        Ok(Self {
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
            Annotated::Workload { kind, name, .. } => (*kind, &*name.namespace, &*name.name),
        };
        self.faults.with_label_values(&[kind, namespace, name, fault.error.word()]).set(1);
    }
}
