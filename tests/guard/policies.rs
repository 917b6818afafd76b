//! Policies and pools as objects: the API server's own rules, the webhook's judgement, and what a policy then does.

use std::{
    io::Write,
    process::{Output, Stdio},
    time::Duration,
};

use burstlet::lab::stand::Scheduler;
use serde_json::{Value, json};

use crate::support::{Bench, POOL, Wanted, annotation, eventually_else, is_gated, options, reason, tier};

const BURSTLET: &str = env!("CARGO_BIN_EXE_burstlet");

#[tokio::test(flavor = "multi_thread")]
async fn with_the_stock_kube_scheduler_policies_are_checked_followed_and_explained() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    bench.namespace("shop", &json!({})).await;
    the_api_servers_own_rules(&bench);
    let replica = bench.run_here().await;
    bench.stand.point_services(&[replica.ports()]);
    the_webhooks_judgement(&bench).await;
    a_policy_by_its_selector(&bench).await;
    told_by_the_command(&bench);
    told_by_kubectls_plugin(&bench);
    bench.stop().await;
}

fn apply(bench: &Bench, object: &Value) -> Output {
    let mut command = bench.stand.cluster().kubectl_command(["apply", "--filename", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]
fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": "BurstPolicy", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

#[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]
fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": "VirtualPool", "metadata": {"name": name}, "spec": spec})
}

/// An HPA of the Deployment of its name.
fn autoscaler(name: &str, most: u32) -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
           "metadata": {"name": name, "namespace": "shop"},
           "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": most}})
}

/// What kubectl is told of an object that is refused.
fn refused(bench: &Bench, object: &Value) -> String {
    let output = apply(bench, object);
    assert!(!output.status.success(), "{object} is taken");
    let told = String::from_utf8(output.stderr).unwrap();
    println!("kubectl apply: {}", told.trim());
    told
}

/// What kubectl is warned of, of an object that is taken.
fn taken(bench: &Bench, object: &Value) -> String {
    let output = apply(bench, object);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{object}: {told}");
    told
}

/// Schema and CEL, before anything of burstlet's runs.
fn the_api_servers_own_rules(bench: &Bench) {
    let faults = [
        (
            policy("a", json!({"tiers": [{"pool": "eci"}, {"pool": "eci", "real": {}}]})),
            "spec.tiers[1]: Invalid value: a tier is one place",
        ),
        (policy("a", json!({"extends": "a"})), "spec.extends: Invalid value: a policy cannot extend itself"),
        (policy("a", json!({"base": "150%"})), "spec.base: Invalid value: \"150%\": spec.base in body should match"),
        (
            policy("a", json!({"base": -1})),
            "spec.base: Invalid value: -1: spec.base in body should be greater than or equal to 0",
        ),
        (policy("a", json!({"mode": "Sometimes"})), "spec.mode: Unsupported value: \"Sometimes\""),
        (policy("a", json!({"moveOn": {"after": "soon"}})), "spec.moveOn.after: Invalid value: \"soon\""),
        (
            policy("a", json!({"budget": {"exhausted": "Wait"}})),
            "spec.budget: Invalid value: a budget needs perHour or perDay",
        ),
        (
            policy("a", json!({"budget": {"perHour": "1 CNY", "perDay": "9 USD"}})),
            "spec.budget: Invalid value: perHour and perDay must be in one currency",
        ),
        (
            policy("a", json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
            "spec.selector.matchExpressions[0]",
        ),
        (policy("a", json!({"tears": []})), "unknown field \"spec.tears\""),
        (
            pool("a", json!({"provider": {"simulated": {"endpoint": "http://x:1"}}})),
            "spec: Invalid value: a pool needs a quota or a budget",
        ),
        (pool("a", json!({"provider": {}, "quota": {"pods": 1}})), "spec.provider: Invalid value"),
        (
            pool(
                "a",
                json!({"provider": {"simulated": {"endpoint": "http://x:1"}}, "quota": {"pods": 1}, "fallback": "a"}),
            ),
            "spec.fallback: Invalid value: a pool cannot fall back to itself",
        ),
        (
            pool(
                "a",
                json!({"provider": {"simulated": {"endpoint": "http://x:1"}}, "quota": {"pods": 1}, "price": {"cpuSecond": "1 CNY", "gibSecond": "1 USD"}}),
            ),
            "spec.price: Invalid value: cpuSecond and gibSecond must be in one currency",
        ),
        (
            pool("a.b", json!({"provider": {"simulated": {"endpoint": "http://x:1"}}, "quota": {"pods": 1}})),
            "a pool's name is up to 40",
        ),
    ];
    for (object, says) in &faults {
        let told = refused(bench, object);
        assert!(told.contains(says), "{told} does not say {says}");
    }
}

async fn the_webhooks_judgement(bench: &Bench) {
    let judged = Duration::from_secs(30);
    eventually_else("the webhook answers", judged, || async {
        let told = apply(bench, &policy("unknown", json!({"base": 1, "tiers": [{"pool": "nowhere"}]})));
        let told = String::from_utf8(told.stderr).unwrap();
        let is_refused = told.contains("spec.tiers[0].pool: there is no VirtualPool nowhere");
        if is_refused { Ok(()) } else { Err(told) }
    })
    .await;
    let provider = json!({"simulated": {"endpoint": "http://127.0.0.1:1"}});
    let told = refused(bench, &pool("eci", json!({"provider": provider, "quota": {"pods": 5}, "fallback": "gone"})));
    assert!(told.contains("spec.fallback: eci → gone: there is no VirtualPool gone"), "{told}");
    let told = refused(bench, &policy("a", json!({"base": 1, "windows": ["Mon-Fri 08:00-20:00 Mars/Base"]})));
    assert!(told.contains("spec.windows[0]: \"Mars/Base\" is no time zone of the IANA database"), "{told}");
    taken(bench, &policy("parent", json!({"base": 2})));
    taken(bench, &policy("child", json!({"extends": "parent"})));
    let told = refused(bench, &policy("parent", json!({"base": 2, "extends": "child"})));
    assert!(told.contains("shop/parent → shop/child → shop/parent is a circle"), "{told}");
    let told = refused(bench, &policy("orphan", json!({"extends": "gone"})));
    assert!(told.contains("spec.extends: shop/orphan → gone: there is no BurstPolicy gone"), "{told}");
    let deaf = json!({"base": 1, "moveOn": {"when": []}, "tiers": [{"pool": POOL}, {"real": {}}]});
    let told = refused(bench, &policy("deaf", deaf));
    assert!(told.contains("spec.tiers: no pod reaches eci → real"), "{told}");
    taken(bench, &autoscaler("zealous", 3));
    let mut zealous = Wanted::new("zealous", Some("5"), 0).object("Deployment");
    zealous["metadata"]["namespace"] = json!("shop");
    let told = taken(bench, &zealous);
    assert!(told.contains("5 is above maxReplicas 3 of HorizontalPodAutoscaler zealous"), "{told}");
    let told = taken(bench, &policy("wishful", json!({"mode": "AfterBase"})));
    assert!(told.starts_with("Warning: spec.base: is missing"), "{told}");
}

async fn a_policy_by_its_selector(bench: &Bench) {
    taken(bench, &policy("web", json!({"selector": {"matchLabels": {"app": "web"}}, "extends": "parent"})));
    // The webhook and the leader see it within a moment; a pod created before would pass as free.
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.deploy("shop", &Wanted::new("web", None, 5)).await;
    let pods = bench.runs("shop", 2, 3).await;
    for pod in &pods {
        assert!(
            !is_gated(pod) && tier(pod).is_some() && annotation(pod, "burstlet.dev/decision").is_some(),
            "{}",
            reason(pod)
        );
    }
}

/// `burstlet explain`, `status` and `policy show`, as a user runs them.
fn told_by_the_command(bench: &Bench) {
    let kubeconfig = bench.stand.cluster().kubeconfig();
    let run = |args: &[&str]| {
        let output =
            std::process::Command::new(BURSTLET).args(args).arg("--kubeconfig").arg(kubeconfig).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        println!("burstlet {}:\n{told}", args.join(" "));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        told
    };
    let told = run(&["policy", "show", "deployment/web", "--namespace", "shop"]);
    assert!(told.contains("BurstPolicy shop/parent, extended by shop/web"), "{told}");
    let told = run(&["explain", "deployment/web", "--namespace", "shop"]);
    assert!(told.contains("policy: shop/web, mode AfterBase"), "{told}");
    assert!(told.contains(&format!("{POOL} 3, real 2")), "{told}");
    assert!(told.contains("took it") && told.contains("passed"), "{told}");
    let told = run(&["status", "--output", "json"]);
    let status: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(status["workloads"][0]["wanted"], json!(5));
    assert_eq!(status["workloads"][0]["pools"][POOL], json!(3));
    assert_eq!(status["pools"][0]["health"], json!("ok"));
}

/// `kubectl burstlet`: the same binary under the name of a plugin, found on the `PATH` by the real kubectl.
fn told_by_kubectls_plugin(bench: &Bench) {
    let folder = bench.stand.cluster().folder().join("plugins");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(BURSTLET, folder.join("kubectl-burstlet")).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = bench.stand.cluster().kubectl_command(["burstlet", "status", "--output", "json"]);
    let output = command.env("PATH", path).output().unwrap();
    let (told, fault) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told} {fault}");
    let status: Value = serde_json::from_str(&told).unwrap();
    assert!(status["workloads"].as_array().unwrap().iter().any(|line| line["name"] == "web"), "{status}");
}
