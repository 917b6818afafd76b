//! A sync: from what is seen to the target's replicas.

use std::time::Duration;

use super::{
    conditions::{
        Condition,
        ConditionType::{AbleToScale, ScaledToZero, ScalingActive, ScalingLimited},
        Conditions,
    },
    limits::{Limited, Range, ScaleEvents, without_behavior},
    metrics::{InvalidMetrics, Proposing, SyncError},
    moment::Moment,
    policy::{Policy, Rules},
    replicas::{Readiness, Tolerances},
    sample::{OtherMetrics, PodSample, Target},
    settings::Settings,
    spec::Spec,
    stabilization::Recommendations,
    validation::Invalid,
};

/// Upstream's controller and what it remembers of one HPA.
#[derive(Debug, Clone)]
pub struct Controller {
    settings: Settings,
    policy: Policy,
    conditions: Conditions,
    recommendations: Recommendations,
    events: ScaleEvents,
}

/// What a sync came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The target's `spec.replicas` after the sync; unchanged where it failed.
    pub desired: i32,
    /// The HPA's conditions, in the order in which they first appeared.
    pub conditions: &'a [Condition],
    /// Why it failed, or which metrics it did without.
    pub error: Option<SyncError>,
}

/// What a sync sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) now: Moment,
    pub(super) target: Target,
    pub(super) pods: &'a [PodSample<'a>],
    pub(super) other: &'a OtherMetrics,
}

/// The replicas that metrics ask for, and the failed ones among them.
struct Proposal {
    replicas: i32,
    failed: Option<InvalidMetrics>,
}

impl Controller {
    /// A controller that has not yet seen the HPA, which is defaulted and checked as the API server does.
    pub fn new(settings: Settings, spec: Spec) -> Result<Self, Invalid> {
        let policy = Policy::new(spec, settings.gates)?;
        Ok(Self {
            settings,
            policy,
            conditions: Conditions::default(),
            recommendations: Recommendations::default(),
            events: ScaleEvents::default(),
        })
    }

    /// Replaces the HPA's spec; what is remembered stays.
    pub fn replace_spec(&mut self, spec: Spec) -> Result<(), Invalid> {
        self.policy = Policy::new(spec, self.settings.gates)?;
        Ok(())
    }

    /// One sync. It costs a pass over the pods for each metric, and allocates for conditions alone.
    pub fn sync(&mut self, now: Moment, target: Target, pods: &[PodSample<'_>], other: &OtherMetrics) -> Verdict<'_> {
        let outcome = self.scale(Seen { now, target, pods, other });
        let (desired, error) = match outcome {
            Ok((desired, failed)) => (desired, failed.map(SyncError::SomeMetrics)),
            Err(error) => (target.spec_replicas, Some(error)),
        };
        Verdict { desired, conditions: self.conditions.all(), error }
    }

    fn scale(&mut self, seen: Seen<'_>) -> Result<(i32, Option<InvalidMetrics>), SyncError> {
        let current = seen.target.spec_replicas;
        let (min, max) = (self.policy.min, self.policy.max);
        let get = "the HPA controller was able to get the target's current scale";
        self.conditions.set(AbleToScale, true, "SucceededGetScale", get);
        self.recommendations.begin(current, seen.now);

        let scale_to_zero = self.settings.gates.scale_to_zero;
        let own_zero = scale_to_zero && self.conditions.holds(ScaledToZero);
        let desired = if current == 0 && !(own_zero && (min != 0 || self.policy.knows_load_without_pods())) {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.conditions.set(ScalingActive, false, "ScalingDisabled", message);
            if !scale_to_zero {
                self.conditions.remove(ScaledToZero);
            }
            return Ok((0, None));
        } else if current > max {
            (max, None)
        } else if current != 0 && current < min {
            (min, None)
        } else {
            let Proposal { replicas, failed } = self.proposal(seen)?;
            let desired = self.normalized(replicas.max(0), seen);
            let desired = if current == 0 && own_zero { desired.max(min) } else { desired };
            (desired, failed)
        };
        if desired.0 != current {
            self.rescaled(current, desired.0, seen.now);
        }
        Ok(desired)
    }

    /// The most replicas that any metric asks for. Where some fail, the others may still scale up.
    fn proposal(&mut self, seen: Seen<'_>) -> Result<Proposal, SyncError> {
        let with = Proposing {
            seen,
            readiness: Readiness {
                now: seen.now,
                initialization: self.settings.cpu_initialization_period,
                delay: self.settings.initial_readiness_delay,
            },
            tolerances: self.tolerances(),
            namespace: &self.settings.namespace,
        };
        let (mut replicas, mut invalid) = (0, 0);
        let (mut chosen, mut first) = (None, None);
        for metric in &self.policy.metrics {
            match metric.propose(with) {
                Ok(proposed) => {
                    if replicas == 0 || proposed > replicas {
                        replicas = proposed;
                        chosen = Some(metric);
                    }
                }
                Err(error) => {
                    invalid += 1;
                    first = first.or(Some(error));
                }
            }
        }
        let all = self.policy.metrics.len();
        let failed = first.map(|first| InvalidMetrics { invalid, all, first });
        match failed {
            Some(cause) if invalid >= all || replicas < seen.target.spec_replicas => {
                let message = format!("the HPA was unable to compute the replica count: {}", cause.first.told);
                self.conditions.set(ScalingActive, false, cause.first.reason, message);
                Err(SyncError::NoReplicas { target: self.target_name(), cause })
            }
            failed => {
                let metric = chosen.map(super::policy::Metric::description).unwrap_or_default();
                let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
                self.conditions.set(ScalingActive, true, "ValidMetricFound", message);
                Ok(Proposal { replicas, failed })
            }
        }
    }

    fn tolerances(&self) -> Tolerances {
        let own = self.settings.tolerance;
        let rules = self.policy.rules.as_ref();
        Tolerances {
            up: rules.and_then(|rules| rules.up.tolerance).unwrap_or(own),
            down: rules.and_then(|rules| rules.down.tolerance).unwrap_or(own),
        }
    }

    fn target_name(&self) -> String {
        let target = &self.policy.target;
        format!("{}/{}/{}", target.kind, self.settings.namespace, target.name)
    }

    /// The replicas after stabilisation and limits.
    fn normalized(&mut self, replicas: i32, seen: Seen<'_>) -> i32 {
        let current = seen.target.spec_replicas;
        let range = Range { min: self.policy.min, max: self.policy.max };
        let (stable, limited) = match &self.policy.rules {
            None => {
                let window = self.settings.downscale_stabilization;
                let stable = self.recommendations.highest(replicas, window, seen.now);
                (stable, without_behavior(current, stable, range))
            }
            Some(rules) => {
                let (up, down) = self.windows(rules);
                let stable = self.recommendations.within(current, replicas, up, down, seen.now);
                (stable, self.events.limit(rules, current, stable, range, seen.now))
            }
        };
        let (reason, message) = if stable == replicas {
            ("ReadyForNewScale", "recommended size matches current size")
        } else if self.policy.rules.is_some() && replicas >= current {
            (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            )
        } else {
            (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            )
        };
        self.conditions.set(AbleToScale, true, reason, message);
        let Limited { replicas, reason, message } = limited;
        self.conditions.set(ScalingLimited, replicas != stable, reason, message);
        replicas
    }

    /// The stabilisation windows of both directions; the controller's own counts in whole seconds.
    fn windows(&self, rules: &Rules) -> (Duration, Duration) {
        let own = Duration::from_secs(self.settings.downscale_stabilization.as_secs());
        (rules.up.window.unwrap_or_default(), rules.down.window.unwrap_or(own))
    }

    /// Remembers a change that was made.
    fn rescaled(&mut self, current: i32, desired: i32, now: Moment) {
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        self.conditions.set(AbleToScale, true, "SucceededRescale", message);
        if let Some(rules) = &self.policy.rules {
            self.events.store(rules, current, desired, now);
        }
        if !self.settings.gates.scale_to_zero {
            self.conditions.remove(ScaledToZero);
        } else if current > 0 && desired == 0 && self.policy.min == 0 && self.policy.knows_load_without_pods() {
            let message = "the HPA controller scaled the workload to zero";
            self.conditions.set(ScaledToZero, true, "ScaledToZero", message);
        } else {
            let message = "the HPA controller did not scale the workload to zero";
            self.conditions.set(ScaledToZero, false, "NotScaledToZero", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::spec::*, *};
    use crate::simulator::hpa::{ConditionType, MilliValue};

    fn at(seconds: i64) -> Moment {
        Moment::from_secs(seconds)
    }

    /// An external metric `queue` at ten a pod, and in a second place `lag`.
    fn spec(min: i32, names: &[&str]) -> Spec {
        let metric = |name: &&str| MetricSpec {
            kind: "External".to_owned(),
            external: Some(ExternalMetric {
                metric: MetricIdentifier { name: (*name).to_owned(), selector: None },
                target: MetricTarget {
                    kind: "AverageValue".to_owned(),
                    average_value: Some("10".parse().unwrap()),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        };
        let metrics = Some(names.iter().map(metric).collect());
        Spec { min_replicas: Some(min), max_replicas: 10, metrics, ..Spec::default() }
    }

    fn queue(values: &[(&str, i64)]) -> OtherMetrics {
        let external =
            values.iter().map(|(name, value)| ((*name).to_owned(), vec![MilliValue(value * 1_000)])).collect();
        OtherMetrics { external, ..OtherMetrics::default() }
    }

    fn controller(spec: Spec, scale_to_zero: bool) -> Controller {
        let mut settings = Settings { downscale_stabilization: Duration::ZERO, ..Settings::default() };
        settings.gates.scale_to_zero = scale_to_zero;
        Controller::new(settings, spec).unwrap()
    }

    fn reason(verdict: &Verdict<'_>, kind: ConditionType) -> Option<&'static str> {
        verdict.conditions.iter().find(|condition| condition.kind == kind).map(|condition| condition.reason)
    }

    #[test]
    fn the_metric_that_asks_for_most_is_followed_and_named() {
        let mut hpa = controller(spec(1, &["queue", "lag"]), false);
        let verdict = hpa.sync(at(0), Target::of(2), &[], &queue(&[("queue", 30), ("lag", 40)]));
        assert_eq!(verdict.desired, 4);
        let active = &verdict.conditions[1];
        assert!(active.message.ends_with("from external metric lag(nil)"), "{active:?}");
    }

    #[test]
    fn beside_a_failed_metric_others_scale_up_but_not_down() {
        let mut hpa = controller(spec(1, &["queue", "lag"]), false);
        let verdict = hpa.sync(at(0), Target::of(2), &[], &queue(&[("lag", 40)]));
        assert_eq!(verdict.desired, 4);
        assert!(matches!(verdict.error, Some(SyncError::SomeMetrics(_))));
        let verdict = hpa.sync(at(15), Target::of(4), &[], &queue(&[("lag", 10)]));
        assert_eq!(verdict.desired, 4);
        assert!(matches!(verdict.error, Some(SyncError::NoReplicas { .. })));
        assert_eq!(reason(&verdict, ScalingActive), Some("FailedGetExternalMetric"));
        assert_eq!(reason(&verdict, ScalingLimited), Some("DesiredWithinRange"), "it is as it was");
    }

    #[test]
    fn outside_of_its_range_the_target_is_brought_back_without_a_metric() {
        let mut hpa = controller(spec(3, &["queue"]), false);
        for (current, desired) in [(20, 10), (1, 3)] {
            let verdict = hpa.sync(at(0), Target::of(current), &[], &OtherMetrics::default());
            assert_eq!((verdict.desired, verdict.error.is_none()), (desired, true));
            assert_eq!(reason(&verdict, ScalingActive), None);
        }
    }

    #[test]
    fn at_zero_replicas_nothing_happens_unless_the_hpa_scaled_there() {
        let mut hpa = controller(spec(0, &["queue"]), true);
        let full = queue(&[("queue", 50)]);
        let verdict = hpa.sync(at(0), Target::of(0), &[], &full);
        assert_eq!((verdict.desired, reason(&verdict, ScalingActive)), (0, Some("ScalingDisabled")));
        let verdict = hpa.sync(at(15), Target::of(1), &[], &queue(&[("queue", 0)]));
        assert_eq!((verdict.desired, reason(&verdict, ScaledToZero)), (0, Some("ScaledToZero")));
        let verdict = hpa.sync(at(30), Target::of(0), &[], &full);
        assert_eq!((verdict.desired, reason(&verdict, ScaledToZero)), (4, Some("NotScaledToZero")));
    }

    #[test]
    fn a_minimum_that_is_raised_at_zero_replicas_is_reached_at_once() {
        let mut hpa = controller(spec(0, &["queue"]), true);
        hpa.sync(at(0), Target::of(1), &[], &queue(&[("queue", 0)]));
        hpa.replace_spec(spec(2, &["queue"])).unwrap();
        let verdict = hpa.sync(at(15), Target::of(0), &[], &queue(&[("queue", 0)]));
        assert_eq!(verdict.desired, 2);
    }

    #[test]
    fn tolerances_of_a_direction_hold_for_it_alone() {
        let mut rules = spec(1, &["queue"]);
        let tolerance = Some("0.5".parse().unwrap());
        let up = ScalingRules { tolerance, ..ScalingRules::default() };
        rules.behavior = Some(Behavior { scale_up: Some(up), scale_down: None });
        let mut hpa = controller(rules, false);
        assert_eq!(hpa.sync(at(0), Target::of(4), &[], &queue(&[("queue", 60)])).desired, 4);
        assert_eq!(hpa.sync(at(15), Target::of(4), &[], &queue(&[("queue", 61)])).desired, 7);
        assert_eq!(hpa.sync(at(30), Target::of(4), &[], &queue(&[("queue", 30)])).desired, 3);
    }

    #[test]
    fn what_stabilisation_did_is_told() {
        let mut settled = controller(spec(1, &["queue"]), false);
        settled.settings.downscale_stabilization = Duration::from_mins(5);
        let verdict = settled.sync(at(0), Target::of(6), &[], &queue(&[("queue", 20)]));
        assert_eq!((verdict.desired, reason(&verdict, AbleToScale)), (6, Some("ScaleDownStabilized")));
        let verdict = settled.sync(at(300), Target::of(6), &[], &queue(&[("queue", 20)]));
        assert_eq!((verdict.desired, reason(&verdict, AbleToScale)), (2, Some("SucceededRescale")));
    }

    #[test]
    fn a_spec_that_the_api_server_refuses_changes_nothing() {
        let mut hpa = controller(spec(1, &["queue"]), false);
        assert!(hpa.replace_spec(Spec::default()).is_err());
        assert_eq!(hpa.sync(at(0), Target::of(2), &[], &queue(&[("queue", 40)])).desired, 4);
    }
}
