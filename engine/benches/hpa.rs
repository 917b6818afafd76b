//! The HPA's time a sync: one pass over the pods for each metric.

#![expect(clippy::panic, reason = "a benchmark that measures something else must not print a figure")]

use std::time::{Duration, Instant};

use burstlet_engine::simulator::hpa::{
    Controller, MetricSpec, MetricTarget, MilliValue, Moment, OtherMetrics, PodSample, Reading, ResourceMetric,
    Settings, Spec, Target,
};

const SYNCS: u32 = 1_000;
/// A day of syncs every 15 s, over 10,000 pods, is to be replayed in a second: the HPA may take half of it.
const REACH: Duration = Duration::from_micros(86);

fn main() {
    for pods in [100, 1_000, 10_000] {
        for metrics in [&["cpu"][..], &["cpu", "memory"]] {
            let mut times = measured(pods, metrics);
            times.sort_unstable();
            let median = times[times.len() / 2];
            println!(
                "HPA sync, {pods} pods, {} metric(s), {SYNCS} syncs: p50 {:.1} µs, {:.1} ns a pod (reach at 10,000 pods and one metric: {} µs)",
                metrics.len(),
                median.as_secs_f64() * 1e6,
                median.as_secs_f64() * 1e9 / f64::from(pods),
                REACH.as_micros(),
            );
        }
    }
}

fn measured(pods: u32, metrics: &[&str]) -> Vec<Duration> {
    let metric = |name: &&str| MetricSpec {
        kind: "Resource".to_owned(),
        resource: Some(ResourceMetric {
            name: (*name).to_owned(),
            target: MetricTarget {
                kind: "Utilization".to_owned(),
                average_utilization: Some(50),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    };
    let spec = Spec { max_replicas: 50_000, metrics: Some(metrics.iter().map(metric).collect()), ..Spec::default() };
    let mut controller = Controller::new(Settings::default(), spec).unwrap_or_else(|invalid| panic!("{invalid}"));
    let names = (0..pods).map(|pod| format!("web-7d4b9c6f5-{pod:05}")).collect::<Vec<_>>();
    let reading = Reading { request: Some(MilliValue(100)), usage: Some(MilliValue(50)) };
    let mut samples = names
        .iter()
        .map(|name| PodSample {
            name,
            ready: Some(true),
            started: Some(Moment::from_secs(-600)),
            ready_since: Moment::from_secs(-590),
            cpu: reading,
            memory: reading,
            window: Duration::from_secs(30),
            ..PodSample::default()
        })
        .collect::<Vec<_>>();
    let target = Target::of(i32::try_from(pods).unwrap_or(i32::MAX));
    (0..SYNCS)
        .map(|sync| {
            let now = Moment::from_secs(i64::from(sync) * 15);
            for (sample, change) in samples.iter_mut().zip([-1, 1, 0].into_iter().cycle()) {
                sample.cpu.usage = sample.cpu.usage.map(|usage| MilliValue(usage.0 + change));
                sample.sampled = now;
            }
            let begin = Instant::now();
            let desired = controller.sync(now, target, &samples, &OtherMetrics::default()).desired;
            let took = begin.elapsed();
            assert!(desired > 0, "it scaled to nothing");
            took
        })
        .collect()
}
