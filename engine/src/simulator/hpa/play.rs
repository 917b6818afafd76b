//! Playing a scenario: sync after sync, and what comes of each.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::{
    closed_loop::Plant,
    conditions::Condition,
    controller::{Controller, Verdict},
    moment::Moment,
    sample::{OtherMetrics, Target},
    scenario::{Pod, Scenario, Step, Values},
    validation::Invalid,
};

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Each sync.
    pub steps: Vec<StepReport>,
}

/// What came of one sync.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// When it was, in seconds.
    pub t: Seconds,
    /// The target's replicas before it.
    pub current_replicas: i32,
    /// The target's replicas after it.
    pub desired_replicas: i32,
    /// Why it failed, or which metrics it did without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The HPA's conditions after it.
    pub conditions: Vec<Condition>,
}

/// Seconds from the start; a whole number where they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub f64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match super::arithmetic::whole(self.0) {
            Some(seconds) => serializer.serialize_i64(seconds),
            None => serializer.serialize_f64(self.0),
        }
    }
}

/// Why a scenario cannot be played.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// The API server refuses an HPA.
    #[error("the API server would refuse the HPA: {0}")]
    Invalid(#[from] Invalid),
    /// Nothing says how many replicas there are at first.
    #[error("steps[0].currentReplicas is missing; the first step says how many replicas there are")]
    NoReplicas,
    /// Time runs backwards.
    #[error("steps[{step}].t: {t} is before {before}, the step before it; put the steps in order")]
    Disorder {
        /// The step.
        step: usize,
        /// Its time.
        t: f64,
        /// The time of the step before it.
        before: f64,
    },
    /// Two pods of one name.
    #[error("steps[{step}].pods[{pod}].name: {name:?} is there already; a pod's name is its own")]
    SameName {
        /// The step.
        step: usize,
        /// The pod's index.
        pod: usize,
        /// The name.
        name: String,
    },
    /// Both the steps and the closed loop make pods.
    #[error("steps[{step}].pods: closedLoop makes the pods; leave one of the two out")]
    TwicePods {
        /// The step.
        step: usize,
    },
    /// More pods than a closed loop makes.
    #[error("closedLoop: {replicas} replicas after step {step} are more than the {most} pods that are simulated")]
    TooManyPods {
        /// The step.
        step: usize,
        /// The replicas wanted.
        replicas: i32,
        /// The most that there can be.
        most: usize,
    },
}

/// A scenario that is being played.
pub(super) struct Play<'a> {
    scenario: &'a Scenario,
    controller: Controller,
    plant: Option<Plant>,
    /// What the HPA last wrote, or what there was at first.
    replicas: Option<i32>,
    pods: &'a [Pod],
    other: OtherMetrics,
    window: Duration,
}

impl<'a> Play<'a> {
    pub(super) fn new(scenario: &'a Scenario, controller: Controller) -> Self {
        let begin = Moment::from_secs_f64(scenario.time(0));
        let plant = scenario.closed_loop().cloned().map(|closed| Plant::new(closed, begin));
        Self {
            scenario,
            controller,
            replicas: plant.as_ref().map(Plant::initial_replicas),
            plant,
            pods: &[],
            other: OtherMetrics::default(),
            window: scenario.metric_window(),
        }
    }

    /// Syncs one after the other; a step that is not written is as `nothing`.
    pub(super) fn run(mut self, nothing: &'a Step) -> Result<Report, ScenarioError> {
        let mut reports = Vec::new();
        let mut before = f64::NEG_INFINITY;
        for index in 0..self.scenario.syncs() {
            let step = self.scenario.step(index).unwrap_or(nothing);
            let t = self.scenario.time(index);
            if t < before {
                return Err(ScenarioError::Disorder { step: index, t, before });
            }
            before = t;
            self.take(index, step)?;
            let current = step.current_replicas.map(|replicas| replicas.0).or(self.replicas);
            let current = current.ok_or(ScenarioError::NoReplicas)?;
            reports.push(self.sync(index, step, t, current)?);
        }
        Ok(Report { steps: reports })
    }

    /// What the step says anew.
    fn take(&mut self, index: usize, step: &'a Step) -> Result<(), ScenarioError> {
        if let Some(hpa) = &step.hpa {
            self.controller.replace_spec(hpa.spec.clone())?;
        }
        if let Some(pods) = &step.pods {
            if self.plant.is_some() {
                return Err(ScenarioError::TwicePods { step: index });
            }
            let mut names = BTreeSet::new();
            if let Some((pod, known)) = pods.iter().enumerate().find(|(_, pod)| !names.insert(&pod.name)) {
                return Err(ScenarioError::SameName { step: index, pod, name: known.name.clone() });
            }
            self.pods = pods;
        }
        if let Some(external) = &step.external {
            let values = |values: &Values| values.0.iter().map(|value| value.milli_value()).collect();
            let known = external.iter().filter_map(|(name, value)| Some((name.clone(), values(value.as_ref()?))));
            self.other.external = known.collect();
        }
        if let Some(object) = &step.object {
            let known = object.iter().filter_map(|(name, value)| Some((name.clone(), (*value)?.milli_value())));
            self.other.object = known.collect();
        }
        Ok(())
    }

    fn sync(&mut self, index: usize, step: &Step, t: f64, current: i32) -> Result<StepReport, ScenarioError> {
        let now = Moment::from_secs_f64(t);
        let target = Target {
            spec_replicas: current,
            status_replicas: step.status_replicas.map_or(current, |replicas| replicas.0),
        };
        let samples = match &mut self.plant {
            Some(plant) => plant.samples(index, now, self.window),
            None => self.pods.iter().map(|pod| pod.sample(now, self.window)).collect(),
        };
        let Verdict { desired, conditions, error } = self.controller.sync(now, target, &samples, &self.other);
        let report = StepReport {
            t: Seconds(t),
            current_replicas: current,
            desired_replicas: desired,
            error: error.map(|error| error.to_string()),
            conditions: conditions.to_vec(),
        };
        drop(samples);
        self.replicas = Some(desired);
        if let Some(plant) = &mut self.plant {
            plant.follow(desired, now).map_err(|most| ScenarioError::TooManyPods {
                step: index,
                replicas: desired,
                most,
            })?;
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(scenario: &str) -> Result<Vec<(i32, i32)>, ScenarioError> {
        let report = serde_json::from_str::<Scenario>(scenario).unwrap().play()?;
        Ok(report.steps.iter().map(|step| (step.current_replicas, step.desired_replicas)).collect())
    }

    #[test]
    fn a_step_goes_on_from_what_the_hpa_last_wrote_and_what_the_step_before_saw() {
        let pods = r#"{"name": "a", "ready": true, "startTime": -600, "cpuRequestMilli": 100, "cpuUsageMilli": 160}"#;
        let scenario =
            format!(r#"{{"hpa": {{"maxReplicas": 9}}, "steps": [{{"currentReplicas": 1, "pods": [{pods}]}}, {{}}]}}"#);
        assert_eq!(played(&scenario), Ok(vec![(1, 2), (2, 2)]));
    }

    #[test]
    fn a_closed_loop_settles_where_the_demand_is_met() {
        let scenario = r#"{"hpa": {"maxReplicas": 9, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}}]},
            "closedLoop": {"initialReplicas": 2, "demandMilli": [100, 300, 300, 300], "cpuRequestMilli": 100}}"#;
        assert_eq!(played(scenario), Ok(vec![(2, 2), (2, 4), (4, 6), (6, 6)]));
    }

    #[test]
    fn an_hpa_may_be_replaced_at_a_step() {
        let scenario =
            r#"{"hpa": {"maxReplicas": 9}, "steps": [{"currentReplicas": 8}, {"hpa": {"spec": {"maxReplicas": 5}}}]}"#;
        assert_eq!(played(scenario), Ok(vec![(8, 8), (8, 5)]));
    }

    #[test]
    fn what_cannot_be_played_is_told() {
        let error = |scenario: &str| played(scenario).unwrap_err();
        assert_eq!(error(r#"{"hpa": {"maxReplicas": 3}, "steps": [{}]}"#), ScenarioError::NoReplicas);
        let backwards = r#"{"hpa": {"maxReplicas": 3}, "steps": [{"t": 9, "currentReplicas": 1}, {"t": 8}]}"#;
        assert_eq!(error(backwards), ScenarioError::Disorder { step: 1, t: 8.0, before: 9.0 });
        let twice = r#"{"hpa": {"maxReplicas": 3}, "steps": [{"pods": [{"name": "a"}, {"name": "a"}]}]}"#;
        assert_eq!(error(twice), ScenarioError::SameName { step: 0, pod: 1, name: "a".to_owned() });
        let both = r#"{"hpa": {"maxReplicas": 3}, "closedLoop": {"initialReplicas": 1}, "steps": [{"pods": []}]}"#;
        assert_eq!(error(both), ScenarioError::TwicePods { step: 0 });
        let later = r#"{"hpa": {"maxReplicas": 3}, "steps": [{"hpa": {"maxReplicas": 0}}]}"#;
        assert!(matches!(error(later), ScenarioError::Invalid(_)));
    }
}
