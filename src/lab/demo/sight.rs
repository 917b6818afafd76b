//! A pod as the tally sees it.

use std::ops::Add;

use burstlet_engine::model::{PodUid, PoolName, Resources};
use k8s_openapi::api::core::v1::{Container, Pod};

/// Label that a Deployment puts on the pods of one revision.
const REVISION: &str = "pod-template-hash";

/// A revision of the workload: its pod template's hash, empty for a pod of no Deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub String);

/// Where a pod is placed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A real node.
    Real,
    /// A virtual node of this pool.
    Pool(PoolName),
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PodState {
    /// Behind a scheduling gate.
    Gated,
    /// Waiting for a node, or on one and not Ready.
    Pending,
    /// Ready.
    Ready,
    /// Asked to stop, still there.
    Terminating,
    /// Ended by itself: succeeded or failed.
    Finished,
}

/// What the tally needs of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSight {
    /// The pod.
    pub uid: PodUid,
    /// Its revision.
    pub revision: Revision,
    /// Where it is placed; `None` before it is bound.
    pub place: Option<Place>,
    /// How far it has come.
    pub state: PodState,
    /// What it requests: what a pool charges for.
    pub requests: Resources,
}

impl PodSight {
    /// What `pod` shows; `place_of` tells for a node's name what the node is.
    pub fn of(pod: &Pod, place_of: impl Fn(&str) -> Place) -> Self {
        let spec = pod.spec.as_ref();
        let containers = spec.map_or(&[] as &[Container], |spec| &spec.containers);
        let revision = pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION));
        Self {
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            revision: Revision(revision.cloned().unwrap_or_default()),
            place: spec.and_then(|spec| spec.node_name.as_deref()).map(place_of),
            state: state(pod),
            requests: containers.iter().map(requests).fold(Resources::default(), Resources::add),
        }
    }

    /// Whether the pod is meant to serve: neither terminating nor finished.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, PodState::Terminating | PodState::Finished)
    }
}

fn state(pod: &Pod) -> PodState {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    if matches!(phase, Some("Succeeded" | "Failed")) {
        PodState::Finished
    } else if pod.metadata.deletion_timestamp.is_some() {
        PodState::Terminating
    } else if !gates.is_empty() {
        PodState::Gated
    } else if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        PodState::Ready
    } else {
        PodState::Pending
    }
}

fn requests(container: &Container) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let text = |resource: &str| Some(requests?.get(resource)?.0.as_str());
    Resources {
        cpu: text("cpu").and_then(|text| text.parse().ok()).unwrap_or_default(),
        memory: text("memory").and_then(|text| text.parse().ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sight(changes: &Value) -> PodSight {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"uid": "u1", "labels": {"pod-template-hash": "h1"}},
            "spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": "200m", "memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "0.1"}}},
            ]},
        });
        for (part, fields) in changes.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                pod[part][field] = value.clone();
            }
        }
        let pool = |node: &str| node.strip_prefix("v-").map_or(Place::Real, |name| Place::Pool(name.parse().unwrap()));
        PodSight::of(&serde_json::from_value(pod).unwrap(), pool)
    }

    #[test]
    fn requests_are_summed_over_the_containers() {
        let sight = sight(&json!({}));
        assert_eq!((sight.requests.cpu.0, sight.requests.memory.0), (300, 1 << 30));
        assert_eq!((sight.uid.as_str(), sight.revision.0.as_str()), ("u1", "h1"));
    }

    #[test]
    fn the_place_is_that_of_the_node() {
        assert_eq!(sight(&json!({})).place, None);
        assert_eq!(sight(&json!({"spec": {"nodeName": "n1"}})).place, Some(Place::Real));
        let burst = sight(&json!({"spec": {"nodeName": "v-eci"}}));
        assert_eq!(burst.place, Some(Place::Pool("eci".parse().unwrap())));
    }

    #[test]
    fn the_state_follows_phase_deletion_gate_and_readiness_in_this_order() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let gates = json!([{"name": "g"}]);
        for (changes, state) in [
            (json!({}), PodState::Pending),
            (json!({"spec": {"schedulingGates": gates}}), PodState::Gated),
            (json!({"spec": {"schedulingGates": []}}), PodState::Pending),
            (json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}), PodState::Pending),
            (json!({"status": {"conditions": ready}}), PodState::Ready),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": ready}}),
                PodState::Terminating,
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Failed"}}),
                PodState::Finished,
            ),
        ] {
            assert_eq!(sight(&changes).state, state, "{changes}");
        }
    }
}
