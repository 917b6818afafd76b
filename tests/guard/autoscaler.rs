//! A fake node autoscaler, which adds a node for pods that have fit nowhere for a minute. A part of the story in `coexist`.

use std::time::Duration;

use burstlet::lab::stand::real_node_name;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    coexist::pods_until,
    support::{Bench, Wanted, line, tier},
};

/// The node that it adds: closed to all until then.
const NODE: u32 = 4;
const GROWN: &str = "example.com/grown";
/// From the first pod that fits nowhere until the new node is there.
const BOOT: Duration = Duration::from_mins(1);

async fn change_node(bench: &Bench, change: &Value) {
    let nodes = Api::<Node>::all(bench.client.clone());
    nodes.patch(&real_node_name(NODE), &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

/// Takes its node out of the cluster, before anything stands on it.
pub(crate) async fn begins(bench: &Bench) {
    change_node(bench, &json!({"metadata": {"labels": {GROWN: "yes"}}, "spec": {"unschedulable": true}})).await;
}

/// Two of a base that fit no node but the autoscaler's and virtual ones.
async fn deploy(bench: &Bench, namespace: &str, after: &str) {
    bench.namespace(namespace, &json!({})).await;
    let term = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
    let terms = json!({"nodeSelectorTerms": [term(GROWN), term("burstlet.dev/pool")]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    let annotations = json!({"burstlet.dev/base": "2", "burstlet.dev/move-on-after": after});
    let wanted = Wanted { annotations, pod_spec: json!({"affinity": affinity}), ..Wanted::new("web", None, 2) };
    bench.deploy(namespace, &wanted).await;
}

/// A plain pod that fits nowhere, which is what node autoscalers look for.
fn asks_for_a_node(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut refused = conditions.filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let mut kept = tolerations.filter(|one| one.key.as_deref() == Some("virtual-kubelet.io/provider"));
    refused.next().is_some() && kept.next().is_none()
}

/// The node comes after 60 s, and `after` is 90 s: the base goes there. The same pods with `after: 5s` burst meanwhile.
pub(crate) async fn a_node_autoscaler_has_its_time(bench: &Bench) {
    deploy(bench, "grows", "90s").await;
    deploy(bench, "hasty", "5s").await;
    let are_seen = |pods: &[Pod]| pods.len() == 2 && pods.iter().all(asks_for_a_node);
    pods_until(bench, "grows", "both are plain pods that fit nowhere", are_seen).await;
    let boots = sleep(BOOT);
    let hasty = bench.runs("hasty", 0, 2).await;
    assert!(
        hasty.iter().all(|pod| tier(pod) == Some("base-short")),
        "{:#?}",
        hasty.iter().map(line).collect::<Vec<_>>()
    );
    bench.deployments("hasty").delete("web", &DeleteParams::background()).await.unwrap();
    boots.await;
    assert!(are_seen(&bench.pods("grows").await), "still plain pods");
    change_node(bench, &json!({"spec": {"unschedulable": false}})).await;
    let pods = bench.runs("grows", 2, 0).await;
    assert!(pods.iter().all(|pod| tier(pod) == Some("base")), "{:#?}", pods.iter().map(line).collect::<Vec<_>>());
    println!("a node came after 60 s of the 90 s that it was given: the base went there, nothing burst");
}
