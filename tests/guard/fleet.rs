//! Virtual nodes that come and go with their pool's load, and come back when something deletes them.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use burstlet::{
    lab::stand::{Replica, Scheduler},
    provider::simulated::{Cloud, Settings},
};
use k8s_openapi::api::{core::v1::Node, policy::v1::PodDisruptionBudget};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{self, Bench, Wanted, eventually_else, options};

const POOL: &str = "wide";
const CONFIGURED: &str = support::POOL;
const SECOND: &str = "burstlet-wide-1";
/// A node stays out of use for some seconds after it is made, whatever the machine does.
const WITHIN: Duration = Duration::from_mins(2);
/// Pod garbage collection begins 40 s after a node's end.
const BACK_WITHIN: Duration = Duration::from_secs(40);

fn objects(bench: &Bench, kind: &str, plural: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("burstlet.dev", "v1alpha1", kind), plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(bench.client.clone(), namespace, &kind),
        None => Api::all_with(bench.client.clone(), &kind),
    }
}

async fn apply(api: &Api<DynamicObject>, kind: &str, name: &str, spec: Value) {
    let object = json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    api.patch(name, &PatchParams::apply("trial").force(), &Patch::Apply(&object)).await.unwrap();
}

/// The pool's nodes: the pods that each shows room for, and whether it is cordoned.
async fn nodes(bench: &Bench) -> BTreeMap<String, (String, bool)> {
    let of_pool = ListParams::default().labels(&format!("burstlet.dev/pool={POOL}"));
    let nodes = Api::<Node>::all(bench.client.clone()).list(&of_pool).await.unwrap();
    let told = |node: Node| {
        let shown = node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("pods").cloned());
        let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        (node.name_any(), (shown.unwrap_or_default().0, cordoned))
    };
    nodes.into_iter().map(told).collect()
}

async fn stand(bench: &Bench, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<_, _> = wanted.iter().map(|(n, s)| ((*n).to_owned(), ((*s).to_owned(), false))).collect();
    eventually_else(&format!("the nodes {wanted:?}"), WITHIN, || async {
        let seen = nodes(bench).await;
        if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

async fn runs(bench: &Bench, cloud: &Cloud, pods: usize) {
    eventually_else(&format!("{pods} pods run in the pool, each on its instance"), WITHIN, || async {
        let running = bench.runs_on("shop", "burstlet-wide-").await;
        let alive: u64 = cloud.audit().values().map(|audit| audit.alive).sum();
        if (running, alive) == (pods, pods as u64) { Ok(()) } else { Err(format!("{running} pods, {alive} instances")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_nodes_come_with_the_load_come_back_and_are_drained_before_they_go() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    bench.namespace("shop", &json!({})).await;
    let cloud = Arc::new(Cloud::new(Settings::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = cloud.router();
    let served = tokio::spawn(async move { axum::serve(listener, router).await });
    let replica = bench.run_here().await;

    // At rest: the first node alone, with room for no more than itself.
    let pools = objects(&bench, "VirtualPool", "virtualpools", None);
    let spec = |max: u32, pods: u32| {
        json!({"provider": {"simulated": {"endpoint": endpoint}}, "quota": {"pods": pods},
               "nodes": {"max": max, "podsPerNode": 5}})
    };
    apply(&pools, "VirtualPool", POOL, spec(3, 12)).await;
    stand(&bench, &[("burstlet-wide-0", "5")]).await;

    // Eight pods fill two nodes; the third stands ready, and shows what the quota of 12 leaves beside them.
    let policies = objects(&bench, "BurstPolicy", "burstpolicies", Some("shop"));
    let policy = json!({"selector": {"matchLabels": {"app": "web"}}, "base": 0, "tiers": [{"pool": POOL}]});
    apply(&policies, "BurstPolicy", "web", policy).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.deploy("shop", &Wanted::new("web", None, 8)).await;
    runs(&bench, &cloud, 8).await;
    eventually_else("three nodes that show room for 12 pods", WITHIN, || async {
        let seen = nodes(&bench).await;
        let room: u32 = seen.values().map(|(shown, _)| shown.parse::<u32>().unwrap()).sum();
        if (seen.len(), room) == (3, 12) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;

    // A node that something deletes is back under its name before its pods are taken for orphans.
    let all = Api::<Node>::all(bench.client.clone());
    let before = all.get(SECOND).await.unwrap().uid();
    all.delete(SECOND, &DeleteParams::default()).await.unwrap();
    eventually_else("the deleted node is back", BACK_WITHIN, || async {
        let back = all.get_opt(SECOND).await.unwrap().filter(|node| node.uid() != before);
        back.map(drop).ok_or_else(|| "none".to_owned())
    })
    .await;
    runs(&bench, &cloud, 8).await;
    assert_eq!(cloud.audit().len(), 8, "pods were replaced: {:?}", cloud.audit());

    // The maximum is lowered: the others drain within the disruption budget, and go once their instances have.
    bench.scale("shop", "web", 4).await;
    runs(&bench, &cloud, 4).await;
    let budget = json!({"metadata": {"name": "web"},
                        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}}});
    let budgets = Api::<PodDisruptionBudget>::namespaced(bench.client.clone(), "shop");
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    apply(&pools, "VirtualPool", POOL, spec(1, 5)).await;
    eventually_else("the first node alone", WITHIN, || async {
        let seen = nodes(&bench).await;
        let ready = bench.runs_on("shop", "burstlet-wide-").await;
        assert!(ready >= 3, "the disruption budget of 3 is broken: {ready} pods, nodes {seen:?}");
        if seen.keys().eq(["burstlet-wide-0"]) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    runs(&bench, &cloud, 4).await;
    let audit = cloud.audit();
    assert!(audit.values().all(|audit| audit.created == 1), "{audit:?}");

    nodes_taken_off_a_configured_pool_are_drained(&bench, replica).await;
    served.abort();
    bench.stop().await;
}

/// The configuration has two nodes; it is told one, and burstlet started again: what runs on the other is evicted, and the
/// node goes once its instance has.
async fn nodes_taken_off_a_configured_pool_are_drained(bench: &Bench, replica: Replica) {
    let (lowered, cloud) = ("burstlet-eci-1", bench.stand.cloud(CONFIGURED).unwrap());
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [lowered]}]});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
    // It tolerates no cordon.
    let virtual_nodes = json!({"key": "virtual-kubelet.io/provider", "operator": "Exists"});
    let pinned = json!({"affinity": {"nodeAffinity": required}, "tolerations": [virtual_nodes]});
    bench.deploy("shop", &Wanted { pod_spec: pinned, ..Wanted::new("pinned", None, 2) }).await;
    let alive = || cloud.audit().values().map(|audit| audit.alive).sum::<u64>();
    eventually_else("two pods run on the node", WITHIN, || async {
        let running = bench.runs_on("shop", lowered).await;
        if running == 2 { Ok(()) } else { Err(format!("{running}")) }
    })
    .await;

    let folder = bench.stand.cluster().folder();
    let config = folder.join(format!("burstlet-{}.yaml", replica.ports().telemetry.port()));
    replica.stop().await.unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let fewer = text.replacen("{name: eci, nodes: 2,", "{name: eci, nodes: 1,", 1);
    assert_ne!(text, fewer, "{text}");
    std::fs::write(&config, fewer).unwrap();
    let kubeconfig = bench.stand.cluster().kubeconfig_for("burstlet", None).unwrap();
    let log = std::fs::File::create(folder.join("fewer.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    let command = command.arg("run").arg("--config").arg(&config).arg("--kubeconfig").arg(kubeconfig).stderr(log);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let nodes = Api::<Node>::all(bench.client.clone());
    eventually_else("the node goes, and its instances before", WITHIN, || async {
        let (stands, alive) = (nodes.get_opt(lowered).await.unwrap().is_some(), alive());
        assert!(stands || alive == 0, "the node is gone, and {alive} instances run");
        if stands { Err(format!("{alive} instances")) } else { Ok(()) }
    })
    .await;
    assert!(nodes.get_opt("burstlet-eci-0").await.unwrap().is_some(), "the other stays");
    child.kill().unwrap();
    child.wait().unwrap();
}
