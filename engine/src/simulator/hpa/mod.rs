//! Kubernetes' `HorizontalPodAutoscaler` (autoscaling/v2, as of 1.36) as a function of what it sees.
//!
//! A [`Controller`] holds what upstream's controller remembers of one HPA: recommendations, scale events, conditions.
//! Each [`Controller::sync`] takes the moment, the target's scale, its pods and their metrics, and answers what the
//! target's `spec.replicas` is then, with the conditions that upstream writes. Defaults and checks are the API server's:
//! [`Controller::new`] refuses what it refuses.
//!
//! ```text
//!   pods, metrics ──> replicas each metric asks for ──> their maximum ──> stabilised ──> limited ──> spec.replicas
//!                     (replicas, metrics)               (controller)      (stabilization) (limits)
//! ```
//!
//! Averages and percentages are truncated integers, as upstream's are. A sync takes a moment: what is exactly as old as a
//! window lies outside it.
//!
//! ```
//! use burstlet_engine::simulator::hpa::{Controller, MilliValue, Moment, OtherMetrics, PodSample, Reading, Settings, Spec, Target};
//!
//! // A spec without metrics asks for 80% of the CPU requested.
//! let spec = Spec { max_replicas: 10, ..Spec::default() };
//! let mut hpa = Controller::new(Settings::default(), spec)?;
//! let cpu = Reading { request: Some(MilliValue(100)), usage: Some(MilliValue(200)) };
//! let begin = Moment::from_secs(-600);
//! let pod = PodSample { name: "a", ready: Some(true), started: Some(begin), ready_since: begin, cpu, ..PodSample::default() };
//! let verdict = hpa.sync(Moment::default(), Target::of(1), &[pod], &OtherMetrics::default());
//! assert_eq!(verdict.desired, 3);
//! # Ok::<(), burstlet_engine::simulator::hpa::Invalid>(())
//! ```

mod arithmetic;
mod closed_loop;
mod conditions;
mod controller;
mod defaults;
mod document;
mod limits;
mod metrics;
mod moment;
mod names;
mod play;
mod policy;
mod quantity;
mod replicas;
mod sample;
mod scenario;
mod selector;
mod settings;
mod spec;
mod stabilization;
mod validation;

pub use conditions::{Condition, ConditionType};
pub use controller::{Controller, Verdict};
pub use document::Document;
pub use metrics::{InvalidMetrics, MetricError, SyncError};
pub use moment::Moment;
pub use play::{Report, ScenarioError, Seconds, StepReport};
pub use quantity::{MilliValue, Quantity, QuantityError};
pub use sample::{ContainerSample, OtherMetrics, Phase, PodSample, Reading, Target};
pub use scenario::Scenario;
pub use selector::{LabelSelector, LabelSelectorRequirement};
pub use settings::{FeatureGates, Settings};
pub use spec::{
    Behavior, ContainerResourceMetric, DescribedObject, ExternalMetric, MetricIdentifier, MetricSpec, MetricTarget,
    ObjectMetric, PodsMetric, ResourceMetric, ScalingPolicy, ScalingRules, Spec,
};
pub use validation::Invalid;
