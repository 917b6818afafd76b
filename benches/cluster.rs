//! What burstlet saves a cluster's schedulers, and what it costs a pod, on a real control plane on this machine.
//!
//! `cargo bench --bench cluster`: without and with burstlet by turns, on the same cluster; each figure is printed as a
//! ratio beside what it shall reach, and below it the CPU a pod of every process. Pods are created by this program, on
//! behalf of a ReplicaSet, while the controller manager (20 requests a second by default) is paused. burstlet is a
//! process of its own; this program is the real nodes and the cloud, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "kubelet/used.rs"]
mod used;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use burstlet::{
    lab::{
        cluster::{Cluster, ClusterOptions, Component},
        stand::{RealNodes, Replica, Scheduler, SimulatedPool, Stand, StandOptions},
    },
    provider::simulated::Settings,
};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::ReplicaSet,
    core::v1::{Namespace, Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::{task::JoinHandle, time::interval};

const CONNECTIONS: usize = 50;
const PAIRS: u32 = 3;
const WITHIN: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|argument| argument == name);
    if is_chosen("bind") {
        Box::pin(bound_at_default_limits()).await;
    }
    if is_chosen("ungate") {
        Box::pin(ungated()).await;
    }
    if is_chosen("schedule") {
        Box::pin(schedulers_time()).await;
    }
}

/// Which pods a turn creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Plain pods, by kube-scheduler alone: no burstlet, no webhook.
    Without,
    /// Burst pods, by burstlet.
    With,
}

struct Bench {
    stand: Stand,
    client: Client,
    webhooks: (MutatingWebhookConfiguration, ValidatingWebhookConfiguration),
    turns: u32,
}

impl Bench {
    async fn start(real_nodes: u32, raised_client_limits: bool) -> Self {
        let options = StandOptions {
            cluster: ClusterOptions { metrics_server: false, raised_client_limits, ..ClusterOptions::default() },
            real_nodes: RealNodes {
                count: real_nodes,
                cpu: "1000".to_owned(),
                memory: "4000Gi".to_owned(),
                pods: 2000,
                settings: Settings { network: 100, ..Settings::default() },
            },
            pools: vec![SimulatedPool {
                name: "eci".to_owned(),
                nodes: 2,
                pods_per_node: 3000,
                settings: Settings::default(),
            }],
            scheduler: Scheduler::Dedicated,
            move_on_after: Duration::from_mins(5),
            move_back_after: Duration::from_mins(5),
        };
        let stand = Stand::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let client = stand.cluster().client();
        let list = ListParams::default();
        let mutating = Api::all(client.clone()).list(&list).await.unwrap().items.remove(0);
        let validating = Api::all(client.clone()).list(&list).await.unwrap().items.remove(0);
        Self { client, stand, webhooks: (mutating, validating), turns: 0 }
    }

    /// burstlet comes or goes, webhooks and all.
    async fn prepare(&self, turn: Turn) -> Option<Replica> {
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let every = (DeleteParams::default(), ListParams::default());
        mutating.delete_collection(&every.0, &every.1).await.unwrap();
        validating.delete_collection(&every.0, &every.1).await.unwrap();
        if turn == Turn::Without {
            return None;
        }
        let log = self.stand.cluster().folder().join("burstlet.log");
        let replica = self.stand.run_process(env!("CARGO_BIN_EXE_burstlet").as_ref(), &log).await.unwrap();
        self.stand.point_services(&[replica.ports()]);
        let (mut gate, mut warn) = self.webhooks.clone();
        (gate.metadata.resource_version, warn.metadata.resource_version) = (None, None);
        mutating.create(&PostParams::default(), &gate).await.unwrap();
        validating.create(&PostParams::default(), &warn).await.unwrap();
        // The controller manager opens new virtual nodes, and those that were NotReady, every 5 s.
        let nodes = Api::<Node>::all(self.client.clone());
        let is_open = |node: &Node| {
            let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            taints.all(|taint| taint.key == "virtual-kubelet.io/provider")
        };
        let virtual_nodes = ListParams::default().labels("type=virtual-kubelet");
        until(|| async {
            let nodes = nodes.list(&virtual_nodes).await.unwrap().items;
            nodes.len() == 2 && nodes.iter().all(is_open)
        })
        .await;
        // The API server learns of the webhooks, and a lease that a killed one left runs out.
        tokio::time::sleep(Duration::from_secs(12)).await;
        Some(replica)
    }

    /// Creates pods at `every` a pod, or as fast as it goes, and tells what became of them.
    async fn create(&mut self, replica: Option<&Replica>, pods: usize, every: Option<Duration>) -> Course {
        let turn = if replica.is_some() { Turn::With } else { Turn::Without };
        self.turns += 1;
        let name = format!("turn-{}", self.turns);
        let annotations = if turn == Turn::With { json!({"burstlet.dev/base": "0"}) } else { json!({}) };
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap();
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &name);
        until(|| async { accounts.get_opt("default").await.unwrap().is_some() }).await;
        // From here on nobody else makes or removes pods.
        self.stand.cluster().pause(Component::ControllerManager).unwrap();
        let set = json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": pods, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "none"}]}}},
        });
        let sets = Api::<ReplicaSet>::namespaced(self.client.clone(), &name);
        let set = sets.create(&PostParams::default(), &serde_json::from_value(set).unwrap()).await.unwrap();
        let api = Api::<Pod>::namespaced(self.client.clone(), &name);
        let watch = watch(&api, pods);
        let before = cpu_seconds(self.stand.cluster(), replica);
        let begin = Instant::now();
        let pod = |index: usize| pod(index, &set);
        match every {
            None => {
                let creations = futures::stream::iter(0..pods);
                creations.for_each_concurrent(CONNECTIONS, |index| create(&api, pod(index))).await;
            }
            Some(every) => {
                let mut tick = interval(every);
                let mut creations = tokio::task::JoinSet::new();
                for index in 0..pods {
                    tick.tick().await;
                    let (api, pod) = (api.clone(), pod(index));
                    creations.spawn(async move { create(&api, pod).await });
                }
                creations.join_all().await;
            }
        }
        let created = begin.elapsed();
        let sights = tokio::time::timeout(WITHIN, watch).await.expect("bound in time").unwrap();
        let bound = sights.values().filter_map(|sight| sight.bound).max().unwrap() - begin;
        let after = cpu_seconds(self.stand.cluster(), replica);
        for sight in sights.values() {
            assert_eq!(sight.is_virtual, turn == Turn::With, "a pod on the wrong kind of node");
        }
        api.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await.unwrap();
        until(|| async { api.list_metadata(&ListParams::default()).await.unwrap().items.is_empty() }).await;
        sets.delete("web", &DeleteParams::default()).await.unwrap();
        self.stand.cluster().resume(Component::ControllerManager).unwrap();
        let pods = f64::from(u32::try_from(pods).unwrap());
        let a_pod = |(name, seconds): (&'static str, f64)| (name, (seconds - before[name]) * 1000.0 / pods);
        Course { created, bound, sights, cpu_millis: after.into_iter().map(a_pod).collect() }
    }
}

/// How the pods of one turn fared, from the first call to create.
struct Course {
    created: Duration,
    bound: Duration,
    sights: HashMap<String, Sight>,
    /// CPU a pod of each process, until the last pod was bound.
    cpu_millis: BTreeMap<&'static str, f64>,
}

impl Course {
    fn cpu(&self) -> String {
        let told: Vec<_> = self.cpu_millis.iter().map(|(name, millis)| format!("{name} {millis:.1}")).collect();
        format!("ms of CPU a pod: {}", told.join(", "))
    }
}

/// CPU time that each process has used, by its name.
fn cpu_seconds(cluster: &Cluster, replica: Option<&Replica>) -> BTreeMap<&'static str, f64> {
    let components = cluster.process_ids().into_iter().map(|(component, id)| (component.name(), id));
    let burstlet = replica.and_then(Replica::process_id).map(|id| ("burstlet", id));
    let here = [("nodes, cloud and bench", std::process::id())];
    components.chain(burstlet).chain(here).map(|(name, id)| (name, used::cpu_seconds(id))).collect()
}

/// When the watch showed a pod.
#[derive(Clone)]
struct Sight {
    first: Instant,
    ungated: Option<Instant>,
    bound: Option<Instant>,
    is_virtual: bool,
}

fn watch(api: &Api<Pod>, pods: usize) -> JoinHandle<HashMap<String, Sight>> {
    let api = api.clone();
    tokio::spawn(async move {
        let mut sights = HashMap::<String, Sight>::new();
        let mut bound = 0;
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
        while bound < pods {
            let Some(pod) = events.try_next().await.unwrap() else { break };
            let now = Instant::now();
            let spec = pod.spec.as_ref().unwrap();
            let fresh = Sight { first: now, ungated: None, bound: None, is_virtual: false };
            let sight = sights.entry(pod.name_any()).or_insert(fresh);
            if spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty) {
                sight.ungated.get_or_insert(now);
            }
            if let Some(node) = &spec.node_name
                && sight.bound.is_none()
            {
                sight.bound = Some(now);
                sight.is_virtual = node.starts_with("burstlet-");
                bound += 1;
            }
        }
        sights
    })
}

fn pod(index: usize, set: &ReplicaSet) -> Pod {
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set.name_any(), "uid": set.metadata.uid,
        "controller": true,
    });
    serde_json::from_value(json!({
        "metadata": {"name": format!("web-{index}"), "labels": {"app": "web"}, "ownerReferences": [owner]},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "10m"}}}],
        },
    }))
    .unwrap()
}

async fn create(api: &Api<Pod>, pod: Pod) {
    api.create(&PostParams::default(), &pod).await.unwrap();
}

async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < WITHIN);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / f64::from(u32::try_from(figures.len()).unwrap())
}

async fn bound_at_default_limits() {
    println!("\n1,000 pods created → bound, schedulers at their default client limits, 10 real nodes");
    let mut bench = Box::pin(Bench::start(10, false)).await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        bench.prepare(Turn::Without).await;
        let plain = bench.create(None, 1000, None).await;
        let replica = bench.prepare(Turn::With).await;
        let burst = bench.create(replica.as_ref(), 1000, None).await;
        replica.unwrap().stop().await.unwrap();
        let seconds = [plain.created, plain.bound, burst.created, burst.bound].map(|time| time.as_secs_f64());
        println!(
            "  {pair}: kube-scheduler alone {:.2} s (created in {:.2} s), burstlet {:.2} s (created in {:.2} s)",
            seconds[1], seconds[0], seconds[3], seconds[2]
        );
        println!("     kube-scheduler alone, {}", plain.cpu());
        println!("     burstlet, {}", burst.cpu());
        without.push(seconds[1]);
        with.push(seconds[3]);
    }
    let ratio = mean(&without) / mean(&with);
    println!("  {ratio:.1} × faster; reach ≥ 5 ×: {}", verdict(ratio >= 5.0));
    bench.stand.stop().await.unwrap();
}

/// Sum and count of the scheduler's algorithm time.
async fn algorithm(bench: &Bench, scheduler: Component) -> (f64, f64) {
    let metrics = bench.stand.cluster().metrics(scheduler).await.unwrap();
    let read = |suffix: &str| {
        let name = format!("scheduler_scheduling_algorithm_duration_seconds_{suffix}");
        let line = metrics.lines().find(|line| line.starts_with(&name));
        line.and_then(|line| line.rsplit_once(' ')).map_or(0.0, |(_, value)| value.parse().unwrap())
    };
    (read("sum"), read("count"))
}

async fn schedulers_time() {
    println!("\nkube-scheduler's own time a pod, 1,000 real nodes, client limits raised, 1,000 pods a turn");
    let mut bench = Box::pin(Bench::start(1000, true)).await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        let mut millis = Vec::new();
        for (turn, scheduler) in [(Turn::Without, Component::Scheduler), (Turn::With, Component::DedicatedScheduler)] {
            let replica = bench.prepare(turn).await;
            let before = algorithm(&bench, scheduler).await;
            let course = bench.create(replica.as_ref(), 1000, None).await;
            let after = algorithm(&bench, scheduler).await;
            if let Some(replica) = replica {
                replica.stop().await.unwrap();
            }
            let (sum, count) = (after.0 - before.0, after.1 - before.1);
            println!(
                "  {pair}: {turn:?}: {:.3} ms a try, {count} tries; bound in {:.1} s",
                sum * 1000.0 / count,
                course.bound.as_secs_f64()
            );
            println!("     {}", course.cpu());
            millis.push(sum * 1000.0 / 1000.0);
        }
        without.push(millis[0]);
        with.push(millis[1]);
    }
    let ratio = mean(&with) / mean(&without);
    println!(
        "  {:.3} ms a burst pod, {:.3} ms a plain pod: {ratio:.2} ×; reach ≤ 0.5 ×: {}",
        mean(&with),
        mean(&without),
        verdict(ratio <= 0.5)
    );
    bench.stand.stop().await.unwrap();
}

async fn ungated() {
    println!("\ncreated → ungated, 100 pods a second for 10 s: from the watch's first sight to the one without gate");
    let mut bench = Box::pin(Bench::start(10, true)).await;
    let replica = bench.prepare(Turn::With).await;
    let mut p99s = Vec::new();
    for round in 1..=PAIRS {
        let course = bench.create(replica.as_ref(), 1000, Some(Duration::from_millis(10))).await;
        let mut delays: Vec<f64> =
            course.sights.values().map(|sight| (sight.ungated.unwrap() - sight.first).as_secs_f64() * 1000.0).collect();
        delays.sort_by(f64::total_cmp);
        let (p50, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
        let gated = delays.iter().filter(|delay| **delay > 0.0).count();
        println!(
            "  {round}: p50 {p50:.1} ms, p99 {p99:.1} ms; {gated} of {} were seen gated; created in {:.1} s",
            delays.len(),
            course.created.as_secs_f64()
        );
        println!("     {}", course.cpu());
        p99s.push(p99);
    }
    p99s.sort_by(f64::total_cmp);
    let median = p99s[p99s.len() / 2];
    println!("  p99 {median:.1} ms; reach ≤ 20 ms: {}", verdict(median <= 20.0));
    replica.unwrap().stop().await.unwrap();
    bench.stand.stop().await.unwrap();
}
