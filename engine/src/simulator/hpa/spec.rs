//! A `HorizontalPodAutoscalerSpec` of autoscaling/v2, as people write it.
//!
//! Texts that the API server checks rather than its decoder (types, operators) stand here as texts: what is wrong with them
//! is told by validation.

use serde::{Deserialize, Deserializer};

use super::{quantity::Quantity, selector::LabelSelector};

/// What the HPA is to do.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// What is scaled. It matters to texts only.
    pub scale_target_ref: Option<DescribedObject>,
    /// The least replicas; 1 where absent.
    pub min_replicas: Option<i32>,
    /// The most replicas; required.
    #[serde(deserialize_with = "or_default")]
    pub max_replicas: i32,
    /// What replicas follow from; 80% of the CPU requested where absent or empty.
    pub metrics: Option<Vec<MetricSpec>>,
    /// How fast it may go either way.
    pub behavior: Option<Behavior>,
}

/// An object by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DescribedObject {
    /// The API group and version.
    #[serde(deserialize_with = "or_default")]
    pub api_version: String,
    /// The kind.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// The name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// One metric: its type, and the field of that type.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricSpec {
    /// `Resource`, `ContainerResource`, `Pods`, `Object` or `External`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// A resource of the pods, over all containers.
    pub resource: Option<ResourceMetric>,
    /// A resource of one container of the pods.
    pub container_resource: Option<ContainerResourceMetric>,
    /// A custom metric of the pods.
    pub pods: Option<PodsMetric>,
    /// A metric of another object.
    pub object: Option<ObjectMetric>,
    /// A metric from outside the cluster.
    pub external: Option<ExternalMetric>,
}

/// A resource of the pods.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceMetric {
    /// The resource: `cpu`, `memory`.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its target.
    #[serde(deserialize_with = "or_default")]
    pub target: MetricTarget,
}

/// A resource of one container of the pods.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerResourceMetric {
    /// The resource: `cpu`, `memory`.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The container.
    #[serde(deserialize_with = "or_default")]
    pub container: String,
    /// Its target.
    #[serde(deserialize_with = "or_default")]
    pub target: MetricTarget,
}

/// A custom metric of the pods.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodsMetric {
    /// Which metric.
    #[serde(deserialize_with = "or_default")]
    pub metric: MetricIdentifier,
    /// Its target.
    #[serde(deserialize_with = "or_default")]
    pub target: MetricTarget,
}

/// A metric of another object.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectMetric {
    /// The object.
    #[serde(deserialize_with = "or_default")]
    pub described_object: DescribedObject,
    /// Which metric.
    #[serde(deserialize_with = "or_default")]
    pub metric: MetricIdentifier,
    /// Its target.
    #[serde(deserialize_with = "or_default")]
    pub target: MetricTarget,
}

/// A metric from outside the cluster.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExternalMetric {
    /// Which metric.
    #[serde(deserialize_with = "or_default")]
    pub metric: MetricIdentifier,
    /// Its target.
    #[serde(deserialize_with = "or_default")]
    pub target: MetricTarget,
}

/// A metric by name, and by labels where it has several series.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricIdentifier {
    /// The name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The series.
    pub selector: Option<LabelSelector>,
}

/// What a metric should be.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricTarget {
    /// `Utilization`, `Value` or `AverageValue`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// The whole metric's value.
    pub value: Option<Quantity>,
    /// Its value for each pod.
    pub average_value: Option<Quantity>,
    /// Percent of what the pods request.
    pub average_utilization: Option<i32>,
}

/// How fast it may go. An empty one differs from none: it brings the API's default rules.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behavior {
    /// Rules of going up.
    pub scale_up: Option<ScalingRules>,
    /// Rules of going down.
    pub scale_down: Option<ScalingRules>,
}

/// Rules of one direction.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScalingRules {
    /// How long recommendations are remembered, for the least change among them.
    pub stabilization_window_seconds: Option<i32>,
    /// `Max`, `Min` or `Disabled`.
    pub select_policy: Option<String>,
    /// Limits of change.
    pub policies: Option<Vec<ScalingPolicy>>,
    /// By how much usage may differ from its target in this direction, as a share.
    pub tolerance: Option<Quantity>,
}

/// One limit of change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScalingPolicy {
    /// `Pods` or `Percent`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// How many, or how many percent.
    #[serde(deserialize_with = "or_default")]
    pub value: i32,
    /// In how long a time.
    #[serde(deserialize_with = "or_default")]
    pub period_seconds: i32,
}

/// `null` where a value belongs is as if it were absent, as the API's decoder has it.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
