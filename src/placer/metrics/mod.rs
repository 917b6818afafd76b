//! What the placer counts.

mod policies;
mod pools;

use std::time::Duration;

use burstlet_engine::{
    model::Timestamp,
    placement::{Annotated, Observation, Outcome, Placement, Reason},
    policy::Fault,
};
use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use self::{policies::PolicyGauges, pools::PoolGauges};
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
    policies: PolicyGauges,
    observed_pods: IntGaugeVec,
    observed_pod_minutes: IntGaugeVec,
    observed_cost: GaugeVec,
    observed_since: Gauge,
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
            policies: PolicyGauges::new()?,
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
        let Self { decisions, writes, pods, faults, gated, scale_out, pools, policies, .. } = self;
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
        all.extend(policies.collectors());
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

    /// How pools stand and what policies spend now.
    pub(super) fn show_money(&self, placement: &Placement, now: Timestamp) {
        self.pools.show(&placement.pools_at(now));
        self.policies.show(&placement.policies_at(now));
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
                    self.observed_cost.with_label_values(&labels).set(pools::amount(&cost));
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
