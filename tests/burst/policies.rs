//! Policies on a real control plane: spot first with caps, a percentage base through a rolling update, real nodes first
//! with a wait, and the way back within a disruption budget. `burstlet explain` tells the true reason of each.

use std::{process::Command, time::Duration};

use burstlet::{api::policy, lab::stand::Replica};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    auditor::{History, caps, least_ready, passed_on},
    trial::{PATIENCE, Shape, Trial, deployment},
};

const REAL_NODES: u32 = 2;
const PODS_PER_REAL_NODE: u32 = 6;
/// How long the policies below give real nodes.
const AFTER: Duration = Duration::from_secs(6);

/// By name. None has a selector: workloads name them.
fn policies() -> [(&'static str, Value); 3] {
    [
        ("spot-first", json!({"base": 2, "tiers": [{"pool": "spot", "max": 4}, {"pool": "demand", "max": 3}]})),
        ("share", json!({"base": "30%", "tiers": [{"pool": "spot", "max": "40%"}, {"pool": "demand"}]})),
        (
            "real-first",
            json!({
                "mode": "WhenFull",
                "tiers": [{"pool": "demand"}],
                "moveOn": {"after": "6s"},
                "moveBack": {"after": "2s", "coolDown": "1s", "atOnce": 1},
            }),
        ),
    ]
}

/// A Deployment that follows a policy; `base` is what the auditor shall judge by.
fn following(name: &str, policy: &str, base: Option<&str>, replicas: usize) -> Value {
    let mut deployment = deployment(name, None, replicas);
    deployment["metadata"]["annotations"] = json!({"burstlet.dev/policy": policy});
    if let Some(base) = base {
        deployment["metadata"]["annotations"]["audit/base"] = json!(base);
    }
    deployment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_place_what_they_say_and_explain_tells_why() {
    let shape = Shape {
        real_nodes: REAL_NODES,
        pods_per_real_node: PODS_PER_REAL_NODE,
        pools: &["spot", "demand"],
        move_back_after: Duration::from_secs(2),
        ..Shape::default()
    };
    let trial = Trial::begin("policies", &shape).await;
    let api = Api::<DynamicObject>::namespaced_with(trial.client.clone(), "default", &policy::resource());
    for (name, spec) in policies() {
        let object = DynamicObject::new(name, &policy::resource()).data(json!({"spec": spec}));
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let replica = trial.stand.run_here().await.unwrap();

    trial
        .until("all virtual nodes are ready", |history| {
            let ready =
                history.nodes.values().filter(|node| node.is_virtual && node.ready.last().is_some_and(|at| at.1));
            (ready.count() == 2 * shape.pools.len()).then_some(())
        })
        .await;

    spot_first_with_caps(&trial).await;
    a_rolling_update_under_a_percentage_base(&trial).await;
    when_full_with_wait(&trial).await;
    move_back_within_a_disruption_budget(&trial, &replica).await;

    let verdict = trial.settle().await;
    assert_eq!(verdict.gateless, Vec::<String>::new());
    replica.stop().await.unwrap();
    trial.end(verdict).await;
}

/// What `burstlet explain deployment/NAME` tells.
fn explained(trial: &Trial, name: &str) -> Value {
    let told = Command::new(env!("CARGO_BIN_EXE_burstlet"))
        .args(["explain", &format!("deployment/{name}"), "--namespace", "default", "--output", "json", "--kubeconfig"])
        .arg(trial.stand.cluster().kubeconfig())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}

/// Asks `explain` until it tells of a pod in this place, with its reason and what each place said; explained are the first
/// of each place and those that wait.
async fn tells(trial: &Trial, name: &str, place: &str, reason: &str, steps: &[(&str, bool, &str)]) {
    let steps: Vec<_> =
        steps.iter().map(|(place, took, why)| json!({"place": place, "took": took, "why": why})).collect();
    let begun = std::time::Instant::now();
    loop {
        let told = explained(trial, name);
        let mut pods = told["pods"].as_array().unwrap().iter();
        if pods.any(|pod| pod["place"] == place && pod["reason"] == reason && pod["steps"] == json!(steps)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{place}, {reason:?}, {steps:#?} is not told: {told:#}");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Live pods of an app that were sent to each pool.
fn in_pools(history: &History, app: &str) -> (usize, usize) {
    let count = |pool: &str| {
        history.living(app).filter(|life| life.burst_at().is_some() && life.pool.as_deref() == Some(pool)).count()
    };
    (count("spot"), count("demand"))
}

async fn gone(trial: &Trial, name: &str) {
    trial.scale(name, 0).await;
    trial
        .until(&format!("the pods of {name} are gone"), |history| {
            let mut all = history.lives.values().filter(|life| life.app == name);
            all.all(|life| life.gone.is_some()).then_some(())
        })
        .await;
}

async fn spot_first_with_caps(trial: &Trial) {
    trial.apply(&following("spot", "spot-first", Some("2"), 12)).await;
    trial
        .until("2 on real nodes, 4 spot, 3 on demand, 3 waiting", |history| {
            let is_all = history.living("spot").count() == 12 && history.ready("spot") == (2, 7);
            (is_all && in_pools(history, "spot") == (4, 3)).then_some(())
        })
        .await;
    let full = "waiting: the base of 2 is full; pool spot has 4 of 4 pods; pool demand has 3 of 3 pods";
    let (base, spot) = (("base", false, "the base of 2 is full"), ("pool spot", false, "pool spot has 4 of 4 pods"));
    tells(trial, "spot", "waiting", full, &[base, spot, ("pool demand", false, "pool demand has 3 of 3 pods")]).await;
    let took = ("pool demand", true, "pool demand has room");
    tells(trial, "spot", "demand", "burst: the base of 2 is full; pool demand takes it", &[base, spot, took]).await;
    // Those that wait go first, then the last tier.
    trial.scale("spot", 7).await;
    trial.until_ready("spot", 2, 5).await;
    assert_eq!(in_pools(&trial.auditor.history(), "spot"), (4, 1));
    trial.scale("spot", 9).await;
    trial.until_ready("spot", 2, 7).await;
    assert_eq!(caps(&trial.auditor.history(), "spot", &[("spot", 4), ("demand", 3)]), Vec::<String>::new());
    gone(trial, "spot").await;
    trial.say("spot first with caps");
}

async fn a_rolling_update_under_a_percentage_base(trial: &Trial) {
    trial.apply(&following("share", "share", Some("30%"), 10)).await;
    trial.until_ready("share", 3, 7).await;
    let before = trial.auditor.version();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    trial.deployments().patch("share", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    trial
        .until("rolled out, 3 on real nodes, 4 spot, 3 on demand", |history| {
            let is_new = history.living("share").all(|life| life.created.version > before);
            let is_all = history.living("share").count() == 10 && history.ready("share") == (3, 7);
            (is_new && is_all && in_pools(history, "share") == (4, 3)).then_some(())
        })
        .await;
    let told = explained(trial, "share");
    assert_eq!(told["policy"], "default/share, mode AfterBase");
    assert_eq!(told["places"], json!({"real": 3, "spot": 4, "demand": 3}));
    // How many replicas the new revision wants grows step by step, and its base with it.
    let mut pods = told["pods"].as_array().unwrap().iter();
    let demand = pods.find(|pod| pod["place"] == "demand").unwrap();
    let why = |step: usize| demand["steps"][step]["why"].as_str().unwrap();
    assert!(why(0).starts_with("the base of ") && why(0).ends_with(" is full"), "{demand:#}");
    assert!(why(1).starts_with("pool spot has "), "{demand:#}");
    assert_eq!(demand["steps"][2]["took"], true, "{demand:#}");
    gone(trial, "share").await;
    trial.say("a rolling update under a percentage base");
}

async fn when_full_with_wait(trial: &Trial) {
    trial.apply(&deployment("filler", None, 8)).await;
    trial.until_ready("filler", 8, 0).await;
    trial.apply(&following("eager", "real-first", None, 8)).await;
    trial.until_ready("eager", 4, 4).await;
    let capacity = (REAL_NODES * PODS_PER_REAL_NODE) as usize;
    let (passed, violations) = passed_on(&trial.auditor.history(), "eager", AFTER, capacity);
    assert_eq!((passed, violations), (4, Vec::new()));
    let reason = "base-short: no real node took it within 6s; pool demand may";
    tells(trial, "eager", "real, or demand", reason, &[("pool demand", true, "pool demand has room")]).await;
    let first = ("base", true, "real nodes come first");
    tells(trial, "eager", "real", "base: real nodes come first", &[first]).await;
    trial.say("real nodes first, with a wait");
}

/// Goes on where the one before has left off: 4 pods of 8 are away.
async fn move_back_within_a_disruption_budget(trial: &Trial, replica: &Replica) {
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(trial.client.clone());
    let budget = json!({"metadata": {"name": "eager"}, "spec": {"minAvailable": 8, "selector": {"matchLabels": {"app": "eager"}}}});
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    let begun = std::time::Instant::now();
    while budgets.get("eager").await.unwrap().status.is_none_or(|status| status.expected_pods != Some(8)) {
        assert!(begun.elapsed() < PATIENCE, "the budget is not kept");
        sleep(Duration::from_millis(200)).await;
    }
    let refused = async || {
        let metrics = replica.metrics().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("burstlet_placer_writes_total{outcome=\"refused\"}"));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).unwrap_or(0)
    };
    let (before, since) = (refused().await, trial.auditor.version());
    trial.scale("filler", 2).await;
    let begun = std::time::Instant::now();
    while refused().await < before + 2 {
        assert!(begun.elapsed() < PATIENCE, "no eviction was tried and refused");
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(trial.auditor.history().ready("eager"), (4, 4), "a budget that allows nothing");
    let patch = Patch::Merge(json!({"spec": {"minAvailable": 7}}));
    budgets.patch("eager", &PatchParams::default(), &patch).await.unwrap();
    trial.until_ready("eager", 8, 0).await;
    let history = trial.auditor.history();
    assert_eq!(least_ready(&history, "eager", since), 7, "one at a time");
    let ended = history.lives.values().filter(|life| life.app == "eager" && life.ended.is_some());
    assert!(ended.clone().all(|life| life.tier.last().is_some_and(|(_, tier)| tier.as_deref() == Some("base-short"))));
    assert_eq!(ended.count(), 4);
    let told = explained(trial, "eager");
    assert_eq!(told["places"], json!({"real": 8}), "{told:#}");
    let events = trial.events("move-back").await;
    assert!(
        events.len() >= 4 && events.iter().all(|note| note.contains("the base has room on real nodes again")),
        "{events:?}"
    );
    trial.say("the way back within a disruption budget");
}
