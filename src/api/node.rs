//! Nodes, turned into the engine's.

use burstlet_engine::model::{Bytes, Node, NodeKind, PoolName, Resources};
use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::api::resource::Quantity};

use crate::api::names;

/// The pool of a virtual node of burstlet's; `None` for every other node.
pub fn pool(node: &core::Node) -> Option<PoolName> {
    let labels = node.metadata.labels.as_ref()?;
    let is_virtual = labels.get(names::NODE_TYPE).is_some_and(|kind| kind == names::VIRTUAL_NODE_TYPE);
    labels.get(names::POOL).filter(|_| is_virtual).map(|pool| pool.as_str().into())
}

/// Whether the node's Ready condition is true and it is not cordoned.
pub fn is_ready(node: &core::Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True");
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    ready && !cordoned
}

/// The node as the engine sees it. Another product's virtual node counts as real but closed: its taint keeps plain
/// pods off.
pub fn to_engine(node: &core::Node) -> Option<Node> {
    let pool = pool(node);
    let repels = |taint: &core::Taint| {
        let is_ours = pool.is_some() && taint.key == names::TAINT_PROVIDER;
        !is_ours && matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
    };
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(repels);
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let amount = |name: &str| allocatable.and_then(|all| all.get(name)).map(|Quantity(text)| text.as_str());
    Some(Node {
        name: node.metadata.name.as_deref()?.into(),
        open: is_ready(node) && !tainted && node.metadata.deletion_timestamp.is_none(),
        allocatable: Resources {
            cpu: amount("cpu").and_then(|text| text.parse().ok()).unwrap_or_default(),
            memory: amount("memory").and_then(|text| text.parse().ok()).unwrap_or_default(),
        },
        // A quantity, too: the API server writes 3000 as 3k.
        max_pods: amount("pods").and_then(|text| text.parse().ok()).map_or(0, |Bytes(pods)| pods),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        kind: pool.map_or(NodeKind::Real, NodeKind::Virtual),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_thousand_pods_are_a_quantity() {
        let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"pods": "3k"}}});
        assert_eq!(to_engine(&serde_json::from_value(node).unwrap()).unwrap().max_pods, 3000);
    }

    fn node(labels: &serde_json::Value, taint: &str, ready: &str) -> Node {
        let node = json!({
            "metadata": {"name": "n", "labels": labels},
            "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": ready}]},
        });
        to_engine(&serde_json::from_value(node).unwrap()).unwrap()
    }

    #[test]
    fn a_virtual_node_of_ours_is_open_in_spite_of_its_taint() {
        let labels = json!({"type": "virtual-kubelet", "burstlet.dev/pool": "eci"});
        let virtual_node = node(&labels, names::TAINT_PROVIDER, "True");
        assert_eq!(virtual_node.kind, NodeKind::Virtual("eci".into()));
        assert!(virtual_node.open);
        assert_eq!((virtual_node.max_pods, virtual_node.allocatable.cpu.0), (110, 2000));
        assert!(!node(&labels, names::TAINT_PROVIDER, "Unknown").open);
    }

    #[test]
    fn a_tainted_real_node_and_another_products_virtual_node_are_closed() {
        assert!(!node(&json!({}), "dedicated", "True").open);
        let other = node(&json!({"type": "virtual-kubelet"}), names::TAINT_PROVIDER, "True");
        assert_eq!((other.kind, other.open), (NodeKind::Real, false));
    }
}
