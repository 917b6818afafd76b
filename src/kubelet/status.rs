//! The status that the kubelet writes: everything in one patch a pod.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
        HostIP, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use serde::Serialize;

use super::{
    pods::{ContainerShape, Shape, Times},
    sync::{InstanceFact, Phase, Report},
};
use crate::provider::{ContainerEnd, ContainerReport, ContainerState as Reported, InstanceState};

/// Everything that a status is made of.
#[derive(Debug)]
pub(crate) struct StatusInput<'a> {
    pub(crate) uid: &'a str,
    pub(crate) shape: &'a Shape,
    pub(crate) report: &'a Report,
    pub(crate) instance: &'a InstanceFact,
    pub(crate) times: Times,
    /// Seconds of Unix time.
    pub(crate) now: i64,
    pub(crate) host: IpAddr,
    /// Provider's name, the scheme of container ids.
    pub(crate) provider: &'a str,
    /// What the provider tells of the instance.
    pub(crate) annotations: &'a BTreeMap<String, String>,
}

/// A strategic merge patch of a pod's status. It carries the UID, so that the API server refuses it for a successor of
/// the same name; conditions merge by type, so that those of others (`PodScheduled`, readiness gates) stay. What the
/// provider tells of the instance goes with it: the API server takes a pod's annotations with its status, too.
#[derive(Debug, Serialize)]
pub(crate) struct StatusPatch<'a> {
    metadata: PatchMeta<'a>,
    status: PodStatus,
}

#[derive(Debug, Serialize)]
struct PatchMeta<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// How the containers ended.
struct End {
    reason: String,
    message: Option<String>,
    exit_code: i32,
}

impl<'a> StatusPatch<'a> {
    pub(crate) fn new(input: &StatusInput<'a>) -> Self {
        let phase = input.report.phase;
        let end = phase.is_final().then(|| end(phase, input.instance));
        let lost = end.as_ref().filter(|_| !matches!(input.instance, InstanceFact::Present { .. }));
        let status = PodStatus {
            phase: Some(phase_name(phase).to_owned()),
            reason: lost.map(|end| end.reason.clone()),
            message: lost.and_then(|end| end.message.clone()),
            conditions: Some(conditions(input)),
            pod_ip: input.report.ip.map(|ip| ip.to_string()),
            pod_ips: input.report.ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
            host_ip: Some(input.host.to_string()),
            host_ips: Some(vec![HostIP { ip: input.host.to_string() }]),
            start_time: Some(time(input.times.accepted.unwrap_or(input.now))),
            container_statuses: Some(
                input.shape.containers.iter().map(|c| container(input, c, end.as_ref(), false)).collect(),
            ),
            init_container_statuses: (!input.shape.init.is_empty())
                .then(|| input.shape.init.iter().map(|c| container(input, c, end.as_ref(), true)).collect()),
            ..PodStatus::default()
        };
        Self { metadata: PatchMeta { uid: input.uid, annotations: input.annotations }, status }
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap_or_default())
}

fn end(phase: Phase, instance: &InstanceFact) -> End {
    match instance {
        InstanceFact::Present { state: InstanceState::Failed { reason, message, exit_code }, .. } => {
            End { reason: reason.clone(), message: Some(message.clone()), exit_code: *exit_code }
        }
        InstanceFact::Present { .. } => End { reason: "Completed".to_owned(), message: None, exit_code: 0 },
        _ if phase == Phase::Succeeded => End { reason: "Completed".to_owned(), message: None, exit_code: 0 },
        // 137 and this reason are what a kubelet reports of containers that it lost.
        _ => End {
            reason: "InstanceLost".to_owned(),
            message: Some("the provider no longer has the pod's instance".to_owned()),
            exit_code: 137,
        },
    }
}

fn conditions(input: &StatusInput<'_>) -> Vec<PodCondition> {
    let report = input.report;
    let running = report.phase == Phase::Running;
    let containers = reports(input.instance);
    let all_ready = containers.iter().all(|container| container.is_ready);
    let is_initialised = report.phase != Phase::Pending
        || !containers.is_empty() && input.shape.init.iter().all(|init| is_through(init, containers));
    let reason = match report.phase {
        Phase::Pending => report.waits_for,
        Phase::Running if report.ready => "",
        Phase::Running if !all_ready => "ContainersNotReady",
        Phase::Running => "ReadinessGatesNotReady",
        Phase::Succeeded => "PodCompleted",
        Phase::Failed => "PodFailed",
    };
    let condition = |kind: &str, holds: bool| PodCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: (!holds && !reason.is_empty()).then(|| reason.to_owned()),
        last_transition_time: Some(time(input.now)),
        ..PodCondition::default()
    };
    vec![
        condition("PodReadyToStartContainers", running || !containers.is_empty()),
        condition("Initialized", is_initialised),
        condition("ContainersReady", running && all_ready),
        condition("Ready", report.ready),
    ]
}

/// Whether an init container no longer keeps the others waiting.
fn is_through(init: &ContainerShape, reports: &[ContainerReport]) -> bool {
    let report = reports.iter().find(|report| *report.name == *init.name);
    report.is_some_and(|report| match &report.state {
        _ if init.is_sidecar => report.has_started,
        Reported::Ended(end) => end.exit_code == 0,
        Reported::Waiting { .. } | Reported::Running { .. } => false,
    })
}

/// What the provider says of single containers.
fn reports(instance: &InstanceFact) -> &[ContainerReport] {
    match instance {
        InstanceFact::Present { containers, .. } => containers,
        InstanceFact::Absent | InstanceFact::Maybe | InstanceFact::Gone => &[],
    }
}

/// A container as its provider tells of it.
fn reported(shape: &ContainerShape, report: &ContainerReport, pod: &str) -> ContainerStatus {
    // Every run of a container has an id of its own.
    let id = format!("{pod}-{}", report.restarts);
    let ended = |end: &ContainerEnd, id: String| ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(id),
            reason: Some(end.reason.clone()),
            message: end.message.clone(),
            exit_code: end.exit_code,
            started_at: Some(time(end.started.as_second())),
            finished_at: Some(time(end.finished.as_second())),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    };
    let state = match &report.state {
        Reported::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.clone()), message: message.clone() }),
            ..ContainerState::default()
        },
        Reported::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(since.as_second())) }),
            ..ContainerState::default()
        },
        Reported::Ended(end) => ended(end, id.clone()),
    };
    let before = format!("{pod}-{}", report.restarts.saturating_sub(1));
    ContainerStatus {
        name: shape.name.to_string(),
        image: shape.image.to_string(),
        image_id: shape.image.to_string(),
        container_id: state.waiting.is_none().then_some(id),
        ready: report.is_ready,
        started: Some(report.has_started),
        restart_count: i32::try_from(report.restarts).unwrap_or(i32::MAX),
        last_state: report.last.as_ref().map(|end| ended(end, before)),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn container(input: &StatusInput<'_>, shape: &ContainerShape, end: Option<&End>, is_init: bool) -> ContainerStatus {
    let began = input.times.running.or(input.times.accepted).unwrap_or(input.now);
    let id = format!("{}://{}-{}", input.provider, input.uid, shape.name);
    let terminated = |reason: &str, message: Option<String>, exit_code: i32, finished: i64| ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(id.clone()),
            reason: Some(reason.to_owned()),
            message,
            exit_code,
            started_at: Some(time(began)),
            finished_at: Some(time(finished)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    };
    if let Some(report) = reports(input.instance).iter().find(|report| *report.name == *shape.name) {
        return reported(shape, report, &id);
    }
    let runs = input.report.phase == Phase::Running && (!is_init || shape.is_sidecar);
    let ran_through = is_init && !shape.is_sidecar && input.report.phase != Phase::Pending;
    let state = match end {
        _ if ran_through => terminated("Completed", None, 0, began),
        Some(end) => terminated(&end.reason, end.message.clone(), end.exit_code, input.now),
        None if runs => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(began)) }),
            ..ContainerState::default()
        },
        None => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(input.report.waits_for.to_owned()), message: None }),
            ..ContainerState::default()
        },
    };
    let waits = state.waiting.is_some();
    ContainerStatus {
        name: shape.name.to_string(),
        image: shape.image.to_string(),
        image_id: shape.image.to_string(),
        container_id: (!waits).then(|| id.clone()),
        ready: runs || ran_through,
        started: Some(runs),
        restart_count: 0,
        state: Some(state),
        ..ContainerStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::kubelet::digest::Digest;

    fn shape() -> Shape {
        let container = |name: &str, is_sidecar| ContainerShape { name: name.into(), image: "img".into(), is_sidecar };
        Shape {
            init: Box::new([container("prepare", false), container("proxy", true)]),
            containers: Box::new([container("app", false)]),
            has_files: false,
        }
    }

    fn patch(report: &Report, instance: &InstanceFact) -> Value {
        let shape = shape();
        let times = Times { accepted: Some(100), running: Some(103) };
        let host = "127.0.0.1".parse().unwrap();
        let (provider, annotations) = ("simulated", &BTreeMap::new());
        let input =
            StatusInput { uid: "u", shape: &shape, report, instance, times, now: 110, host, provider, annotations };
        serde_json::to_value(StatusPatch::new(&input)).unwrap()
    }

    fn present(state: InstanceState) -> InstanceFact {
        InstanceFact::Present { state, ip: None, containers: Arc::default() }
    }

    #[test]
    fn running_says_all_in_one_write() {
        let ip = Some("10.1.2.3".parse().unwrap());
        let report = Report { phase: Phase::Running, ready: true, ip, ..Report::PENDING };
        let patch = patch(&report, &present(InstanceState::Running));
        assert_eq!(patch["metadata"], json!({"uid": "u"}));
        let status = &patch["status"];
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["podIPs"], json!([{"ip": "10.1.2.3"}]));
        assert_eq!(status["startTime"], "1970-01-01T00:01:40Z");
        assert_eq!(status["containerStatuses"][0]["state"]["running"]["startedAt"], "1970-01-01T00:01:43Z");
        assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
        assert!(status["initContainerStatuses"][1]["state"]["running"].is_object());
        let conditions = status["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 4);
        assert!(conditions.iter().all(|c| c["status"] == "True" && c["type"] != "PodScheduled"));
    }

    #[test]
    fn failed_carries_the_exit_code_and_succeeded_zero() {
        let ended = InstanceState::Failed { reason: "Error".to_owned(), message: "why".to_owned(), exit_code: 3 };
        let failed = patch(&Report { phase: Phase::Failed, ..Report::PENDING }, &present(ended));
        assert_eq!(failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
        assert_eq!(failed["status"].get("reason"), None);
        let done = patch(&Report { phase: Phase::Succeeded, ..Report::PENDING }, &present(InstanceState::Succeeded));
        assert_eq!(done["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
        assert_eq!(done["status"]["containerStatuses"][0]["ready"], false);
    }

    #[test]
    fn containers_are_shown_as_their_provider_tells_of_them() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let end = |exit_code| ContainerEnd {
            exit_code,
            reason: "Error".to_owned(),
            message: Some("last words".to_owned()),
            started: at(1),
            finished: at(2),
        };
        let report = |name: &str, state, restarts, is_ready| {
            let last = (restarts > 0).then(|| end(3));
            ContainerReport { name: name.to_owned(), state, last, is_ready, has_started: true, restarts }
        };
        let containers = vec![
            report("prepare", Reported::Ended(end(0)), 0, true),
            report("proxy", Reported::Running { since: at(3) }, 0, true),
            report("app", Reported::Running { since: at(4) }, 2, false),
        ];
        let instance =
            InstanceFact::Present { state: InstanceState::Running, ip: None, containers: containers.clone().into() };
        let patch = patch(&Report { phase: Phase::Running, ..Report::PENDING }, &instance);
        let app = &patch["status"]["containerStatuses"][0];
        assert_eq!(app["restartCount"], 2);
        assert_eq!(app["ready"], false);
        assert_eq!(app["state"]["running"]["startedAt"], "1970-01-01T00:00:04Z");
        assert_eq!(app["lastState"]["terminated"]["message"], "last words");
        assert_ne!(app["containerID"], app["lastState"]["terminated"]["containerID"]);
        assert_eq!(patch["status"]["conditions"][3]["reason"], "ContainersNotReady");
        let status: PodStatus = serde_json::from_value(patch["status"].clone()).unwrap();
        assert_eq!(Digest::of_status(&status), Digest::of_reports(&containers), "it would be written again and again");
    }

    #[test]
    fn a_lost_instance_is_named() {
        let lost = patch(&Report { phase: Phase::Failed, ..Report::PENDING }, &InstanceFact::Gone);
        assert_eq!(lost["status"]["reason"], "InstanceLost");
        assert_eq!(lost["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
    }

    #[test]
    fn a_refused_pod_says_what_it_waits_for() {
        let waits = patch(&Report { waits_for: "NoStock", ..Report::PENDING }, &InstanceFact::Absent);
        assert_eq!(waits["status"]["phase"], "Pending");
        assert_eq!(waits["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "NoStock");
        assert_eq!(waits["status"]["conditions"][3]["reason"], "NoStock");
    }
}
