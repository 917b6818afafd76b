//! Preempt: whose eviction would help.
//!
//! kube-scheduler's dry run of an eviction does not ask filter, so without this answer a pod that only burstlet keeps
//! from a node would evict others there in vain.

use std::collections::BTreeMap;

use crate::api::extender::{MetaVictims, PreemptionArgs, PreemptionResult};

use super::{nodes::VirtualNodesView, standing::Standing};

/// Answers preempt: the candidates that are real nodes, where the pod may use such; else none. Virtual nodes are never
/// candidates: what they lack is the provider's stock, which no eviction on the node gives back in time.
pub fn preempt(args: PreemptionArgs, nodes: &VirtualNodesView) -> PreemptionResult {
    if !Standing::of(&args.pod.metadata.annotations).may_use_real_nodes() {
        return PreemptionResult::default();
    }
    let mut candidates: BTreeMap<String, MetaVictims> = args.node_name_to_meta_victims.unwrap_or_default();
    for (name, victims) in args.node_name_to_victims.unwrap_or_default() {
        candidates.entry(name).or_insert_with(|| victims.into());
    }
    candidates.retain(|name, _| nodes.get(name).is_none());
    PreemptionResult { node_name_to_meta_victims: candidates }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::nodes::VirtualNodes, *};

    fn ask(annotations: &serde_json::Value) -> serde_json::Value {
        let nodes = VirtualNodes::default();
        nodes.upsert("v", "eci", true);
        let victims = json!({"Pods": [{"UID": "x"}], "NumPDBViolations": 1});
        let args = json!({
            "Pod": {"metadata": {"annotations": annotations}},
            "NodeNameToVictims": {"b": {"Pods": [{"metadata": {"uid": "y"}}], "NumPDBViolations": 0}},
            "NodeNameToMetaVictims": {"a": victims, "v": victims},
        });
        serde_json::to_value(preempt(serde_json::from_value(args).unwrap(), &nodes.view())).unwrap()
    }

    #[test]
    fn a_burst_pod_evicts_nobody() {
        let answer = ask(&json!({"burstlet.dev/tier": "burst", "burstlet.dev/pool": "eci"}));
        assert_eq!(answer, json!({"NodeNameToMetaVictims": {}}));
    }

    #[test]
    fn pods_that_may_use_real_nodes_keep_the_candidates_there() {
        for annotations in [json!({}), json!({"burstlet.dev/tier": "base"}), json!({"burstlet.dev/tier": "base-short"})]
        {
            let expected = json!({"NodeNameToMetaVictims": {
                "a": {"Pods": [{"UID": "x"}], "NumPDBViolations": 1},
                "b": {"Pods": [{"UID": "y"}], "NumPDBViolations": 0},
            }});
            assert_eq!(ask(&annotations), expected, "{annotations}");
        }
    }
}
