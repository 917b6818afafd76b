//! The demo in a cluster that is there already: it plays there as on its own, and leaves no trace, however it ends.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use burstlet::lab::cluster::{Cluster, ClusterOptions};
use serde_json::Value;
use tempfile::TempDir;

/// Every kind that the demo makes or has made.
const KINDS: &str = "namespaces,nodes,leases.coordination.k8s.io,pods,deployments,replicasets,horizontalpodautoscalers,\
     mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles,clusterrolebindings,\
     certificatesigningrequests";

const SCENARIO: &str = r#"
name: tiny
about: Six pods for half a minute, two of them on real nodes.
manifests: [workload.yaml]
traffic: {file: traffic.csv}
requestCpu: 20ms
realNodes: {count: 2, cpu: "2", memory: 4Gi, pods: 10, startUp: {min: 100ms, max: 300ms}}
pools:
- name: cloud
  nodes: 1
  podsPerNode: 20
  startUp: {min: 300ms, max: 600ms}
  price: {cpuSecond: 0.000049, gibSecond: 0.00000613, currency: CNY}
settle: 2s
"#;

const WORKLOAD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {burstlet.dev/base: "2"}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: registry.example/web:1
        resources: {requests: {cpu: 200m, memory: 64Mi}, limits: {cpu: "1", memory: 64Mi}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 6
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 6, periodSeconds: 5}]}
"#;

async fn cluster() -> Cluster {
    let options = ClusterOptions { hpa_sync: Duration::from_secs(5), ..ClusterOptions::default() };
    Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A scenario of `seconds`, quiet for three of them and then busy.
fn scenario(seconds: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rates = (0..=seconds).map(|second| format!("{second},{}\n", if second < 3 { 8 } else { 60 }));
    let traffic = format!("seconds,requests_per_second\n{}", rates.collect::<String>());
    for (name, text) in [("scenario.yaml", SCENARIO), ("workload.yaml", WORKLOAD), ("traffic.csv", &traffic)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn demo(scenario: &TempDir, kubeconfig: &Path, context: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    command.args(["demo", "--json", "--context", context, "--kubeconfig"]).arg(kubeconfig).arg(scenario.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `Kind namespace name` of everything there is of the kinds.
fn objects(cluster: &Cluster) -> BTreeSet<String> {
    let columns = "custom-columns=K:.kind,NS:.metadata.namespace,N:.metadata.name";
    let listed = cluster.kubectl(["get", KINDS, "-A", "--no-headers", "-o", columns]).unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn assert_as_before(cluster: &Cluster, before: &BTreeSet<String>) {
    let after = objects(cluster);
    let left: Vec<_> = after.difference(before).collect();
    let taken: Vec<_> = before.difference(&after).collect();
    assert!(left.is_empty() && taken.is_empty(), "left: {left:?}, taken: {taken:?}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_in_a_cluster_that_is_there_bursts_and_leaves_no_trace() {
    let cluster = cluster().await;
    let before = objects(&cluster);

    let output = demo(&scenario(50), cluster.kubeconfig(), "lab").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&String::from_utf8(output.stdout.clone()).unwrap());
    let (summary, samples) = lines.split_last().unwrap();
    assert!(samples.len() > 40, "{} samples", samples.len());
    let most_burst = samples.iter().map(|sample| sample["pools"]["cloud"].as_u64().unwrap()).max();
    assert_eq!(most_burst, Some(4), "{}\n{}", String::from_utf8_lossy(&output.stdout), said(&output));
    assert!(samples.iter().all(|sample| sample["real"].as_u64().unwrap() <= 2));
    let summary = &summary["summary"];
    assert_eq!(
        (&summary["base"], &summary["base_exceeded"], &summary["instances_left"]),
        (&2.into(), &0.into(), &0.into())
    );
    assert_eq!(summary["peak"], 6);
    assert_as_before(&cluster, &before);

    interrupted_amid_the_traffic(&cluster, &before);
    interrupted_while_it_sets_up(&cluster, &before);
    failed_midway(&cluster, &before);
    a_live_burst_is_recorded_and_replays(&cluster);
    cluster.stop().await.unwrap();
}

/// It ends early, tells of what was played, and that is a success.
fn interrupted_amid_the_traffic(cluster: &Cluster, before: &BTreeSet<String>) {
    let scenario = scenario(300);
    let mut child = demo(&scenario, cluster.kubeconfig(), "lab").spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..3 {
        assert!(
            told.read_line(&mut text).unwrap() > 0,
            "it ended before the traffic: {}",
            said(&child.wait_with_output().unwrap())
        );
    }
    let standing = objects(cluster);
    assert!(
        standing.contains("Node <none> burstlet-cloud-0") && standing.contains("Lease kube-node-lease real-001"),
        "{standing:?}"
    );
    interrupt(&child);
    told.read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let lines = lines(&text);
    assert!(lines.len() < 60, "it went on for {} lines", lines.len());
    assert_eq!(lines.last().unwrap()["summary"]["instances_left"], 0);
    assert_as_before(cluster, before);
}

/// Nothing was played: that is no success.
fn interrupted_while_it_sets_up(cluster: &Cluster, before: &BTreeSet<String>) {
    let scenario = scenario(300);
    let child = demo(&scenario, cluster.kubeconfig(), "lab").spawn().unwrap();
    let begin = Instant::now();
    while !objects(cluster).iter().any(|object| object.starts_with("Node ")) {
        assert!(begin.elapsed() < Duration::from_secs(30), "no node is made");
        std::thread::sleep(Duration::from_millis(20));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", said(&output));
    assert!(said(&output).contains("burstlet: interrupted; whatever was made is removed"), "{}", said(&output));
    assert_as_before(cluster, before);
}

/// The API server refuses the scenario's Deployment, when all else stands already.
fn failed_midway(cluster: &Cluster, before: &BTreeSet<String>) {
    let scenario = scenario(10);
    let wrong = WORKLOAD.replace("      containers:", "      restartPolicy: Never\n      containers:");
    fs::write(scenario.path().join("workload.yaml"), wrong).unwrap();
    let output = demo(&scenario, cluster.kubeconfig(), "lab").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", said(&output));
    let last = said(&output).lines().last().unwrap().to_owned();
    assert!(last.contains("unable to install the Deployment") && last.contains("Unsupported value"), "{last}");
    assert_as_before(cluster, before);
}

/// What `record --context` saw of the demo's burst becomes a scenario, whose replay bursts as the demo did.
fn a_live_burst_is_recorded_and_replays(cluster: &Cluster) {
    let played = scenario(90);
    let mut child = demo(&played, cluster.kubeconfig(), "lab").spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    assert!(told.read_line(&mut first).unwrap() > 0, "{}", said(&child.wait_with_output().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let traffic = folder.path().join("live.traffic");
    let recorded = Command::new(env!("CARGO_BIN_EXE_burstlet"))
        .args(["record", "--context", "lab", "-n", "demo", "--for", "75s", "--step", "5s", "--request-cpu", "20ms"])
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .arg("-o")
        .arg(&traffic)
        .output()
        .unwrap();
    assert!(recorded.status.success(), "{}", said(&recorded));
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));

    let measured = String::from_utf8(recorded.stdout.clone()).unwrap();
    let pools = &measured[measured.find("pools:").unwrap_or_else(|| panic!("{measured}{}", said(&recorded)))..];
    assert!(pools.contains("- name: cloud  # 4 starts\n  nodes: 1\n  podsPerNode: 20\n"), "{measured}");
    let (head, _) = SCENARIO.split_once("pools:").unwrap();
    let price = "  price: {cpuSecond: 0.000049, gibSecond: 0.00000613, currency: CNY}\n";
    let text = head.replace("traffic.csv", "live.traffic") + pools + price + "settle: 2s\ncluster: {hpaSync: 5s}\n";
    fs::write(folder.path().join("scenario.yaml"), text).unwrap();
    fs::write(folder.path().join("workload.yaml"), WORKLOAD).unwrap();
    let mut replay = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    let replay = replay.args(["replay", "--json"]).arg(folder.path()).output().unwrap();
    assert!(replay.status.success(), "{}", said(&replay));
    let lines = lines(&String::from_utf8(replay.stdout.clone()).unwrap());
    let (summary, samples) = lines.split_last().unwrap();
    let summary = &summary["summary"];
    assert_eq!((&summary["peak"], &summary["base_exceeded"]), (&6.into(), &0.into()), "{summary}\n{measured}");
    let most_burst = samples.iter().map(|sample| sample["pools"]["cloud"].as_u64().unwrap()).max();
    assert_eq!(most_burst, Some(4), "{summary}");
    // The demo's pool takes 0.3 to 0.6 s; a busy machine adds to that.
    let p50 = summary["delay_p50_s"].as_f64().unwrap();
    assert!((0.3..20.0).contains(&p50), "{p50}\n{measured}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_take_it_is_refused_in_one_line_and_left_alone() {
    let cluster = cluster().await;
    let scenario = scenario(10);
    let refused_at = |address: &str, kubeconfig: &Path, context: &str, why: &str| {
        let before = objects(&cluster);
        let output = demo(&scenario, kubeconfig, context).args(["--address", address]).output().unwrap();
        let said = said(&output);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("burstlet: ") && last.contains(why), "{said}");
        assert_as_before(&cluster, &before);
    };
    let refused = |kubeconfig: &Path, context: &str, why: &str| refused_at("127.0.0.1", kubeconfig, context, why);

    let jane = cluster.kubeconfig_for("jane", None).unwrap();
    refused(&jane, "lab", "the user of context lab may not create namespaces, get namespaces");
    refused_at("192.0.2.1", cluster.kubeconfig(), "lab", "--address must be an address of this machine");
    refused(cluster.kubeconfig(), "other", "unable to use the context other");
    let nobody = tempfile::NamedTempFile::new().unwrap();
    let elsewhere =
        fs::read_to_string(cluster.kubeconfig()).unwrap().replace(&cluster.api_url(), "https://127.0.0.1:1");
    fs::write(nobody.path(), elsewhere).unwrap();
    refused(nobody.path(), "lab", "unable to reach the API server of context lab");

    for installed in [
        &["clusterrole", "burstlet", "--verb=get", "--resource=pods"] as &[&str],
        &["namespace", "demo"],
        &["namespace", "burstlet-system"],
    ] {
        let made = cluster.kubectl([&["create"], installed].concat()).unwrap();
        assert!(made.status.success(), "{made:?}");
        refused(cluster.kubeconfig(), "lab", &format!("{} is there already", installed[1]));
    }
    let gone = cluster.kubectl(["delete", "apiservice", "v1beta1.metrics.k8s.io"]).unwrap();
    assert!(gone.status.success(), "{gone:?}");
    refused(cluster.kubeconfig(), "lab", "install metrics-server");
    cluster.stop().await.unwrap();
}
