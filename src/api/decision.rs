//! The record of a decision, as it stands on the pod: written in the same PATCH, so that whoever may read the pod may
//! know why it is where it is, from any replica and after any restart.

use burstlet_engine::placement::Explanation;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::api::names;

/// What was said when a pod was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The policy's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its mode.
    pub mode: String,
    /// Each place that was asked, in order.
    pub steps: Vec<Step>,
}

/// What one place said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The place, such as `base` or `pool eci`.
    pub place: String,
    /// Whether it took the pod.
    pub took: bool,
    /// Why, or why not.
    pub why: String,
}

impl From<Explanation> for Decision {
    fn from(explanation: Explanation) -> Self {
        let Explanation { policy, mode, steps, .. } = explanation;
        let step = |answer: burstlet_engine::placement::Answer| Step {
            place: answer.place,
            took: answer.took,
            why: answer.why,
        };
        Self { policy, mode: mode.to_string(), steps: steps.into_iter().map(step).collect() }
    }
}

impl Decision {
    /// The record on a pod; `None` where there is none, or where another version of burstlet wrote it otherwise.
    pub fn of<K: Resource>(pod: &K) -> Option<Self> {
        serde_json::from_str(pod.annotations().get(names::DECISION)?).ok()
    }

    /// As it stands on the pod.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_read_from_the_pod_as_it_was_written() {
        let step = |place: &str, took, why: &str| Step { place: place.to_owned(), took, why: why.to_owned() };
        let decision = Decision {
            policy: Some("shop/web".to_owned()),
            mode: "AfterBase".to_owned(),
            steps: vec![step("base", false, "full: 3 of 3 pods"), step("pool eci", true, "has room")],
        };
        let mut pod = k8s_openapi::api::core::v1::Pod::default();
        assert_eq!(Decision::of(&pod), None);
        pod.annotations_mut().insert(names::DECISION.to_owned(), decision.text());
        assert_eq!(Decision::of(&pod), Some(decision));
        pod.annotations_mut().insert(names::DECISION.to_owned(), "[]".to_owned());
        assert_eq!(Decision::of(&pod), None);
    }
}
