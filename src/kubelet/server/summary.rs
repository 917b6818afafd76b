//! `/stats/summary`: the kubelet's older form of the same figures.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::kubelet::usage::{NodeUsage, PodUsage};

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    node: NodeStats,
    pods: Vec<PodStats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStats {
    node_name: String,
    cpu: Cpu,
    memory: Memory,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    start_time: String,
    containers: Vec<ContainerStats>,
    cpu: Cpu,
    memory: Memory,
}

#[derive(Debug, Serialize)]
struct PodRef {
    name: String,
    namespace: String,
    uid: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStats {
    name: String,
    start_time: String,
    cpu: Cpu,
    memory: Memory,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: String,
    usage_nano_cores: u64,
    usage_core_nano_seconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    time: String,
    usage_bytes: u64,
    working_set_bytes: u64,
}

/// The summary of a node at `at`.
pub(super) fn summary(name: &str, at: Timestamp, node: &NodeUsage) -> Summary {
    Summary {
        node: NodeStats {
            node_name: name.to_owned(),
            cpu: cpu(at, node.cpu_nano_cores, node.cpu),
            memory: memory(at, node.memory_bytes),
        },
        pods: node.pods.iter().map(|pod| pod_stats(at, pod)).collect(),
    }
}

fn pod_stats(at: Timestamp, pod: &PodUsage) -> PodStats {
    let start_time = Timestamp::from_second(pod.sample.running_since).unwrap_or_default().to_string();
    let containers = &pod.sample.shape.containers;
    // Providers measure pods: containers share evenly.
    let share = u32::try_from(containers.len()).unwrap_or(1).max(1);
    let container = |name: &str| ContainerStats {
        name: name.to_owned(),
        start_time: start_time.clone(),
        cpu: cpu(at, pod.usage.cpu_nano_cores / u64::from(share), pod.usage.cpu / share),
        memory: memory(at, pod.usage.memory_bytes / u64::from(share)),
    };
    PodStats {
        pod_ref: PodRef {
            name: pod.sample.name.to_string(),
            namespace: pod.sample.namespace.to_string(),
            uid: pod.sample.uid.to_string(),
        },
        containers: containers.iter().map(|c| container(&c.name)).collect(),
        start_time: start_time.clone(),
        cpu: cpu(at, pod.usage.cpu_nano_cores, pod.usage.cpu),
        memory: memory(at, pod.usage.memory_bytes),
    }
}

fn cpu(at: Timestamp, nano_cores: u64, total: std::time::Duration) -> Cpu {
    Cpu {
        time: at.to_string(),
        usage_nano_cores: nano_cores,
        usage_core_nano_seconds: u64::try_from(total.as_nanos()).unwrap_or(u64::MAX),
    }
}

fn memory(at: Timestamp, bytes: u64) -> Memory {
    Memory { time: at.to_string(), usage_bytes: bytes, working_set_bytes: bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_the_kubelets_names() {
        let at = Timestamp::from_second(1_700_000_060).unwrap();
        let value = serde_json::to_value(summary("v", at, &super::super::resource::tests::node())).unwrap();
        assert_eq!(value["node"]["nodeName"], "v");
        assert_eq!(value["pods"][0]["podRef"]["name"], "web-1");
        assert_eq!(value["pods"][0]["cpu"]["usageCoreNanoSeconds"], 2_500_000_000_u64);
        assert_eq!(value["pods"][0]["containers"][0]["memory"]["workingSetBytes"], 32 << 20);
        assert_eq!(value["pods"][0]["startTime"], "2023-11-14T22:13:20Z");
    }
}
