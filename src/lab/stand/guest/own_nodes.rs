//! Pods of a stand in a cluster with other nodes: only its own take them, and nobody else's land there.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Toleration},
};

use crate::{api::names::MANAGED_BY, lab::stand::ground::OWN_NODES};

/// Lets the Deployment's pods onto the stand's fake nodes, real and virtual ones, and onto no others: their images need
/// not exist. By affinity, which leaves their node selector as it was written.
pub fn keep_to_own_nodes(deployment: &mut Deployment) {
    let Some(spec) = &mut deployment.spec else { return };
    let pod = spec.template.spec.get_or_insert_default();
    pod.tolerations.get_or_insert_default().push(Toleration {
        key: Some(OWN_NODES.to_owned()),
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    });
    let affinity = pod.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let required = affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    // Terms are alternatives: each must ask for it.
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_expressions.get_or_insert_default().push(NodeSelectorRequirement {
            key: MANAGED_BY.0.to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![MANAGED_BY.1.to_owned()]),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn terms(pod: &Value) -> Value {
        let deployment = json!({"spec": {"selector": {}, "template": {"spec": pod}}});
        let mut deployment: Deployment = serde_json::from_value(deployment).unwrap();
        keep_to_own_nodes(&mut deployment);
        let written = serde_json::to_value(deployment).unwrap();
        let pod = &written["spec"]["template"]["spec"];
        assert_eq!(pod["tolerations"], json!([{"key": "burstlet.dev/demo", "operator": "Exists"}]));
        pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].clone()
    }

    #[test]
    fn every_alternative_of_an_affinity_asks_for_the_stands_own_nodes() {
        let own = json!({"key": "app.kubernetes.io/managed-by", "operator": "In", "values": ["burstlet"]});
        assert_eq!(terms(&json!({"containers": []})), json!([{"matchExpressions": [own]}]));
        let disk = json!({"key": "disk", "operator": "Exists"});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
            [{"matchExpressions": [disk]}, {"matchFields": [disk]}]}}});
        assert_eq!(
            terms(&json!({"containers": [], "affinity": affinity})),
            json!([{"matchExpressions": [disk, own]}, {"matchFields": [disk], "matchExpressions": [own]}])
        );
    }
}
