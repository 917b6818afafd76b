//! What the API server refuses of an HPA, in its words (autoscaling validation, 1.36).

use std::fmt::{self, Display};

use super::{
    names::{container_name_faults, label_key_faults, path_segment_faults},
    policy::Policy,
    quantity::Quantity,
    settings::FeatureGates,
    spec::{
        ContainerResourceMetric, DescribedObject, ExternalMetric, MetricIdentifier, MetricSpec, MetricTarget,
        ObjectMetric, PodsMetric, ResourceMetric, ScalingPolicy, ScalingRules, Spec,
    },
};

const MAX_PERIOD_SECONDS: i32 = 1_800;
const MAX_WINDOW_SECONDS: i32 = 3_600;
const METRIC_TYPES: &str = r#""ContainerResource", "External", "Object", "Pods", "Resource""#;

/// The API server would refuse the HPA. The text is its own: each field, its value, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [fault] => f.write_str(fault),
            faults => write!(f, "[{}]", faults.join(", ")),
        }
    }
}

impl Policy {
    /// The policy of a spec, defaulted and checked.
    pub(super) fn new(mut spec: Spec, gates: FeatureGates) -> Result<Self, Invalid> {
        if !gates.configurable_tolerance
            && let Some(behavior) = &mut spec.behavior
        {
            // Fields of a gate that is off are dropped unread.
            for rules in [&mut behavior.scale_up, &mut behavior.scale_down].into_iter().flatten() {
                rules.tolerance = None;
            }
        }
        let spec = spec.defaulted();
        let mut faults = Faults::default();
        faults.spec(&spec, gates);
        if faults.0.is_empty() { Ok(Self::of(spec, gates)) } else { Err(Invalid(faults.0)) }
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: String) {
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    fn invalid(&mut self, path: impl Display, value: impl Display, detail: impl Display) {
        self.add(format!("{path}: Invalid value: {value}: {detail}"));
    }

    fn required(&mut self, path: impl Display, detail: &str) {
        let colon = if detail.is_empty() { "" } else { ": " };
        self.add(format!("{path}: Required value{colon}{detail}"));
    }

    fn forbidden(&mut self, path: impl Display, detail: &str) {
        self.add(format!("{path}: Forbidden: {detail}"));
    }

    fn unsupported(&mut self, path: impl Display, value: &str, supported: &str) {
        self.add(format!("{path}: Unsupported value: {value:?}: supported values: {supported}"));
    }

    fn spec(&mut self, spec: &Spec, gates: FeatureGates) {
        let least = i32::from(!gates.scale_to_zero);
        let min = spec.min_replicas.unwrap_or(1);
        if min < least {
            self.invalid("spec.minReplicas", min, format!("must be greater than or equal to {least}"));
        }
        let max = spec.max_replicas;
        if max == 0 {
            self.required("spec.maxReplicas", "must be set and greater than 0");
        } else if max < 0 {
            self.invalid("spec.maxReplicas", max, "must be greater than or equal to 1");
        }
        if max < min {
            self.invalid("spec.maxReplicas", max, "must be greater than or equal to `minReplicas`");
        }
        let metrics = spec.metrics.as_deref().unwrap_or_default();
        for (index, metric) in metrics.iter().enumerate() {
            self.metric(&format!("spec.metrics[{index}]"), metric);
        }
        let knows = metrics.iter().any(|metric| matches!(metric.kind.as_str(), "Object" | "External"));
        if min == 0 && !knows {
            let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
            self.forbidden("spec.metrics", detail);
        }
        if let Some(behavior) = &spec.behavior {
            for (name, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
                if let Some(rules) = rules {
                    self.rules(&format!("spec.behavior.{name}"), rules);
                }
            }
        }
    }

    fn rules(&mut self, path: &str, rules: &ScalingRules) {
        if let Some(window) = rules.stabilization_window_seconds {
            let path = format!("{path}.stabilizationWindowSeconds");
            if window < 0 {
                self.invalid(&path, window, "must be greater than or equal to zero");
            }
            if window > MAX_WINDOW_SECONDS {
                self.invalid(&path, window, format!("must be less than or equal to {MAX_WINDOW_SECONDS}"));
            }
        }
        match rules.select_policy.as_deref() {
            None | Some("Max" | "Min" | "Disabled") => {}
            Some(other) => self.unsupported(format!("{path}.selectPolicy"), other, r#""Disabled", "Max", "Min""#),
        }
        let policies = rules.policies.as_deref().unwrap_or_default();
        if policies.is_empty() {
            self.required(format!("{path}.policies"), "must specify at least one Policy");
        }
        for (index, policy) in policies.iter().enumerate() {
            self.policy(&format!("{path}.policies[{index}]"), policy);
        }
        if let Some(tolerance) = rules.tolerance.filter(|tolerance| tolerance.is_negative()) {
            self.invalid(format!("{path}.tolerance"), quoted(tolerance), "must be greater than or equal to 0");
        }
    }

    fn policy(&mut self, path: &str, policy: &ScalingPolicy) {
        if !matches!(policy.kind.as_str(), "Pods" | "Percent") {
            self.unsupported(format!("{path}.type"), &policy.kind, r#""Percent", "Pods""#);
        }
        if policy.value <= 0 {
            self.invalid(format!("{path}.value"), policy.value, "must be greater than zero");
        }
        let path = format!("{path}.periodSeconds");
        if policy.period_seconds <= 0 {
            self.invalid(path, policy.period_seconds, "must be greater than zero");
        } else if policy.period_seconds > MAX_PERIOD_SECONDS {
            let detail = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
            self.invalid(path, policy.period_seconds, detail);
        }
    }

    fn metric(&mut self, path: &str, metric: &MetricSpec) {
        let expected = match metric.kind.as_str() {
            "Object" => "object",
            "Pods" => "pods",
            "Resource" => "resource",
            "External" => "external",
            "ContainerResource" => "containerResource",
            kind => {
                if kind.is_empty() {
                    self.required(format!("{path}.type"), "must specify a metric source type");
                }
                self.unsupported(format!("{path}.type"), kind, METRIC_TYPES);
                ""
            }
        };
        let sources = [
            ("object", metric.object.is_some()),
            ("external", metric.external.is_some()),
            ("pods", metric.pods.is_some()),
            ("resource", metric.resource.is_some()),
            ("containerResource", metric.container_resource.is_some()),
        ];
        let mut present = sources.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name).collect::<Vec<_>>();
        // Of several, upstream looks into the first alone.
        if let Some(first) = present.first() {
            self.source(&format!("{path}.{first}"), first, metric);
        }
        if !expected.is_empty() && !present.contains(&expected) {
            self.required(format!("{path}.{expected}"), "must populate information for the given metric source");
        }
        if present.len() != 1 {
            present.retain(|name| *name != expected);
            for name in present {
                self.forbidden(format!("{path}.{name}"), "must populate the given metric source only");
            }
        }
    }

    fn source(&mut self, path: &str, name: &str, metric: &MetricSpec) {
        match name {
            "object" => self.each(metric.object.as_ref(), |faults, source| faults.object(path, source)),
            "external" => self.each(metric.external.as_ref(), |faults, source| faults.external(path, source)),
            "pods" => self.each(metric.pods.as_ref(), |faults, source| faults.pods(path, source)),
            "resource" => self.each(metric.resource.as_ref(), |faults, source| faults.resource(path, source)),
            _ => self.each(metric.container_resource.as_ref(), |faults, source| faults.container(path, source)),
        }
    }

    fn each<T>(&mut self, source: Option<&T>, check: impl FnOnce(&mut Self, &T)) {
        if let Some(source) = source {
            check(self, source);
        }
    }

    fn object(&mut self, path: &str, source: &ObjectMetric) {
        self.described(&format!("{path}.describedObject"), &source.described_object);
        self.identifier(path, &source.metric);
        self.target(path, &source.target);
        if source.target.value.is_none() && source.target.average_value.is_none() {
            self.required(format!("{path}.target.averageValue"), "must set either a target value or averageValue");
        }
    }

    fn external(&mut self, path: &str, source: &ExternalMetric) {
        self.identifier(path, &source.metric);
        self.target(path, &source.target);
        match (source.target.value, source.target.average_value) {
            (None, None) => {
                let detail = "must set either a target value for metric or a per-pod target";
                self.required(format!("{path}.target.averageValue"), detail);
            }
            (Some(_), Some(_)) => {
                let detail = "may not set both a target value for metric and a per-pod target";
                self.forbidden(format!("{path}.target.value"), detail);
            }
            _ => {}
        }
    }

    fn pods(&mut self, path: &str, source: &PodsMetric) {
        self.identifier(path, &source.metric);
        self.target(path, &source.target);
        if source.target.average_value.is_none() {
            self.required(format!("{path}.target.averageValue"), "must specify a positive target averageValue");
        }
    }

    fn resource(&mut self, path: &str, source: &ResourceMetric) {
        if source.name.is_empty() {
            self.required(format!("{path}.name"), "must specify a resource name");
        }
        self.resource_target(path, &source.target);
    }

    fn container(&mut self, path: &str, source: &ContainerResourceMetric) {
        if source.name.is_empty() {
            self.required(format!("{path}.name"), "must specify a resource name");
        } else {
            self.container_resource_name(&format!("{path}.name"), &source.name);
        }
        let container = &source.container;
        if container.is_empty() {
            self.required(format!("{path}.container"), "must specify a container");
        }
        for fault in container_name_faults(container).into_iter().filter(|_| !container.is_empty()) {
            self.invalid(format!("{path}.container"), format!("{container:?}"), fault);
        }
        self.resource_target(path, &source.target);
    }

    fn container_resource_name(&mut self, path: &str, name: &str) {
        let value = format!("{name:?}");
        let faults = label_key_faults(name);
        let is_qualified = faults.is_empty();
        for fault in faults {
            self.invalid(path, &value, fault);
        }
        if !name.contains('/') {
            if is_qualified && !is_standard_resource(name) {
                self.invalid(path, &value, "must be a standard resource type or fully qualified");
            }
            if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
                self.invalid(path, &value, "must be a standard resource for containers");
            }
        } else if !name.contains("kubernetes.io/")
            && (name.starts_with("requests.") || !label_key_faults(&format!("requests.{name}")).is_empty())
        {
            self.invalid(path, &value, "doesn't follow extended resource name standard");
        }
    }

    fn resource_target(&mut self, path: &str, target: &MetricTarget) {
        self.target(path, target);
        match (target.average_utilization, target.average_value) {
            (None, None) => {
                let detail = "must set either a target raw value or a target utilization";
                self.required(format!("{path}.target.averageUtilization"), detail);
            }
            (Some(_), Some(_)) => {
                let detail = "may not set both a target raw value and a target utilization";
                self.forbidden(format!("{path}.target.averageValue"), detail);
            }
            _ => {}
        }
    }

    fn target(&mut self, path: &str, target: &MetricTarget) {
        let path = format!("{path}.target");
        if target.kind.is_empty() {
            self.required(format!("{path}.type"), "must specify a metric target type");
        }
        if !matches!(target.kind.as_str(), "Utilization" | "Value" | "AverageValue") {
            let value = format!("{:?}", target.kind);
            self.invalid(format!("{path}.type"), value, "must be either Utilization, Value, or AverageValue");
        }
        for (name, value) in [("value", target.value), ("averageValue", target.average_value)] {
            if let Some(value) = value.filter(|value| !value.is_positive()) {
                self.invalid(format!("{path}.{name}"), quoted(value), "must be positive");
            }
        }
        if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
            self.invalid(format!("{path}.averageUtilization"), percent, "must be greater than 0");
        }
    }

    fn identifier(&mut self, path: &str, metric: &MetricIdentifier) {
        self.name(&format!("{path}.metric.name"), &metric.name, "must specify a metric name");
    }

    fn described(&mut self, path: &str, object: &DescribedObject) {
        self.name(&format!("{path}.kind"), &object.kind, "");
        self.name(&format!("{path}.name"), &object.name, "");
        let version = &object.api_version;
        if version.matches('/').count() > 1 {
            let detail = format!("unexpected GroupVersion string: {version}");
            self.invalid(format!("{path}.apiVersion"), format!("{version:?}"), detail);
        }
    }

    fn name(&mut self, path: &str, name: &str, missing: &str) {
        if name.is_empty() {
            self.required(path, missing);
        }
        for fault in path_segment_faults(name) {
            self.invalid(path, format!("{name:?}"), fault);
        }
    }
}

fn quoted(quantity: Quantity) -> String {
    format!("\"{quantity}\"")
}

fn is_standard_resource(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
        "services.nodeports",
        "services.loadbalancers",
    ];
    NAMES.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATES: FeatureGates = FeatureGates { scale_to_zero: false, configurable_tolerance: true };
    const TO_ZERO: FeatureGates = FeatureGates { scale_to_zero: true, configurable_tolerance: true };

    fn refusal(spec: Spec, gates: FeatureGates) -> Option<String> {
        Policy::new(spec, gates).err().map(|invalid| invalid.to_string())
    }

    fn replicas(min: i32, max: i32) -> Spec {
        Spec { min_replicas: Some(min), max_replicas: max, ..Spec::default() }
    }

    fn metric(metric: MetricSpec) -> Spec {
        Spec { max_replicas: 3, metrics: Some(vec![metric]), ..Spec::default() }
    }

    fn external(target: MetricTarget) -> MetricSpec {
        let metric = MetricIdentifier { name: "queue".to_owned(), selector: None };
        let external = Some(ExternalMetric { metric, target });
        MetricSpec { kind: "External".to_owned(), external, ..MetricSpec::default() }
    }

    fn average(value: &str) -> MetricTarget {
        let average_value = Some(value.parse().unwrap());
        MetricTarget { kind: "AverageValue".to_owned(), average_value, ..MetricTarget::default() }
    }

    fn behavior(rules: ScalingRules) -> Spec {
        let behavior = super::super::spec::Behavior { scale_up: Some(rules), scale_down: None };
        Spec { max_replicas: 3, behavior: Some(behavior), ..Spec::default() }
    }

    #[test]
    fn replicas_are_at_least_one_and_in_order() {
        for (min, max, told) in [
            (1, 1, None),
            (
                0,
                3,
                Some(
                    "[spec.minReplicas: Invalid value: 0: must be greater than or equal to 1, spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas]",
                ),
            ),
            (3, 2, Some("spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`")),
        ] {
            assert_eq!(refusal(replicas(min, max), GATES).as_deref(), told, "{min} to {max}");
        }
        let missing = refusal(Spec::default(), GATES).unwrap();
        assert!(missing.starts_with("[spec.maxReplicas: Required value: must be set and greater than 0"), "{missing}");
    }

    #[test]
    fn zero_replicas_need_the_gate_and_a_metric_that_knows_load_without_pods() {
        let spec = Spec { min_replicas: Some(0), ..metric(external(average("1"))) };
        assert_eq!(refusal(spec.clone(), TO_ZERO), None);
        assert!(refusal(spec, GATES).is_some());
        assert!(refusal(replicas(0, 3), TO_ZERO).unwrap().starts_with("spec.metrics: Forbidden"));
    }

    #[test]
    fn a_metric_has_the_source_of_its_type_alone() {
        let both = MetricSpec { resource: Some(ResourceMetric::default()), ..external(average("1")) };
        let told = refusal(metric(both), GATES).unwrap();
        assert_eq!(told, "spec.metrics[0].resource: Forbidden: must populate the given metric source only");
        let none = MetricSpec { kind: "Pods".to_owned(), ..MetricSpec::default() };
        let told = refusal(metric(none), GATES).unwrap();
        assert_eq!(told, "spec.metrics[0].pods: Required value: must populate information for the given metric source");
    }

    #[test]
    fn targets_are_positive_and_one_of_a_kind() {
        for value in ["0", "-1", "-1n"] {
            let told = refusal(metric(external(average(value))), GATES).unwrap();
            let quoted = format!("\"{value}\"");
            assert_eq!(
                told,
                format!("spec.metrics[0].external.target.averageValue: Invalid value: {quoted}: must be positive")
            );
        }
        assert_eq!(refusal(metric(external(average("1n"))), GATES), None);
        let both = MetricTarget { value: Some("1".parse().unwrap()), ..average("1") };
        assert!(refusal(metric(external(both)), GATES).unwrap().contains("target.value: Forbidden"));
    }

    #[test]
    fn windows_and_periods_have_ends() {
        for (window, fine) in [(0, true), (3_600, true), (-1, false), (3_601, false)] {
            let rules = ScalingRules { stabilization_window_seconds: Some(window), ..ScalingRules::default() };
            assert_eq!(refusal(behavior(rules), GATES).is_none(), fine, "{window}");
        }
        for (value, period, fine) in [(1, 1_800, true), (1, 1_801, false), (1, 0, false), (0, 15, false)] {
            let policy = ScalingPolicy { kind: "Pods".to_owned(), value, period_seconds: period };
            let rules = ScalingRules { policies: Some(vec![policy]), ..ScalingRules::default() };
            assert_eq!(refusal(behavior(rules), GATES).is_none(), fine, "{value} in {period}");
        }
    }

    #[test]
    fn an_empty_list_of_policies_is_refused() {
        let rules = ScalingRules { policies: Some(Vec::new()), ..ScalingRules::default() };
        let told = refusal(behavior(rules), GATES).unwrap();
        assert_eq!(told, "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy");
    }

    #[test]
    fn a_tolerance_is_not_negative_and_unread_where_its_gate_is_off() {
        let rules = ScalingRules { tolerance: Some("-100m".parse().unwrap()), ..ScalingRules::default() };
        let told = refusal(behavior(rules.clone()), GATES).unwrap();
        let expected = r#"spec.behavior.scaleUp.tolerance: Invalid value: "-100m": must be greater than or equal to 0"#;
        assert_eq!(told, expected);
        assert_eq!(refusal(behavior(rules), FeatureGates { configurable_tolerance: false, ..GATES }), None);
    }

    #[test]
    fn a_container_is_named_and_its_resource_a_containers() {
        let told = |name: &str, container: &str| {
            let target = MetricTarget {
                average_utilization: Some(50),
                kind: "Utilization".to_owned(),
                ..MetricTarget::default()
            };
            let source = ContainerResourceMetric { name: name.to_owned(), container: container.to_owned(), target };
            let kind = "ContainerResource".to_owned();
            refusal(metric(MetricSpec { kind, container_resource: Some(source), ..MetricSpec::default() }), GATES)
        };
        assert_eq!(told("cpu", "app"), None);
        assert_eq!(told("example.com/gpu", "app"), None);
        assert_eq!(told("hugepages-2Mi", "app"), None);
        assert!(told("pods", "app").unwrap().ends_with("must be a standard resource for containers"));
        assert!(told("cpu", "App").unwrap().contains("spec.metrics[0].containerResource.container: Invalid value"));
        assert!(told("", "").unwrap().contains("must specify a container"));
    }
}
