//! One event as it came over the wire, reduced to what is judged.

use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

const GATE: &str = "burstlet.dev/placement";

/// What a watch says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Set,
    Gone,
}

/// An event, and when it arrived here.
#[derive(Debug, Clone)]
pub struct Event {
    /// etcd's revision of the write: the order of all events of a cluster.
    pub version: u64,
    pub seen: Instant,
    pub change: Change,
    pub object: Object,
}

#[derive(Debug, Clone)]
pub enum Object {
    Pod(Box<PodSeen>),
    ReplicaSet(ReplicaSetSeen),
    Node(NodeSeen),
}

#[derive(Debug, Clone)]
pub struct PodSeen {
    pub uid: String,
    pub name: String,
    pub app: String,
    /// UID of the ReplicaSet that controls it.
    pub revision: Option<String>,
    pub is_gated: bool,
    pub node: Option<String>,
    pub is_deleting: bool,
    pub phase: String,
    pub is_ready: bool,
    pub tier: Option<String>,
    pub pool: Option<String>,
    pub decided: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct ReplicaSetSeen {
    pub uid: String,
    pub name: String,
    pub wanted: u64,
    /// The annotation, which the Deployment controller copies from the Deployment; of a workload whose base a policy
    /// says, what the story tells the auditor alone by `audit/base`.
    pub base: Option<String>,
}

#[derive(Debug, Clone)]
pub struct NodeSeen {
    pub name: String,
    pub is_virtual: bool,
    pub is_ready: bool,
}

impl Event {
    /// Reads the object of a list or watch.
    pub fn read(kind: &str, change: Change, object: &Value, seen: Instant) -> Option<Self> {
        let metadata = &object["metadata"];
        let version = metadata["resourceVersion"].as_str()?.parse().ok()?;
        let object = match kind {
            "pods" => Object::Pod(Box::new(pod(object)?)),
            "replicasets" => Object::ReplicaSet(ReplicaSetSeen {
                uid: text(&metadata["uid"])?,
                name: text(&metadata["name"])?,
                wanted: object["spec"]["replicas"].as_u64().unwrap_or(1),
                base: ["burstlet.dev/base", "audit/base"].iter().find_map(|name| text(&metadata["annotations"][*name])),
            }),
            "nodes" => Object::Node(NodeSeen {
                name: text(&metadata["name"])?,
                is_virtual: metadata["labels"]["type"] == "virtual-kubelet",
                is_ready: has_condition(object, "Ready"),
            }),
            _ => return None,
        };
        Some(Self { version, seen, change, object })
    }
}

fn pod(object: &Value) -> Option<PodSeen> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let mut owners = owners.filter(|owner| owner["controller"] == true && owner["kind"] == "ReplicaSet");
    let gates = spec["schedulingGates"].as_array().into_iter().flatten();
    Some(PodSeen {
        uid: text(&metadata["uid"])?,
        name: text(&metadata["name"])?,
        app: text(&metadata["labels"]["app"]).unwrap_or_default(),
        revision: owners.next().and_then(|owner| text(&owner["uid"])),
        is_gated: gates.map(|gate| &gate["name"]).any(|name| name == GATE),
        node: text(&spec["nodeName"]),
        is_deleting: !metadata["deletionTimestamp"].is_null(),
        phase: text(&object["status"]["phase"]).unwrap_or_default(),
        is_ready: has_condition(object, "Ready"),
        tier: text(&metadata["annotations"]["burstlet.dev/tier"]),
        pool: text(&metadata["annotations"]["burstlet.dev/pool"]),
        decided: metadata["annotations"]["burstlet.dev/decided-at"].as_str().and_then(|at| at.parse().ok()),
    })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|condition| condition["type"] == kind).any(|condition| condition["status"] == "True")
}
