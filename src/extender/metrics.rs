//! What the extender counts.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::telemetry::{Collectors, listed, register};

/// What kube-scheduler asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Filter,
    Prioritize,
    Preempt,
    Bind,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered, or bound.
    Ok,
    /// Filter left no node, or bind was refused by the tier.
    Refused,
    /// The body was malformed, too large or too slow.
    BadRequest,
    /// The API server did not bind.
    Failed,
}

/// Calls and their times, by verb.
#[derive(Debug, Clone)]
pub struct ExtenderMetrics {
    calls: IntCounterVec,
    seconds: HistogramVec,
}

impl ExtenderMetrics {
    /// All of them, to register and to document.
    pub fn collectors(&self) -> Collectors {
        let Self { calls, seconds } = self;
        vec![listed(calls), listed(seconds)]
    }

    /// Makes the metrics and adds them to `registry`; fails where they are there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let calls = IntCounterVec::new(
            Opts::new("burstlet_extender_calls_total", "Calls of kube-scheduler by verb and outcome."),
            &["verb", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "burstlet_extender_seconds",
                "Time from a call's body being read to its answer being ready, by verb.",
            )
            .buckets(vec![
                0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5,
            ]),
            &["verb"],
        )?;
        let metrics = Self { calls, seconds };
        register(registry, metrics.collectors())?;
        Ok(metrics)
    }

    pub(super) fn count(&self, verb: Verb, outcome: Outcome) {
        self.calls.with_label_values(&[verb.label(), outcome.label()]).inc();
    }

    pub(super) fn seconds(&self, verb: Verb) -> Histogram {
        self.seconds.with_label_values(&[verb.label()])
    }
}

impl Verb {
    fn label(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Prioritize => "prioritize",
            Self::Preempt => "preempt",
            Self::Bind => "bind",
        }
    }
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::BadRequest => "bad_request",
            Self::Failed => "failed",
        }
    }
}
