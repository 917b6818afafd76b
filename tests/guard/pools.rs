//! Policies and pools that come, change and go while burstlet runs, and what their status tells.

use std::{process::Command, sync::Arc, time::Duration};

use burstlet::{
    api::{policy, pool},
    lab::stand::Scheduler,
    provider::simulated::{Cloud, Settings, StartUp},
};
use k8s_openapi::api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Node};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};

use crate::support::{Bench, POOL, Wanted, eventually_else, node, options, reason};

const WITHIN: Duration = Duration::from_mins(2);

struct Story {
    bench: Bench,
    pools: Api<DynamicObject>,
    policies: Api<DynamicObject>,
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_pools_come_change_and_go_and_tell_how_they_stand() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    bench.namespace("shop", &json!({})).await;
    let pools = Api::all_with(bench.client.clone(), &pool::resource());
    let policies = Api::namespaced_with(bench.client.clone(), "shop", &policy::resource());
    let story = Story { bench, pools, policies };
    let mut replica = story.bench.run_here().await;
    let settings =
        Settings { start_up: StartUp::fixed(Duration::from_millis(200)), network: 50, ..Settings::default() };
    let cloud = Arc::new(Cloud::new(settings));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = cloud.router();
    let served = tokio::spawn(async move { axum::serve(listener, router).await });

    story.a_pool_is_added(&endpoint).await;
    story.a_policy_tells_its_tiers().await;
    story.a_pool_changes_and_falls_back().await;
    story.the_last_good_policy_stays_in_force().await;
    replica.stop().await.unwrap();
    replica = story.bench.run_here().await;
    story.after_a_restart_an_invalid_policy_is_named().await;
    story.a_pool_goes_with_its_last_pod().await;

    served.abort();
    replica.stop().await.unwrap();
    story.bench.stop().await;
}

fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    let found = all.find(|condition| condition["type"] == kind);
    let text = |field: &str| found.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}

impl Story {
    /// Waits until the status of an object is told of its present generation and is as it should be.
    async fn status(&self, api: &Api<DynamicObject>, name: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        eventually_else(&format!("the status of {name}"), WITHIN, || async {
            let object = api.get(name).await.unwrap();
            let status = object.data["status"].clone();
            let is_current = status["observedGeneration"].as_i64() == object.metadata.generation;
            if is_current && is_meant(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
        .await
    }

    async fn nodes(&self, count: usize) {
        let nodes: Api<Node> = Api::all(self.bench.client.clone());
        eventually_else(&format!("{count} virtual nodes of the pool"), WITHIN, || async {
            let found = nodes.list(&ListParams::default().labels("burstlet.dev/pool=late")).await.unwrap().items;
            if found.len() == count { Ok(()) } else { Err(format!("{} nodes", found.len())) }
        })
        .await;
    }

    async fn patch(&self, api: &Api<DynamicObject>, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn a_pool_is_added(&self, endpoint: &str) {
        let spec = json!({
            "provider": {"simulated": {"endpoint": endpoint}},
            "quota": {"pods": 20},
            "nodes": {"max": 1, "podsPerNode": 20},
            "price": {"cpuSecond": "0.01 CNY", "gibSecond": "0 CNY"},
        });
        let late = DynamicObject::new("late", &pool::resource()).data(json!({"spec": spec}));
        self.pools.create(&PostParams::default(), &late).await.unwrap();
        self.nodes(1).await;
        let status = self.status(&self.pools, "late", |status| condition(status, "Ready") == ("True", "Ready")).await;
        assert_eq!(condition(&status, "Accepted"), ("True", "Valid"));
        assert_eq!(condition(&status, "TakesPods"), ("True", "Room"));
        assert_eq!((&status["nodes"], &status["pods"]), (&json!(1), &json!(0)));
        let shown = self.bench.stand.cluster().kubectl_command(["get", "virtualpools"]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("SPENT") && shown.contains("Room") && shown.contains("0 CNY"), "{shown}");
    }

    async fn a_policy_tells_its_tiers(&self) {
        let spec = json!({"base": 1, "selector": {"matchLabels": {"app": "web"}}, "tiers": [{"pool": "late"}]});
        let rules = DynamicObject::new("rules", &policy::resource()).data(json!({"spec": spec}));
        self.policies.create(&PostParams::default(), &rules).await.unwrap();
        self.status(&self.policies, "rules", |status| condition(status, "Ready") == ("True", "InForce")).await;
        self.bench.deploy("shop", &Wanted::new("web", None, 4)).await;
        self.bench.runs("shop", 1, 3).await;
        let status = self.status(&self.policies, "rules", |status| status["burst"] == 3).await;
        assert_eq!((&status["workloads"], &status["real"], &status["waiting"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!(status["tiers"], json!([{"place": "base", "pods": 1}, {"place": "late", "pods": 3}]));
        let status = self.status(&self.pools, "late", |status| status["pods"] == 3).await;
        assert_eq!(status["cpu"], "150m");
        let shown =
            self.bench.stand.cluster().kubectl_command(["get", "burstpolicies", "-n", "shop"]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let row: Vec<_> = shown.lines().last().unwrap_or_default().split_whitespace().collect();
        assert!(row.starts_with(&["rules", "1", "1", "1", "3", "0", "True"]), "{shown}");
    }

    async fn a_pool_changes_and_falls_back(&self) {
        let change = json!({"quota": {"pods": 3}, "nodes": {"max": 2, "podsPerNode": 20}, "fallback": POOL});
        self.patch(&self.pools, "late", change).await;
        self.nodes(2).await;
        self.status(&self.pools, "late", |status| condition(status, "TakesPods") == ("False", "QuotaUsedUp")).await;
        self.bench.scale("shop", "web", 6).await;
        let pods = self.bench.runs("shop", 1, 5).await;
        let on = |pool: &str| pods.iter().filter(|pod| node(pod).is_some_and(|node| node.contains(pool))).count();
        assert_eq!((on("late"), on(POOL)), (3, 2), "{:?}", pods.iter().map(reason).collect::<Vec<_>>());
        let told = Command::new(env!("CARGO_BIN_EXE_burstlet"))
            .args(["explain", "deployment/web", "--namespace", "shop", "--kubeconfig"])
            .arg(self.bench.stand.cluster().kubeconfig())
            .output()
            .unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("pool late has no pod left of its quota"), "{told}");
        assert!(told.contains(&format!("pool {POOL} (fallback of late) has room")), "{told}");
    }

    /// Nobody judges policies for a while, and somebody breaks one.
    async fn the_last_good_policy_stays_in_force(&self) {
        let judges: Api<ValidatingWebhookConfiguration> = Api::all(self.bench.client.clone());
        judges.delete("burstlet", &DeleteParams::default()).await.unwrap();
        self.patch(&self.policies, "rules", json!({"windows": ["Mon-Fri 08:00-20:00 Mars/Base"]})).await;
        let is_told = |status: &Value| condition(status, "Accepted") == ("False", "Invalid");
        let status = self.status(&self.policies, "rules", is_told).await;
        assert_eq!(condition(&status, "Ready"), ("True", "LastGood"));
        assert!(status["conditions"][0]["message"].as_str().unwrap().contains("Mars/Base"), "{status:#}");
        self.bench.scale("shop", "web", 7).await;
        self.bench.runs("shop", 1, 6).await;
    }

    /// What was in force before is not known any more: nothing of it is followed, and what runs stays.
    async fn after_a_restart_an_invalid_policy_is_named(&self) {
        let is_told = |status: &Value| condition(status, "Ready") == ("False", "Invalid");
        self.status(&self.policies, "rules", is_told).await;
        self.bench.scale("shop", "web", 8).await;
        self.bench.runs("shop", 2, 6).await;
        self.patch(&self.policies, "rules", json!({"windows": null})).await;
        self.status(&self.policies, "rules", |status| condition(status, "Ready") == ("True", "InForce")).await;
    }

    async fn a_pool_goes_with_its_last_pod(&self) {
        self.pools.delete("late", &DeleteParams::default()).await.unwrap();
        self.status(&self.policies, "rules", |status| condition(status, "Ready") == ("False", "UnknownPool")).await;
        let pods = self.bench.pods("shop").await;
        let on_it = pods.iter().filter(|pod| node(pod).is_some_and(|node| node.contains("late")));
        let on_it: Vec<_> = on_it.map(ResourceExt::name_any).collect();
        assert!(!on_it.is_empty(), "its pods run on");
        self.nodes(2).await;
        self.bench.scale("shop", "web", 0).await;
        self.nodes(0).await;
    }
}
