//! A pod as a task definition and what differs from it.
//!
//! Definitions are registered at one a second, so pods of one template share one: whatever differs between them, their
//! variables, travels with `RunTask` as overrides.

use k8s_openapi::api::core::v1::Pod;
use ring::digest;
use serde_json::{Value, json};

use super::{
    logs,
    sizes::{self, Chosen},
};
use crate::{
    api::pool::aws_fargate::{AwsFargate, Capacity},
    provider::{
        Owner, ProviderError,
        clouds::pod::{Abilities, PlainContainer, PlainPod, invalid},
        hex::hex,
    },
};

/// Tags by which a task tells whose it is.
pub(super) const TAG_CLUSTER: &str = "burstlet.dev/cluster";
pub(super) const TAG_NODE: &str = "burstlet.dev/node";
pub(super) const TAG_NAMESPACE: &str = "burstlet.dev/namespace";
pub(super) const TAG_NAME: &str = "burstlet.dev/name";
pub(super) const TAG_UID: &str = "burstlet.dev/uid";

const ABILITIES: Abilities = Abilities { containers: 10, init: true, refuses_probes: true };

/// Most characters of a task's overrides.
const LONGEST_OVERRIDES: usize = 8192;

/// What a pod needs of ECS.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name of the definition: by its content, so that equal ones are one.
    pub family: String,
    /// Parameters of `RegisterTaskDefinition`.
    pub definition: Value,
    /// What differs from the definition.
    pub overrides: Value,
    /// The size that the pod was rounded up to.
    pub size: Chosen,
}

/// The request for `pod`, or the field that stands in its way.
pub(super) fn translate(settings: &AwsFargate, owner: &Owner, pod: &Pod) -> Result<Request, ProviderError> {
    let plain = PlainPod::of(owner, pod, ABILITIES)?;
    let (cpu, memory) = plain.totals();
    let size = sizes::round_up(cpu, memory)?;
    let mut containers = Vec::new();
    for (at, container) in plain.init.iter().enumerate() {
        let mut value = container_definition(container);
        value["essential"] = json!(false);
        if let Some(before) = at.checked_sub(1).and_then(|at| plain.init.get(at)) {
            value["dependsOn"] = json!([{"containerName": before.name, "condition": "SUCCESS"}]);
        }
        containers.push(value);
    }
    for container in &plain.containers {
        let mut value = container_definition(container);
        value["essential"] = json!(true);
        if plain.restart_policy != "Never" {
            let ignored = if plain.restart_policy == "OnFailure" { vec![0] } else { Vec::new() };
            value["restartPolicy"] = json!({"enabled": true, "ignoredExitCodes": ignored});
        }
        if let Some(last) = plain.init.last() {
            value["dependsOn"] = json!([{"containerName": last.name, "condition": "SUCCESS"}]);
        }
        containers.push(value);
    }
    if let Some(configuration) = logs::configuration(settings) {
        for container in &mut containers {
            container["logConfiguration"] = configuration.clone();
        }
    }
    let volumes = plain.empty_dirs.keys().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let mut definition = json!({
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": size.cpu_units.to_string(),
        "memory": size.memory_mib.to_string(),
        "containerDefinitions": containers,
        "volumes": volumes,
    });
    if let Some(role) = &settings.execution_role_arn {
        definition["executionRoleArn"] = json!(role);
    }
    if let Some(role) = &settings.task_role_arn {
        definition["taskRoleArn"] = json!(role);
    }
    let overrides = overrides(&plain);
    let length = overrides.to_string().len();
    if length > LONGEST_OVERRIDES {
        let text = format!("the variables take {length} characters; at most {LONGEST_OVERRIDES} are allowed");
        return Err(invalid("spec.containers.env", text));
    }
    let family = format!("burstlet-{}", &hash(&definition.to_string())[..32]);
    definition["family"] = json!(family);
    Ok(Request { family, definition, overrides, size })
}

fn container_definition(container: &PlainContainer) -> Value {
    let ports = container
        .ports
        .iter()
        .map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol.to_lowercase()}));
    let mounts = container
        .mounts
        .iter()
        .map(|(name, path, read_only)| json!({"sourceVolume": name, "containerPath": path, "readOnly": read_only}));
    let mut value = json!({
        "name": container.name,
        "image": container.image,
        "portMappings": ports.collect::<Vec<_>>(),
        "mountPoints": mounts.collect::<Vec<_>>(),
        "interactive": container.stdin,
        "pseudoTerminal": container.tty,
    });
    if !container.command.is_empty() {
        value["entryPoint"] = json!(container.command);
    }
    if !container.args.is_empty() {
        value["command"] = json!(container.args);
    }
    if let Some(folder) = &container.working_dir {
        value["workingDirectory"] = json!(folder);
    }
    if container.cpu.0 > 0 {
        value["cpu"] = json!(container.cpu.0 * 1024 / 1000);
    }
    if container.memory.0 > 0 {
        value["memory"] = json!((container.memory.0 >> 20).max(6));
    }
    value
}

fn overrides(plain: &PlainPod) -> Value {
    let with_env = plain.init.iter().chain(&plain.containers).filter(|container| !container.env.is_empty());
    let containers = with_env.map(|container| {
        let env = container.env.iter().map(|(name, value)| json!({"name": name, "value": value}));
        json!({"name": container.name, "environment": env.collect::<Vec<_>>()})
    });
    json!({"containerOverrides": containers.collect::<Vec<_>>()})
}

/// Parameters of `RunTask` in a subnet, without its token. The definition goes by its family: the content is in its name,
/// so that every revision is the same.
pub(super) fn run_task(settings: &AwsFargate, owner: &Owner, request: &Request, subnet: &str) -> Value {
    let tags = [
        (TAG_CLUSTER, &owner.cluster),
        (TAG_NODE, &owner.node),
        (TAG_NAMESPACE, &owner.namespace),
        (TAG_NAME, &owner.name),
        (TAG_UID, &owner.uid),
    ];
    let mut task = json!({
        "cluster": settings.cluster,
        "taskDefinition": request.family,
        "count": 1,
        "startedBy": owner.uid,
        "platformVersion": settings.platform_version,
        "enableExecuteCommand": settings.enable_execute_command,
        "networkConfiguration": {"awsvpcConfiguration": {
            "subnets": [subnet],
            "securityGroups": settings.security_group_ids,
            "assignPublicIp": if settings.assign_public_ip { "ENABLED" } else { "DISABLED" },
        }},
        "overrides": request.overrides,
        "tags": tags.map(|(key, value)| json!({"key": key, "value": value})),
    });
    match settings.capacity {
        Capacity::OnDemand => task["launchType"] = json!("FARGATE"),
        Capacity::Spot => {
            task["capacityProviderStrategy"] = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
        }
    }
    task
}

/// SHA-256 of a text, in hexadecimal digits.
pub(super) fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::clouds::pod::tests::{owner, pod};

    fn settings() -> AwsFargate {
        serde_json::from_value(json!({"region": "us-east-1", "cluster": "c", "subnetIds": ["s-1"]})).unwrap()
    }

    fn request(uid: &str, spec: Value) -> Result<Request, String> {
        translate(&settings(), &owner(uid), &pod(spec)).map_err(|error| error.to_string())
    }

    #[test]
    fn pods_of_one_template_share_a_definition_and_differ_in_overrides() {
        let spec = || {
            json!({"restartPolicy": "OnFailure", "initContainers": [{"name": "i", "image": "x"}],
                "containers": [{"name": "a", "image": "x", "command": ["sh"], "args": ["-c", "ls"],
                "env": [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]})
        };
        let (one, two) = (request("1", spec()).unwrap(), request("2", spec()).unwrap());
        assert_eq!((&one.family, &one.definition), (&two.family, &two.definition));
        assert_eq!(one.overrides["containerOverrides"][0]["environment"][0]["value"], "web-1");
        let container = &one.definition["containerDefinitions"][1];
        assert_eq!((&container["entryPoint"], &container["command"]), (&json!(["sh"]), &json!(["-c", "ls"])));
        assert_eq!(container["dependsOn"], json!([{"containerName": "i", "condition": "SUCCESS"}]));
        assert_eq!(container["restartPolicy"]["ignoredExitCodes"], json!([0]));
        assert_eq!((&one.definition["cpu"], &one.definition["memory"]), (&json!("256"), &json!("512")));
    }

    #[test]
    fn limits_are_told_by_field() {
        let long = "x".repeat(9000);
        let spec = json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": long}]}]});
        assert!(request("1", spec).unwrap_err().contains("at most 8192"));
        let bad = AwsFargate { region: "mars".to_owned(), ..settings() };
        assert!(ProviderError::refuse_faulty(bad.faults()).unwrap_err().to_string().contains("region"));
    }

    #[test]
    fn every_container_writes_to_the_group_that_the_pool_names() {
        let spec =
            json!({"initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "a", "image": "x"}]});
        let logged = AwsFargate { log_group: Some("web".to_owned()), ..settings() };
        let request = translate(&logged, &owner("1"), &pod(spec.clone())).unwrap();
        let options =
            json!({"awslogs-group": "web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "burstlet"});
        for container in request.definition["containerDefinitions"].as_array().unwrap() {
            assert_eq!(container["logConfiguration"], json!({"logDriver": "awslogs", "options": options}));
        }
        let plain = translate(&settings(), &owner("1"), &pod(spec)).unwrap();
        assert_ne!(request.family, plain.family, "pods from before keep their definition");
    }
}
