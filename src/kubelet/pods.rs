//! What the kubelet keeps of a pod.

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};

use super::{
    digest::Digest,
    resolve::has_files,
    sync::{Phase, PodView, Report, UNRESOLVED},
};

/// The part of a pod's spec that statuses and metrics need. Pods of one template share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Shape {
    pub(crate) init: Box<[ContainerShape]>,
    pub(crate) containers: Box<[ContainerShape]>,
    /// A volume holds files of other objects, which change.
    pub(crate) has_files: bool,
}

/// One container of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ContainerShape {
    pub(crate) name: Box<str>,
    pub(crate) image: Box<str>,
    /// An init container that keeps running beside the others.
    pub(crate) is_sidecar: bool,
}

impl Shape {
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let shapes = |containers: &[Container]| containers.iter().map(ContainerShape::of).collect();
        Self {
            init: spec.init_containers.as_deref().map(shapes).unwrap_or_default(),
            containers: shapes(&spec.containers),
            has_files: spec.volumes.iter().flatten().any(has_files),
        }
    }
}

impl Shape {
    /// Whether the pod has a container of this name, init containers included.
    pub(crate) fn has(&self, container: &str) -> bool {
        self.init.iter().chain(&self.containers).any(|known| &*known.name == container)
    }
}

impl ContainerShape {
    fn of(container: &Container) -> Self {
        Self {
            name: container.name.as_str().into(),
            image: container.image.as_deref().unwrap_or_default().into(),
            is_sidecar: container.restart_policy.as_deref() == Some("Always"),
        }
    }
}

/// A pod taken apart into what is kept.
#[derive(Debug, Clone)]
pub(crate) struct SlimPod {
    pub(crate) uid: Arc<str>,
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) node: Box<str>,
    pub(crate) view: PodView,
    pub(crate) times: Times,
}

/// Seconds of Unix time that a pod's status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Times {
    /// The kubelet took the pod.
    pub(crate) accepted: Option<i64>,
    /// Its containers began to run.
    pub(crate) running: Option<i64>,
}

impl SlimPod {
    /// `None` for a pod without UID or node, which no bound pod is. `holds_daemonset_pods` as in
    /// [`super::KubeletConfig`].
    pub(crate) fn of(pod: &Pod, holds_daemonset_pods: bool) -> Option<Self> {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        let is_daemon = || {
            let mut owners = meta.owner_references.iter().flatten();
            owners.any(|o| o.kind == "DaemonSet" && o.controller == Some(true))
        };
        let grace = meta.deletion_grace_period_seconds.unwrap_or(0);
        let view = PodView {
            version: meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0),
            report: status.map_or(Report::PENDING, report),
            deletion: meta.deletion_timestamp.is_some().then(|| Duration::from_secs(u64::try_from(grace).unwrap_or(0))),
            has_finalizers: meta.finalizers.as_ref().is_some_and(|f| !f.is_empty()),
            gates_open: gates_are_open(spec, status),
            held: holds_daemonset_pods && is_daemon(),
            restarts_always: spec.restart_policy.as_deref().unwrap_or("Always") == "Always",
        };
        Some(Self {
            uid: meta.uid.as_deref()?.into(),
            namespace: meta.namespace.as_deref().unwrap_or("default").into(),
            name: meta.name.as_deref()?.into(),
            node: spec.node_name.as_deref()?.into(),
            view,
            times: times(status),
        })
    }
}

fn report(status: &PodStatus) -> Report {
    let phase = match status.phase.as_deref() {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        _ => Phase::Pending,
    };
    let waiting = |c: &ContainerStatus| c.state.as_ref()?.waiting.as_ref()?.reason.clone();
    let waits_for = (phase == Phase::Pending).then(|| status.container_statuses.as_deref()?.first().and_then(waiting));
    Report {
        phase,
        ready: condition_is_true(status, "Ready"),
        ip: status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()),
        waits_for: waits_for.flatten().map_or("", |reason| known_refusal(&reason)),
        containers: Digest::of_status(status),
    }
}

/// The refusals that statuses name; others are not the kubelet's.
fn known_refusal(reason: &str) -> &'static str {
    let providers =
        ["NoStock", "QuotaExceeded", "Throttled", "Invalid", "Unauthorized", "Unsupported", "NotFound", "Unavailable"];
    providers.into_iter().chain([UNRESOLVED]).find(|known| *known == reason).unwrap_or("")
}

fn condition_is_true(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

fn gates_are_open(spec: &PodSpec, status: Option<&PodStatus>) -> bool {
    let mut gates = spec.readiness_gates.iter().flatten();
    gates.all(|gate| status.is_some_and(|s| condition_is_true(s, &gate.condition_type)))
}

fn times(status: Option<&PodStatus>) -> Times {
    let Some(status) = status else { return Times::default() };
    let running = |c: &ContainerStatus| {
        let state = c.state.as_ref()?;
        let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
        running.or_else(|| state.terminated.as_ref()?.started_at.as_ref()).map(|t| t.0.as_second())
    };
    Times {
        accepted: status.start_time.as_ref().map(|t| t.0.as_second()),
        running: status.container_statuses.iter().flatten().find_map(running),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn bound() -> serde_json::Value {
        json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "42"},
            "spec": {"nodeName": "v", "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
                     "initContainers": [{"name": "s", "image": "j", "restartPolicy": "Always"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-01-01T00:00:00Z",
                       "conditions": [{"type": "Ready", "status": "True"}],
                       "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                                              "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]},
        })
    }

    #[test]
    fn a_running_pod_is_read_back_as_it_was_written() {
        let slim = SlimPod::of(&pod(bound()), true).unwrap();
        assert_eq!((&*slim.uid, &*slim.namespace, &*slim.name, &*slim.node), ("u", "n", "p", "v"));
        assert_eq!(slim.view.version, 42);
        let ip = Some("10.0.0.1".parse().unwrap());
        let containers = slim.view.report.containers;
        assert_ne!(containers, Digest::NONE);
        assert_eq!(slim.view.report, Report { phase: Phase::Running, ready: true, ip, waits_for: "", containers });
        assert!(!slim.view.restarts_always && slim.view.deletion.is_none() && slim.view.gates_open);
        assert_eq!(slim.times.running.unwrap() - slim.times.accepted.unwrap(), 5);
        assert!(Shape::of(&pod(bound())).init[0].is_sidecar);
    }

    #[test]
    fn a_readiness_gate_is_open_when_its_condition_is_true() {
        let mut gated = bound();
        gated["spec"]["readinessGates"] = json!([{"conditionType": "example.com/lb"}]);
        assert!(!SlimPod::of(&pod(gated.clone()), true).unwrap().view.gates_open);
        gated["status"]["conditions"] = json!([{"type": "example.com/lb", "status": "True"}]);
        assert!(SlimPod::of(&pod(gated), true).unwrap().view.gates_open);
    }

    #[test]
    fn only_pods_that_a_daemonset_controls_are_held_and_only_where_asked() {
        let mut daemon = bound();
        daemon["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "x", "controller": true}]);
        assert!(SlimPod::of(&pod(daemon.clone()), true).unwrap().view.held);
        assert!(!SlimPod::of(&pod(daemon), false).unwrap().view.held);
        assert!(!SlimPod::of(&pod(bound()), true).unwrap().view.held);
    }
}
