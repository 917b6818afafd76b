//! Observe with a read-only role: the API server's own audit log has nothing but reads of burstlet's, and the report says
//! what would have burst.

use std::{collections::BTreeMap, process::Command, time::Duration};

use burstlet::{
    api::{policy, pool},
    lab::stand::Scheduler,
    run::config::Component,
};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};

use crate::support::{Bench, Wanted, eventually_else, options};

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

/// What `burstlet observe` tells.
fn observed(url: &str) -> Value {
    let told = Command::new(env!("CARGO_BIN_EXE_burstlet"))
        .args(["observe", "--output", "json", "--metrics", url])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
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
    // Two of the base, three within the pool's quota; two would wait.
    eventually_else("the report has three pods and their cost", Duration::from_mins(2), || async {
        let told = observed(&url);
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
    replica.stop().await.unwrap();
    let log = std::fs::read_to_string(bench.stand.cluster().audit_log()).unwrap();
    judge(&log);
    bench.stop().await;
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
