//! Filter and prioritize in the server, from a body's bytes to the answer's, for a pod of 8 KB.
//!
//! divan compares medians; the figures to reach are the 99th percentiles of a cycle (filter, then prioritize), which
//! the table after divan's prints.

use std::time::{Duration, Instant};

use burstlet::{
    api::extender::FilterResult,
    extender::{VirtualNodes, args::NodesArgs, filter::filter, prioritize::prioritize, standing::Standing},
};
use divan::{Bencher, black_box};
use serde_json::json;

const CALLS: usize = 5_000;
const TIERS: [&str; 3] = ["base", "base-short", "burst"];
/// Names in a call, and the 99th percentile to reach.
const REACH: [(usize, Duration); 2] = [(10, Duration::from_micros(50)), (5_000, Duration::from_micros(150))];

/// A cycle of kube-scheduler in a cluster whose last names are virtual nodes: two of 10, 100 of more.
struct Cycle {
    filter_body: Vec<u8>,
    /// Holds the names that filter passed, as kube-scheduler sends it.
    prioritize_body: Vec<u8>,
    nodes: VirtualNodes,
}

impl Cycle {
    fn new(tier: &str, names: usize) -> Self {
        let nodes = VirtualNodes::default();
        let is_virtual = |index: usize| index + (names / 5).min(100) >= names;
        let all: Vec<_> = (0..names)
            .map(|index| {
                let pool = if is_virtual(index) { "eci" } else { "ip" };
                let name = format!("{pool}-10-{}-{}.cn-hangzhou", index / 256, index % 256);
                if is_virtual(index) {
                    nodes.upsert(&name, "eci", index % 10 != 0);
                }
                name
            })
            .collect();
        nodes.set_stock("eci", Some(1_000));
        let pod = pod(tier).to_string();
        // The order of Go's fields.
        let body =
            |names: &[String]| format!(r#"{{"Pod":{pod},"Nodes":null,"NodeNames":{}}}"#, json!(names)).into_bytes();
        let mut cycle = Self { filter_body: body(&all), prioritize_body: Vec::new(), nodes };
        let passed: FilterResult = serde_json::from_slice(&cycle.filter()).unwrap_or_default();
        cycle.prioritize_body = body(&passed.node_names);
        cycle
    }

    fn filter(&self) -> Vec<u8> {
        let args = NodesArgs::parse(&self.filter_body).unwrap_or_else(|fault| unreachable!("{fault}"));
        filter(&args, &Standing::of(&args.pod.metadata.annotations), &self.nodes.view())
    }

    fn prioritize(&self) -> Vec<u8> {
        let args = NodesArgs::parse(&self.prioritize_body).unwrap_or_else(|fault| unreachable!("{fault}"));
        prioritize(&args, &Standing::of(&args.pod.metadata.annotations), &self.nodes.view())
    }
}

/// A pod of about 8 KB, as an API server sends it: labels, annotations, managed fields, two containers.
fn pod(tier: &str) -> serde_json::Value {
    let container = |name: &str| {
        let env: Vec<_> =
            (0..12).map(|index| json!({"name": format!("SETTING_{index}"), "value": "x".repeat(60)})).collect();
        json!({"name": name, "image": "registry.example.com/shop/web:1.2.3", "env": env,
               "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
               "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}})
    };
    let managed: Vec<_> = ["kube-controller-manager", "burstlet"]
        .map(|manager| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": {
            "k:{\"name\":\"web\"}": (0..40).map(|index| (format!("f:field{index}"), json!({}))).collect::<serde_json::Map<_, _>>()}}}}))
        .to_vec();
    json!({
        "metadata": {"name": "web-6c8f9d7b5-x2x7z", "namespace": "shop", "uid": "0e9a8f7c-6d5b-4c3a-9f21-0242ac120002",
                     "labels": {"app": "web", "pod-template-hash": "6c8f9d7b5"},
                     "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z", "note": "y".repeat(2_000),
                                     "burstlet.dev/tier": tier, "burstlet.dev/pool": "eci"},
                     "managedFields": managed},
        "spec": {"containers": [container("web"), container("sidecar")], "schedulerName": "burstlet-scheduler"},
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    })
}

#[divan::bench(args = [10, 5_000], consts = [0, 1, 2])]
fn filter_call<const TIER: usize>(bencher: Bencher<'_, '_>, names: usize) {
    let cycle = Cycle::new(TIERS[TIER], names);
    bencher.bench_local(|| black_box(&cycle).filter());
}

#[divan::bench(args = [10, 5_000], consts = [0, 1, 2])]
fn prioritize_call<const TIER: usize>(bencher: Bencher<'_, '_>, names: usize) {
    let cycle = Cycle::new(TIERS[TIER], names);
    bencher.bench_local(|| black_box(&cycle).prioritize());
}

/// Times of a cycle, shortest first.
fn cycles(cycle: &Cycle) -> Vec<Duration> {
    let mut times: Vec<_> = (0..CALLS)
        .map(|_| {
            let start = Instant::now();
            black_box((black_box(cycle).filter(), black_box(cycle).prioritize()));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn main() {
    divan::main();
    println!("{:<12} {:>6} {:>10} {:>10} {:>10}", "tier", "names", "p50", "p99", "reach p99");
    for (names, reach) in REACH {
        for tier in TIERS {
            let times = cycles(&Cycle::new(tier, names));
            let [p50, p99] = [50, 99].map(|percent| times[times.len() * percent / 100]);
            let verdict = if p99 <= reach { "reached" } else { "missed" };
            println!("{tier:<12} {names:>6} {p50:>10.1?} {p99:>10.1?} {reach:>10.1?} {verdict}");
        }
    }
}
