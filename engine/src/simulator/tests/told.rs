//! A replay scales by each type of metric as upstream computes it.

use super::*;
use crate::{simulator::hpa::Quantity, traffic::Factor};

fn target(kind: &str, value: &str) -> hpa::MetricTarget {
    let quantity: Option<Quantity> = value.parse().ok();
    let set = |wanted| quantity.filter(|_| kind == wanted);
    hpa::MetricTarget {
        kind: kind.into(),
        value: set("Value"),
        average_value: set("AverageValue"),
        average_utilization: value.parse().ok().filter(|_| kind == "Utilization"),
    }
}

fn identifier(name: &str) -> hpa::MetricIdentifier {
    hpa::MetricIdentifier { name: name.into(), selector: None }
}

fn pods(name: &str, value: &str) -> hpa::MetricSpec {
    let pods = hpa::PodsMetric { metric: identifier(name), target: target("AverageValue", value) };
    hpa::MetricSpec { kind: "Pods".into(), pods: Some(pods), ..Default::default() }
}

fn object(name: &str, kind: &str, value: &str) -> hpa::MetricSpec {
    let described_object =
        hpa::DescribedObject { api_version: "v1".into(), kind: "Service".into(), name: "web".into() };
    let object = hpa::ObjectMetric { described_object, metric: identifier(name), target: target(kind, value) };
    hpa::MetricSpec { kind: "Object".into(), object: Some(object), ..Default::default() }
}

fn external(name: &str, kind: &str, value: &str) -> hpa::MetricSpec {
    let external = hpa::ExternalMetric { metric: identifier(name), target: target(kind, value) };
    hpa::MetricSpec { kind: "External".into(), external: Some(external), ..Default::default() }
}

fn memory(kind: &str, value: &str) -> hpa::MetricSpec {
    let resource = hpa::ResourceMetric { name: "memory".into(), target: target(kind, value) };
    hpa::MetricSpec { kind: "Resource".into(), resource: Some(resource), ..Default::default() }
}

fn container(container: &str, percent: &str) -> hpa::MetricSpec {
    let resource = hpa::ContainerResourceMetric {
        name: "cpu".into(),
        container: container.into(),
        target: target("Utilization", percent),
    };
    hpa::MetricSpec { kind: "ContainerResource".into(), container_resource: Some(resource), ..Default::default() }
}

/// A steady 120 requests a second, each of which takes half a second, under an HPA of one metric.
fn steady(metric: hpa::MetricSpec) -> Setup {
    let mut workload = workload(Some("3"), 60, "0,120\n600,120\n");
    workload.hpa.metrics = Some(vec![metric]);
    workload.serving.request_time = Duration::from_millis(500);
    for (name, source) in
        [("arriving", Source::RequestRate), ("served", Source::ServedRate), ("in_flight", Source::InFlight)]
    {
        workload.metrics.insert(name.into(), source);
    }
    setup(workload)
}

/// Replicas wanted at so many seconds.
fn wanted(setup: &Setup, at: usize) -> u32 {
    played(setup).samples[at].wanted
}

fn recorded(rows: &str) -> Source {
    Source::Recorded(Traffic::from_csv(&format!("seconds,requests_per_second\n{rows}")).unwrap())
}

#[test]
fn pods_metrics_are_equal_shares_of_the_whole() {
    // 120 a second, six for each pod; 60 in flight, three for each pod.
    assert_eq!(wanted(&steady(pods("arriving", "6")), 0), 20);
    assert_eq!(wanted(&steady(pods("served", "6")), 0), 20);
    assert_eq!(wanted(&steady(pods("in_flight", "3")), 0), 20);
}

#[test]
fn what_pods_serve_ends_where_they_are_busy_and_what_arrives_does_not() {
    // From two pods that serve 50 a second each: the HPA sees 1,000 arrive at once, or only what is served.
    let surge = |metric| {
        let mut setup = steady(metric);
        setup.workloads[0].traffic =
            Traffic::from_csv("seconds,requests_per_second\n0,12\n60,1000\n600,1000\n").unwrap();
        // The first reading amid the surge is at 63 s, the HPA's look at 67 s.
        wanted(&setup, 68)
    };
    // 12 s at 12 a second, then 3 s at 1,000: 209.6 a second arrive, and 29.6 are served; upstream doubles at most.
    assert_eq!((surge(pods("arriving", "30")), surge(pods("served", "30"))), (4, 2));
}

#[test]
fn object_and_external_metrics_are_the_whole() {
    assert_eq!(wanted(&steady(object("arriving", "AverageValue", "6")), 0), 20);
    assert_eq!(wanted(&steady(external("arriving", "AverageValue", "6")), 0), 20);
    // Against a value of its own the ratio multiplies the Ready pods: it grows to the maximum, or stays.
    assert_eq!(wanted(&steady(object("arriving", "Value", "60")), 0), 60);
    assert_eq!(wanted(&steady(external("arriving", "Value", "120")), 0), 2);
}

#[test]
fn a_recorded_metric_moves_replicas_from_its_first_reading_on() {
    let mut setup = steady(external("queue", "AverageValue", "30"));
    setup.workloads[0].metrics.insert("queue".into(), recorded("0,90\n100,300\n300,0\n600,0\n"));
    let played = played(&setup);
    let at = |second: usize| played.samples[second].wanted;
    // 90 are three pods' before the start, 300 are ten pods'. Read at 108 s, looked at at 112 s; upstream doubles at most.
    assert_eq!((at(0), at(111), at(113), at(128)), (3, 3, 6, 10));
    // Nothing is left from 303 s on. The HPA's look at 292 s was the last to see more, and is remembered for 300 s.
    assert_eq!((at(591), at(593)), (10, 2));
}

#[test]
fn without_a_first_reading_a_metric_fails_and_nothing_scales() {
    let mut setup = steady(external("unheard_of", "AverageValue", "30"));
    setup.workloads[0].replicas = 4;
    assert_eq!(wanted(&setup, 500), 4);
}

#[test]
fn memory_is_what_a_pod_always_uses_and_what_its_requests_add() {
    let with = |metric| {
        let mut setup = steady(metric);
        setup.workloads[0].replicas = 5;
        setup.workloads[0].serving.memory = Some(Memory { idle: Bytes(100 << 20), per_request: Bytes(10 << 20) });
        wanted(&setup, 0)
    };
    // 60 in flight are 600Mi; with 100Mi of their own, five pods use 220Mi each, seven 186Mi, nine 167Mi: within tolerance.
    assert_eq!(with(memory("AverageValue", "160Mi")), 9);
    // Half of the 256Mi requested: 14 pods use 55 % of it.
    assert_eq!(with(memory("Utilization", "50")), 14);
    assert_eq!(wanted(&steady(memory("AverageValue", "130Mi")), 0), 2, "nobody knows the pods' memory");
}

#[test]
fn a_containers_resource_is_measured_by_its_own_request() {
    let with = |metric| {
        let mut setup = steady(metric);
        let requests = |cpu| Resources { cpu: MilliCpu(cpu), memory: Bytes(128 << 20) };
        let container = |name: &str, cpu| Container { name: name.into(), requests: requests(cpu) };
        setup.workloads[0].containers = vec![container("web", 200), container("proxy", 300)];
        setup.workloads[0].requests = Resources { cpu: MilliCpu(500), memory: Bytes(256 << 20) };
        setup.real_nodes.count = 2;
        wanted(&setup, 0)
    };
    let whole = hpa::ResourceMetric { name: "cpu".into(), target: target("Utilization", "60") };
    let whole = hpa::MetricSpec { kind: "Resource".into(), resource: Some(whole), ..Default::default() };
    // 2.4 cores: 120m of 200m in each of 20 pods, 300m of 500m in each of 8.
    assert_eq!((with(container("web", "60")), with(whole)), (20, 8));
    assert_eq!(with(container("proxy", "60")), 2, "it serves nothing");
}

#[test]
fn days_and_scales_of_a_recorded_metric_follow_the_traffic() {
    let twice = Factor::new(2.0).unwrap();
    let Source::Recorded(series) = recorded("0,15\n100,15\n") else { unreachable!() };
    let mut setup = steady(external("queue", "AverageValue", "10"));
    setup.workloads[0].metrics.insert("queue".into(), Source::Recorded(series.scaled(twice)));
    assert_eq!(wanted(&setup, 0), 3);
}
