//! `/metrics/resource` in Prometheus' text format, as the kubelet writes it and metrics-server reads it.

use std::{fmt::Write, time::Duration};

use k8s_openapi::jiff::Timestamp;

use crate::kubelet::usage::{NodeUsage, PodUsage};

/// Renders a node and its pods. A pod's name is the second label of its lines and of its containers': virtual-kubelet's own
/// suite reads it by its place. Values carry the time of the measurement, and no counter is zero, because metrics-server drops
/// a pod with one.
pub(super) fn render(at: Timestamp, node: &NodeUsage) -> String {
    let at = at.as_millisecond();
    let mut text = String::with_capacity(512 + node.pods.len() * 640);
    family(
        &mut text,
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    each_container(&mut text, node, |text, labels, pod, share| {
        line(text, "container_cpu_usage_seconds_total", labels, seconds(pod.usage.cpu / share), at);
    });
    family(&mut text, "container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes");
    each_container(&mut text, node, |text, labels, pod, share| {
        line(text, "container_memory_working_set_bytes", labels, pod.usage.memory_bytes / u64::from(share), at);
    });
    family(
        &mut text,
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    each_container(&mut text, node, |text, labels, pod, _| {
        line(text, "container_start_time_seconds", labels, pod.sample.running_since, at);
    });
    family(
        &mut text,
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    line(&mut text, "node_cpu_usage_seconds_total", "", seconds(node.cpu), at);
    family(&mut text, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    line(&mut text, "node_memory_working_set_bytes", "", node.memory_bytes, at);
    family(
        &mut text,
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for pod in &node.pods {
        line(&mut text, "pod_cpu_usage_seconds_total", &pod_labels(pod), seconds(pod.usage.cpu), at);
    }
    family(&mut text, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    for pod in &node.pods {
        line(&mut text, "pod_memory_working_set_bytes", &pod_labels(pod), pod.usage.memory_bytes, at);
    }
    family(&mut text, "scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise");
    text.push_str("scrape_error 0\n");
    text
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display, at: i64) {
    let _ = writeln!(text, "{name}{labels} {value} {at}");
}

/// Calls `write` for every running container; the pod's usage is split evenly among them, because providers measure
/// pods.
fn each_container(text: &mut String, node: &NodeUsage, write: impl Fn(&mut String, &str, &PodUsage, u32)) {
    for pod in &node.pods {
        let sample = &pod.sample;
        let sidecars = sample.shape.init.iter().filter(|c| c.is_sidecar);
        let running = || sample.shape.containers.iter().chain(sidecars.clone());
        let share = u32::try_from(running().count()).unwrap_or(1).max(1);
        for container in running() {
            let labels = format!(
                "{{container=\"{}\",pod=\"{}\",namespace=\"{}\"}}",
                container.name, sample.name, sample.namespace
            );
            write(text, &labels, pod, share);
        }
    }
}

fn pod_labels(pod: &PodUsage) -> String {
    format!("{{namespace=\"{}\",pod=\"{}\"}}", pod.sample.namespace, pod.sample.name)
}

/// Seconds to the microsecond, and never zero.
fn seconds(time: Duration) -> String {
    let time = time.max(Duration::from_micros(1));
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        kubelet::{
            index::Sample,
            pods::{ContainerShape, Shape},
        },
        provider::Usage,
    };

    pub(crate) fn node() -> NodeUsage {
        let container = |name: &str| ContainerShape { name: name.into(), image: "i".into(), is_sidecar: false };
        let shape = Shape {
            init: Box::default(),
            containers: Box::new([container("app"), container("helper")]),
            has_files: false,
        };
        let sample = Sample {
            uid: "u".into(),
            namespace: "shop".into(),
            name: "web-1".into(),
            node: "v".into(),
            shape: Arc::new(shape),
            running_since: 1_700_000_000,
        };
        let usage = Usage {
            uid: "u".to_owned(),
            cpu: Duration::from_millis(2500),
            cpu_nano_cores: 500_000_000,
            memory_bytes: 64 << 20,
        };
        NodeUsage {
            cpu: Duration::from_secs(9),
            cpu_nano_cores: 501_000_000,
            memory_bytes: 65 << 20,
            pods: vec![PodUsage { sample, usage }],
        }
    }

    #[test]
    fn lines_are_what_metrics_server_reads() {
        let text = render(Timestamp::from_millisecond(1_700_000_060_123).unwrap(), &node());
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        has(
            r#"container_cpu_usage_seconds_total{container="app",pod="web-1",namespace="shop"} 1.250000 1700000060123"#,
        );
        has(
            r#"container_memory_working_set_bytes{container="helper",pod="web-1",namespace="shop"} 33554432 1700000060123"#,
        );
        has(r#"container_start_time_seconds{container="app",pod="web-1",namespace="shop"} 1700000000 1700000060123"#);
        has(r#"pod_cpu_usage_seconds_total{namespace="shop",pod="web-1"} 2.500000 1700000060123"#);
        has("node_cpu_usage_seconds_total 9.000000 1700000060123");
        has("scrape_error 0");
    }

    #[test]
    fn no_counter_is_ever_zero() {
        assert_eq!(seconds(Duration::ZERO), "0.000001");
    }
}
