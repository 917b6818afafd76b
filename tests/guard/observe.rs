//! Observe with a read-only role: the API server's own audit log has nothing but reads of burstlet's, and the report says
//! what would have burst.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use burstlet::{
    api::{policy, pool},
    lab::stand::{Replica, Scheduler},
    run::config::Component,
};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::support::{Bench, Wanted, eventually_else, options};

/// Where burstlet lives.
const NAMESPACE: &str = "burstlet-system";
const ROLE: &str = include_str!("../../docs/install/role-observe.yaml");

/// Only to look: the role of `docs/install`, and no webhook.
async fn may_only_look(bench: &Bench) {
    let (params, client) = (PostParams::default(), &bench.client);
    let role: ClusterRole = serde_saphyr::from_str(ROLE).unwrap();
    Api::<ClusterRole>::all(client.clone()).create(&params, &role).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    bindings.delete("burstlet", &DeleteParams::default()).await.unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "burstlet-observe"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "burstlet"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "burstlet-observe"},
    }))
    .unwrap();
    bindings.create(&params, &binding).await.unwrap();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    mutating.delete("burstlet", &DeleteParams::default()).await.unwrap();
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    validating.delete("burstlet", &DeleteParams::default()).await.unwrap();
}

/// What `burstlet observe` tells, with these arguments beside.
fn observed(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    let told = command.args(["observe", "--output", "json"]).args(arguments).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}

/// An address of this machine that is not loopback's, to which the API server hands nothing on. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("an address beside loopback's");
    socket.local_addr().unwrap().ip()
}

/// The replica as a pod of the chart's, where the API server finds its metrics; and a pod of the scheduler's, which has none.
async fn as_pods(bench: &Bench, replica: &Replica) -> JoinHandle<()> {
    let (address, telemetry) = (own_address(), replica.ports().telemetry);
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (name, ports) in
        [("burstlet-0", json!([{"name": "telemetry", "containerPort": port}])), ("scheduler-0", json!([]))]
    {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "burstlet"}},
            "spec": {"schedulerName": "nobody", "automountServiceAccountToken": false,
                     "containers": [{"name": "main", "image": "none", "ports": ports}]},
        });
        let pods = bench.pods_of(NAMESPACE);
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
    tokio::spawn(async move {
        while let Ok((mut from, peer)) = listener.accept().await {
            // Nobody else's business.
            if peer.ip() == address {
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(telemetry).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_changes_nothing_and_tells_what_would_have_burst_and_its_cost() {
    let mut options = options(Scheduler::ClustersOwn);
    options.cluster.audit = true;
    let bench = Bench::start(options).await;
    bench.namespace("shop", &json!({})).await;
    may_only_look(&bench).await;
    let pools = Api::<DynamicObject>::all_with(bench.client.clone(), &pool::resource());
    let spec = json!({
        "provider": {"simulated": {"endpoint": "http://127.0.0.1:1"}},
        "quota": {"pods": 3},
        "price": {"cpuSecond": "0.01 CNY", "gibSecond": "0 CNY"},
    });
    let cloud = DynamicObject::new("cloud", &pool::resource()).data(json!({"spec": spec}));
    pools.create(&PostParams::default(), &cloud).await.unwrap();
    let policies = Api::<DynamicObject>::namespaced_with(bench.client.clone(), "shop", &policy::resource());
    let spec = json!({
        "mode": "Observe", "base": 2, "selector": {"matchLabels": {"app": "web"}}, "tiers": [{"pool": "cloud"}],
    });
    let watched = DynamicObject::new("watched", &policy::resource()).data(json!({"spec": spec}));
    policies.create(&PostParams::default(), &watched).await.unwrap();
    let replica = bench.stand.run_components(&[Component::Placer]).await.unwrap();
    bench.deploy("shop", &Wanted::new("web", None, 7)).await;
    let pods = bench.runs("shop", 7, 0).await;
    let url = format!("http://{}/metrics", replica.ports().telemetry);
    let from_metrics = ["--metrics", &url];
    // Two of the base, three within the pool's quota; two would wait.
    eventually_else("the report has three pods and their cost", Duration::from_mins(2), || async {
        let told = observed(&from_metrics);
        let line = &told["workloads"][0];
        let is_told = line["workload"] == "web" && line["pool"] == "cloud" && line["pods"] == 3;
        let costs = line["cost"].as_f64().is_some_and(|cost| cost > 0.0) && line["currency"] == "CNY";
        if is_told && costs { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    for pod in &pods {
        let text =
            serde_json::to_string(&bench.pods_of("shop").get(pod.metadata.name.as_deref().unwrap()).await.unwrap());
        assert!(!text.unwrap().contains("burstlet.dev"), "{} is as it was made", pod.metadata.name.as_deref().unwrap());
    }
    through_the_api_server(&bench, &replica).await;
    let since = observed(&from_metrics)["since"].clone();
    replica.stop().await.unwrap();
    // Beginnings are told in seconds: two within one could not be told apart.
    tokio::time::sleep(Duration::from_secs(1)).await;
    a_new_leader_says_what_it_does_not_know(&bench, &since).await;
    let log = std::fs::read_to_string(bench.stand.cluster().audit_log()).unwrap();
    judge(&log);
    bench.stop().await;
}

/// As a user runs it: by the kubeconfig alone.
async fn through_the_api_server(bench: &Bench, replica: &Replica) {
    let forwards = as_pods(bench, replica).await;
    let kubeconfig = bench.stand.cluster().kubeconfig().to_str().unwrap();
    let told = observed(&["--kubeconfig", kubeconfig]);
    assert_eq!(
        (&told["workloads"][0]["workload"], &told["workloads"][0]["pods"]),
        (&json!("web"), &json!(3)),
        "{told}"
    );
    let told = bench.burstlet(&["observe"]);
    assert!(told.contains("would have burst") && told.contains("web") && told.contains("CNY"), "{told}");
    forwards.abort();
}

/// It counts the pods that are there from their creation on, and says since when it looks, without what had gone before.
async fn a_new_leader_says_what_it_does_not_know(bench: &Bench, before: &Value) {
    bench.scale("shop", "web", 4).await;
    bench.runs("shop", 4, 0).await;
    let replica = bench.stand.run_components(&[Component::Placer]).await.unwrap();
    let url = format!("http://{}/metrics", replica.ports().telemetry);
    eventually_else("the new leader has two pods", Duration::from_mins(1), || async {
        let told = observed(&["--metrics", &url]);
        let is_later = told["since"].as_str() > before.as_str();
        if is_later && told["workloads"][0]["pods"] == 2 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let told = Command::new(env!("CARGO_BIN_EXE_burstlet")).args(["observe", "--metrics", &url]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("when this leader began, would have burst (without what had gone before)"), "{told}");
    replica.stop().await.unwrap();
}

/// Every request of burstlet's in the audit log, by verb and resource: reads, and its Lease.
fn judge(log: &str) {
    let mut asked = BTreeMap::<(String, String), usize>::new();
    let mut written = Vec::new();
    for entry in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if entry["user"]["username"] != "burstlet" {
            continue;
        }
        let (verb, object) = (entry["verb"].as_str().unwrap(), &entry["objectRef"]);
        let sub = object["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
        let resource = format!("{}{sub}", object["resource"].as_str().unwrap_or_default());
        *asked.entry((verb.to_owned(), resource.clone())).or_default() += 1;
        let is_read = matches!(verb, "get" | "list" | "watch");
        let is_taken = entry["responseStatus"]["code"].as_u64().is_some_and(|code| code < 400);
        if !is_read && resource != "leases" && is_taken {
            written.push(entry.clone());
        }
        let touches = ["pods", "nodes", "deployments", "replicasets"];
        let is_tried = !is_read && touches.contains(&object["resource"].as_str().unwrap_or_default());
        assert!(!is_tried, "burstlet tried to write: {entry}");
    }
    println!("burstlet asked for: {asked:#?}");
    assert_eq!(written, Vec::<Value>::new());
    for resource in ["pods", "nodes", "replicasets"] {
        assert!(asked.contains_key(&("watch".to_owned(), resource.to_owned())), "the log has its watches: {asked:?}");
    }
}
