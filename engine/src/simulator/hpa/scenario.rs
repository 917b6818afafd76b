//! A scenario of syncs, as `burstlet hpa` reads it.
//!
//! Times are seconds from the scenario's start. What a step leaves out is as in the step before; the replicas are then what
//! the HPA last wrote.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{
    closed_loop::ClosedLoop,
    controller::Controller,
    document::Document,
    moment::Moment,
    play::{Play, Report, ScenarioError},
    quantity::{MilliValue, Quantity},
    sample::{Phase, PodSample, Reading},
    settings::{FeatureGates, Settings},
    spec::or_default,
    validation::Invalid,
};

/// A scenario: an HPA, the controller's flags, and what is there at each sync.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    hpa: Document,
    sync_period_seconds: Option<Span>,
    tolerance: Option<f64>,
    cpu_initialization_period_seconds: Option<Span>,
    initial_readiness_delay_seconds: Option<Span>,
    downscale_stabilization_seconds: Option<Span>,
    metric_window_seconds: Option<Span>,
    feature_gates: Option<Gates>,
    steps: Option<Vec<Step>>,
    closed_loop: Option<ClosedLoop>,
}

/// One sync.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Step {
    t: Option<f64>,
    pub(super) current_replicas: Option<Replicas>,
    pub(super) status_replicas: Option<Replicas>,
    pub(super) pods: Option<Vec<Pod>>,
    pub(super) external: Option<BTreeMap<String, Option<Values>>>,
    pub(super) object: Option<BTreeMap<String, Option<Quantity>>>,
    pub(super) hpa: Option<Document>,
}

/// A pod, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Pod {
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    phase: PhaseName,
    ready: Option<bool>,
    start_time: Option<f64>,
    ready_time: Option<f64>,
    cpu_request_milli: Option<i64>,
    cpu_usage_milli: Option<i64>,
    memory_request_bytes: Option<i64>,
    memory_usage_bytes: Option<i64>,
    metrics: Option<PodMetrics>,
    metric_time: Option<f64>,
    metric_window_seconds: Option<Span>,
    #[serde(default, deserialize_with = "or_default")]
    deleted: bool,
}

/// A span of time, written in seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<f64> for Span {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(span) if span < Duration::from_hours(24 * 366 * 100) => Ok(Self(span)),
            _ => Err(format!("{seconds} is no span of time; write seconds, from 0 to a century")),
        }
    }
}

/// A number of replicas.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "i32")]
pub(super) struct Replicas(pub(super) i32);

impl TryFrom<i32> for Replicas {
    type Error = String;

    fn try_from(replicas: i32) -> Result<Self, String> {
        if replicas < 0 { Err(format!("{replicas} replicas are less than none")) } else { Ok(Self(replicas)) }
    }
}

/// Upstream's feature gates that matter to an HPA.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Gates {
    #[serde(rename = "HPAScaleToZero")]
    scale_to_zero: Option<bool>,
    #[serde(rename = "HPAConfigurableTolerance")]
    configurable_tolerance: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum PhaseName {
    Pending,
    #[default]
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// A pod's custom metrics; those that are null are not there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<String, Option<Quantity>>")]
struct PodMetrics(Vec<(String, MilliValue)>);

impl From<BTreeMap<String, Option<Quantity>>> for PodMetrics {
    fn from(metrics: BTreeMap<String, Option<Quantity>>) -> Self {
        Self(metrics.into_iter().filter_map(|(name, value)| Some((name, value?.milli_value()))).collect())
    }
}

/// An external metric: one value, or those of several series.
#[derive(Debug, Clone)]
pub(super) struct Values(pub(super) Vec<Quantity>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, as a text or a number, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
                let quantity = Quantity::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(Values(vec![quantity]))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Values, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Values, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Values, E> {
                self.visit_str(&format!("{number:e}"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Values, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Values)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl Scenario {
    const SYNC_PERIOD: f64 = 15.0;
    const METRIC_WINDOW: Duration = Duration::from_secs(30);

    /// Plays it, if the API server takes its HPA and every one that replaces it.
    pub fn play(&self) -> Result<Report, ScenarioError> {
        Play::new(self, self.controller()?).run(&Step::default())
    }

    /// The controller, if the API server would take the HPA and every one that replaces it.
    fn controller(&self) -> Result<Controller, Invalid> {
        let mut controller = Controller::new(self.settings(), self.hpa.spec.clone())?;
        for hpa in self.steps.iter().flatten().filter_map(|step| step.hpa.as_ref()) {
            controller.replace_spec(hpa.spec.clone())?;
        }
        controller.replace_spec(self.hpa.spec.clone())?;
        Ok(controller)
    }

    fn settings(&self) -> Settings {
        let own = Settings::default();
        let span = |span: Option<Span>, own| span.map_or(own, |span| span.0);
        let gates = self.feature_gates.unwrap_or_default();
        Settings {
            tolerance: self.tolerance.unwrap_or(own.tolerance),
            cpu_initialization_period: span(self.cpu_initialization_period_seconds, own.cpu_initialization_period),
            initial_readiness_delay: span(self.initial_readiness_delay_seconds, own.initial_readiness_delay),
            downscale_stabilization: span(self.downscale_stabilization_seconds, own.downscale_stabilization),
            gates: FeatureGates {
                scale_to_zero: gates.scale_to_zero.unwrap_or(own.gates.scale_to_zero),
                configurable_tolerance: gates.configurable_tolerance.unwrap_or(own.gates.configurable_tolerance),
            },
            namespace: self.hpa.namespace.clone().unwrap_or(own.namespace),
        }
    }

    /// How many syncs there are: as many as the longer of steps and demand.
    pub(super) fn syncs(&self) -> usize {
        let demanded = self.closed_loop.as_ref().map_or(0, ClosedLoop::syncs);
        self.steps.as_ref().map_or(0, Vec::len).max(demanded)
    }

    pub(super) fn step(&self, index: usize) -> Option<&Step> {
        self.steps.as_ref()?.get(index)
    }

    pub(super) fn closed_loop(&self) -> Option<&ClosedLoop> {
        self.closed_loop.as_ref()
    }

    /// The window of pods' metrics, where a pod does not say.
    pub(super) fn metric_window(&self) -> Duration {
        self.metric_window_seconds.map_or(Self::METRIC_WINDOW, |span| span.0)
    }

    /// When a sync is, in seconds.
    pub(super) fn time(&self, index: usize) -> f64 {
        let period = self.sync_period_seconds.map_or(Self::SYNC_PERIOD, |span| span.0.as_secs_f64());
        let written = self.step(index).and_then(|step| step.t);
        written.unwrap_or_else(|| super::arithmetic::count(index) * period)
    }
}

impl Pod {
    /// The pod as a sync at `now` sees it.
    pub(super) fn sample(&self, now: Moment, window: Duration) -> PodSample<'_> {
        let moment = |t: f64| Moment::from_secs_f64(t).whole_second();
        let started = self.start_time.map(moment);
        let memory = |bytes: Option<i64>| bytes.map(|bytes| MilliValue(bytes.wrapping_mul(1_000)));
        PodSample {
            containers: &[],
            name: &self.name,
            phase: self.phase.into(),
            deleted: self.deleted,
            ready: self.ready,
            ready_since: self.ready_time.map(moment).or(started).unwrap_or_default(),
            started,
            cpu: Reading {
                request: self.cpu_request_milli.map(MilliValue),
                usage: self.cpu_usage_milli.map(MilliValue),
            },
            memory: Reading { request: memory(self.memory_request_bytes), usage: memory(self.memory_usage_bytes) },
            sampled: self.metric_time.map_or(now.whole_second(), moment),
            window: self.metric_window_seconds.map_or(window, |span| span.0),
            metrics: self.metrics.as_ref().map_or(&[], |metrics| &metrics.0),
            alike: 0,
        }
    }
}

impl From<PhaseName> for Phase {
    fn from(name: PhaseName) -> Self {
        match name {
            PhaseName::Pending => Self::Pending,
            PhaseName::Running => Self::Running,
            PhaseName::Succeeded => Self::Succeeded,
            PhaseName::Failed => Self::Failed,
            PhaseName::Unknown => Self::Unknown,
        }
    }
}
