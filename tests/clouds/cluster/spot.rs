//! Spot instances that the cloud takes back: their pods are replaced before it does, within their disruption budget.

use std::collections::BTreeSet;

use burstlet::lab::emulator::Cloud;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use super::{Bench, until};

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(super) async fn story(bench: &Bench) {
    bench.apply(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "spot", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "spot"}}}}));
    bench.deploy("spot", 2, json!({"k8s.aliyun.com/eci-spot-strategy": "SpotAsPriceGo"}));
    let ready = async || {
        let pods = bench.labelled("spot").await;
        pods.iter().filter(|pod| is_ready(pod)).map(|pod| (pod.uid().unwrap(), pod.name_any())).collect::<BTreeSet<_>>()
    };
    let first = until("two spot pods are ready", async || {
        let ready = ready().await;
        if ready.len() == 2 { Ok(ready) } else { Err(format!("{ready:?}")) }
    })
    .await;
    let ids = bench.labelled("spot").await;
    let ids = ids.iter().map(|pod| pod.annotations()["burstlet.dev/instance-id"].clone()).collect::<Vec<_>>();
    // A cloud that does not answer has announced nothing.
    bench.ground.change(|settings| settings.outage = true);
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    bench.ground.change(|settings| settings.outage = false);
    assert_eq!(ready().await, first, "a glitch has cost pods");

    assert!(ids.iter().all(|id| bench.cloud.reclaim(id)));
    until("both are replaced, one at a time", async || {
        let ready = ready().await;
        assert!(!ready.is_empty(), "the disruption budget is broken");
        if ready.len() == 2 && ready.is_disjoint(&first) { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
    for (_, name) in &first {
        let told = bench.events(name, "SpotToBeReleased").await;
        assert!(told.iter().any(|text| text.contains("will be released at")), "{name}: {told:?}");
    }
    // The cloud gave three minutes: none of them ended by its hand.
    let taken =
        |one: &&serde_json::Value| one["status"] == "Failed" || one["status"] == "Gone" && one["finished"] == "Failed";
    assert_eq!(bench.cloud_instances().iter().filter(taken).count(), 0);
    assert!(bench.audit().values().all(|(made, _)| *made == 1));
    bench.say("spot pods were replaced before their instances went");
    bench.scale("spot", 0);
    bench.until_none("spot").await;
}
