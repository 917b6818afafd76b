//! One metric of an HPA: what it reads, how many replicas it asks for, and what it says where it fails.
//!
//! Failing texts nest as upstream's do; a condition tells the inner one, the sync's error the outer one.

use std::{borrow::Cow, fmt::Display};

use super::{
    controller::Seen,
    policy::{Metric, ResourceTarget, WholeTarget},
    quantity::MilliValue,
    replicas::{Read, Readiness, Tally, Tolerances, for_share, for_value},
    sample::{PodSample, Reading},
    selector::LabelSelector,
    spec::{DescribedObject, MetricIdentifier},
};

/// What the external and custom metrics APIs answer where the scenario has no value.
const NOT_FOUND: &str = "the server could not find the requested resource";

/// Why a metric gives no replicas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct MetricError {
    /// The condition's reason.
    pub(super) reason: &'static str,
    /// What the condition tells.
    pub(super) told: String,
    /// What the sync's error tells.
    text: String,
}

/// Why a sync failed, or which of its metrics did. The text is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// Nothing was scaled: no metric gave replicas, or some did not and the others asked for fewer.
    #[error("failed to compute desired number of replicas based on listed metrics for {target}: {cause}")]
    NoReplicas {
        /// Kind, namespace and name of the target.
        target: String,
        /// The metrics that failed.
        cause: InvalidMetrics,
    },
    /// The target was scaled by those metrics that did not fail.
    #[error("{0}")]
    SomeMetrics(InvalidMetrics),
}

/// How many metrics failed, and how the first one did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid metrics ({invalid} invalid out of {all}), first error is: {first}")]
pub struct InvalidMetrics {
    pub(super) invalid: usize,
    pub(super) all: usize,
    pub(super) first: MetricError,
}

/// How one metric proposes replicas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proposing<'a> {
    pub(super) seen: Seen<'a>,
    pub(super) readiness: Readiness,
    pub(super) tolerances: Tolerances,
    pub(super) namespace: &'a str,
}

impl Metric {
    /// The replicas that the metric asks for.
    pub(super) fn propose(&self, with: Proposing<'_>) -> Result<i32, MetricError> {
        match self {
            Self::Resource { name, container, target } => {
                let proposed = with.resource(name, container.as_deref(), *target);
                proposed.map_err(|told| MetricError {
                    reason: match container {
                        Some(_) => "FailedGetContainerResourceMetric",
                        None => "FailedGetResourceMetric",
                    },
                    text: match container {
                        Some(container) => format!("failed to get {container} container metric value: {told}"),
                        None => format!("failed to get {name} resource metric value: {told}"),
                    },
                    told,
                })
            }
            Self::Pods { metric, target } => with.pods(metric, *target).map_err(|told| MetricError {
                reason: "FailedGetPodsMetric",
                text: format!("failed to get pods metric value: {told}"),
                told,
            }),
            Self::Object { object, metric, target } => {
                with.object(object, metric, *target).map_err(|(told, outer)| MetricError {
                    reason: "FailedGetObjectMetric",
                    text: format!("failed to get object metric value: {outer}{told}"),
                    told,
                })
            }
            Self::External { metric, target } => with.external(metric, *target).map_err(|(told, outer)| MetricError {
                reason: "FailedGetExternalMetric",
                text: format!("failed to get {} external metric value: {outer}{told}", metric.name),
                told,
            }),
        }
    }

    /// The metric as the condition `ScalingActive` names it.
    pub(super) fn description(&self) -> Cow<'static, str> {
        match self {
            Self::Resource { name, target: ResourceTarget::Average(_), .. } => format!("{name} resource"),
            Self::Resource { name, container: None, .. } => {
                format!("{name} resource utilization (percentage of request)")
            }
            Self::Resource { name, container: Some(_), .. } => {
                format!("{name} container resource utilization (percentage of request)")
            }
            Self::Pods { metric, .. } => format!("pods metric {}", metric.name),
            Self::Object { object, metric, target: Some(WholeTarget::Value(_)) } => {
                format!("{} metric {}", object.kind, metric.name)
            }
            // Upstream calls an object's average an external metric.
            Self::Object { metric, .. } | Self::External { metric, .. } => {
                format!("external metric {}({})", metric.name, shown(metric.selector.as_ref()))
            }
        }
        .into()
    }
}

fn shown(selector: Option<&LabelSelector>) -> Cow<'static, str> {
    selector.map_or("nil".into(), |selector| selector.to_string().into())
}

fn text(error: impl Display) -> String {
    error.to_string()
}

impl Proposing<'_> {
    fn resource(&self, name: &str, container: Option<&str>, target: ResourceTarget) -> Result<i32, String> {
        let what = match target {
            ResourceTarget::Average(_) => "usage",
            ResourceTarget::Utilization(_) => "utilization",
        };
        let failed = |cause: String| format!("failed to get {name} {what}: {cause}");
        if !self.seen.pods.iter().any(PodSample::has_resource_metrics) {
            return Err(failed(format!(
                "unable to get metrics for resource {name}: no metrics returned from resource metrics API"
            )));
        }
        let reading = |pod: &PodSample<'_>| pod.reading(name, container);
        let readiness = (name == "cpu").then_some(self.readiness);
        let current = self.seen.target.spec_replicas;
        match target {
            ResourceTarget::Utilization(percent) => {
                let full = i64::from(percent.max(100));
                let tally = Tally::of(self.seen.pods, readiness, |pod| {
                    let Reading { request, usage } = reading(pod);
                    let full = request.unwrap_or_default().0.wrapping_mul(full) / 100;
                    Read { usage, request, full }
                });
                let replicas = tally.for_utilization(current, percent, self.tolerances, name);
                replicas.map_err(|cause| failed(text(cause)))
            }
            ResourceTarget::Average(average) => {
                let read = |pod: &PodSample<'_>| Read { usage: reading(pod).usage, request: None, full: average.0 };
                let replicas =
                    Tally::of(self.seen.pods, readiness, read).for_average(current, average, self.tolerances);
                replicas.map_err(|cause| failed(text(cause)))
            }
        }
    }

    fn pods(&self, metric: &MetricIdentifier, target: MilliValue) -> Result<i32, String> {
        let name = &metric.name;
        fault(metric)?;
        if !self.seen.pods.iter().any(|pod| pod.metric(name).is_some()) {
            return Err(format!("unable to get metric {name}: no metrics returned from custom metrics API"));
        }
        let read = |pod: &PodSample<'_>| Read { usage: pod.metric(name), request: None, full: target.0 };
        let tally = Tally::of(self.seen.pods, None, read);
        tally.for_average(self.seen.target.spec_replicas, target, self.tolerances).map_err(text)
    }

    /// The error: what the condition tells, and what the sync's error puts before it.
    fn object(
        &self,
        object: &DescribedObject,
        metric: &MetricIdentifier,
        target: Option<WholeTarget>,
    ) -> Result<i32, (String, String)> {
        let plain = |told: String| (told, String::new());
        let name = &metric.name;
        fault(metric).map_err(plain)?;
        let Some(target) = target else {
            return Err(plain(
                "invalid object metric source: neither a value target nor an average value target was set".to_owned(),
            ));
        };
        let value = self.seen.other.object.get(name).copied().ok_or_else(|| {
            let DescribedObject { kind, name: object, .. } = object;
            let cause = format!("unable to fetch metrics from custom metrics API: {NOT_FOUND}");
            // The order is upstream's.
            format!("unable to get metric {name}: {kind} on {} {object}/{cause}", self.namespace)
        });
        match target {
            WholeTarget::Value(target) => self.value(value.map_err(plain)?, target).map_err(plain),
            WholeTarget::Average(share) => {
                let value = value.map_err(|told| (told, format!("failed to get {name} object metric: ")))?;
                Ok(for_share(self.seen.target, value, share, self.tolerances, false))
            }
        }
    }

    /// The error: what the condition tells, and what the sync's error puts before it.
    fn external(&self, metric: &MetricIdentifier, target: WholeTarget) -> Result<i32, (String, String)> {
        let name = &metric.name;
        let values = fault(metric).and_then(|()| self.external_values(metric));
        match target {
            WholeTarget::Average(share) => {
                let values = values.map_err(|told| (told, format!("failed to get {name} external metric: ")))?;
                Ok(for_share(self.seen.target, sum_of_shares(values), share, self.tolerances, true))
            }
            WholeTarget::Value(target) => {
                let replicas = values.and_then(|values| self.value(sum(values), target));
                replicas.map_err(|told| (told, format!("failed to get external metric {name}: ")))
            }
        }
    }

    fn external_values(&self, metric: &MetricIdentifier) -> Result<&[MilliValue], String> {
        let failed = |cause: &str| {
            let selector = shown(metric.selector.as_ref());
            format!("unable to get external metric {}/{}/{selector}: {cause}", self.namespace, metric.name)
        };
        match self.seen.other.external.get(&metric.name) {
            None => Err(failed(&format!("unable to fetch metrics from external metrics API: {NOT_FOUND}"))),
            Some(values) if values.is_empty() => Err(failed("no metrics returned from external metrics API")),
            Some(values) => Ok(values),
        }
    }

    fn value(&self, usage: MilliValue, target: MilliValue) -> Result<i32, String> {
        let current = self.seen.target.spec_replicas;
        let replicas = for_value(self.seen.pods, current, usage, target, self.tolerances);
        replicas.map_err(|cause| format!("unable to calculate ready pods: {cause}"))
    }
}

/// Why a metric's selector is none.
fn fault(metric: &MetricIdentifier) -> Result<(), String> {
    metric.selector.as_ref().map_or(Ok(()), LabelSelector::check)
}

/// The sum of positive values ends where 64 bits do; that of negative ones wraps.
fn sum(values: &[MilliValue]) -> MilliValue {
    let mut sum = 0_i64;
    for MilliValue(value) in values {
        if *value > 0 && sum > i64::MAX - value {
            return MilliValue(i64::MAX);
        }
        sum = sum.wrapping_add(*value);
    }
    MilliValue(sum)
}

/// As upstream adds up what is shared among pods: below zero it takes for an overflow.
fn sum_of_shares(values: &[MilliValue]) -> MilliValue {
    let mut sum = 0_i64;
    for MilliValue(value) in values {
        sum = sum.wrapping_add(*value);
        if sum < 0 {
            return MilliValue(i64::MAX);
        }
    }
    MilliValue(sum)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            moment::Moment,
            sample::{OtherMetrics, Target},
            spec::MetricIdentifier,
        },
        *,
    };

    fn values(values: &[i64]) -> Vec<MilliValue> {
        values.iter().copied().map(MilliValue).collect()
    }

    fn identifier(name: &str) -> MetricIdentifier {
        MetricIdentifier { name: name.to_owned(), selector: None }
    }

    fn resource(container: Option<&str>, target: ResourceTarget) -> Metric {
        Metric::Resource { name: "cpu".to_owned(), container: container.map(str::to_owned), target }
    }

    fn ingress() -> DescribedObject {
        DescribedObject { api_version: "v1".to_owned(), kind: "Ingress".to_owned(), name: "main".to_owned() }
    }

    const ONE: MilliValue = MilliValue(1_000);

    #[test]
    fn the_series_of_an_external_metric_add_up_to_what_64_bits_hold() {
        for (series, whole, shared) in
            [(&[1, 2, 3][..], 6, 6), (&[i64::MAX, 1], i64::MAX, i64::MAX), (&[5, -3], 2, 2), (&[-3, 5], 2, i64::MAX)]
        {
            assert_eq!(sum(&values(series)), MilliValue(whole), "{series:?}");
            assert_eq!(sum_of_shares(&values(series)), MilliValue(shared), "{series:?}");
        }
    }

    #[test]
    fn a_metric_is_named_as_upstream_names_it() {
        let object = |target| Metric::Object { object: ingress(), metric: identifier("hits"), target: Some(target) };
        for (metric, name) in [
            (resource(None, ResourceTarget::Utilization(50)), "cpu resource utilization (percentage of request)"),
            (
                resource(Some("app"), ResourceTarget::Utilization(50)),
                "cpu container resource utilization (percentage of request)",
            ),
            (resource(Some("app"), ResourceTarget::Average(ONE)), "cpu resource"),
            (Metric::Pods { metric: identifier("rps"), target: ONE }, "pods metric rps"),
            (object(WholeTarget::Value(ONE)), "Ingress metric hits"),
            (object(WholeTarget::Average(ONE)), "external metric hits(nil)"),
        ] {
            assert_eq!(metric.description(), name);
        }
    }

    #[test]
    fn a_metric_that_fails_tells_the_condition_less_than_the_error() {
        let nothing = OtherMetrics::default();
        let seen = Seen { now: Moment::START, target: Target::of(1), pods: &[], other: &nothing };
        let readiness = Readiness { now: Moment::START, initialization: Duration::ZERO, delay: Duration::ZERO };
        let tolerances = Tolerances { up: 0.1, down: 0.1 };
        let with = Proposing { seen, readiness, tolerances, namespace: "shop" };
        for (metric, reason, before) in [
            (
                resource(None, ResourceTarget::Utilization(50)),
                "FailedGetResourceMetric",
                "failed to get cpu resource metric value: ",
            ),
            (
                resource(Some("app"), ResourceTarget::Utilization(50)),
                "FailedGetContainerResourceMetric",
                "failed to get app container metric value: ",
            ),
            (
                Metric::Pods { metric: identifier("rps"), target: ONE },
                "FailedGetPodsMetric",
                "failed to get pods metric value: ",
            ),
            (
                Metric::Object {
                    object: ingress(),
                    metric: identifier("hits"),
                    target: Some(WholeTarget::Average(ONE)),
                },
                "FailedGetObjectMetric",
                "failed to get object metric value: failed to get hits object metric: ",
            ),
            (
                Metric::External { metric: identifier("lag"), target: WholeTarget::Value(ONE) },
                "FailedGetExternalMetric",
                "failed to get lag external metric value: failed to get external metric lag: ",
            ),
        ] {
            let error = metric.propose(with).unwrap_err();
            assert_eq!((error.reason, error.to_string()), (reason, format!("{before}{}", error.told)));
        }
    }
}
