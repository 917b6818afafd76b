//! Hard constraints on where pods may stand, while the real HPA scales 3 → 20. A part of the story in `coexist`.

use std::time::Duration;

use burstlet::provider::simulated::CpuTarget;
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    coexist::{is_on_real, pods_until, remove},
    support::{Bench, Wanted, eventually_else, is_gated, is_running, line, reason},
};

/// metrics-server needs two looks at a pod, 10 s apart, before an HPA can tell anything.
const PATIENCE: Duration = Duration::from_mins(3);
/// Each pod uses four times what it requests, wherever it runs, so that every HPA goes to its maximum.
const LOAD: u64 = 200;

/// Puts the load on all pods, those to come included.
pub(crate) fn load(bench: &Bench) {
    for cloud in bench.stand.clouds().map(|(_, cloud)| cloud).chain([bench.stand.real_cloud()]) {
        cloud.set_cpu(&CpuTarget::All, LOAD);
    }
}

/// A Deployment `web` of the base, and the HPA that scales it.
async fn deploy(bench: &Bench, namespace: &str, pod_spec: Value) {
    bench.namespace(namespace, &json!({})).await;
    bench.deploy(namespace, &Wanted { pod_spec, ..Wanted::new("web", Some("3"), 3) }).await;
    bench.runs(namespace, 3, 0).await;
    let target = json!({"type": "Utilization", "averageUtilization": 60});
    let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3, "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 5}]}},
        },
    }))
    .unwrap();
    hpas(bench, namespace).create(&PostParams::default(), &hpa).await.unwrap();
}

fn hpas(bench: &Bench, namespace: &str) -> Api<HorizontalPodAutoscaler> {
    Api::namespaced(bench.client.clone(), namespace)
}

/// Waits until the HPA has come to 20 pods, and those are as they should be.
async fn scaled(bench: &Bench, namespace: &str, what: &str, are: impl Fn(&[Pod]) -> bool) {
    eventually_else(what, PATIENCE, || async {
        let pods = bench.pods(namespace).await;
        if pods.len() == 20 && are(&pods) {
            return Ok(());
        }
        let hpa = hpas(bench, namespace).get("web").await.unwrap().status;
        Err(format!("{hpa:?} {:#?}", pods.iter().map(line).collect::<Vec<_>>()))
    })
    .await;
    let scaled = hpas(bench, namespace).get("web").await.unwrap().status.unwrap();
    assert_eq!(scaled.desired_replicas, 20, "the HPA's own doing");
}

async fn ends(bench: &Bench, namespace: &str) {
    hpas(bench, namespace).delete("web", &DeleteParams::default()).await.unwrap();
    remove(bench, namespace).await;
}

/// One pod a host: virtual nodes are no host, so they take any number.
pub(crate) async fn hard_hostname_anti_affinity(bench: &Bench) {
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    deploy(bench, "apart", json!({"affinity": apart})).await;
    scaled(bench, "apart", "3 run on real nodes, 17 burst", |pods| {
        let run = || pods.iter().filter(|pod| is_running(pod));
        (run().filter(|pod| is_on_real(pod)).count(), run().count()) == (3, 20)
    })
    .await;
    let told = bench.burstlet(&["explain", "deployment/web", "--namespace", "apart"]);
    assert!(told.contains("eci 17, real 3"), "{told}");
    println!("hard hostname anti-affinity, base 3, scaled to 20 by the HPA: 3 on real nodes, 17 burst");
    ends(bench, "apart").await;
}

/// Virtual nodes have no zone, so a hard spread over zones keeps pods off them: they wait, and are told what would help.
pub(crate) async fn hard_zone_spread(bench: &Bench) {
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]);
    deploy(bench, "zones", json!({"topologySpreadConstraints": spread})).await;
    let says =
        "the spread over topology.kubernetes.io/zone (DoNotSchedule) excludes virtual nodes; ScheduleAnyway would not";
    scaled(bench, "zones", "3 run, 17 wait and say why", |pods| {
        let waits = pods.iter().filter(|pod| is_gated(pod) && reason(pod).contains(says)).count();
        (pods.iter().filter(|pod| is_on_real(pod)).count(), waits) == (3, 17)
    })
    .await;
    let told = bench.burstlet(&["explain", "deployment/web", "--namespace", "zones"]);
    assert!(told.contains(says), "{told}");
    println!(
        "zone spread maxSkew 1, base 3, scaled to 20 by the HPA: 17 wait, and explain names the constraint and the fix"
    );
    ends(bench, "zones").await;
}

/// Whoever kept pods off virtual nodes before burstlet came did it like this: they wait behind the gate, and are told why.
pub(crate) async fn required_node_affinity(bench: &Bench) {
    bench.namespace("own-nodes", &json!({})).await;
    let term = json!({"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}]});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
    let pod_spec = json!({"affinity": {"nodeAffinity": required}});
    bench.deploy("own-nodes", &Wanted { pod_spec, ..Wanted::new("web", Some("1"), 3) }).await;
    let says = "the required nodeAffinity (type NotIn [virtual-kubelet]) excludes virtual nodes; preferred would not";
    pods_until(bench, "own-nodes", "1 runs, 2 wait and say why", |pods| {
        let waits = pods.iter().filter(|pod| is_gated(pod) && reason(pod).contains(says)).count();
        (pods.iter().filter(|pod| is_on_real(pod)).count(), waits) == (1, 2)
    })
    .await;
    let told = bench.burstlet(&["explain", "deployment/web", "--namespace", "own-nodes"]);
    assert!(told.contains(says), "{told}");
    remove(bench, "own-nodes").await;
}
