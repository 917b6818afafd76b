//! Pods a second, CPU a pod and memory of the virtual kubelet, against a real control plane on this machine.
//!
//! `cargo bench --bench kubelet -- 3000`: that many pods, bound to one virtual node beforehand, are created over 50
//! connections and deleted with their default grace. The kubelet runs in a process of its own (this program again).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use burstlet::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate},
    lab::cluster::{Cluster, ClusterOptions},
    provider::simulated::{Cloud, Settings},
};
use futures::StreamExt;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::api::resource::Quantity};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use prometheus::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 50;

/// Clock ticks of `/proc/PID/stat` a second; the same on every Linux.
const TICKS: f64 = 100.0;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("kubelet") => runtime.block_on(kubelet(arguments[2].parse().unwrap())),
        pods => runtime.block_on(bench(pods.and_then(|p| p.parse().ok()).unwrap_or(3000))),
    }
}

/// The measured process: says `ready`, `running` when `pods` statuses are written, `gone` when no pod is left.
async fn kubelet(pods: u64) {
    let client = Client::try_default().await.unwrap();
    let metrics = KubeletMetrics::register(&Registry::new()).unwrap();
    let capacity = Capacity { cpu: Quantity("40000".into()), memory: Quantity("80000Gi".into()), pods: 50_000 };
    let node = NodeTemplate::virtual_node("bench", "simulated", 0, capacity);
    let config = KubeletConfig::new("bench", vec![node], IpAddr::V4(Ipv4Addr::LOCALHOST), 10250);
    let kubelet = Kubelet::new(client, config, Arc::new(Cloud::new(Settings::default())), metrics.clone());
    let handle = kubelet.handle();
    tokio::spawn(async move { kubelet.run(CancellationToken::new()).await });
    let say = |word: &str| {
        println!("{word}");
        std::io::stdout().flush().unwrap();
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    say("ready");
    while metrics.status_writes() < pods {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say("running");
    while handle.counts().pods > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say("gone");
    eprintln!("status writes: {}", metrics.status_writes());
    std::future::pending::<()>().await;
}

/// CPU seconds and resident MiB of a process.
fn measure(process: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    (ticks / TICKS, rss.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0)
}

async fn each(pods: u32, call: impl AsyncFn(String)) {
    futures::stream::iter(0..pods).for_each_concurrent(CONNECTIONS, |n| call(format!("pod-{n}"))).await;
}

async fn bench(pods: u32) {
    let options = ClusterOptions { metrics_server: false, raised_client_limits: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kubelet", &pods.to_string()])
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let mut words = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait = |word: &str| assert_eq!(words.next().unwrap().unwrap(), word);
    wait("ready");

    let api: Api<Pod> = Api::default_namespaced(cluster.client());
    let (before, rss) = measure(process);
    println!("idle: {rss:.1} MiB");
    let started = Instant::now();
    each(pods, async |name| {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": "burstlet-bench-0", "automountServiceAccountToken": false,
                     "containers": [{"name": "main", "image": "none"}]},
        });
        api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    })
    .await;
    tokio::task::block_in_place(|| wait("running"));
    report("create to Running", pods, started.elapsed(), before, process);

    let (before, _) = measure(process);
    let started = Instant::now();
    each(pods, async |name| drop(api.delete(&name, &DeleteParams::default()).await.unwrap())).await;
    tokio::task::block_in_place(|| wait("gone"));
    report("delete to gone", pods, started.elapsed(), before, process);

    child.kill().unwrap();
    child.wait().unwrap();
    cluster.stop().await.unwrap();
}

fn report(what: &str, pods: u32, took: Duration, before: f64, process: u32) {
    let (after, rss) = measure(process);
    let pods = f64::from(pods);
    println!(
        "{what}: {:.0} pods/s, kubelet {:.2} ms of CPU a pod, {rss:.1} MiB",
        pods / took.as_secs_f64(),
        (after - before) * 1000.0 / pods
    );
}
