//! What a node says of itself: its running pods, its counters, its settings.

use std::{fmt::Write, sync::atomic::Ordering};

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use super::Begun;
use crate::kubelet::{KubeletHandle, index::Sample, pods::ContainerShape};

/// The running pods, as far as the kubelet knows them without asking anyone.
pub(super) fn running_pods(samples: Vec<Sample>) -> Value {
    let container = |shape: &ContainerShape| Container {
        name: shape.name.to_string(),
        image: Some(shape.image.to_string()),
        ..Container::default()
    };
    let pod = |sample: Sample| Pod {
        metadata: ObjectMeta {
            name: Some(sample.name.to_string()),
            namespace: Some(sample.namespace.to_string()),
            uid: Some(sample.uid.to_string()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: sample.shape.containers.iter().map(container).collect(),
            node_name: Some(sample.node.to_string()),
            ..PodSpec::default()
        }),
        ..Pod::default()
    };
    let items: Vec<Pod> = samples.into_iter().map(pod).collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

/// The node's own counters, in Prometheus' text format and under the names that a kubelet uses.
pub(super) fn metrics(node: &str, kubelet: &KubeletHandle, begun: &Begun) -> String {
    let samples = kubelet.running(node);
    let containers: usize = samples.iter().map(|sample| sample.shape.containers.len()).sum();
    let counts = kubelet.counts();
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, labels: &str, value: usize| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}\n");
    };
    gauge("kubelet_node_name", "The node's name. The value is always 1.", &format!("{{node=\"{node}\"}}"), 1);
    gauge("kubelet_running_pods", "Pods that run on the node.", "", samples.len());
    let running = "Containers that run on the node.";
    gauge("kubelet_running_containers", running, "{container_state=\"running\"}", containers);
    gauge("burstlet_kubelet_pods", "Pods bound to the pool's nodes.", "", counts.pods);
    gauge("burstlet_kubelet_instances", "Instances of the pool that stand.", "", counts.instances);
    gauge("burstlet_kubelet_orphans", "Instances of the pool whose pod is not known.", "", counts.orphans);
    text.push_str("# HELP burstlet_kubelet_sessions_total Sessions of exec, attach and port-forward begun here.\n");
    text.push_str("# TYPE burstlet_kubelet_sessions_total counter\n");
    for (wire, sessions) in [("spdy", &begun.spdy), ("websocket", &begun.websocket)] {
        let sessions = sessions.load(Ordering::Relaxed);
        let _ = writeln!(text, "burstlet_kubelet_sessions_total{{wire=\"{wire}\"}} {sessions}");
    }
    text
}

/// The settings that a kubelet would show and that mean something here.
pub(super) fn configz(max_pods: u32) -> Value {
    json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true, "cacheTTL": "2m0s"}},
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "maxPods": max_pods,
        "registerNode": true,
        "nodeLeaseDurationSeconds": 40,
    }})
}
