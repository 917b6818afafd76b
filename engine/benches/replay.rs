//! The simulator's speed: a day at the HPA's 15 s, from 100 to 100,000 pods at the peak.
//!
//! The day is a hill with two crowds on it, a rate a minute with 2 % of noise. A pod serves six requests a second; a
//! tenth of the peak is base, on real nodes that just hold it. Controllers have no client limits, so that the plant
//! follows the traffic at every size.

#![expect(clippy::panic, reason = "a benchmark that measures something else must not print a figure")]

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use burstlet_engine::{
    model::{Bytes, MilliCpu, Needs, ObjectName, Resources, Timestamp},
    policy::{Marks, MoveBack, Settings},
    simulator::{
        self, Constraints, Latency, PerMilli, Pool, RealNodes, Reclaim, Rolling, Serving, Setup, Timing, Workload,
        hpa::{MetricSpec, MetricTarget, ResourceMetric, Spec},
    },
    traffic::Traffic,
};

/// Reach of the day with 10,000 pods at the peak.
const REACH: Duration = Duration::from_secs(1);

fn main() {
    for peak in [100, 1_000, 10_000, 100_000] {
        let setup = setup(peak);
        let begin = Instant::now();
        let outcome = simulator::run(&setup).unwrap_or_else(|error| panic!("{error}"));
        let took = begin.elapsed();
        let played = &outcome.workloads[0];
        let is_meant = played.summary.peak * 10 >= peak * 9 && played.summary.base_exceeded == 0;
        assert!(is_meant, "not the day that was meant: {:?}", played.summary);
        let events = f64::from(u32::try_from(outcome.events).unwrap_or(u32::MAX));
        let reach = if peak == 10_000 { format!(" (reach: {} s)", REACH.as_secs()) } else { String::new() };
        println!(
            "replay of a day, {} pods at the peak, {} pods made: {:.3} s{reach}, {} events, {:.0} events/s, {:.1} µs a pod made, RSS at most {}",
            played.summary.peak,
            played.pods.len(),
            took.as_secs_f64(),
            outcome.events,
            events / took.as_secs_f64(),
            took.as_secs_f64() * 1e6 / f64::from(u32::try_from(played.pods.len()).unwrap_or(u32::MAX)),
            peak_rss(),
        );
    }
}

/// The most memory that this process has had, as Linux tells it.
fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

/// Requests each minute: a hill from 6 to 24 o'clock, and two crowds of half an hour.
fn traffic(peak: u32) -> Traffic {
    let mut seed = 365_u64;
    let mut text = "seconds,requests_per_second\n".to_owned();
    for minute in 0..=1_440_u32 {
        seed = seed * 16_807 % 2_147_483_647;
        let noise = 0.98 + 0.04 * f64::from(u32::try_from(seed).unwrap_or_default()) / 2_147_483_647.0;
        let hill = f64::from(minute.saturating_sub(360).min(1_440 - minute)) / 540.0;
        let crowd = if (600..630).contains(&minute) || (885..915).contains(&minute) { 0.4 } else { 0.0 };
        let share = (0.1 + 0.45 * hill.min(1.0) + crowd) / 0.95;
        let rate = f64::from(peak) * 6.0 * share * noise;
        text.extend([(minute * 60).to_string(), ",".to_owned(), format!("{rate:.3}\n")]);
    }
    Traffic::from_csv(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn setup(peak: u32) -> Setup {
    let target = MetricTarget { kind: "Utilization".into(), average_utilization: Some(60), ..MetricTarget::default() };
    let cpu = MetricSpec {
        kind: "Resource".into(),
        resource: Some(ResourceMetric { name: "cpu".into(), target }),
        ..MetricSpec::default()
    };
    let least = (peak / 20).max(2);
    let hpa = Spec {
        min_replicas: i32::try_from(least).ok(),
        max_replicas: i32::try_from(peak).unwrap_or(i32::MAX),
        metrics: Some(vec![cpu]),
        ..Spec::default()
    };
    let requests = Resources { cpu: MilliCpu(200), memory: Bytes(256 << 20) };
    let latency = |min, max| {
        let ends = vec![Duration::from_millis(min), Duration::from_millis(max)];
        Latency::of_quantiles(ends).unwrap_or_else(|| Latency::fixed(Duration::ZERO))
    };
    let workload = Workload {
        name: ObjectName::new("default", "web"),
        marks: simulator::with_base(&(peak / 10).to_string()),
        pods: Marks::default(),
        replicas: least,
        requests,
        containers: vec![],
        cpu_limit: Some(MilliCpu(1_000)),
        node_selector: vec![],
        constraints: Constraints::default(),
        virtual_obstacle: None,
        needs: Needs::default(),
        rolling: Rolling::default(),
        hpa,
        metrics: BTreeMap::new(),
        traffic: traffic(peak),
        serving: Serving {
            request_cpu: Duration::from_millis(20),
            request_time: Duration::from_millis(20),
            concurrency: NonZeroU32::new(8),
            memory: None,
            late_after: Duration::from_secs(1),
            give_up_after: Duration::from_secs(10),
            ready_after: Latency::fixed(Duration::ZERO),
            stop: Duration::from_secs(2),
        },
        updates: vec![],
    };
    Setup {
        seed: 1,
        starts_at: Timestamp::default(),
        workloads: vec![workload],
        namespaces: BTreeMap::new(),
        policies: BTreeMap::new(),
        real_nodes: RealNodes {
            count: (peak / 10).div_ceil(20).max(1),
            allocatable: Resources { cpu: MilliCpu(4_000), memory: Bytes(16 << 30) },
            max_pods: 110,
            labels: BTreeMap::new(),
            taints: vec![],
            zones: vec![],
            start_up: latency(1_000, 3_000),
            price: PerMilli::of_hour(0.8),
        },
        other_nodes: vec![],
        autoscaler: None,
        pools: vec![Pool {
            name: "cloud".into(),
            nodes: (peak / 1_000).max(1),
            pods_per_node: 3_000,
            start_up: latency(5_000, 20_000),
            stock: vec![],
            quota: None,
            throttle: None,
            reclaim: Reclaim::default(),
            price: (0.000_049, 0.000_006_13),
            facts: None,
            capabilities: None,
        }],
        rules: Settings {
            pools: vec!["cloud".into()],
            move_on_after: Duration::from_secs(90),
            move_back: MoveBack { after: Duration::from_mins(10), cool_down: Duration::from_mins(1), at_once: 1 },
        },
        timing: Timing { controller: None, scheduler: None, ..Timing::default() },
        warm_up: Duration::from_mins(10),
        settle: Duration::ZERO,
        sample_every: Duration::from_secs(15),
    }
}
