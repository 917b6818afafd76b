//! A task, and how it is shown.

use serde_json::{Value, json};

use super::text;
use crate::lab::emulator::{
    Clock, Moment,
    machines::{Machine, Phase},
};

#[derive(Debug)]
pub(super) struct Task {
    pub(super) cluster: String,
    pub(super) started_by: String,
    pub(super) stopped_reason: String,
    pub(super) takes_commands: bool,
    definition: Value,
    overrides: Value,
    tags: Value,
    is_spot: bool,
    subnet: String,
}

/// Whether it is to stop, by request or because its end is announced.
pub(super) fn is_stopping(machine: &Machine, now: Moment) -> bool {
    machine.phase(now).is_over() || machine.noticed.is_some_and(|noticed| noticed <= now)
}

pub(super) fn runs(machine: &Machine, now: Moment) -> bool {
    machine.phase(now) == Phase::Running
}

/// What a container of a definition runs.
pub(super) fn command(container: &Value) -> Vec<String> {
    let words = ["entryPoint", "command"].into_iter().filter_map(|field| container[field].as_array()).flatten();
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

impl Task {
    pub(super) fn new(cluster: &str, body: &Value, definition: &Value, is_spot: bool, subnet: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            started_by: text(body, "startedBy").to_owned(),
            stopped_reason: String::new(),
            takes_commands: body["enableExecuteCommand"] == true,
            definition: definition.clone(),
            overrides: body["overrides"].clone(),
            tags: body["tags"].clone(),
            is_spot,
            subnet: subnet.to_owned(),
        }
    }

    /// A container of its definition.
    pub(super) fn container(&self, name: &str) -> Option<&Value> {
        self.definition["containerDefinitions"].as_array()?.iter().find(|container| container["name"] == name)
    }

    pub(super) fn shown(&self, arn: &str, machine: &Machine, now: Moment, clock: &Clock) -> Value {
        let phase = machine.phase(now);
        #[expect(clippy::cast_precision_loss, reason = "the protocol's times are floating")]
        let time = |moment: Moment| clock.stamp(moment).as_millisecond() as f64 / 1000.0;
        let status = match phase {
            Phase::Pending => "PROVISIONING",
            Phase::Running => "RUNNING",
            _ => "STOPPED",
        };
        let containers = self.definition["containerDefinitions"].as_array().cloned().unwrap_or_default();
        let containers = containers.iter().map(|container| {
            let mut shown = json!({
                "name": container["name"],
                "image": container["image"],
                "lastStatus": status.replace("PROVISIONING", "PENDING"),
                "taskArn": arn,
                "networkInterfaces": [{"privateIpv4Address": machine.address.to_string()}],
            });
            match phase {
                Phase::Finished(code) => shown["exitCode"] = json!(code),
                Phase::Ended | Phase::Reclaimed => shown["exitCode"] = json!(143),
                _ => {}
            }
            shown
        });
        let desired = if is_stopping(machine, now) { "STOPPED" } else { "RUNNING" };
        let mut shown = json!({
            "taskArn": arn,
            "clusterArn": arn.replace(":task/", ":cluster/").rsplit_once('/').map(|(cluster, _)| cluster),
            "taskDefinitionArn": self.definition["taskDefinitionArn"],
            "lastStatus": status,
            "desiredStatus": desired,
            "cpu": self.definition["cpu"],
            "memory": self.definition["memory"],
            "startedBy": self.started_by,
            "createdAt": time(machine.created),
            "containers": containers.collect::<Vec<_>>(),
            "overrides": self.overrides,
            "tags": self.tags,
            "enableExecuteCommand": self.takes_commands,
            "attachments": [{"id": "eni", "type": "ElasticNetworkInterface", "status": "ATTACHED", "details": [
                {"name": "subnetId", "value": self.subnet},
                {"name": "privateIPv4Address", "value": machine.address.to_string()},
            ]}],
        });
        if self.is_spot {
            shown["capacityProviderName"] = json!("FARGATE_SPOT");
        } else {
            shown["launchType"] = json!("FARGATE");
        }
        let (code, reason) = match phase {
            Phase::Pending | Phase::Running => return shown,
            Phase::Finished(_) => ("EssentialContainerExited", "Essential container in task exited"),
            Phase::NoMachine => ("TaskFailedToStart", "Capacity is unavailable at this time. Please try again later"),
            Phase::Reclaimed => ("SpotInterruption", "Your Spot Task was interrupted."),
            Phase::Ended => ("UserInitiated", self.stopped_reason.as_str()),
        };
        shown["stopCode"] = json!(code);
        shown["stoppedReason"] = json!(reason);
        shown["stoppedAt"] = json!(time(machine.over_at().unwrap_or(now)));
        shown
    }
}
