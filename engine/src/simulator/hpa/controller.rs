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
