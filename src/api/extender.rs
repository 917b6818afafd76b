//! What kube-scheduler and an extender say to each other (`k8s.io/kube-scheduler/extender/v1`).
//!
//! The Go types carry no JSON tags, so keys are the Go field names (`NodeNames`, not `nodeNames`), and a nil slice or
//! map is `null`. Only what burstlet reads of a pod is kept: kube-scheduler sends all of it with every call.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::names;

/// The pod of a call, less what burstlet does not read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SlimPod {
    /// Its metadata.
    pub metadata: SlimMetadata,
}

/// What burstlet reads of a pod's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SlimMetadata {
    /// Pod's UID; empty where the sender left it out.
    #[serde(default)]
    pub uid: String,
    /// The annotations that placement writes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: PlacementAnnotations,
}

/// The annotations that placement writes on a pod, as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlacementAnnotations {
    /// Value of [`names::TIER`].
    pub tier: Option<String>,
    /// Value of [`names::POOL`].
    pub pool: Option<String>,
}

impl<'de> Deserialize<'de> for PlacementAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Annotations;

        impl<'de> Visitor<'de> for Annotations {
            type Value = PlacementAnnotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = PlacementAnnotations::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    match key.0.as_ref() {
                        names::TIER => found.tier = map.next_value()?,
                        names::POOL => found.pool = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(Annotations)
    }
}

/// A text that borrows from the body unless it holds escapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Body of filter and prioritize: `ExtenderArgs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ExtenderArgs<'a> {
    /// The pod to place.
    #[serde(rename = "Pod")]
    pub pod: SlimPod,
    /// Names of the nodes that are feasible so far; absent where the extender is not `nodeCacheCapable`.
    #[serde(rename = "NodeNames", borrow, default)]
    pub node_names: Option<Vec<Text<'a>>>,
}

/// Answer of filter: `ExtenderFilterResult`, as a `nodeCacheCapable` extender fills it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilterResult {
    /// Names that passed.
    pub node_names: Vec<String>,
    /// Reason of every refused node that no eviction would make fit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_and_unresolvable_nodes: BTreeMap<String, String>,
}

/// One line of prioritize's answer. A node without a line counts as 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostPriority {
    /// Node's name.
    pub host: String,
    /// From 0 to [`MAX_SCORE`]; higher is better.
    pub score: u8,
}

/// Best score of [`HostPriority`]: Kubernetes' `MaxExtenderPriority`.
pub const MAX_SCORE: u8 = 10;

/// Body of preempt: `ExtenderPreemptionArgs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PreemptionArgs {
    /// The pod that found no room.
    pub pod: SlimPod,
    /// Victims by node with whole pods, sent to extenders that are not `nodeCacheCapable`.
    #[serde(default)]
    pub node_name_to_victims: Option<BTreeMap<String, Victims>>,
    /// Victims by node, by UID.
    #[serde(default)]
    pub node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

/// Pods that would have to go from a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Victims {
    /// The pods.
    #[serde(rename = "Pods", default, deserialize_with = "null_is_default")]
    pub pods: Vec<SlimPod>,
    /// How many of them a disruption budget protects.
    #[serde(rename = "NumPDBViolations", default)]
    pub pdb_violations: i64,
}

/// Pods, by UID, that would have to go from a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaVictims {
    /// The pods.
    #[serde(rename = "Pods", default, deserialize_with = "null_is_default")]
    pub pods: Vec<MetaPod>,
    /// How many of them a disruption budget protects.
    #[serde(rename = "NumPDBViolations", default)]
    pub pdb_violations: i64,
}

/// A pod by its UID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaPod {
    /// The UID.
    #[serde(rename = "UID")]
    pub uid: String,
}

impl From<Victims> for MetaVictims {
    fn from(victims: Victims) -> Self {
        let pods = victims.pods.into_iter().map(|pod| MetaPod { uid: pod.metadata.uid }).collect();
        Self { pods, pdb_violations: victims.pdb_violations }
    }
}

/// Answer of preempt: `ExtenderPreemptionResult`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PreemptionResult {
    /// Nodes where eviction is right, with their victims; a node left out is no candidate.
    pub node_name_to_meta_victims: BTreeMap<String, MetaVictims>,
}

/// Body of bind: `ExtenderBindingArgs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindingArgs {
    /// Pod's name.
    pub pod_name: String,
    /// Pod's namespace.
    pub pod_namespace: String,
    /// Pod's UID: another pod may have its name by now.
    #[serde(rename = "PodUID")]
    pub pod_uid: String,
    /// The node chosen.
    pub node: String,
}

/// Answer of bind: `ExtenderBindingResult`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindingResult {
    /// Why the pod is not bound; empty where it is.
    pub error: String,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_read_as_kube_scheduler_writes_them() {
        let body = r#"{"Pod":{"metadata":{"name":"web-1","namespace":"shop","uid":"u-1","annotations":
            {"other":"x","burstlet.dev/tier":"burst","burstlet.dev/pool":"eci"},"managedFields":[{}]},
            "spec":{"containers":[]},"status":{}},"Nodes":null,"NodeNames":["node-a","node-b"]}"#;
        let args: ExtenderArgs<'_> = serde_json::from_str(body).unwrap();
        assert_eq!(args.pod.metadata.uid, "u-1");
        let annotations = args.pod.metadata.annotations;
        assert_eq!((annotations.tier.as_deref(), annotations.pool.as_deref()), (Some("burst"), Some("eci")));
        let all: Vec<_> = args.node_names.unwrap().into_iter().map(|name| name.0).collect();
        assert_eq!(all, ["node-a", "node-b"]);
        assert!(all.iter().all(|name| matches!(name, Cow::Borrowed(_))));
    }

    #[test]
    fn annotations_may_be_absent_or_null() {
        for metadata in [json!({"uid": "u"}), json!({"uid": "u", "annotations": null})] {
            let pod: SlimPod = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
            assert_eq!(pod.metadata.annotations, PlacementAnnotations::default());
        }
    }

    #[test]
    fn preemption_arguments_are_read_with_nil_slices_and_both_kinds_of_victims() {
        let args: PreemptionArgs = serde_json::from_value(json!({
            "Pod": {"metadata": {"uid": "u"}},
            "NodeNameToVictims": {"a": {"Pods": [{"metadata": {"uid": "v"}, "spec": {}}], "NumPDBViolations": 2}},
            "NodeNameToMetaVictims": {"b": {"Pods": null, "NumPDBViolations": 0}},
        }))
        .unwrap();
        let victims = args.node_name_to_victims.unwrap().remove("a").unwrap();
        assert_eq!(
            MetaVictims::from(victims),
            MetaVictims { pods: vec![MetaPod { uid: "v".into() }], pdb_violations: 2 }
        );
        assert_eq!(args.node_name_to_meta_victims.unwrap()["b"], MetaVictims { pods: vec![], pdb_violations: 0 });
    }

    #[test]
    fn answers_and_bindings_round_trip_under_the_go_names() {
        fn both_ways<T: Serialize + for<'de> Deserialize<'de> + PartialEq + fmt::Debug>(
            value: &T,
            literal: &serde_json::Value,
        ) {
            assert_eq!(&serde_json::to_value(value).unwrap(), literal);
            assert_eq!(&T::deserialize(literal).unwrap(), value);
        }
        both_ways(
            &FilterResult {
                node_names: vec!["a".into()],
                failed_and_unresolvable_nodes: BTreeMap::from([("v".into(), "no".into())]),
            },
            &json!({"NodeNames": ["a"], "FailedAndUnresolvableNodes": {"v": "no"}}),
        );
        both_ways(&HostPriority { host: "a".into(), score: 10 }, &json!({"Host": "a", "Score": 10}));
        let victims = MetaVictims { pods: vec![MetaPod { uid: "u".into() }], pdb_violations: 1 };
        both_ways(
            &PreemptionResult { node_name_to_meta_victims: BTreeMap::from([("a".into(), victims)]) },
            &json!({"NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1}}}),
        );
        both_ways(
            &BindingArgs { pod_name: "p".into(), pod_namespace: "n".into(), pod_uid: "u".into(), node: "a".into() },
            &json!({"PodName": "p", "PodNamespace": "n", "PodUID": "u", "Node": "a"}),
        );
        both_ways(&BindingResult { error: "no".into() }, &json!({"Error": "no"}));
    }
}
