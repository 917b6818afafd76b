//! The cluster's own kube-scheduler, untouched and without an extender: the PATCH alone guides the pods.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use burstlet::{
    lab::stand::{Replica, Scheduler},
    provider::simulated::Settings,
};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    Bench, POOL, Wanted, annotation, eventually_else, is_gated, is_running, is_virtual, line, node, options, reason,
    sample, tier,
};

const MINUTE: Duration = Duration::from_mins(1);
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// One cluster for all that goes well, a namespace each.
#[tokio::test(flavor = "multi_thread")]
async fn the_base_stays_on_real_nodes_and_the_rest_bursts() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    let replica = bench.run_here().await;
    base_and_burst(&bench).await;
    percentage_from_the_namespace(&bench).await;
    bare_replica_set(&bench).await;
    the_users_own_wishes(&bench).await;
    pool_out_of_stock(&bench).await;
    replica.stop().await.unwrap();
    bench.stop().await;
}

fn names(pods: &[Pod], is_meant: impl Fn(&str) -> bool) -> BTreeSet<String> {
    pods.iter().filter(|pod| node(pod).is_some_and(&is_meant)).map(ResourceExt::name_any).collect()
}

async fn base_and_burst(bench: &Bench) {
    bench.namespace("web", &json!({})).await;
    let begin = Instant::now();
    bench.deploy("web", &Wanted::new("web", Some("3"), 8)).await;
    let pods = bench.runs("web", 3, 5).await;
    println!("base 3 of 8: 3 real and 5 burst pods run after {:.1} s", begin.elapsed().as_secs_f64());
    let mut reasons = Vec::new();
    for pod in &pods {
        assert_eq!(pod.spec.as_ref().unwrap().scheduler_name.as_deref(), Some("default-scheduler"));
        assert!(annotation(pod, "burstlet.dev/decided-at").is_some());
        if node(pod).is_some_and(is_virtual) {
            assert_eq!((tier(pod), annotation(pod, "burstlet.dev/pool")), (Some("burst"), Some(POOL)));
            assert_eq!(reason(pod), "burst: the base of 3 is full; pool eci takes it");
            assert_eq!(annotation(pod, COST), Some("-100"));
        } else {
            assert_eq!((tier(pod), annotation(pod, COST)), (Some("base"), None));
            reasons.push(reason(pod));
        }
    }
    reasons.sort_unstable();
    let numbered = [1, 2, 3].map(|number| format!("base: {number} of 3 on real nodes"));
    assert_eq!(reasons, numbered);

    let base = names(&pods, |node| !is_virtual(node));
    bench.scale("web", "web", 5).await;
    let pods = bench.runs("web", 3, 2).await;
    assert_eq!(names(&pods, |node| !is_virtual(node)), base, "scale-in took a base pod before a burst pod");
    println!("scale-in 8 to 5: the three base pods stayed");

    let victim = base.first().unwrap();
    let begin = Instant::now();
    bench.pods_of("web").delete(victim, &DeleteParams::default()).await.unwrap();
    let pods = bench.runs("web", 3, 2).await;
    assert!(pods.iter().all(|pod| pod.name_any() != *victim));
    println!("a hole in the base: filled by the next pod after {:.1} s", begin.elapsed().as_secs_f64());
}

async fn percentage_from_the_namespace(bench: &Bench) {
    bench.namespace("share", &json!({"burstlet.dev/base": "34%"})).await;
    bench.deploy("share", &Wanted::new("by-default", None, 6)).await;
    bench.deploy("share", &Wanted::new("by-its-own", Some("1"), 4)).await;
    let pods = bench.runs("share", 3 + 1, 3 + 3).await;
    let on_real = |name: &str| {
        let of = pods.iter().filter(|pod| pod.labels().get("app").map(String::as_str) == Some(name));
        of.filter(|pod| node(pod).is_some_and(|node| !is_virtual(node))).count()
    };
    assert_eq!((on_real("by-default"), on_real("by-its-own")), (3, 1), "34% of 6, rounded up; and 1");
    println!("namespace's 34% of 6: 3 real; the workload's own base of 1 wins over it");
}

async fn bare_replica_set(bench: &Bench) {
    bench.namespace("bare", &json!({})).await;
    let set: ReplicaSet = serde_json::from_value(Wanted::new("web", Some("2"), 5).object("ReplicaSet")).unwrap();
    let sets = Api::<ReplicaSet>::namespaced(bench.client.clone(), "bare");
    sets.create(&PostParams::default(), &set).await.unwrap();
    bench.runs("bare", 2, 3).await;
    println!("a bare ReplicaSet's base 2 of 5: 2 real, 3 burst");
}

async fn the_users_own_wishes(bench: &Bench) {
    bench.namespace("own", &json!({})).await;
    let expression = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    let wanted = Wanted {
        pod_annotations: json!({COST: "7"}),
        pod_spec: json!({"affinity": affinity}),
        ..Wanted::new("web", Some("1"), 3)
    };
    bench.deploy("own", &wanted).await;
    for pod in bench.runs("own", 1, 2).await {
        assert_eq!(annotation(&pod, COST), Some("7"), "{}", line(&pod));
        let affinity = serde_json::to_value(pod.spec.as_ref().unwrap().affinity.as_ref().unwrap()).unwrap();
        let path = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions";
        let expressions = affinity.pointer(path).unwrap().as_array().unwrap();
        assert_eq!(expressions[0], expression);
        let pool = json!({"key": "burstlet.dev/pool", "operator": "In", "values": [POOL]});
        let narrowed = node(&pod).is_some_and(is_virtual).then_some(&pool);
        assert_eq!(expressions.get(1), narrowed, "{}", line(&pod));
    }
    println!("the user's own deletion cost is kept, the user's own affinity narrowed to the pool");
}

async fn pool_out_of_stock(bench: &Bench) {
    let cloud = bench.stand.cloud(POOL).unwrap();
    cloud.set_settings(Settings { stock: Some(0), ..cloud.settings() });
    // burstlet asks every second.
    sleep(Duration::from_millis(2500)).await;
    bench.namespace("waits", &json!({})).await;
    bench.deploy("waits", &Wanted::new("web", Some("1"), 4)).await;
    let told = |pod: &&Pod| is_gated(pod) && reason(pod) == "waiting: the base of 1 is full; pool eci is out of stock";
    eventually_else("three pods wait and say why", MINUTE, || async {
        let pods = bench.pods("waits").await;
        let running = pods.iter().filter(|pod| is_running(pod)).count();
        let waiting = pods.iter().filter(told).count();
        if (running, waiting) == (1, 3) {
            Ok(())
        } else {
            Err(format!("{:#?}", pods.iter().map(line).collect::<Vec<_>>()))
        }
    })
    .await;
    cloud.set_settings(Settings { stock: None, ..cloud.settings() });
    let begin = Instant::now();
    bench.runs("waits", 1, 3).await;
    println!(
        "out of stock: 3 waited gated with their reason, and ran {:.1} s after stock returned",
        begin.elapsed().as_secs_f64()
    );
}

/// Real nodes closed, then open again; a budget that forbids the return, then allows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_fits_nowhere_moves_on_and_returns_within_its_budget() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    let replica = bench.run_here().await;
    bench.namespace("short", &json!({})).await;
    cordon(&bench, true).await;
    let begin = Instant::now();
    bench.deploy("short", &Wanted::new("web", Some("2"), 3)).await;
    let pods = bench.runs("short", 0, 3).await;
    println!(
        "no real node open: base pods run on virtual nodes after {:.1} s (moveOn.after 3 s)",
        begin.elapsed().as_secs_f64()
    );
    let mut tiers: Vec<_> = pods.iter().filter_map(tier).collect();
    tiers.sort_unstable();
    assert_eq!(tiers, ["base-short", "base-short", "burst"]);
    for pod in pods.iter().filter(|pod| tier(pod) == Some("base-short")) {
        assert_eq!(reason(pod), "base-short: no real node took it within 3s; pool eci may");
        assert_eq!((annotation(pod, "burstlet.dev/pool"), annotation(pod, COST)), (Some(POOL), Some("-50")));
    }

    let before = uids(&pods);
    budget(&bench, 0).await;
    cordon(&bench, false).await;
    let refused = refused_evictions(&replica).await;
    eventually_else("burstlet asks to evict, and is refused", MINUTE, || async {
        let now = refused_evictions(&replica).await;
        if now > refused { Ok(()) } else { Err(format!("{now} refusals")) }
    })
    .await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(uids(&bench.pods("short").await), before, "a pod moved against its budget");
    println!("maxUnavailable 0: {} evictions refused, nothing moved", refused_evictions(&replica).await - refused);

    budget(&bench, 1).await;
    let begin = Instant::now();
    // An eviction that is cut off between its budget and its pod uses the budget up for two minutes (upstream's
    // DeletionTimeout in pkg/controller/disruption).
    let pods = bench.runs_within(3 * MINUTE, "short", 2, 1).await;
    println!("maxUnavailable 1: the base of 2 is home after {:.1} s", begin.elapsed().as_secs_f64());
    assert_eq!(pods.iter().filter(|pod| tier(pod) == Some("base")).count(), 2);

    full_nodes_make_room(&bench).await;
    replica.stop().await.unwrap();
    bench.stop().await;
}

/// Real nodes that others fill, until they leave.
async fn full_nodes_make_room(bench: &Bench) {
    bench.namespace("filler", &json!({})).await;
    let large = json!({"containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "3500m"}}}]});
    bench.deploy("filler", &Wanted { pod_spec: large, ..Wanted::new("filler", None, 4) }).await;
    bench.runs("filler", 4, 0).await;
    bench.namespace("squeezed", &json!({})).await;
    let one = json!({"containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "1"}}}]});
    bench.deploy("squeezed", &Wanted { pod_spec: one, ..Wanted::new("web", Some("1"), 2) }).await;
    bench.runs("squeezed", 0, 2).await;
    let before = uids(&bench.pods("squeezed").await);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(uids(&bench.pods("squeezed").await), before, "a pod was sent home to full nodes");

    bench.deployments("filler").delete("filler", &DeleteParams::background()).await.unwrap();
    let begin = Instant::now();
    bench.runs("squeezed", 1, 1).await;
    let took = begin.elapsed();
    println!("full real nodes emptied: the base of 1 is home after {:.1} s", took.as_secs_f64());
    assert!(took < MINUTE);
}

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(ResourceExt::uid).collect()
}

async fn refused_evictions(replica: &Replica) -> f64 {
    sample(&replica.metrics().await.unwrap(), "burstlet_placer_writes_total", &["refused"])
}

async fn cordon(bench: &Bench, is_closed: bool) {
    let nodes = Api::<Node>::all(bench.client.clone());
    let patch: Value = json!({"spec": {"unschedulable": is_closed}});
    for index in 0..4 {
        let name = burstlet::lab::stand::real_node_name(index);
        nodes.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

async fn budget(bench: &Bench, most: i32) {
    let budgets = Api::<PodDisruptionBudget>::namespaced(bench.client.clone(), "short");
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": most, "selector": {"matchLabels": {"app": "web"}}},
    });
    budgets.patch("web", &PatchParams::apply("test").force(), &Patch::Apply(&budget)).await.unwrap();
    eventually_else("the budget is counted", MINUTE, || async {
        let status = budgets.get("web").await.unwrap().status.unwrap_or_default();
        if (status.disruptions_allowed, status.expected_pods) == (Some(most), Some(3)) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}
