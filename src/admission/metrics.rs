//! What admission counts.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use crate::telemetry::{Collectors, listed, register};

/// What became of a pod's admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Held back for placement.
    Gated,
    /// Held back by an earlier call of the same admission.
    AlreadyGated,
    /// Its workload has no base.
    NotGoverned,
    /// Bound already, of no ReplicaSet, or told to be left alone.
    Skipped,
    /// The API server did not say who governs it, so it was let through.
    Unknown,
    /// The body was malformed, too large or too slow.
    BadRequest,
}

/// Admissions of pods by outcome, their times, and warnings given.
#[derive(Debug, Clone)]
pub struct AdmissionMetrics {
    admissions: IntCounterVec,
    seconds: Histogram,
    warnings: IntCounter,
    judgements: IntCounterVec,
}

impl AdmissionMetrics {
    /// All of them, to register and to document.
    pub fn collectors(&self) -> Collectors {
        let Self { admissions, seconds, warnings, judgements } = self;
        vec![listed(admissions), listed(seconds), listed(warnings), listed(judgements)]
    }

    /// Makes the metrics and adds them to `registry`; fails where they are there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let admissions = IntCounterVec::new(
            Opts::new("burstlet_admission_pods_total", "Pods that the webhook was asked about, by outcome."),
            &["outcome"],
        )?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new(
                "burstlet_admission_seconds",
                "Time from a pod's admission request being read to its answer being ready.",
            )
            .buckets(vec![0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5]),
        )?;
        let warnings = IntCounter::new(
            "burstlet_admission_warnings_total",
            "Warnings given about bases that do not do what they seem to.",
        )?;
        let judgements = IntCounterVec::new(
            Opts::new("burstlet_admission_judgements_total", "BurstPolicies and VirtualPools judged, by verdict."),
            &["verdict"],
        )?;
        let metrics = Self { admissions, seconds, warnings, judgements };
        register(registry, metrics.collectors())?;
        Ok(metrics)
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.admissions.with_label_values(&[outcome.label()]).inc();
    }

    pub(super) fn seconds(&self) -> &Histogram {
        &self.seconds
    }

    pub(super) fn judged(&self, is_taken: bool) {
        self.judgements.with_label_values(&[if is_taken { "taken" } else { "refused" }]).inc();
    }

    pub(super) fn warned(&self, warnings: usize) {
        self.warnings.inc_by(warnings as u64);
    }
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Gated => "gated",
            Self::AlreadyGated => "already_gated",
            Self::NotGoverned => "not_governed",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::BadRequest => "bad_request",
        }
    }
}
