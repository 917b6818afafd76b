//! Pods as burstlet watches them: slim, and turned into the engine's.
//!
//! Only the fields below are parsed; a full pod in memory costs about ninety times as much.

use std::collections::{BTreeMap, BTreeSet};

use burstlet_engine::model::{Bytes, MilliCpu, ObjectName, Pod, PodUid, Resources, RevisionId, Stage, Tier, Timestamp};
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::Object;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use crate::api::{
    kinds::{ForeignKinds, controller, pod_controller},
    names,
    obstacles::obstacles,
    preflight::{Container, Volume},
};

/// A pod with what placement reads of it.
pub type SlimPod = Object<SlimPodSpec, SlimPodStatus>;

/// Of `core/v1 PodSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "as the API has them")]
pub struct SlimPodSpec {
    node_name: Option<String>,
    scheduling_gates: Vec<Named>,
    pub(super) node_selector: BTreeMap<Box<str>, Box<str>>,
    pub(super) topology_spread_constraints: Vec<SpreadConstraint>,
    pub(super) containers: Vec<Container>,
    pub(super) init_containers: Vec<Container>,
    overhead: BTreeMap<String, String>,
    tolerations: Vec<Value>,
    pub(super) affinity: Option<Value>,
    pub(super) restart_policy: Option<String>,
    pub(super) host_network: bool,
    #[serde(rename = "hostPID")]
    pub(super) host_pid: bool,
    #[serde(rename = "hostIPC")]
    pub(super) host_ipc: bool,
    pub(super) share_process_namespace: bool,
    pub(super) host_aliases: Vec<IgnoredAny>,
    pub(super) dns_policy: Option<String>,
    pub(super) dns_config: Option<IgnoredAny>,
    pub(super) volumes: Vec<Volume>,
}

/// Of `core/v1 PodStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SlimPodStatus {
    phase: String,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpreadConstraint {
    pub(super) topology_key: String,
    pub(super) when_unsatisfiable: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
}

/// A pod as the template has it; `None` for a template that no API server takes.
pub fn of_template(template: &PodTemplateSpec) -> Option<SlimPod> {
    let meta = template.metadata.clone().unwrap_or_default();
    serde_json::from_value(json!({"metadata": meta, "spec": template.spec})).ok()
}

/// What a PATCH must know of a pod beyond what the engine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patchable {
    /// Index of burstlet's gate among the pod's gates, if it has it.
    pub gate: Option<usize>,
    /// Keys of the pod's own annotations, which are respected; a deletion cost, too.
    pub own_annotations: BTreeSet<String>,
    /// Keys of the pod's own labels, which are respected.
    pub own_labels: BTreeSet<String>,
    /// Keys of the node labels that the pod selects itself.
    pub own_selector: BTreeSet<String>,
    /// Whether the pod has tolerations.
    pub has_tolerations: bool,
    /// The pod's affinity, as written.
    pub affinity: Option<Value>,
}

/// What a PATCH of this pod must know.
pub fn patchable(pod: &SlimPod) -> Patchable {
    let keys = |map: Option<&BTreeMap<String, String>>| map.into_iter().flat_map(BTreeMap::keys).cloned().collect();
    Patchable {
        gate: pod.spec.scheduling_gates.iter().position(|gate| gate.name == names::GATE),
        own_annotations: keys(pod.metadata.annotations.as_ref()),
        own_labels: keys(pod.metadata.labels.as_ref()),
        own_selector: pod.spec.node_selector.keys().map(ToString::to_string).collect(),
        has_tolerations: !pod.spec.tolerations.is_empty(),
        affinity: pod.spec.affinity.clone(),
    }
}

/// The pod as the engine sees it; `None` for an object without a UID, which no API server sends.
pub fn to_engine(pod: &SlimPod, foreign: &ForeignKinds) -> Option<Pod> {
    let meta = &pod.metadata;
    let annotation = |name: &str| meta.annotations.as_ref()?.get(name).map(String::as_str);
    Some(Pod {
        uid: uid(meta)?,
        name: object_name(meta),
        revision: pod_controller(meta, foreign).map(|(owner, _)| RevisionId::from(owner.uid.as_str())),
        created: meta.creation_timestamp.as_ref().map_or(Timestamp::default(), |time| timestamp(time.0)),
        decided: annotation(names::DECIDED_AT).and_then(|time| time.parse().ok()).map(timestamp),
        stage: stage(pod),
        deleting: meta.deletion_timestamp.is_some(),
        tier: tier(annotation(names::TIER), annotation(names::POOL)),
        requests: requests(&pod.spec),
        node_selector: pod.spec.node_selector.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        virtual_obstacle: obstacles(pod).next().map(Into::into),
        needs: pod.spec.needs(meta.annotations.as_ref()),
    })
}

/// Whether a base is written on the pod itself, where it has no effect. On a controller's pods it is a copy of what
/// the template holds, of which admission warns.
pub fn has_misplaced_base(pod: &SlimPod) -> bool {
    let meta = &pod.metadata;
    controller(meta).is_none() && meta.annotations.as_ref().is_some_and(|all| all.contains_key(names::BASE))
}

/// The UID of an object of the watch.
pub fn uid(meta: &ObjectMeta) -> Option<PodUid> {
    meta.uid.as_deref().map(PodUid::from)
}

/// The namespace and name of an object of the watch.
pub fn object_name(meta: &ObjectMeta) -> ObjectName {
    ObjectName::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn timestamp(time: jiff::Timestamp) -> Timestamp {
    Timestamp::from_millis(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

fn stage(pod: &SlimPod) -> Stage {
    let status = pod.status.as_ref();
    let phase = status.map_or("", |status| status.phase.as_str());
    let conditions = || status.into_iter().flat_map(|status| &status.conditions);
    if matches!(phase, "Succeeded" | "Failed") {
        Stage::Finished
    } else if let Some(node) = &pod.spec.node_name {
        let ready = conditions().any(|condition| condition.kind == "Ready" && condition.status == "True");
        Stage::Bound { node: node.as_str().into(), running: phase == "Running", ready }
    } else if pod.spec.scheduling_gates.iter().any(|gate| gate.name == names::GATE) {
        Stage::Gated
    } else {
        let unschedulable = |condition: &Condition| {
            condition.kind == "PodScheduled" && condition.status == "False" && condition.reason == "Unschedulable"
        };
        Stage::Unbound { unschedulable: conditions().any(unschedulable) }
    }
}

fn tier(tier: Option<&str>, pool: Option<&str>) -> Option<Tier> {
    match (tier?, pool) {
        (names::TIER_BASE, _) => Some(Tier::Base),
        (names::TIER_BASE_SHORT, Some(pool)) => Some(Tier::BaseShort(pool.into())),
        (names::TIER_BURST, Some(pool)) => Some(Tier::Burst(pool.into())),
        (tier, _) => names::tier_real_number(tier).map(Tier::Real),
    }
}

/// What kube-scheduler counts for a pod: its containers and sidecars together, or the largest of its other init
/// containers if that is more, and the overhead (`k8s.io/component-helpers/resource`).
fn requests(spec: &SlimPodSpec) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running += resources(&container.resources.requests);
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let own = resources(&container.resources.requests);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += own;
            starting = starting.max(sidecars);
        } else {
            starting = starting.max(sidecars + own);
        }
    }
    (running + sidecars).max(starting) + resources(&spec.overhead)
}

/// A quantity that does not parse counts as zero; the API server has checked it.
fn resources(amounts: &BTreeMap<String, String>) -> Resources {
    Resources {
        cpu: amounts.get("cpu").and_then(|text| text.parse().ok()).unwrap_or(MilliCpu(0)),
        memory: amounts.get("memory").and_then(|text| text.parse().ok()).unwrap_or(Bytes(0)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: Value) -> SlimPod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_gated_pod_reads_as_gated_and_tells_what_its_patch_needs() {
        let pod = pod(json!({
            "metadata": {"namespace": "d", "name": "web-1", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs1", "controller": true}]},
            "spec": {"schedulingGates": [{"name": "other"}, {"name": "burstlet.dev/placement"}],
                "containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}]},
            "status": {"phase": "Pending"},
        }));
        let engine = to_engine(&pod, &ForeignKinds::default()).unwrap();
        assert_eq!(engine.stage, Stage::Gated);
        assert_eq!(engine.revision, Some("rs1".into()));
        assert_eq!(engine.requests, Resources { cpu: MilliCpu(250), memory: Bytes(1 << 30) });
        assert_eq!(engine.created.as_millis(), 1_767_225_600_000);
        let patchable = patchable(&pod);
        assert_eq!((patchable.gate, patchable.own_annotations.len(), patchable.has_tolerations), (Some(1), 0, false));
    }

    #[test]
    fn the_stage_follows_phase_node_and_conditions() {
        let stage_of = |spec: Value, status: Value| {
            let pod = pod(json!({"metadata": {"uid": "u"}, "spec": spec, "status": status}));
            to_engine(&pod, &ForeignKinds::default()).unwrap().stage
        };
        assert_eq!(stage_of(json!({}), json!({"phase": "Pending"})), Stage::Unbound { unschedulable: false });
        let refused = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]);
        assert_eq!(stage_of(json!({}), json!({"conditions": refused})), Stage::Unbound { unschedulable: true });
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let bound = Stage::Bound { node: "n".into(), running: true, ready: true };
        assert_eq!(stage_of(json!({"nodeName": "n"}), ready), bound);
        assert_eq!(stage_of(json!({"nodeName": "n"}), json!({"phase": "Succeeded"})), Stage::Finished);
    }

    #[test]
    fn requests_count_as_the_scheduler_counts_them() {
        let amount = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = pod(json!({"metadata": {"uid": "u"}, "spec": {
            "containers": [{"resources": amount("100m")}, {"resources": amount("200m")}],
            "initContainers": [
                {"resources": amount("50m"), "restartPolicy": "Always"},
                {"resources": amount("400m")}],
            "overhead": {"cpu": "10m"}}}));
        assert_eq!(requests(&pod.spec).cpu, MilliCpu(460));
    }

    #[test]
    fn a_tier_on_real_nodes_reads_as_it_was_written() {
        for number in [0, 1, 7, 255] {
            assert_eq!(tier(Some(&names::tier_real(number)), None), Some(Tier::Real(number)));
        }
        for text in ["real-", "real-0", "real-x", "really", "real-999"] {
            assert_eq!(tier(Some(text), None), None, "{text}");
        }
    }
}
