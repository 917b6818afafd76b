//! Every trace through a base and a pool: whatever real traffic does, the promise holds and the books balance.

use std::{fs, time::Duration};

use burstlet::{record::write_recording, scenario::Scenario};
use burstlet_engine::{
    simulator::{self, Played, Setup},
    traffic::{Factor, Recording},
};

use super::{import, traces};

const BASE: usize = 3;

/// The busiest part of each trace is replayed, and no more: a test is to be run often.
const PART: Duration = Duration::from_hours(8);

/// What the busiest moment is scaled to: 30 pods at their target of 60 % of 200m, 20 ms of CPU a request.
const PEAK: f64 = 180.0;

const SETTLE: Duration = Duration::from_mins(10);

const SCENARIO: &str = "\
name: trace
about: Real traffic, a base and a pool.
manifests: [workload.yaml]
traffic: {file: web.traffic}
requestCpu: 20ms
realNodes: {count: 1, cpu: '4', memory: 16Gi, pods: 30, startUp: {min: 2s, max: 6s}, price: {hour: 0.8}}
pools:
- name: cloud
  nodes: 2
  podsPerNode: 50
  startUp: {min: 8s, max: 25s}
  price: {cpuSecond: 0.000049, gibSecond: 0.00000613, currency: CNY}
serving: {readyAfter: {min: 3s, max: 5s}, stop: 2s}
settle: 10m
";

const WORKLOAD: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {burstlet.dev/base: '3'}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example/web:1
        resources: {requests: {cpu: 200m, memory: 256Mi}, limits: {cpu: '1'}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 40
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
";

/// The part of a trace around its highest step, most of it before, scaled.
fn busiest(recording: &Recording) -> Recording {
    let requests = recording.requests();
    let highest = requests.iter().copied().fold(0.0, f64::max);
    let index = requests.iter().position(|count| *count >= highest).unwrap();
    let peak = recording.step().length() * u32::try_from(index).unwrap();
    let from = peak.saturating_sub(PART * 2 / 3);
    let part = recording.part(from, from + PART).unwrap();
    let (_, _, highest) = part.rates();
    part.scaled(Factor::new((PEAK / highest.per_second()).clamp(Factor::MIN, Factor::MAX)).unwrap())
}

fn setup(recording: &Recording) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scenario.yaml"), SCENARIO).unwrap();
    fs::write(folder.path().join("workload.yaml"), WORKLOAD).unwrap();
    write_recording(&folder.path().join("web.traffic"), recording).unwrap();
    Scenario::open(folder.path().to_str().unwrap()).unwrap().setup().unwrap()
}

#[test]
fn every_trace_replays_within_its_base_with_all_pods_and_requests_accounted_for() {
    for trace in traces() {
        let file = trace.file;
        let recording = busiest(&import(file, &trace.settings).recording);
        let setup = setup(&recording);
        let outcome = simulator::run(&setup).unwrap();
        let played = &outcome.workloads[0];
        base_is_kept(file, played);
        pod_time_is_the_curves_integral(file, played, recording.duration() + SETTLE);
        requests_are_accounted_for(file, played, &recording);
        let again = simulator::run(&setup).unwrap();
        assert!(serde_json::to_vec(&outcome).unwrap() == serde_json::to_vec(&again).unwrap(), "{file}: the same bytes");
    }
}

/// At every moment of the replay, by the pods' own lives, and not by the simulator's count alone.
fn base_is_kept(file: &str, played: &Played) {
    let summary = &played.summary;
    assert_eq!((summary.base_exceeded, summary.instances_left), (0, 0), "{file}");
    let lives = played.pods.iter().filter(|pod| pod.tier.as_deref() == Some("real"));
    let lives: Vec<(f64, f64)> =
        lives.filter_map(|pod| Some((pod.bound?, pod.deleted.or(pod.gone).unwrap_or(f64::INFINITY)))).collect();
    let most = curve(&lives).into_iter().map(|(_, count)| count).max();
    assert!(most.is_some_and(|most| most <= BASE), "{file}: {most:?} on real nodes");
    let peak = usize::try_from(summary.peak).unwrap();
    assert!(peak > 3 * BASE && summary.burst_share > 0.0, "{file}: nothing burst, so nothing is proven: {summary:?}");
}

fn pod_time_is_the_curves_integral(file: &str, played: &Played, length: Duration) {
    let end = length.as_secs_f64();
    for (tier, used) in &played.summary.tiers {
        let pods = played.pods.iter().filter(|pod| pod.tier.as_ref() == Some(tier));
        let lives: Vec<(f64, f64)> = pods
            .filter_map(|pod| Some((pod.bound?.clamp(0.0, end), pod.gone.unwrap_or(end).clamp(0.0, end))))
            .collect();
        let curve = curve(&lives);
        let integral: f64 = curve.windows(2).map(|pair| as_f64(pair[0].1) * (pair[1].0 - pair[0].0)).sum();
        assert!((integral - used.pod_s).abs() < 1e-3, "{file}: {tier}: {integral} against {}", used.pod_s);
    }
    // What is printed second by second is the same curve, as far as its samples see: those terminating are missing.
    let pod_seconds: f64 = played.summary.tiers.values().map(|used| used.pod_s).sum();
    let every = played.samples[1].t - played.samples[0].t;
    let samples = played.samples.iter().map(|sample| f64::from(sample.real + sample.pools.values().sum::<u32>()));
    let seen = samples.sum::<f64>() * every;
    assert!((seen - pod_seconds).abs() < 0.05 * pod_seconds, "{file}: {seen} by samples, {pod_seconds} by the books");
}

/// How many lives there are from each moment on.
fn curve(lives: &[(f64, f64)]) -> Vec<(f64, usize)> {
    let mut changes: Vec<(f64, bool)> = lives.iter().flat_map(|(from, to)| [(*from, true), (*to, false)]).collect();
    // Who leaves makes room for who comes at the same moment.
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut count = 0_usize;
    let step = |(at, comes): (f64, bool)| {
        count = if comes { count + 1 } else { count.saturating_sub(1) };
        (at, count)
    };
    changes.into_iter().map(step).collect()
}

/// What the recording holds is what came, and what came was served or not.
fn requests_are_accounted_for(file: &str, played: &Played, recording: &Recording) {
    let last = recording.requests().last().unwrap() / recording.step().length().as_secs_f64();
    let offered = recording.total() + last * SETTLE.as_secs_f64();
    let plant = played.summary.plant.unwrap();
    let close = |one: f64, other: f64| (one - other).abs() <= 1e-6 * offered + 0.01;
    assert!(close(plant.requests, offered), "{file}: {} came, {offered} were recorded", plant.requests);
    let load = played.samples.last().unwrap().load.unwrap();
    let accounted = load.served + load.unserved + load.backlog;
    assert!(close(accounted, offered), "{file}: {accounted} accounted for, {offered} offered: {load:?}");
    assert!(close(load.served + plant.unserved, offered), "{file}: {load:?}");
    assert!(plant.late <= load.served && load.served > 0.5 * offered, "{file}: {load:?}");
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}
