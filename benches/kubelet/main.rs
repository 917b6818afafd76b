//! The virtual kubelet beside KWOK: pods a second, CPU and writes a pod, and memory, against a real control plane on
//! this machine.
//!
//! ```text
//! cargo bench --bench kubelet                  1,000 and 3,000 pods on one node, burstlet and KWOK by turns
//! cargo bench --bench kubelet -- 3000          the same with that many pods
//! cargo bench --bench kubelet -- alone 30000   burstlet alone, 3,000 pods a node, and what it asks for at rest
//! ```
//! Pods are bound beforehand, created over 50 connections and deleted with their default grace. Each kubelet is a
//! process of its own (burstlet's is this program again), begun for its turn; the simulated provider has no latency.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kwok;
mod used;

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use burstlet::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate, virtual_node_name},
    lab::cluster::{Cluster, ClusterOptions, Component},
    provider::simulated::{Cloud, Settings},
};
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use prometheus::Registry;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use kwok::Kwok;

const CONNECTIONS: usize = 50;
const PODS_PER_NODE: u32 = 3000;
/// Turns of each kubelet.
const PAIRS: u32 = 2;
/// How long requests are counted at rest.
const REST: Duration = Duration::from_mins(1);
/// Without one more pod for this long, a turn has failed.
const STALLED: Duration = Duration::from_mins(2);
const KWOK_NODE: &str = "kwok-0";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["kubelet", nodes] => runtime.block_on(kubelet(nodes.parse().unwrap())),
        ["alone", pods] => runtime.block_on(alone(pods.parse().unwrap())),
        [pods] => runtime.block_on(side_by_side(&[pods.parse().unwrap()])),
        _ => runtime.block_on(side_by_side(&[1000, 3000])),
    }
}

/// burstlet's process.
async fn kubelet(nodes: u32) {
    let client = Client::try_default().await.unwrap();
    let metrics = KubeletMetrics::register(&Registry::new()).unwrap();
    let capacity = Capacity { cpu: Quantity("40000".into()), memory: Quantity("80000Gi".into()), pods: 50_000 };
    let node = |index| NodeTemplate::virtual_node("bench", "simulated", index, capacity.clone());
    let nodes = (0..nodes).map(node).collect();
    let config = KubeletConfig::new("bench", nodes, IpAddr::V4(Ipv4Addr::LOCALHOST), 10250);
    let kubelet = Kubelet::new(client, config, Arc::new(Cloud::new(Settings::default())), metrics);
    kubelet.run(CancellationToken::new()).await;
}

/// A kubelet's process; it ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    cpu_seconds: f64,
    mib: f64,
    most_mib: f64,
}

impl Process {
    fn burstlet(cluster: &Cluster, nodes: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["kubelet", &nodes.to_string()]).env("KUBECONFIG", cluster.kubeconfig());
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn used(&self) -> Used {
        let process = self.0.id();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
        };
        Used { cpu_seconds: used::cpu_seconds(process), mib: mib("VmRSS:"), most_mib: mib("VmHWM:") }
    }
}

/// Requests that the API server has answered, by verb and resource, watches left out.
type Requests = BTreeMap<(String, String), f64>;

async fn requests(cluster: &Cluster) -> Requests {
    let text = cluster.metrics(Component::ApiServer).await.unwrap();
    let mut requests = Requests::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
        let (labels, count) = line.rsplit_once("} ").unwrap();
        let label = |name: &str| {
            let value = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
            value.unwrap_or_default().trim_end_matches('"').to_owned()
        };
        let verb = label("verb");
        if verb != "WATCH" {
            *requests.entry((verb, label("resource"))).or_default() += count.parse::<f64>().unwrap();
        }
    }
    requests
}

fn since(before: &Requests, after: &Requests) -> Requests {
    let more = |(key, count): (&(String, String), &f64)| {
        let more = count - before.get(key).copied().unwrap_or_default();
        (more > 0.0).then(|| (key.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

/// Writes of pods and of Events about them.
fn pod_writes(requests: &Requests) -> f64 {
    let is_write = |verb: &str| ["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&verb);
    let of_pods = |(verb, resource): &&(String, String)| is_write(verb) && (resource == "pods" || resource == "events");
    requests.iter().filter(|(key, _)| of_pods(key)).map(|(_, count)| count).sum()
}

/// Counts running pods as the API server tells of them.
struct Running {
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Running {
    fn follow(client: &Client) -> Self {
        let fields = watcher::Config::default().fields("status.phase=Running");
        let api = Api::<PartialObjectMeta<Pod>>::default_namespaced(client.clone());
        let events = watcher(api, fields).default_backoff();
        let (sender, count) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut running = HashSet::new();
            let mut events = events.boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init) => running.clear(),
                    Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                        running.insert(pod.name_any());
                    }
                    Ok(watcher::Event::Delete(pod)) => {
                        running.remove(&pod.name_any());
                    }
                    Ok(watcher::Event::InitDone) => {}
                    Err(error) => eprintln!("the bench's own watch begins anew: {error}"),
                }
                sender.send_replace(running.len());
            }
        });
        Self { count, task }
    }

    async fn becomes(&mut self, wanted: usize) {
        while *self.count.borrow_and_update() != wanted {
            let changed = tokio::time::timeout(STALLED, self.count.changed()).await;
            changed.unwrap_or_else(|_| panic!("stalled at {} of {wanted} pods", *self.count.borrow())).unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One way of all pods: up, or down.
#[derive(Debug, Clone, Copy)]
struct Way {
    pods_per_second: f64,
    cpu_millis: f64,
    writes: f64,
    used: Used,
}

impl Way {
    fn tell(&self, name: &str, what: &str) {
        let Self { pods_per_second, cpu_millis, writes, used } = self;
        println!(
            "{name:>9}, {what}: {pods_per_second:.0} pods/s, {cpu_millis:.2} ms of CPU and {writes:.2} writes a pod, \
             {:.1} MiB (most {:.1})",
            used.mib, used.most_mib
        );
    }
}

struct Bench {
    cluster: Cluster,
    client: Client,
    pods: Api<Pod>,
}

impl Bench {
    async fn start() -> Self {
        let options = ClusterOptions { metrics_server: false, raised_client_limits: true, ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let client = cluster.client();
        Self { pods: Api::default_namespaced(client.clone()), client, cluster }
    }

    async fn node_is_ready(&self, name: &str) {
        let nodes = Api::<Node>::all(self.client.clone());
        let is_ready = |node: Node| {
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let begun = Instant::now();
        while !nodes.get_opt(name).await.unwrap().is_some_and(is_ready) {
            assert!(begun.elapsed() < STALLED, "the node {name} is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// KWOK keeps nodes that others make.
    async fn make_kwoks_node(&self) {
        let node = json!({"metadata": {"name": KWOK_NODE, "annotations": {"kwok.x-k8s.io/node": "fake"}},
                          "status": {"capacity": {"cpu": "40000", "memory": "80000Gi", "pods": "50000"},
                                     "allocatable": {"cpu": "40000", "memory": "80000Gi", "pods": "50000"}}});
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }

    async fn remove_node(&self, name: &str) {
        Api::<Node>::all(self.client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// All pods up, then down.
    async fn turn(&self, process: &Process, pods: u32, nodes: &[String]) -> (Way, Way) {
        let up = self.up(process, pods, nodes).await;
        (up, self.down(process, pods).await)
    }

    async fn up(&self, process: &Process, pods: u32, nodes: &[String]) -> Way {
        self.way(process, pods, pods, async |number: u32| {
            let node = &nodes[(number / PODS_PER_NODE) as usize % nodes.len()];
            let pod = json!({
                "metadata": {"name": format!("pod-{number}")},
                "spec": {"nodeName": node, "automountServiceAccountToken": false,
                         "containers": [{"name": "main", "image": "none"}]},
            });
            self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.map(drop)
        })
        .await
    }

    async fn down(&self, process: &Process, pods: u32) -> Way {
        self.way(process, pods, 0, async |number: u32| {
            self.pods.delete(&format!("pod-{number}"), &DeleteParams::default()).await.map(drop)
        })
        .await
    }

    async fn way(
        &self,
        process: &Process,
        pods: u32,
        running: u32,
        call: impl AsyncFn(u32) -> Result<(), kube::Error>,
    ) -> Way {
        let mut seen = Running::follow(&self.client);
        seen.becomes((pods - running) as usize).await;
        let (requested, before) = (requests(&self.cluster).await, process.used());
        let started = Instant::now();
        let calls = futures::stream::iter(0..pods);
        let called = calls.for_each_concurrent(CONNECTIONS, async |number| call(number).await.unwrap());
        tokio::join!(called, seen.becomes(running as usize));
        let took = started.elapsed();
        let used = process.used();
        let requested = since(&requested, &requests(&self.cluster).await);
        let pods = f64::from(pods);
        Way {
            pods_per_second: pods / took.as_secs_f64(),
            cpu_millis: (used.cpu_seconds - before.cpu_seconds) * 1000.0 / pods,
            // This program's own is one a pod either way.
            writes: pod_writes(&requested) / pods - 1.0,
            used,
        }
    }
}

async fn side_by_side(sizes: &[u32]) {
    let kwok = Kwok::ensure();
    let bench = Bench::start().await;
    let node = virtual_node_name("bench", 0);
    for &pods in sizes {
        println!("{pods} pods");
        let mut ways = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..PAIRS {
            bench.make_kwoks_node().await;
            let process = Process(kwok.run(bench.cluster.kubeconfig()));
            bench.node_is_ready(KWOK_NODE).await;
            let (up, down) = bench.turn(&process, pods, &[KWOK_NODE.to_owned()]).await;
            up.tell("KWOK", "create to Running");
            down.tell("KWOK", "delete to gone");
            drop(process);
            bench.remove_node(KWOK_NODE).await;
            ways[0].push(up);
            ways[1].push(down);

            let process = Process::burstlet(&bench.cluster, 1);
            bench.node_is_ready(&node).await;
            let (up, down) = bench.turn(&process, pods, std::slice::from_ref(&node)).await;
            up.tell("burstlet", "create to Running");
            down.tell("burstlet", "delete to gone");
            drop(process);
            bench.remove_node(&node).await;
            ways[2].push(up);
            ways[3].push(down);
        }
        let [kwok_up, kwok_down, up, down] = ways;
        ratios("create to Running", &up, &kwok_up);
        ratios("delete to gone", &down, &kwok_down);
    }
    bench.cluster.stop().await.unwrap();
}

/// burstlet's part of KWOK's, of the sums over all turns.
fn ratios(what: &str, ours: &[Way], theirs: &[Way]) {
    let part = |figure: &dyn Fn(&Way) -> f64| {
        ours.iter().map(figure).sum::<f64>() / theirs.iter().map(figure).sum::<f64>().max(f64::MIN_POSITIVE)
    };
    println!(
        "{what}, burstlet / KWOK: pods/s {:.2} (reach 1.0 or more), CPU a pod {:.2} (reach 0.5 or less), \
         memory {:.2}, writes a pod {:.2}",
        part(&|way| way.pods_per_second),
        part(&|way| way.cpu_millis),
        part(&|way| way.used.mib),
        part(&|way| way.writes)
    );
}

async fn alone(pods: u32) {
    let bench = Bench::start().await;
    let idle = at_rest(&bench.cluster).await;
    let nodes: Vec<String> = (0..pods.div_ceil(PODS_PER_NODE)).map(|index| virtual_node_name("bench", index)).collect();
    let process = Process::burstlet(&bench.cluster, u32::try_from(nodes.len()).unwrap());
    for node in &nodes {
        bench.node_is_ready(node).await;
    }
    println!("{pods} pods on {} nodes, one process; {:.1} MiB without pods", nodes.len(), process.used().mib);
    bench.up(&process, pods, &nodes).await.tell("burstlet", "create to Running");
    let before = process.used();
    let resting = at_rest(&bench.cluster).await;
    let used = process.used();
    println!(
        "at rest: {:.1} MiB, {:.2} % of a core, {:.1} requests a second beyond the {:.1} of a cluster without it",
        used.mib,
        (used.cpu_seconds - before.cpu_seconds) / REST.as_secs_f64() * 100.0,
        per_second(&resting) - per_second(&idle),
        per_second(&idle),
    );
    for ((verb, resource), more) in since(&idle, &resting) {
        println!("  {verb} {resource}: {more:.0} more in {REST:?}");
    }
    bench.down(&process, pods).await.tell("burstlet", "delete to gone");
    drop(process);
    bench.cluster.stop().await.unwrap();
}

fn per_second(requests: &Requests) -> f64 {
    requests.values().sum::<f64>() / REST.as_secs_f64()
}

/// What is asked of the API server within [`REST`].
async fn at_rest(cluster: &Cluster) -> Requests {
    let before = requests(cluster).await;
    tokio::time::sleep(REST).await;
    since(&before, &requests(cluster).await)
}
