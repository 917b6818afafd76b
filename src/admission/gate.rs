//! What admission changes on a governed pod: a scheduling gate, and the scheduler that takes it.
//!
//! Admission counts nothing and decides no tier, so any replica may answer, and answer twice. Placement sees the
//! gated pod in its watch and takes the gate off.

use std::collections::BTreeMap;

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::{api::core::v1::PodSchedulingGate, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::core::object::{NotUsed, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{
    kinds::{ForeignKinds, PodController, pod_controller},
    names,
};

/// Name of the cluster's own scheduler, which the API server fills in where a pod names none.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// A pod as admission reads it.
pub(super) type AdmittedPod = Object<AdmittedSpec, NotUsed>;

/// What admission reads of a pod's spec.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdmittedSpec {
    /// Node that the pod's creator chose, as the DaemonSet controller once did.
    #[serde(default)]
    pub node_name: Option<String>,
    /// Scheduler asked for.
    #[serde(default)]
    pub scheduler_name: Option<String>,
    /// Gates that are there already.
    #[serde(default)]
    pub scheduling_gates: Option<Vec<PodSchedulingGate>>,
}

/// Why a pod is left alone whatever its workload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// It has a node already; a gate on it would be refused.
    Bound,
    /// Nothing controls it that can be governed.
    NoWorkload,
    /// Its annotation [`names::IGNORE`] is `true`.
    Ignored,
}

/// What decides whether a pod is governed, unless the pod is to be left alone.
pub(super) fn owner<'a, 'b>(
    pod: &'a AdmittedPod,
    foreign: &'b ForeignKinds,
) -> Result<(&'a OwnerReference, PodController<'b>), Skip> {
    if pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty()) {
        return Err(Skip::Bound);
    }
    if has_opted_out(pod.metadata.annotations.as_ref()) {
        return Err(Skip::Ignored);
    }
    pod_controller(&pod.metadata, foreign).ok_or(Skip::NoWorkload)
}

fn has_opted_out(annotations: Option<&BTreeMap<String, String>>) -> bool {
    annotations.and_then(|all| all.get(names::IGNORE)).is_some_and(|value| value == "true")
}

/// The change that holds a governed pod back for placement; `None` where it has been made already.
///
/// `scheduler` is the scheduler for governed pods, where there is one of their own. A scheduler that the user chose
/// stays.
pub(super) fn gate(pod: &AdmittedPod, scheduler: Option<&str>) -> Option<Patch> {
    let add = |path: &[&str], value: Value| {
        PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
    };
    let mut changes = Vec::new();
    let ours = json!({"name": names::GATE});
    match pod.spec.scheduling_gates.as_deref() {
        Some(gates) if gates.iter().any(|gate| gate.name == names::GATE) => {}
        None | Some([]) => changes.push(add(&["spec", "schedulingGates"], json!([ours]))),
        Some(_) => changes.push(add(&["spec", "schedulingGates", "-"], ours)),
    }
    let chosen = pod.spec.scheduler_name.as_deref().unwrap_or_default();
    if let Some(scheduler) = scheduler.filter(|ours| *ours != chosen && matches!(chosen, "" | DEFAULT_SCHEDULER)) {
        changes.push(add(&["spec", "schedulerName"], json!(scheduler)));
    }
    (!changes.is_empty()).then_some(Patch(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(extra_metadata: &Value, spec: &Value) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "status": {}, "spec": spec, "metadata": {
            "generateName": "web-", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Thing", "name": "t", "uid": "t"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "rs", "controller": true}]}});
        json_patch::merge(&mut pod["metadata"], extra_metadata);
        pod
    }

    fn read(pod: &Value) -> AdmittedPod {
        AdmittedPod::deserialize(pod).unwrap()
    }

    /// The spec after the gate, and after a second call.
    fn gated(spec: &Value, scheduler: Option<&str>) -> Value {
        let mut pod = pod(&json!({}), spec);
        let patch = gate(&read(&pod), scheduler).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(gate(&read(&pod), scheduler), None, "a second call changes nothing");
        pod["spec"].clone()
    }

    #[test]
    fn a_governed_pod_gets_the_gate_beside_any_other() {
        let ours = json!({"name": "burstlet.dev/placement"});
        for none in [json!({}), json!({"schedulingGates": null}), json!({"schedulingGates": []})] {
            assert_eq!(gated(&none, None), json!({"schedulingGates": [ours]}));
        }
        let other = json!({"name": "example.com/quota"});
        assert_eq!(gated(&json!({"schedulingGates": [other]}), None), json!({"schedulingGates": [other, ours]}));
    }

    #[test]
    fn the_scheduler_is_set_unless_the_user_chose_one() {
        let name = |spec: &Value, scheduler| gated(spec, scheduler)["schedulerName"].clone();
        let ours = Some("burstlet-scheduler");
        assert_eq!(name(&json!({}), ours), "burstlet-scheduler");
        assert_eq!(name(&json!({"schedulerName": "default-scheduler"}), ours), "burstlet-scheduler");
        assert_eq!(name(&json!({"schedulerName": "volcano"}), ours), "volcano");
        assert_eq!(name(&json!({"schedulerName": "default-scheduler"}), None), "default-scheduler");
    }

    #[test]
    fn only_an_unbound_pod_of_a_workload_is_asked_about() {
        let foreign = ForeignKinds::default();
        let owner_of = |metadata: &Value, spec: &Value| {
            owner(&read(&pod(metadata, spec)), &foreign).map(|(owner, _)| owner.uid.clone())
        };
        let replica_set =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "x", "controller": true});
        let with = |field: &str, value: Value| {
            let mut owner = replica_set.clone();
            owner[field] = value;
            json!({"ownerReferences": [owner]})
        };
        assert_eq!(owner_of(&json!({}), &json!({"nodeName": ""})), Ok("rs".to_owned()));
        assert_eq!(owner_of(&json!({}), &json!({"nodeName": "a"})), Err(Skip::Bound));
        assert_eq!(owner_of(&json!({"ownerReferences": null}), &json!({})), Err(Skip::NoWorkload));
        assert_eq!(owner_of(&with("controller", json!(false)), &json!({})), Err(Skip::NoWorkload));
        assert_eq!(owner_of(&with("kind", json!("StatefulSet")), &json!({})), Ok("x".to_owned()));
        assert_eq!(owner_of(&with("kind", json!("DaemonSet")), &json!({})), Err(Skip::NoWorkload));
        assert_eq!(owner_of(&with("apiVersion", json!("example.com/v1")), &json!({})), Err(Skip::NoWorkload));
        let ignore = |value: &str| json!({"annotations": {"burstlet.dev/ignore": value}});
        assert_eq!(owner_of(&ignore("true"), &json!({})), Err(Skip::Ignored));
        assert_eq!(owner_of(&ignore("no"), &json!({})), Ok("rs".to_owned()));
    }
}
