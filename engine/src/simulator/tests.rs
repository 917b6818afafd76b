//! Whole runs: what must hold of each.

#![allow(clippy::float_cmp, reason = "figures are rounded to decimals, and compared as such")]

use std::{collections::BTreeMap, time::Duration};

mod told;

use super::*;
use crate::{
    model::{Bytes, MilliCpu, Needs, ObjectName, Resources, Timestamp},
    policy::{Marks, MoveBack, Settings},
    traffic::Traffic,
};

mod policies;

/// A pod of 200m that serves 50 requests a second at most, meant to use 60 %: six requests a second.
fn workload(base: Option<&str>, most: i32, traffic: &str) -> Workload {
    let target = hpa::MetricTarget { kind: "Utilization".into(), average_utilization: Some(60), ..Default::default() };
    let cpu = hpa::MetricSpec {
        kind: "Resource".into(),
        resource: Some(hpa::ResourceMetric { name: "cpu".into(), target }),
        ..Default::default()
    };
    let spec = hpa::Spec { min_replicas: Some(2), max_replicas: most, metrics: Some(vec![cpu]), ..Default::default() };
    Workload {
        name: ObjectName::new("default", "web"),
        marks: base.map(with_base).unwrap_or_default(),
        pods: Marks::default(),
        replicas: 2,
        requests: Resources { cpu: MilliCpu(200), memory: Bytes(256 << 20) },
        containers: vec![],
        cpu_limit: Some(MilliCpu(1_000)),
        node_selector: vec![],
        needs: Needs::default(),
        constraints: Constraints::default(),
        virtual_obstacle: None,
        rolling: Rolling::default(),
        hpa: spec,
        metrics: BTreeMap::new(),
        traffic: Traffic::from_csv(&format!("seconds,requests_per_second\n{traffic}")).unwrap(),
        serving: Serving {
            request_cpu: Duration::from_millis(20),
            request_time: Duration::from_millis(20),
            concurrency: None,
            memory: None,
            late_after: Duration::from_secs(1),
            give_up_after: Duration::from_secs(10),
            ready_after: Latency::fixed(Duration::ZERO),
            stop: Duration::from_secs(2),
        },
        updates: vec![],
    }
}

fn range(min: u64, max: u64) -> Latency {
    Latency::of_quantiles(vec![Duration::from_millis(min), Duration::from_millis(max)]).unwrap()
}

fn pool(name: &str) -> Pool {
    Pool {
        name: name.into(),
        nodes: 2,
        pods_per_node: 50,
        start_up: range(1_500, 4_000),
        stock: vec![],
        quota: None,
        throttle: None,
        reclaim: Reclaim::default(),
        price: (0.000_049, 0.000_006_13),
        facts: None,
        capabilities: None,
    }
}

fn setup(workload: Workload) -> Setup {
    let move_back = MoveBack { after: Duration::from_secs(20), cool_down: Duration::from_secs(20), at_once: 1 };
    Setup {
        seed: 1,
        starts_at: Timestamp::default(),
        workloads: vec![workload],
        namespaces: BTreeMap::new(),
        policies: BTreeMap::new(),
        real_nodes: RealNodes {
            count: 3,
            allocatable: Resources { cpu: MilliCpu(2_000), memory: Bytes(4 << 30) },
            max_pods: 30,
            labels: BTreeMap::new(),
            taints: vec![],
            zones: vec![],
            start_up: range(500, 1_500),
            price: PerMilli::of_hour(0.36),
        },
        other_nodes: vec![],
        autoscaler: None,
        pools: vec![pool("cloud")],
        rules: Settings { pools: vec!["cloud".into()], move_on_after: Duration::from_secs(90), move_back },
        timing: Timing::default(),
        warm_up: Duration::from_mins(10),
        settle: Duration::from_mins(10),
        sample_every: Duration::from_secs(1),
    }
}

const CROWD: &str = "0,12\n120,120\n420,12\n600,12\n";

fn crowd() -> Setup {
    setup(workload(Some("3"), 20, CROWD))
}

fn played(setup: &Setup) -> Played {
    run(setup).unwrap().workloads.remove(0)
}

fn plant(played: &Played) -> Plant {
    played.summary.plant.unwrap()
}

#[test]
fn a_crowd_bursts_beyond_its_base_and_is_gone_afterwards() {
    let played = played(&crowd());
    let summary = &played.summary;
    assert_eq!((summary.peak, summary.base, summary.base_exceeded, summary.instances_left), (20, 3, 0, 0));
    let (first, last) = (&played.samples[0], played.samples.last().unwrap());
    assert_eq!((first.t, first.ready, first.real, first.pools["cloud"]), (0.0, 2, 2, 0));
    assert_eq!((last.t, last.ready, last.real, last.pools["cloud"]), (1_200.0, 2, 2, 0));
    let most = played.samples.iter().map(|sample| (sample.real, sample.pools["cloud"])).max().unwrap();
    assert_eq!(most, (3, 17));
    assert!(summary.cost > 0.0 && summary.delay_p50_s.is_some_and(|delay| (1.5..10.0).contains(&delay)), "{summary:?}");
}

#[test]
fn an_hpa_looks_when_it_was_seen_to_and_by_its_period_after_that() {
    let changes = |look: u64| {
        let mut setup = crowd();
        setup.timing.hpa_looks = [7_000, 600_000 + look].map(Duration::from_millis).to_vec();
        let samples = played(&setup).samples;
        let changes = samples.windows(2).filter(|pair| pair[0].wanted != pair[1].wanted).map(|pair| pair[1].t);
        changes.take(2).collect::<Vec<_>>()
    };
    // The crowd comes at 120 s. The first look doubles the two pods to four, the next one goes on.
    assert_eq!([changes(170_500), changes(200_500)], [[171.0, 186.0], [201.0, 216.0]]);
}

#[test]
fn pod_time_is_the_integral_of_the_replica_curve() {
    let mut setup = crowd();
    setup.workloads[0].updates = vec![Duration::from_mins(5)];
    setup.pools[0].reclaim.waves = vec![(Duration::from_secs(350), 500_000)];
    check_integral(&played(&setup));
}

#[test]
fn pod_time_is_the_integral_of_each_workloads_curve_and_of_all_together() {
    let mut setup = crowd();
    setup.pools[0].reclaim.waves = vec![(Duration::from_secs(350), 500_000)];
    setup.workloads.push(Workload { name: ObjectName::new("default", "api"), ..workload(Some("25%"), 30, CROWD) });
    setup.pools[0].quota = Some(20);
    let outcome = run(&setup).unwrap();
    for played in &outcome.workloads {
        check_integral(played);
    }
    let total = outcome.total().unwrap();
    check_integral(&total);
    let sum = |of: fn(&Played) -> f64| outcome.workloads.iter().map(of).sum::<f64>();
    assert!((total.summary.cost - sum(|played| played.summary.cost)).abs() < 2e-6);
    assert_eq!(total.samples[300].ready, outcome.workloads.iter().map(|played| played.samples[300].ready).sum::<u32>());
    let seen = total.samples.iter().map(|sample| sample.ready).max().unwrap();
    assert!(total.summary.peak >= seen && total.summary.peak <= seen + 2, "{} {seen}", total.summary.peak);
    assert_eq!(plant(&total).node_s, plant(&outcome.workloads[0]).node_s, "the cluster's nodes are counted once");
}

fn check_integral(played: &Played) {
    let end = 1_200.0;
    for (tier, used) in &played.summary.tiers {
        let pods = played.pods.iter().filter(|pod| pod.tier.as_ref() == Some(tier));
        let by_lives: f64 = pods
            .filter_map(|pod| Some((pod.bound?.max(0.0), pod.gone.unwrap_or(end).min(end))))
            .map(|(from, to)| to - from)
            .sum();
        assert!((by_lives - used.pod_s).abs() < 1e-6, "{tier}: {by_lives} against {}", used.pod_s);
        assert!(used.pod_s > 100.0, "{tier}");
    }
    // The samples are a second apart, and pods that terminate count in lives but not in samples.
    let curve: f64 = played.samples.iter().map(|sample| f64::from(sample.real + sample.pools["cloud"])).sum();
    let live: f64 = played
        .pods
        .iter()
        .filter_map(|pod| Some((pod.bound?.max(0.0), pod.deleted.or(pod.gone).unwrap_or(end).min(end))))
        .map(|(from, to)| to - from)
        .sum();
    assert!((curve - live).abs() < 60.0, "{curve} against {live}");
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let again = |seed| run(&Setup { seed, ..crowd() }).unwrap();
    assert_eq!(again(1), again(1));
    assert_ne!(again(1).workloads, again(2).workloads);
}

#[test]
fn without_a_base_all_stay_on_real_nodes_and_an_autoscaler_makes_room() {
    let mut setup = setup(workload(None, 60, "0,12\n120,300\n900,300\n"));
    setup.autoscaler = Some(Autoscaler {
        max: 8,
        boot: range(60_000, 90_000),
        scan: Duration::from_secs(10),
        scale_down_after: Duration::from_mins(5),
        utilization: 50,
    });
    let full = played(&setup);
    let peak = full.summary.peak;
    assert!((50..=60).contains(&peak), "300 requests need 50 pods, and some more while the line is worked off: {peak}");
    assert_eq!(plant(&full).nodes_peak, peak.div_ceil(10));
    assert!(full.summary.delay_p95_s.is_some_and(|delay| delay > 60.0), "they wait for nodes to boot");
    assert_eq!(full.summary.burst_share, 0.0);
    setup.autoscaler = None;
    assert_eq!(played(&setup).summary.peak, 30, "three nodes hold no more");
}

#[test]
fn a_pool_without_stock_makes_pods_wait_behind_the_gate() {
    let mut setup = crowd();
    let at = Duration::from_secs;
    setup.pools[0].stock = vec![(Duration::ZERO, None), (at(100), Some(4)), (at(300), None)];
    let played = played(&setup);
    let at = |second: usize| &played.samples[second];
    assert_eq!((at(290).ready, at(290).gated + at(290).pending), (7, 13));
    assert_eq!(at(400).ready, 20, "stock is back");
}

#[test]
fn pods_that_are_deleted_behind_the_gate_wait_no_more() {
    let mut setup = crowd();
    setup.pools[0].stock = vec![(Duration::ZERO, Some(4))];
    let played = played(&setup);
    assert_eq!(played.samples[400].gated, 13);
    let last = played.samples.last().unwrap();
    assert_eq!((last.wanted, last.ready, last.gated, last.pending), (2, 2, 0, 0));
}

#[test]
fn a_rolling_update_keeps_serving_and_each_revision_its_base() {
    let mut setup = crowd();
    setup.workloads[0].updates = vec![Duration::from_mins(5)];
    let played = played(&setup);
    assert_eq!(played.summary.base_exceeded, 0);
    let least = played.samples[260..420].iter().map(|sample| sample.ready).min().unwrap();
    assert!(least >= 15, "no more than a quarter may lack: {least}");
    let created = plant(&played).created;
    assert!((38..60).contains(&created), "each is made anew: {created}");
}

#[test]
fn what_a_pool_takes_back_is_made_again() {
    let mut setup = crowd();
    setup.pools[0].reclaim = Reclaim { per_hour: 0, waves: vec![(Duration::from_mins(5), 1_000_000)] };
    let played = played(&setup);
    assert_eq!(plant(&played).reclaims, 17);
    assert_eq!((played.samples[301].ready, played.samples[320].ready), (3, 20));
}

#[test]
fn two_workloads_share_nodes_and_their_cost() {
    let mut setup = crowd();
    let mut other = workload(Some("50%"), 10, "0,30\n600,30\n");
    other.name = ObjectName::new("default", "api");
    setup.workloads.push(other);
    let outcome = run(&setup).unwrap();
    let nodes: f64 = outcome.workloads.iter().map(|played| played.summary.tiers["real"].cost).sum();
    let up = plant(&outcome.workloads[0]).node_s;
    assert_eq!(up, 3.0 * 1_200.0);
    assert!((nodes - up * 0.36 / 3_600.0).abs() < 2e-6, "{nodes}");
    assert_eq!(outcome.workloads[1].samples[300].pools["cloud"], 2, "half of five, rounded down");
}
