//! What keeps a pod off every virtual node, whatever burstlet adds to it: kube-scheduler would refuse them all, or no
//! provider could run it.

use k8s_openapi::api::core::v1::{Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use serde::Deserialize;
use serde_json::Value;

use super::{names, pod::SlimPod, preflight};

/// Each obstacle, for people, by its field.
pub fn obstacles(pod: &SlimPod) -> impl Iterator<Item = String> {
    let spec = &pod.spec;
    let selected = spec.node_selector.iter().filter(|(key, value)| !Label::of(key).may_be(value));
    let selected = selected.map(|(key, value)| format!("nodeSelector {key}={value} excludes virtual nodes"));
    let spread = spec.topology_spread_constraints.iter().filter(|spread| {
        spread.when_unsatisfiable == "DoNotSchedule" && Label::of(&spread.topology_key) == Label::Absent
    });
    let spread = spread.map(|spread| {
        let key = &spread.topology_key;
        format!("the spread over {key} (DoNotSchedule) excludes virtual nodes; ScheduleAnyway would not")
    });
    let affinity = spec.affinity.iter().flat_map(of_affinity);
    let unknown = preflight::unknown_need(pod.metadata.annotations.as_ref());
    selected.chain(affinity).chain(spread).chain(spec.machine_needs()).chain(unknown)
}

/// Whether what a pod requires of nodes excludes every virtual node.
pub fn excludes_virtual_nodes(required: &NodeSelector) -> bool {
    let mut terms = required.node_selector_terms.iter();
    terms.all(|term| is_empty(term) || unmet(term).is_some())
}

/// Whether virtual nodes have the label, and may have this value of it.
pub fn may_have(key: &str, value: &str) -> bool {
    Label::of(key).may_be(value)
}

/// A label, as virtual nodes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    /// All of them have it with this value.
    Is(&'static str),
    /// All of them have it, with a value that depends on the pool.
    Varies,
    /// None has it.
    Absent,
}

impl Label {
    fn of(key: &str) -> Self {
        let fixed = names::VIRTUAL_NODE_LABELS.into_iter().find(|(own, _)| *own == key);
        match fixed {
            Some((_, value)) => Self::Is(value),
            None if key == names::POOL => Self::Varies,
            None => Self::Absent,
        }
    }

    fn may_be(self, value: &str) -> bool {
        match self {
            Self::Is(own) => own == value,
            Self::Varies => true,
            Self::Absent => false,
        }
    }

    /// Whether it may be as required.
    fn meets(self, requirement: &NodeSelectorRequirement) -> bool {
        let mut values = requirement.values.iter().flatten();
        match (requirement.operator.as_str(), self) {
            ("In", _) => values.any(|value| self.may_be(value)),
            ("NotIn", Self::Is(own)) => values.all(|value| value != own),
            ("NotIn", _) => true,
            ("Exists", _) => self != Self::Absent,
            ("DoesNotExist", _) => self == Self::Absent,
            // No label of theirs is a number.
            _ => false,
        }
    }
}

fn of_affinity(written: &Value) -> impl Iterator<Item = String> {
    // The API server has checked its shape.
    let Affinity { node_affinity, pod_affinity, .. } = Affinity::deserialize(written).unwrap_or_default();
    let nodes = node_affinity.and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution);
    let nodes = nodes.filter(excludes_virtual_nodes).map(|required| {
        let first = required.node_selector_terms.iter().find_map(unmet).map(spelt).unwrap_or_default();
        format!("the required nodeAffinity ({first}) excludes virtual nodes; preferred would not")
    });
    let pods = pod_affinity.and_then(|pods| pods.required_during_scheduling_ignored_during_execution);
    let pods = pods.into_iter().flatten().filter(|term| Label::of(&term.topology_key) == Label::Absent).map(|term| {
        let key = term.topology_key;
        format!("the required podAffinity by {key} excludes virtual nodes, which lack it; preferred would not")
    });
    nodes.into_iter().chain(pods)
}

/// The first label that virtual nodes do not have as the term requires. What it requires of names is not looked at: nodes
/// of any name may come.
fn unmet(term: &NodeSelectorTerm) -> Option<&NodeSelectorRequirement> {
    term.match_expressions.iter().flatten().find(|requirement| !Label::of(&requirement.key).meets(requirement))
}

/// Upstream has a term of nothing select nothing.
fn is_empty(term: &NodeSelectorTerm) -> bool {
    let lacks = |part: &Option<Vec<NodeSelectorRequirement>>| part.as_ref().is_none_or(Vec::is_empty);
    lacks(&term.match_expressions) && lacks(&term.match_fields)
}

fn spelt(requirement: &NodeSelectorRequirement) -> String {
    let NodeSelectorRequirement { key, operator, values } = requirement;
    match values.as_deref() {
        None | Some([]) => format!("{key} {operator}"),
        Some(values) => format!("{key} {operator} [{}]", values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: &Value) -> Vec<String> {
        let pod: SlimPod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap();
        obstacles(&pod).collect()
    }

    fn of_nodes(terms: &Value) -> Vec<String> {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        told(&json!({"affinity": {"nodeAffinity": required}}))
    }

    fn term(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    #[test]
    fn a_selector_that_no_virtual_node_meets_is_named() {
        assert!(told(&json!({"nodeSelector": {"kubernetes.io/os": "linux", "type": "virtual-kubelet"}})).is_empty());
        assert_eq!(
            told(&json!({"nodeSelector": {"disktype": "ssd", "kubernetes.io/os": "windows"}})),
            [
                "nodeSelector disktype=ssd excludes virtual nodes",
                "nodeSelector kubernetes.io/os=windows excludes virtual nodes"
            ]
        );
    }

    #[test]
    fn what_is_required_of_nodes_excludes_virtual_ones_where_no_term_may_meet_them() {
        for (key, operator, values) in [
            ("disk", "In", &["ssd", "nvme"][..]),
            ("disk", "Exists", &[]),
            ("kubernetes.io/os", "In", &["windows"]),
            ("type", "NotIn", &["virtual-kubelet"]),
            ("burstlet.dev/pool", "DoesNotExist", &[]),
            ("cpus", "Gt", &["4"]),
            ("kubernetes.io/arch", "In", &["arm64"]),
        ] {
            assert_eq!(of_nodes(&json!([term(key, operator, values)])).len(), 1, "{key} {operator}");
        }
        for (key, operator, values) in [
            ("kubernetes.io/arch", "In", &["amd64", "arm64"][..]),
            ("kubernetes.io/arch", "Exists", &[]),
            ("disk", "NotIn", &["hdd"]),
            ("disk", "DoesNotExist", &[]),
            ("type", "In", &["virtual-kubelet", "gpu"]),
            ("type", "NotIn", &["gpu"]),
            ("burstlet.dev/pool", "In", &["eci"]),
            ("burstlet.dev/pool", "NotIn", &["eci"]),
            ("app.kubernetes.io/managed-by", "In", &["burstlet"]),
        ] {
            assert!(of_nodes(&json!([term(key, operator, values)])).is_empty(), "{key} {operator}");
        }
        let either = json!([term("disk", "In", &["ssd"]), term("kubernetes.io/os", "In", &["linux"])]);
        assert!(of_nodes(&either).is_empty(), "one of the terms is enough");
        let by_name = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["sim-0"]}]}]);
        assert!(of_nodes(&by_name).is_empty(), "burstlet itself pins by names");
        assert_eq!(
            of_nodes(&json!([{}, term("disk", "In", &["ssd", "nvme"])])),
            ["the required nodeAffinity (disk In [ssd, nvme]) excludes virtual nodes; preferred would not"]
        );
    }

    #[test]
    fn hard_rules_over_labels_that_virtual_nodes_lack_are_named_and_soft_ones_are_not() {
        let apart = json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]);
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let together = told(&json!({"affinity": {"podAffinity": {required: apart.clone()}}}));
        assert!(together[0].starts_with("the required podAffinity by kubernetes.io/hostname"), "{together:?}");
        assert!(told(&json!({"affinity": {"podAntiAffinity": {required: apart}}})).is_empty());
        let spread = |when: &str| {
            let rule = json!([{"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when}]);
            told(&json!({"topologySpreadConstraints": rule}))
        };
        assert!(spread("DoNotSchedule")[0].contains("topology.kubernetes.io/zone (DoNotSchedule)"));
        assert!(spread("ScheduleAnyway").is_empty());
    }

    #[test]
    fn what_needs_a_machine_of_its_own_is_named() {
        let taken = json!([{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}},
                           {"name": "c", "projected": {"sources": []}}, {"name": "d", "nfs": {}, "hostPath": null}]);
        assert!(told(&json!({"volumes": taken, "hostNetwork": false})).is_empty());
        for (spec, field) in [
            (json!({"volumes": [{"name": "logs", "hostPath": {"path": "/var/log"}}]}), "volume logs (hostPath)"),
            (
                json!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}, "name": "db"}]}),
                "volume db (persistentVolumeClaim)",
            ),
            (json!({"hostNetwork": true}), "hostNetwork"),
            (json!({"hostPID": true}), "hostPID"),
            (json!({"hostIPC": true}), "hostIPC"),
            (json!({"initContainers": [{"securityContext": {"privileged": true}}]}), "a privileged container"),
        ] {
            assert_eq!(told(&spec), [format!("{field} needs a real node: no virtual node has it")]);
        }
    }
}
