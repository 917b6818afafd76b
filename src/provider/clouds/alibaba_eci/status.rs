//! The cloud's statuses in the provider's words.

use super::wire::{GroupStatus, PodStatus, Terminated};
use crate::provider::InstanceState;

/// What a group's status means for its pod.
pub(super) fn state(group: &GroupStatus) -> InstanceState {
    let failed = |reason: &str, message: String, exit_code| InstanceState::Failed {
        reason: reason.to_owned(),
        message,
        exit_code,
    };
    match group.status.as_str() {
        "Running" | "Restarting" | "Updating" => InstanceState::Running,
        // What is being deleted has run, if it has an address; the kubelet knows why it goes.
        "Terminating" if address(group).is_some() => InstanceState::Running,
        "Succeeded" => InstanceState::Succeeded,
        "ScheduleFailed" => {
            let message = format!("alibaba-eci: no machine was found for {}", group.container_group_id);
            failed("NoStock", message, 0)
        }
        "Expired" => failed("Expired", "alibaba-eci: the instance has expired".to_owned(), 137),
        "Failed" => ended(group),
        // Scheduling, Pending, and what the cloud may add.
        _ => InstanceState::Pending,
    }
}

/// The group's address.
pub(super) fn address(group: &GroupStatus) -> Option<std::net::IpAddr> {
    group.pod_status.as_ref().and_then(|pod| pod.pod_ip)
}

fn terminated(pod: &PodStatus) -> impl Iterator<Item = (&str, &Terminated)> {
    let states = pod.container_statuses.iter();
    states.filter_map(|container| Some((container.name.as_str(), container.state.as_ref()?.terminated.as_ref()?)))
}

/// By the container that failed first in the pod's order.
fn ended(group: &GroupStatus) -> InstanceState {
    let pod = group.pod_status.as_ref();
    let worst = pod.into_iter().flat_map(terminated).find(|(_, terminated)| terminated.exit_code != 0);
    let condition = pod.and_then(|pod| pod.conditions.iter().find_map(|condition| condition.reason.clone()));
    let reason = worst.and_then(|(_, terminated)| terminated.reason.clone()).or(condition);
    let reason = match reason.as_deref() {
        // The cloud's word for a spot instance that it took back.
        Some("BidFailed") => "SpotReclaimed".to_owned(),
        Some(other) => other.to_owned(),
        None => "Error".to_owned(),
    };
    let (exit_code, message) = match worst {
        Some((name, terminated)) => {
            let text = terminated.message.clone().unwrap_or_default();
            (
                terminated.exit_code,
                format!("alibaba-eci: container {name} ended with exit code {}. {text}", terminated.exit_code),
            )
        }
        None => (1, "alibaba-eci: the instance failed".to_owned()),
    };
    InstanceState::Failed { reason, message: message.trim_end_matches([' ', '.']).to_owned(), exit_code }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: &str, pod: &serde_json::Value) -> InstanceState {
        let group = json!({"ContainerGroupId": "eci-1", "Status": status, "PodStatus": pod});
        state(&serde_json::from_value(group).unwrap())
    }

    #[test]
    fn each_status_is_a_state() {
        let pod = json!({"PodIp": "10.0.0.1", "ContainerStatuses": [{"Name": "a", "State": {"Running": {}}}]});
        for status in ["Scheduling", "Pending"] {
            assert_eq!(read(status, &pod), InstanceState::Pending);
        }
        for status in ["Running", "Restarting", "Updating", "Terminating"] {
            assert_eq!(read(status, &pod), InstanceState::Running);
        }
        assert_eq!(read("Terminating", &json!(null)), InstanceState::Pending);
        assert_eq!(read("Succeeded", &pod), InstanceState::Succeeded);
        assert!(matches!(read("ScheduleFailed", &pod), InstanceState::Failed { reason, .. } if reason == "NoStock"));
    }

    #[test]
    fn a_failure_has_the_code_and_reason_of_its_container() {
        let terminated = |code: i32, reason: &str| json!({"Terminated": {"ExitCode": code, "Reason": reason}});
        let pod = json!({"ContainerStatuses": [
            {"Name": "side", "State": terminated(0, "Completed")}, {"Name": "app", "State": terminated(3, "Error")},
        ]});
        let InstanceState::Failed { reason, message, exit_code } = read("Failed", &pod) else { panic!() };
        assert_eq!((reason.as_str(), exit_code), ("Error", 3));
        assert_eq!(message, "alibaba-eci: container app ended with exit code 3");
        let taken = json!({"ContainerStatuses": [{"Name": "a", "State": terminated(137, "BidFailed")}]});
        assert!(matches!(read("Failed", &taken), InstanceState::Failed { reason, .. } if reason == "SpotReclaimed"));
    }
}
