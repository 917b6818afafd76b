//! `kubectl drain` of a virtual node and fewer nodes of a pool, as users of ECI's many virtual nodes do it: pods go on
//! elsewhere in the pool, and no instance stays behind.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Bench, pool, until};

const FIRST: &str = "burstlet-pair-0";
const SECOND: &str = "burstlet-pair-1";
const THIRD: &str = "burstlet-pair-2";
const NODE: &str = "burstlet.dev/node";

fn pair(bench: &Bench, nodes: u32) -> Value {
    let mut pair = pool("pair", bench.provider(json!({})));
    pair["spec"]["nodes"] = json!({"max": nodes, "podsPerNode": 6});
    pair
}

/// Instances that stand, by the node of their pod.
fn standing(bench: &Bench) -> BTreeMap<String, usize> {
    let mut standing = BTreeMap::new();
    for instance in bench.cloud_instances().iter().filter(|one| one["status"] == "Running") {
        let node = instance["tags"][NODE].as_str().unwrap();
        if node.starts_with("burstlet-pair-") {
            *standing.entry(node.to_owned()).or_default() += 1;
        }
    }
    standing
}

/// So many pods are ready, and on each node as many instances stand as pods.
async fn settles(bench: &Bench, what: &str, pods: usize, are: impl Fn(&BTreeMap<String, usize>) -> bool) {
    until(what, async || {
        let mut on = BTreeMap::new();
        let all = bench.labelled("moved").await;
        for pod in all.iter().filter(|pod| super::spot::is_ready(pod)) {
            *on.entry(pod.spec.as_ref().unwrap().node_name.clone().unwrap()).or_default() += 1;
        }
        let seen = (all.len(), on.values().sum::<usize>(), standing(bench));
        if seen == (pods, pods, on.clone()) && are(&on) { Ok(()) } else { Err(format!("{seen:?}, ready {on:?}")) }
    })
    .await;
    bench.say(format!("  {what}"));
}

pub(super) async fn story(bench: &Bench) {
    bench.apply(&pair(bench, 2));
    bench.policy("pair", json!({"base": 0, "tiers": [{"pool": "pair"}]}));
    bench.deploy_as("moved", 8, "pair", json!({}), json!({}));
    settles(bench, "8 pods fill two nodes of 6", 8, |on| on.len() == 2).await;
    bench.scale("moved", 5);
    settles(bench, "5 are left", 5, |_| true).await;
    bench.apply(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "moved", "namespace": "default"},
        "spec": {"minAvailable": 4, "selector": {"matchLabels": {"app": "moved"}}}}));

    // Whichever has pods, and the other takes them.
    let drained = if standing(bench).contains_key(SECOND) { SECOND } else { FIRST };
    bench.said(&["drain", drained, "--ignore-daemonsets", "--timeout=100s"]);
    settles(bench, "the drained node's pods run on the other", 5, |on| !on.contains_key(drained)).await;
    let nodes = Api::<Node>::all(bench.client.clone());
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let node = nodes.get(drained).await.unwrap();
    assert_eq!(node.spec.unwrap().unschedulable, Some(true), "the user's cordon is undone");
    bench.said(&["uncordon", drained]);
    bench.scale("moved", 8);
    settles(bench, "both nodes take pods again", 8, |on| on.len() == 2).await;

    // Both are cordoned: as the pool may have a third, pods go there.
    bench.scale("moved", 5);
    settles(bench, "5 are left again", 5, |_| true).await;
    bench.apply(&pair(bench, 3));
    bench.said(&["cordon", FIRST, SECOND]);
    bench.scale("moved", 7);
    settles(bench, "a third node takes what two cordoned ones do not", 7, |on| on.get(THIRD) == Some(&2)).await;
    bench.said(&["uncordon", FIRST, SECOND]);
    bench.scale("moved", 5);
    settles(bench, "5 are left once more", 5, |_| true).await;
    bench.apply(&pair(bench, 1));
    settles(bench, "of one node, the first has all", 5, |on| on.keys().eq([FIRST])).await;
    until("the second node is gone", async || match nodes.get_opt(SECOND).await.unwrap() {
        None => Ok(()),
        Some(node) => Err(node.name_any()),
    })
    .await;

    bench.scale("moved", 0);
    bench.until_none("moved").await;
    until("no instance is left", async || {
        let standing = standing(bench);
        if standing.is_empty() { Ok(()) } else { Err(format!("{standing:?}")) }
    })
    .await;
    assert!(bench.audit().values().all(|(made, _)| *made == 1), "{:?}", bench.audit());
    bench.said(&["delete", "virtualpool", "pair"]);
    bench.said(&["delete", "burstpolicy", "pair"]);
    bench.say("a node was drained by kubectl, and one taken off, without orphans");
}
