//! What the API server fills in (autoscaling/v2, 1.36).

use super::spec::{Behavior, MetricSpec, MetricTarget, ResourceMetric, ScalingPolicy, ScalingRules, Spec};

/// Percent of the CPU requested, where a spec names no metric.
const CPU_UTILIZATION: i32 = 80;

const PERIOD_SECONDS: i32 = 15;

impl Spec {
    /// The spec as the API server stores it.
    pub(super) fn defaulted(mut self) -> Self {
        self.min_replicas = self.min_replicas.or(Some(1));
        if self.metrics.as_ref().is_none_or(Vec::is_empty) {
            self.metrics = Some(vec![cpu()]);
        }
        // No behavior stays none: other rules apply then.
        self.behavior = self.behavior.map(|behavior| Behavior {
            scale_up: Some(filled(behavior.scale_up, Some(0), vec![step("Pods", 4), step("Percent", 100)])),
            scale_down: Some(filled(behavior.scale_down, None, vec![step("Percent", 100)])),
        });
        self
    }
}

fn cpu() -> MetricSpec {
    let target = MetricTarget {
        kind: "Utilization".to_owned(),
        average_utilization: Some(CPU_UTILIZATION),
        ..MetricTarget::default()
    };
    let resource = ResourceMetric { name: "cpu".to_owned(), target };
    MetricSpec { kind: "Resource".to_owned(), resource: Some(resource), ..MetricSpec::default() }
}

fn step(kind: &str, value: i32) -> ScalingPolicy {
    ScalingPolicy { kind: kind.to_owned(), value, period_seconds: PERIOD_SECONDS }
}

/// An empty list of policies is not filled: validation refuses it.
fn filled(rules: Option<ScalingRules>, window: Option<i32>, policies: Vec<ScalingPolicy>) -> ScalingRules {
    let rules = rules.unwrap_or_default();
    ScalingRules {
        stabilization_window_seconds: rules.stabilization_window_seconds.or(window),
        select_policy: rules.select_policy.or_else(|| Some("Max".to_owned())),
        policies: rules.policies.or(Some(policies)),
        tolerance: rules.tolerance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metrics_and_an_empty_list_both_mean_80_percent_of_cpu() {
        for metrics in [None, Some(Vec::new())] {
            let spec = Spec { metrics, ..Spec::default() }.defaulted();
            assert_eq!(spec.metrics, Some(vec![cpu()]));
            assert_eq!(spec.min_replicas, Some(1));
        }
    }

    #[test]
    fn no_behavior_stays_none_and_an_empty_one_gets_the_default_rules() {
        assert_eq!(Spec::default().defaulted().behavior, None);
        let behavior = Spec { behavior: Some(Behavior::default()), ..Spec::default() }.defaulted().behavior.unwrap();
        let (up, down) = (behavior.scale_up.unwrap(), behavior.scale_down.unwrap());
        assert_eq!(up.policies, Some(vec![step("Pods", 4), step("Percent", 100)]));
        assert_eq!(up.stabilization_window_seconds, Some(0));
        assert_eq!(down.policies, Some(vec![step("Percent", 100)]));
        assert_eq!(down.stabilization_window_seconds, None, "the controller's own window");
    }

    #[test]
    fn only_the_fields_left_out_are_filled() {
        let rules = ScalingRules { select_policy: Some("Min".to_owned()), ..ScalingRules::default() };
        let filled = filled(Some(rules), Some(0), vec![step("Pods", 4)]);
        assert_eq!(filled.select_policy.as_deref(), Some("Min"));
        assert_eq!(filled.policies, Some(vec![step("Pods", 4)]));
    }
}
