//! Decisions as JSON patches (RFC 6902): one write each, refused by the API server if the pod is not the one meant.

use std::collections::{BTreeMap, BTreeSet};

use burstlet_engine::{
    model::{NodeName, PodUid, PoolName, Tier},
    placement::{Extras, Placing, Reason},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{names, pod::Patchable};

/// Takes the gate off and sends the pod to its tier.
pub(super) fn place(
    uid: &PodUid,
    pod: &Patchable,
    placing: &Placing,
    extras: &Extras,
    reason: &Reason,
    now: Timestamp,
) -> Value {
    let mut patch = Patch::of(uid);
    if let Some(gate) = pod.gate {
        let at = format!("/spec/schedulingGates/{gate}");
        patch.test(&format!("{at}/name"), names::GATE);
        patch.remove(&at);
    }
    let mut notes = notes(pod, extras);
    notes.insert(names::REASON.to_owned(), reason.to_string());
    notes.insert(names::DECIDED_AT.to_owned(), now.to_string());
    match placing {
        Placing::Release => {}
        Placing::Base => drop(notes.insert(names::TIER.to_owned(), names::TIER_BASE.to_owned())),
        Placing::Burst { pool, nodes } => {
            notes.insert(names::TIER.to_owned(), names::TIER_BURST.to_owned());
            notes.insert(names::POOL.to_owned(), pool.to_string());
            patch.tolerate(pod);
            patch.pin(pod, pool, nodes);
        }
        Placing::Real { number, node_selector } => {
            notes.insert(names::TIER.to_owned(), names::tier_real(*number));
            patch.merge("/spec/nodeSelector", &pod.own_selector, missing(&pod.own_selector, node_selector));
        }
    }
    patch.merge("/metadata/labels", &pod.own_labels, missing(&pod.own_labels, &extras.labels));
    patch.annotate(pod, notes);
    patch.finish()
}

/// Lets an unbound pod that fits no real node also use the pool.
pub(super) fn move_on(
    uid: &PodUid,
    pod: &Patchable,
    pool: &PoolName,
    tier: &Tier,
    extras: &Extras,
    reason: &Reason,
) -> Value {
    let mut patch = Patch::of(uid);
    let word = if matches!(tier, Tier::Burst(_)) { names::TIER_BURST } else { names::TIER_BASE_SHORT };
    let mut notes = notes(pod, extras);
    notes.insert(names::REASON.to_owned(), reason.to_string());
    notes.insert(names::TIER.to_owned(), word.to_owned());
    notes.insert(names::POOL.to_owned(), pool.to_string());
    patch.tolerate(pod);
    patch.merge("/metadata/labels", &pod.own_labels, missing(&pod.own_labels, &extras.labels));
    patch.annotate(pod, notes);
    patch.finish()
}

/// Tells on the pod why it waits.
pub(super) fn explain(uid: &PodUid, pod: &Patchable, reason: &Reason) -> Value {
    let mut patch = Patch::of(uid);
    patch.annotate(pod, [(names::REASON.to_owned(), reason.to_string())].into());
    patch.finish()
}

/// The tier's annotations and deletion cost, as far as the pod has none of its own.
fn notes(pod: &Patchable, extras: &Extras) -> BTreeMap<String, String> {
    let mut notes = missing(&pod.own_annotations, &extras.annotations);
    if let Some(cost) = extras.deletion_cost
        && !pod.own_annotations.contains(names::DELETION_COST)
    {
        notes.insert(names::DELETION_COST.to_owned(), cost.to_string());
    }
    notes
}

fn missing(own: &BTreeSet<String>, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    wanted.iter().filter(|(key, _)| !own.contains(*key)).map(|(key, value)| (key.clone(), value.clone())).collect()
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

    fn annotate(&mut self, pod: &Patchable, notes: BTreeMap<String, String>) {
        self.merge("/metadata/annotations", &pod.own_annotations, notes);
    }

    /// Adds entries to a map that has these keys already, and exists only if it has any.
    fn merge(&mut self, path: &str, own: &BTreeSet<String>, entries: BTreeMap<String, String>) {
        if entries.is_empty() {
            return;
        }
        if own.is_empty() {
            self.add(path, json!(entries));
            return;
        }
        for (key, value) in entries {
            self.add(&format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), json!(value));
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
            own_annotations: BTreeSet::new(),
            own_labels: BTreeSet::new(),
            own_selector: BTreeSet::new(),
            has_tolerations: false,
            affinity: None,
        }
    }

    fn burst() -> (Placing, Extras, Reason) {
        let placing = Placing::Burst { pool: "eci".into(), nodes: vec!["eci-0".into(), "eci-1".into()] };
        let extras = Extras { deletion_cost: Some(-100), ..Extras::default() };
        (placing, extras, Reason::Burst { base: Some(3), pool: "eci".into() })
    }

    fn paths(patch: &Value) -> Vec<String> {
        let op = |op: &Value| format!("{} {}", op["op"].as_str().unwrap(), op["path"].as_str().unwrap());
        patch.as_array().unwrap().iter().map(op).collect()
    }

    #[test]
    fn a_base_pod_becomes_a_plain_pod_with_its_reason() {
        let patch = place(
            &"u1".into(),
            &bare(),
            &Placing::Base,
            &Extras::default(),
            &Reason::Base { number: 2, of: 3 },
            Timestamp::UNIX_EPOCH,
        );
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
        let (placing, extras, reason) = burst();
        let patch = place(&"u1".into(), &bare(), &placing, &extras, &reason, Timestamp::UNIX_EPOCH);
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
        let (placing, extras, reason) = burst();
        let terms = json!([{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]);
        let own =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        let pod = Patchable {
            own_annotations: [names::DELETION_COST.to_owned()].into(),
            has_tolerations: true,
            affinity: Some(own),
            ..bare()
        };
        let patch = place(&"u1".into(), &pod, &placing, &extras, &reason, Timestamp::UNIX_EPOCH);
        let at = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        let paths = paths(&patch);
        assert!(paths.contains(&"add /spec/tolerations/-".to_owned()));
        assert!(paths.contains(&format!("add {at}/0/matchExpressions/-")));
        assert!(paths.contains(&format!("add {at}/1/matchExpressions")));
        assert!(!paths.iter().any(|path| path.contains("deletion-cost")));
    }

    #[test]
    fn a_tiers_labels_and_annotations_come_along_and_the_pods_own_come_first() {
        let (placing, _, reason) = burst();
        let both = |key: &str| [("a/b".to_owned(), "tier's".to_owned()), (key.to_owned(), "tier's".to_owned())].into();
        let extras = Extras { labels: both("own"), annotations: both("own~"), deletion_cost: Some(-200) };
        let pod =
            Patchable { own_labels: ["own".to_owned()].into(), own_annotations: ["own~".to_owned()].into(), ..bare() };
        let paths = paths(&place(&"u1".into(), &pod, &placing, &extras, &reason, Timestamp::UNIX_EPOCH));
        assert!(paths.contains(&"add /metadata/labels/a~1b".to_owned()));
        assert!(paths.contains(&"add /metadata/annotations/a~1b".to_owned()));
        assert!(!paths.iter().any(|path| path.ends_with("/own") || path.ends_with("/own~0")), "{paths:?}");
    }

    #[test]
    fn a_tier_on_real_nodes_adds_to_the_node_selector_and_no_toleration() {
        let node_selector = [("disk".to_owned(), "ssd".to_owned()), ("zone".to_owned(), "b".to_owned())].into();
        let placing = Placing::Real { number: 1, node_selector };
        let pod = Patchable { own_selector: ["zone".to_owned()].into(), ..bare() };
        let reason = Reason::Real(burstlet_engine::placement::WhyReal::Tier(3));
        let patch = place(&"u1".into(), &pod, &placing, &Extras::default(), &reason, Timestamp::UNIX_EPOCH);
        let paths = paths(&patch);
        assert!(paths.contains(&"add /spec/nodeSelector/disk".to_owned()), "{paths:?}");
        assert!(!paths.iter().any(|path| path.contains("tolerations") || path.ends_with("zone")), "{paths:?}");
        assert_eq!(patch[4]["value"]["burstlet.dev/tier"], "real-2");
    }
}
