//! Pods that burstlet does not place: sent to the pool's nodes by selector and toleration, or bound by name, as users of
//! other virtual kubelets do it. And pods that ask for what the cloud lacks, placed or not: told, before any call.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Bench, NODE, until};

/// What a user of ECI's virtual kubelet writes; the toleration is of Alibaba's nodes alone.
fn sent() -> Value {
    json!({
        "nodeSelector": {"kubernetes.io/role": "agent", "beta.kubernetes.io/os": "linux", "type": "virtual-kubelet"},
        "tolerations": [{"key": "virtual-kubelet.io/provider", "value": "alibabacloud", "effect": "NoSchedule"}],
    })
}

pub(super) async fn story(bench: &Bench) {
    selected(bench).await;
    of_another_taint(bench).await;
    lacking(bench).await;
}

/// Pods of a workload that no policy governs follow its replicas, each on one instance.
async fn selected(bench: &Bench) {
    bench.deploy_as("sent", 3, "no", json!({}), sent());
    let run = async |count: usize| {
        until(&format!("{count} pods run that were sent by hand"), async || {
            let pods = bench.labelled("sent").await;
            let ready = pods.iter().filter(|pod| super::spot::is_ready(pod)).collect::<Vec<_>>();
            let on = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.clone();
            let are_there = ready.iter().all(|pod| on(pod).as_deref() == Some(NODE));
            let audit = bench.audit();
            let one_each = pods.iter().all(|pod| audit.get(&pod.uid().unwrap()) == Some(&(1, 1)));
            let standing: u64 = audit.values().map(|(_, standing)| standing).sum();
            let seen = (pods.len(), ready.len(), standing);
            if seen == (count, count, count as u64) && are_there && one_each {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await;
    };
    run(3).await;
    for pod in bench.labelled("sent").await {
        let decided = ["burstlet.dev/tier", "burstlet.dev/pool", "burstlet.dev/reason"];
        assert!(decided.iter().all(|name| !pod.annotations().contains_key(*name)), "{:?}", pod.annotations());
    }
    bench.scale("sent", 5);
    run(5).await;
    bench.scale("sent", 1);
    run(1).await;
    bench.scale("sent", 0);
    bench.until_none("sent").await;
    run(0).await;
    bench.say("pods sent by selector and toleration follow their replicas");
}

/// What a user of Kingsoft's writes, whose toleration is of no taint that burstlet's nodes have: a policy adds the one of
/// its pool's.
async fn of_another_taint(bench: &Bench) {
    let term = json!({"matchExpressions": [{"key": "type", "operator": "In", "values": ["virtual-kubelet"]}]});
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
    let toleration =
        json!({"key": "rbkci-virtual-kubelet.io/provider", "value": "kingsoftcloud", "effect": "NoSchedule"});
    let spec = json!({"affinity": {"nodeAffinity": affinity}, "tolerations": [toleration]});
    bench.deploy_as("nginx-kci", 2, "yes", json!({}), spec);
    until("pods with another taint's toleration run in their policy's pool", async || {
        let pods = bench.labelled("nginx-kci").await;
        let runs =
            |pod: &&Pod| super::spot::is_ready(pod) && pod.spec.as_ref().unwrap().node_name.as_deref() == Some(NODE);
        let run = pods.iter().filter(runs).count();
        if run == 2 { Ok(()) } else { Err(format!("{run}")) }
    })
    .await;
    bench.said(&["delete", "deployment", "nginx-kci"]);
    bench.until_none("nginx-kci").await;
}

/// ECI has no gRPC probes.
async fn lacking(bench: &Bench) {
    let before = bench.creations();
    let probe = json!({"readinessProbe": {"grpc": {"port": 80}}});
    let probed = json!({"containers": [{"name": "main", "image": "nginx", "readinessProbe": probe["readinessProbe"]}]});
    let says = "Alibaba ECI does not do a probe's grpc";

    // Its policy names the pool alone: it waits behind its gate, and both pod and event say for what.
    bench.deploy_as("probed", 2, "yes", json!({}), probed.clone());
    until("pods wait that the pool cannot run", async || {
        let pods = bench.labelled("probed").await;
        let waits = |pod: &Pod| {
            let reason = pod.annotations().get("burstlet.dev/reason").cloned().unwrap_or_default();
            pod.spec.as_ref().unwrap().node_name.is_none() && reason.contains(says)
        };
        let mut told = 0;
        for pod in &pods {
            let events = bench.events_of(&pod.name_any()).await;
            told += usize::from(events.iter().any(|text| text.contains(says)));
        }
        let seen = (pods.iter().filter(|pod| waits(pod)).count(), told);
        if seen == (2, 2) {
            Ok(())
        } else {
            Err(format!("{seen:?} {:?}", pods.iter().map(ResourceExt::annotations).collect::<Vec<_>>()))
        }
    })
    .await;
    bench.said(&["delete", "deployment", "probed"]);

    // It names real nodes after the pool: there it goes, at once.
    bench.policy("or-real", json!({"base": 0, "tiers": [{"pool": "eci"}, {"real": {}}]}));
    bench.deploy_as("kept", 2, "or-real", json!({}), probed);
    until("pods run on real nodes that the pool cannot run", async || {
        let pods = bench.labelled("kept").await;
        let on = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.clone();
        let is_kept = |pod: &&Pod| on(pod).is_some_and(|node| !node.starts_with("burstlet-"));
        let kept = pods.iter().filter(is_kept).count();
        if kept == 2 { Ok(()) } else { Err(format!("{kept}: {:?}", pods.iter().map(on).collect::<Vec<_>>())) }
    })
    .await;
    bench.said(&["delete", "deployment", "kept"]);
    bench.said(&["delete", "burstpolicy", "or-real"]);

    // Bound past everybody: the kubelet says the same.
    bench.pod("bound", json!({}), probe);
    until("an event on the pod that was bound by hand", async || {
        let told = bench.events("bound", "Invalid").await;
        if told.iter().any(|text| text.contains(says)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    bench.said(&["delete", "pod", "bound"]);
    bench.until_none("probed").await;
    bench.until_none("kept").await;
    assert_eq!(bench.creations(), before, "the cloud was asked for what it cannot run");
    bench.say("pods that ask for what ECI lacks: none was asked for");
}
