//! Decisions as JSON patches (RFC 6902): one write each, refused by the API server if the pod is not the one meant.

use burstlet_engine::{
    model::{NodeName, PodUid, PoolName},
    placement::{Placing, Reason},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::{names, pod::Patchable};

/// Burst pods go first at scale-in. Base pods keep Kubernetes' default of 0, like pods older than burstlet.
const BURST_COST: &str = "-100";
/// Base-short pods go after burst pods and before the base proper.
const BASE_SHORT_COST: &str = "-50";

/// Takes the gate off and sends the pod to its tier.
pub(super) fn place(uid: &PodUid, pod: &Patchable, placing: &Placing, reason: &Reason, now: Timestamp) -> Value {
    let mut patch = Patch::of(uid);
    if let Some(gate) = pod.gate {
        let at = format!("/spec/schedulingGates/{gate}");
        patch.test(&format!("{at}/name"), names::GATE);
        patch.remove(&at);
    }
    let mut notes = vec![(names::REASON, reason.to_string()), (names::DECIDED_AT, now.to_string())];
    match placing {
        Placing::Release => {}
        Placing::Base => notes.push((names::TIER, names::TIER_BASE.to_owned())),
        Placing::Burst { pool, nodes } => {
            notes.push((names::TIER, names::TIER_BURST.to_owned()));
            notes.push((names::POOL, pool.to_string()));
            notes.extend(cost(pod, BURST_COST));
            patch.tolerate(pod);
            patch.pin(pod, pool, nodes);
        }
    }
    patch.annotate(pod, notes);
    patch.finish()
}

/// Lets an unbound base pod also use the pool.
pub(super) fn move_on(uid: &PodUid, pod: &Patchable, pool: &PoolName, reason: &Reason) -> Value {
    let mut patch = Patch::of(uid);
    let mut notes = vec![
        (names::REASON, reason.to_string()),
        (names::TIER, names::TIER_BASE_SHORT.to_owned()),
        (names::POOL, pool.to_string()),
    ];
    notes.extend(cost(pod, BASE_SHORT_COST));
    patch.tolerate(pod);
    patch.annotate(pod, notes);
    patch.finish()
}

/// Tells on the pod why it waits.
pub(super) fn explain(uid: &PodUid, pod: &Patchable, reason: &Reason) -> Value {
    let mut patch = Patch::of(uid);
    patch.annotate(pod, vec![(names::REASON, reason.to_string())]);
    patch.finish()
}

fn cost(pod: &Patchable, cost: &str) -> Option<(&'static str, String)> {
    (!pod.has_deletion_cost).then(|| (names::DELETION_COST, cost.to_owned()))
}

struct Patch(Vec<Value>);

impl Patch {
    fn of(uid: &PodUid) -> Self {
        let mut patch = Self(Vec::new());
        patch.test("/metadata/uid", uid.as_str());
        patch
    }

    fn test(&mut self, path: &str, value: &str) {
        self.0.push(json!({"op": "test", "path": path, "value": value}));
    }

    fn add(&mut self, path: &str, value: impl Into<Value>) {
        let value: Value = value.into();
        self.0.push(json!({"op": "add", "path": path, "value": value}));
    }

    fn remove(&mut self, path: &str) {
        self.0.push(json!({"op": "remove", "path": path}));
    }

    fn annotate(&mut self, pod: &Patchable, notes: Vec<(&'static str, String)>) {
        if pod.has_annotations {
            for (name, value) in notes {
                self.add(&format!("/metadata/annotations/{}", name.replace('/', "~1")), json!(value));
            }
        } else {
            let all: Map<_, _> = notes.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            self.add("/metadata/annotations", Value::Object(all));
        }
    }

    fn tolerate(&mut self, pod: &Patchable) {
        let toleration = json!({"key": names::TAINT_PROVIDER, "operator": "Exists", "effect": "NoSchedule"});
        if pod.has_tolerations {
            self.add("/spec/tolerations/-", toleration);
        } else {
            self.add("/spec/tolerations", json!([toleration]));
        }
    }

    /// Pins the pod to the pool. By the nodes' names where the pod asks for nothing itself, so that kube-scheduler
    /// looks at these nodes only; else every term of the pod's own is narrowed by the pool's label, because the terms
    /// of a gated pod may be tightened but neither added nor removed (`k8s.io/kubernetes/pkg/apis/core/validation`).
    fn pin(&mut self, pod: &Patchable, pool: &PoolName, nodes: &[NodeName]) {
        let node_affinity = pod.affinity.as_ref().and_then(|affinity| affinity.get("nodeAffinity"));
        let required =
            node_affinity.and_then(|affinity| affinity.get("requiredDuringSchedulingIgnoredDuringExecution"));
        let terms = required.and_then(|required| required.get("nodeSelectorTerms")).and_then(Value::as_array);
        let own = terms.filter(|terms| !terms.is_empty());
        if let Some(terms) = own {
            let path = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
            let expression = json!({"key": names::POOL, "operator": "In", "values": [pool.as_str()]});
            for (index, term) in terms.iter().enumerate() {
                match term.get("matchExpressions") {
                    Some(_) => self.add(&format!("{path}/{index}/matchExpressions/-"), expression.clone()),
                    None => self.add(&format!("{path}/{index}/matchExpressions"), json!([expression])),
                }
            }
            return;
        }
        let by_name = |node: &NodeName| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.as_str()]}]});
        let required = json!({"nodeSelectorTerms": nodes.iter().map(by_name).collect::<Vec<_>>()});
        let kind = "requiredDuringSchedulingIgnoredDuringExecution";
        match (&pod.affinity, node_affinity) {
            (None, _) => self.add("/spec/affinity", json!({"nodeAffinity": {kind: required}})),
            (Some(_), None) => self.add("/spec/affinity/nodeAffinity", json!({kind: required})),
            (Some(_), Some(_)) => self.add(&format!("/spec/affinity/nodeAffinity/{kind}"), required),
        }
    }

    fn finish(self) -> Value {
        Value::Array(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Patchable {
        Patchable {
            gate: Some(0),
            has_annotations: false,
            has_deletion_cost: false,
            has_tolerations: false,
            affinity: None,
        }
    }

    fn burst() -> (Placing, Reason) {
        let placing = Placing::Burst { pool: "eci".into(), nodes: vec!["eci-0".into(), "eci-1".into()] };
        (placing, Reason::Burst { base: 3, pool: "eci".into() })
    }

    fn paths(patch: &Value) -> Vec<String> {
        let op = |op: &Value| format!("{} {}", op["op"].as_str().unwrap(), op["path"].as_str().unwrap());
        patch.as_array().unwrap().iter().map(op).collect()
    }

    #[test]
    fn a_base_pod_becomes_a_plain_pod_with_its_reason() {
        let patch =
            place(&"u1".into(), &bare(), &Placing::Base, &Reason::Base { number: 2, of: 3 }, Timestamp::UNIX_EPOCH);
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u1"},
                {"op": "test", "path": "/spec/schedulingGates/0/name", "value": "burstlet.dev/placement"},
                {"op": "remove", "path": "/spec/schedulingGates/0"},
                {"op": "add", "path": "/metadata/annotations", "value": {
                    "burstlet.dev/decided-at": "1970-01-01T00:00:00Z",
                    "burstlet.dev/reason": "base: 2 of 3 on real nodes",
                    "burstlet.dev/tier": "base"}},
            ])
        );
    }

    #[test]
    fn a_burst_pod_tolerates_and_is_pinned_by_name_in_the_same_write() {
        let (placing, reason) = burst();
        let patch = place(&"u1".into(), &bare(), &placing, &reason, Timestamp::UNIX_EPOCH);
        assert_eq!(
            paths(&patch),
            [
                "test /metadata/uid",
                "test /spec/schedulingGates/0/name",
                "remove /spec/schedulingGates/0",
                "add /spec/tolerations",
                "add /spec/affinity",
                "add /metadata/annotations"
            ]
        );
        let terms = &patch[4]["value"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let second = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["eci-1"]}]});
        assert_eq!(terms["nodeSelectorTerms"][1], second);
        assert_eq!(patch[5]["value"]["controller.kubernetes.io/pod-deletion-cost"], "-100");
    }

    #[test]
    fn the_pods_own_terms_are_narrowed_and_its_own_cost_is_kept() {
        let (placing, reason) = burst();
        let terms = json!([{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]);
        let own =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        let pod = Patchable {
            has_annotations: true,
            has_deletion_cost: true,
            has_tolerations: true,
            affinity: Some(own),
            ..bare()
        };
        let patch = place(&"u1".into(), &pod, &placing, &reason, Timestamp::UNIX_EPOCH);
        let at = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        let paths = paths(&patch);
        assert!(paths.contains(&"add /spec/tolerations/-".to_owned()));
        assert!(paths.contains(&format!("add {at}/0/matchExpressions/-")));
        assert!(paths.contains(&format!("add {at}/1/matchExpressions")));
        assert!(!paths.iter().any(|path| path.contains("deletion-cost")));
    }
}
