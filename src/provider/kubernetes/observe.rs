//! What a pod of the other cluster says of the instance that it is.

use k8s_openapi::{
    api::core::v1::{
        ContainerState as RemoteState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus,
    },
    jiff::Timestamp,
};

use super::identity::owner_of;
use crate::provider::{ContainerEnd, ContainerReport, ContainerState, Instance, InstanceId, InstanceState};

/// The instance that a pod is; `None` for a pod that is not ours.
pub(super) fn instance_of(pod: &Pod) -> Option<Instance> {
    let owner = owner_of(&pod.metadata)?;
    let status = pod.status.clone().unwrap_or_default();
    Some(Instance {
        id: InstanceId(pod.metadata.name.clone()?),
        owner,
        state: state(&status),
        ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
        containers: containers(&pod.spec.clone().unwrap_or_default(), &status),
    })
}

fn state(status: &PodStatus) -> InstanceState {
    match status.phase.as_deref() {
        // What the other cluster has lost sight of goes on, as far as anyone knows.
        Some("Running" | "Unknown") => InstanceState::Running,
        Some("Succeeded") => InstanceState::Succeeded,
        Some("Failed") => InstanceState::Failed {
            reason: status.reason.clone().unwrap_or_else(|| "Error".to_owned()),
            message: status.message.clone().unwrap_or_default(),
            exit_code: exit_code(status),
        },
        _ => InstanceState::Pending,
    }
}

/// The first exit code that is not 0, init containers first.
fn exit_code(status: &PodStatus) -> i32 {
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let codes = all.filter_map(|container| Some(container.state.as_ref()?.terminated.as_ref()?.exit_code));
    codes.into_iter().find(|code| *code != 0).unwrap_or(1)
}

fn containers(spec: &PodSpec, status: &PodStatus) -> Vec<ContainerReport> {
    let told = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let told = told.map(report).collect::<Vec<_>>();
    if !told.is_empty() {
        return told;
    }
    // Why it is on no node there yet is why it waits here.
    let conditions = status.conditions.iter().flatten();
    let mut refused = conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let Some(refused) = refused.next() else { return Vec::new() };
    let waiting = ContainerState::Waiting {
        reason: refused.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned()),
        message: refused.message.clone().map(|message| format!("in the other cluster: {message}")),
    };
    let report = |name: &str| ContainerReport {
        name: name.to_owned(),
        state: waiting.clone(),
        last: None,
        is_ready: false,
        has_started: false,
        restarts: 0,
    };
    spec.containers.iter().map(|container| report(&container.name)).collect()
}

fn report(status: &ContainerStatus) -> ContainerReport {
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    ContainerReport {
        name: status.name.clone(),
        state: container_state(status.state.as_ref()),
        last: last.map(end),
        is_ready: status.ready,
        has_started: status.started == Some(true),
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
    }
}

fn container_state(state: Option<&RemoteState>) -> ContainerState {
    let waiting = || ContainerState::Waiting { reason: "ContainerCreating".to_owned(), message: None };
    let Some(state) = state else { return waiting() };
    if let Some(terminated) = &state.terminated {
        return ContainerState::Ended(end(terminated));
    }
    if let Some(running) = &state.running {
        return ContainerState::Running { since: moment(running.started_at.as_ref()) };
    }
    let Some(told) = &state.waiting else { return waiting() };
    let reason = told.reason.clone().unwrap_or_else(|| "ContainerCreating".to_owned());
    ContainerState::Waiting { reason, message: told.message.clone() }
}

fn end(terminated: &ContainerStateTerminated) -> ContainerEnd {
    let reason = if terminated.exit_code == 0 { "Completed" } else { "Error" };
    ContainerEnd {
        exit_code: terminated.exit_code,
        reason: terminated.reason.clone().unwrap_or_else(|| reason.to_owned()),
        message: terminated.message.clone(),
        started: moment(terminated.started_at.as_ref()),
        finished: moment(terminated.finished_at.as_ref()),
    }
}

fn moment(time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>) -> Timestamp {
    time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use serde_json::{Value, json};

    use super::*;
    use crate::provider::kubernetes::identity::{metadata, name_of, tests::owner};

    fn seen(status: Value) -> Instance {
        let own = owner("u-1");
        let pod = Pod {
            metadata: metadata(&own, "burst", name_of(&own)),
            spec: serde_json::from_value(json!({"containers": [{"name": "a"}]})).unwrap(),
            status: Some(serde_json::from_value(status).unwrap()),
        };
        instance_of(&pod).unwrap()
    }

    #[test]
    fn a_pod_of_another_cluster_tells_each_container() {
        let ended = json!({"exitCode": 3, "reason": "Error", "message": "bye", "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:00:01Z"});
        let instance = seen(json!({"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [
            {"name": "a", "image": "i", "imageID": "", "ready": true, "started": true, "restartCount": 2,
             "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}, "lastState": {"terminated": ended}}]}));
        assert_eq!((instance.id.0.as_str(), instance.ip), ("web-1-u-1", Some("10.1.2.3".parse().unwrap())));
        let container = &instance.containers[0];
        assert!(container.is_ready && container.has_started && container.restarts == 2);
        assert!(matches!(container.state, ContainerState::Running { since } if since.as_second() == 1_767_225_602));
        let last = container.last.as_ref().unwrap();
        assert_eq!((last.exit_code, last.message.as_deref()), (3, Some("bye")));
    }

    #[test]
    fn a_failed_pod_has_the_exit_code_of_what_failed_first() {
        let terminated = |name: &str, code: i32| {
            let state = json!({"terminated": {"exitCode": code}});
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
        };
        let statuses = json!([terminated("a", 0), terminated("b", 7)]);
        let failed = seen(json!({"phase": "Failed", "containerStatuses": statuses}));
        assert!(matches!(failed.state, InstanceState::Failed { exit_code: 7, .. }), "{:?}", failed.state);
        let evicted = seen(json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}));
        let InstanceState::Failed { reason, message, exit_code } = evicted.state else { panic!() };
        assert_eq!((reason.as_str(), message.as_str(), exit_code), ("Evicted", "disk pressure", 1));
    }

    #[test]
    fn a_pod_without_a_node_there_says_why() {
        let refused = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available"}]);
        let waiting = seen(json!({"phase": "Pending", "conditions": refused}));
        assert_eq!(waiting.state, InstanceState::Pending);
        let ContainerState::Waiting { reason, message } = &waiting.containers[0].state else { panic!() };
        assert_eq!(reason, "Unschedulable");
        assert_eq!(message.as_deref(), Some("in the other cluster: 0/3 nodes are available"));
        assert!(seen(json!({"phase": "Pending"})).containers.is_empty());
    }
}
