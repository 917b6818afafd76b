//! What an HPA does, once its spec is defaulted and checked: metrics with their targets, limits, rules.

use std::time::Duration;

use super::{
    quantity::MilliValue,
    settings::FeatureGates,
    spec::{Behavior, DescribedObject, MetricIdentifier, MetricSpec, ScalingRules, Spec},
};

/// What an HPA does.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) target: DescribedObject,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) metrics: Vec<Metric>,
    pub(super) rules: Option<Rules>,
}

/// A metric and what it should be.
#[derive(Debug, Clone)]
pub(super) enum Metric {
    Resource { name: String, container: Option<String>, target: ResourceTarget },
    Pods { metric: MetricIdentifier, target: MilliValue },
    Object { object: DescribedObject, metric: MetricIdentifier, target: Option<WholeTarget> },
    External { metric: MetricIdentifier, target: WholeTarget },
}

/// What a resource of the pods should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum ResourceTarget {
    Average(MilliValue),
    /// Percent of requests.
    Utilization(i32),
}

/// What a metric that belongs to no pod should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum WholeTarget {
    /// For each pod.
    Average(MilliValue),
    /// On the whole, at the current replicas.
    Value(MilliValue),
}

/// Rules of both directions.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) up: Change,
    pub(super) down: Change,
}

/// Rules of one direction.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// `None`: the controller's own.
    pub(super) window: Option<Duration>,
    pub(super) select: Select,
    pub(super) steps: Vec<Step>,
    /// `None`: the controller's own.
    pub(super) tolerance: Option<f64>,
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Select {
    Most,
    Least,
    Disabled,
}

/// By how much the replicas may change in a period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) percent: bool,
    pub(super) value: i32,
    pub(super) period: Duration,
}

impl Policy {
    /// The policy of a spec that is defaulted and valid.
    pub(super) fn of(spec: Spec, gates: FeatureGates) -> Self {
        let metrics = spec.metrics.into_iter().flatten();
        Self {
            target: spec.scale_target_ref.unwrap_or_default(),
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            metrics: metrics.filter_map(Metric::of).collect(),
            rules: spec.behavior.map(|behavior| Rules::of(behavior, gates)),
        }
    }

    /// Whether a metric can tell that there is work while no pod runs.
    pub(super) fn knows_load_without_pods(&self) -> bool {
        self.metrics.iter().any(|metric| matches!(metric, Metric::Object { .. } | Metric::External { .. }))
    }
}

impl Metric {
    /// The metric of a valid spec; `None` where the field of its type is missing, which no valid spec's is.
    fn of(spec: MetricSpec) -> Option<Self> {
        let milli = |quantity: Option<super::Quantity>| quantity.map(super::Quantity::milli_value);
        let resource = |average: Option<_>, utilization: Option<_>| match milli(average) {
            Some(average) => Some(ResourceTarget::Average(average)),
            None => utilization.map(ResourceTarget::Utilization),
        };
        match spec.kind.as_str() {
            "Resource" => {
                let source = spec.resource?;
                let target = resource(source.target.average_value, source.target.average_utilization)?;
                Some(Self::Resource { name: source.name, container: None, target })
            }
            "ContainerResource" => {
                let source = spec.container_resource?;
                let target = resource(source.target.average_value, source.target.average_utilization)?;
                Some(Self::Resource { name: source.name, container: Some(source.container), target })
            }
            "Pods" => {
                let source = spec.pods?;
                Some(Self::Pods { metric: source.metric, target: milli(source.target.average_value)? })
            }
            "Object" => {
                let source = spec.object?;
                // Here, and only here, upstream goes by the target's type.
                let target = match source.target.kind.as_str() {
                    "Value" => milli(source.target.value).map(WholeTarget::Value),
                    "AverageValue" => milli(source.target.average_value).map(WholeTarget::Average),
                    _ => None,
                };
                Some(Self::Object { object: source.described_object, metric: source.metric, target })
            }
            "External" => {
                let source = spec.external?;
                let average = milli(source.target.average_value).map(WholeTarget::Average);
                let target = average.or_else(|| milli(source.target.value).map(WholeTarget::Value))?;
                Some(Self::External { metric: source.metric, target })
            }
            _ => None,
        }
    }
}

impl Rules {
    fn of(behavior: Behavior, gates: FeatureGates) -> Self {
        let change = |rules: Option<ScalingRules>| Change::of(rules.unwrap_or_default(), gates);
        Self { up: change(behavior.scale_up), down: change(behavior.scale_down) }
    }
}

impl Change {
    fn of(rules: ScalingRules, gates: FeatureGates) -> Self {
        let seconds = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let steps = rules.policies.into_iter().flatten();
        Self {
            window: rules.stabilization_window_seconds.map(seconds),
            select: match rules.select_policy.as_deref() {
                Some("Disabled") => Select::Disabled,
                Some("Min") => Select::Least,
                _ => Select::Most,
            },
            steps: steps
                .map(|step| Step {
                    percent: step.kind == "Percent",
                    value: step.value,
                    period: seconds(step.period_seconds),
                })
                .collect(),
            tolerance: rules.tolerance.filter(|_| gates.configurable_tolerance).map(super::Quantity::as_f64),
        }
    }

    /// The longest period of its policies.
    pub(super) fn longest_period(&self) -> Duration {
        self.steps.iter().map(|step| step.period).max().unwrap_or_default()
    }
}
