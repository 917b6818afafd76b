//! What the placer counts.

use super::misplaced::MisplacedBases;
use burstlet_engine::{
    placement::{Annotated, Outcome, Placement, Reason},
    policy::Fault,
};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Decisions, writes, and how each workload's pods stand.
#[derive(Clone)]
pub struct PlacerMetrics {
    decisions: IntCounterVec,
    writes: IntCounterVec,
    pods: IntGaugeVec,
    faults: IntGaugeVec,
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
        self.faults.reset();
        for (object, fault) in placement.faults() {
            self.show_fault(&object, &fault);
        }
        for (kind, name, fault) in misplaced.all() {
            self.faults.with_label_values(&[kind, &*name.namespace, &*name.name, fault.word()]).set(1);
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
