//! What stands: `DescribeContainerGroups`, `DescribeContainerGroupStatus` and `DescribeContainerGroupEvents`.

use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    group::{Container, ContainerState, Doing, Ended, Group},
    state::{Context, State},
    tree::Tree,
};
use crate::provider::clouds::alibaba_eci::size;

const MOST_IDS: usize = 20;
const MOST_GROUPS: usize = 20;
const MOST_STATUSES: usize = 200;

/// A page of the groups that the request asks for.
struct Found<'a> {
    groups: Vec<&'a Group>,
    total: usize,
    next: Option<String>,
}

fn find<'a>(state: &'a State, context: &Context<'_>, most: usize) -> Result<Found<'a>, ApiError> {
    let tree = &context.tree;
    let ids = tree.json_list("ContainerGroupIds", MOST_IDS)?;
    let limit = tree.number::<usize>("Limit")?.unwrap_or(most);
    if !(1..=most).contains(&limit) {
        return Err(ApiError::parameter("Limit", &format!("1 to {most} are taken.")));
    }
    let tags = tree.tags()?;
    let is = |parameter: &str, value: &str| tree.text(parameter).is_none_or(|wanted| wanted == value);
    let is_wanted = |group: &Group| {
        ids.as_ref().is_none_or(|ids| ids.contains(&group.id))
            && tags.iter().all(|(key, value)| group.tags.get(key).is_some_and(|tag| value.is_empty() || tag == value))
            && is("ContainerGroupName", &group.name)
            && is("VSwitchId", &group.vswitch)
            && is("ZoneId", &group.zone)
            && is("Status", group.status(context.now))
            && is("SecurityGroupId", &group.security_group)
    };
    let wanted = || state.groups.iter().filter(|(_, group)| is_wanted(group));
    let (groups, next) = State::page(wanted(), tree.text("NextToken"), limit);
    Ok(Found { groups, total: wanted().count(), next })
}

/// `DescribeContainerGroups`
pub(super) fn groups(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let found = find(state, context, MOST_GROUPS)?;
    let with_events = context.tree.text("WithEvent").is_none_or(|text| !text.eq_ignore_ascii_case("false"));
    let groups = found.groups.into_iter().map(|group| full(state, context, group, with_events));
    let groups = groups.collect::<Result<Vec<_>, ApiError>>()?;
    let mut answer = json!({"ContainerGroups": groups, "TotalCount": found.total});
    if let Some(next) = found.next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

fn full(state: &State, context: &Context<'_>, group: &Group, with_events: bool) -> Result<Value, ApiError> {
    let now = context.now;
    let container = |container: &Container| describe(context, container, group.container(container, now), false);
    let init = |container: &Container| describe(context, container, group.init_container(now), true);
    let mut value = json!({
        "ContainerGroupId": group.id, "ContainerGroupName": group.name, "RegionId": state.region,
        "ZoneId": group.zone, "VSwitchId": group.vswitch, "SecurityGroupId": group.security_group,
        "VpcId": state.network.vpc, "EniInstanceId": format!("eni-{}", group.id.trim_start_matches("eci-")),
        "Status": group.status(now), "Cpu": size::vcpu(group.size), "Memory": size::gib(group.size),
        "InstanceType": group.instance_type, "SpotStrategy": group.spot,
        "RestartPolicy": group.restart_policy.name(), "CreationTime": context.time(group.created),
        "EphemeralStorage": 30, "Discount": 0,
        "Containers": group.containers.iter().map(container).collect::<Result<Vec<_>, _>>()?,
        "InitContainers": group.init_containers.iter().map(init).collect::<Result<Vec<_>, _>>()?,
        "Tags": group.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect::<Vec<_>>(),
        "Volumes": group.definition.list("Volume").into_iter().map(volume).collect::<Vec<_>>(),
        "HostAliases": group.definition.list("HostAliase").into_iter().map(|alias| {
            json!({"Ip": alias.text("Ip"), "Hostnames": alias.texts("Hostname")})
        }).collect::<Vec<_>>(),
        "DnsConfig": dns(&group.definition),
        "Events": if with_events { events(context, group) } else { Vec::new() },
    });
    let mut set = |name: &str, text: Option<String>| {
        if let Some(text) = text {
            value[name] = text.into();
        }
    };
    set("IntranetIp", group.address.map(|address| address.to_string()));
    set("InternetIp", group.public_address.clone());
    set("RamRoleName", group.definition.text("RamRoleName").map(str::to_owned));
    set("ResourceGroupId", group.definition.text("ResourceGroupId").map(str::to_owned));
    if let Some(finish) = group.finish().filter(|finish| finish.at <= now) {
        let name = if finish.status == "Succeeded" { "SucceededTime" } else { "FailedTime" };
        set(name, Some(context.time(finish.at)));
    }
    Ok(value)
}

fn dns(tree: &Tree) -> Value {
    let option = |option: &Tree| json!({"Name": option.text("Name"), "Value": option.text("Value")});
    json!({
        "NameServers": tree.texts("DnsConfig.NameServer"), "Searches": tree.texts("DnsConfig.Search"),
        "Options": tree.list("DnsConfig.Option").into_iter().map(option).collect::<Vec<_>>(),
    })
}

fn volume(volume: &Tree) -> Value {
    let files = volume.list("ConfigFileVolume.ConfigFileToPath").into_iter();
    let files = files.map(|file| json!({"Path": file.text("Path"), "Content": file.text("Content")}));
    json!({
        "Name": volume.text("Name"), "Type": volume.text("Type"),
        "ConfigFileVolumeConfigFileToPaths": files.collect::<Vec<_>>(),
        "EmptyDirVolumeMedium": volume.text("EmptyDirVolume.Medium"),
        "EmptyDirVolumeSizeLimit": volume.text("EmptyDirVolume.SizeLimit"),
        "NFSVolumeServer": volume.text("NFSVolume.Server"), "NFSVolumePath": volume.text("NFSVolume.Path"),
    })
}

fn describe(
    context: &Context<'_>,
    container: &Container,
    state: ContainerState,
    is_init: bool,
) -> Result<Value, ApiError> {
    let asked = &container.definition;
    let variable = |variable: &Tree| {
        let mut value = json!({"Key": variable.text("Key"), "Value": variable.text("Value")});
        if let Some(path) = variable.text("FieldRef.FieldPath") {
            value["ValueFrom"] = json!({"FieldRef": {"FieldPath": path}});
        }
        value
    };
    let port = |port: &Tree| {
        Ok::<_, ApiError>(json!({"Port": port.number::<u16>("Port")?, "Protocol": port.text("Protocol")}))
    };
    let mount = |mount: &Tree| {
        Ok::<_, ApiError>(json!({
            "Name": mount.text("Name"), "MountPath": mount.text("MountPath"), "ReadOnly": mount.truth("ReadOnly")?,
            "SubPath": mount.text("SubPath").unwrap_or_default(),
        }))
    };
    let is_running = matches!(state.doing, Doing::Running { .. });
    // Init containers say `Command` where others say `Commands`.
    let command = if is_init { "Command" } else { "Commands" };
    let mut value = json!({
        "Name": container.name, "Image": container.image, command: asked.texts("Command"), "Args": asked.texts("Arg"),
        "Cpu": asked.number::<f64>("Cpu")?.unwrap_or(0.0), "Memory": asked.number::<f64>("Memory")?.unwrap_or(0.0),
        "Gpu": asked.number::<u32>("Gpu")?.unwrap_or(0), "WorkingDir": asked.text("WorkingDir"),
        "ImagePullPolicy": asked.text("ImagePullPolicy"),
        "EnvironmentVars": asked.list("EnvironmentVar").into_iter().map(variable).collect::<Vec<_>>(),
        "Ports": asked.list("Port").into_iter().map(port).collect::<Result<Vec<_>, _>>()?,
        "VolumeMounts": asked.list("VolumeMount").into_iter().map(mount).collect::<Result<Vec<_>, _>>()?,
        "Ready": is_running, "RestartCount": state.restarts, "CurrentState": doing(context, state.doing),
    });
    if let Some(previous) = state.previous {
        value["PreviousState"] = doing(context, Doing::Ended(previous));
    }
    for probe in ["LivenessProbe", "ReadinessProbe"] {
        if asked.has(probe) {
            value[probe] = probe_of(asked, probe)?;
        }
    }
    Ok(value)
}

fn probe_of(asked: &Tree, probe: &str) -> Result<Value, ApiError> {
    let mut value = Map::new();
    for name in ["InitialDelaySeconds", "PeriodSeconds", "TimeoutSeconds", "SuccessThreshold", "FailureThreshold"] {
        if let Some(number) = asked.number::<u32>(&format!("{probe}.{name}"))? {
            value.insert(name.to_owned(), number.into());
        }
    }
    if let Some(port) = asked.number::<u16>(&format!("{probe}.HttpGet.Port"))? {
        let text = |name: &str| asked.text(&format!("{probe}.HttpGet.{name}"));
        value.insert("HttpGet".to_owned(), json!({"Port": port, "Path": text("Path"), "Scheme": text("Scheme")}));
    }
    if let Some(port) = asked.number::<u16>(&format!("{probe}.TcpSocket.Port"))? {
        value.insert("TcpSocket".to_owned(), json!({"Port": port}));
    }
    value.insert("Execs".to_owned(), asked.texts(&format!("{probe}.Exec.Command")).into());
    Ok(Value::Object(value))
}

fn doing(context: &Context<'_>, doing: Doing) -> Value {
    match doing {
        Doing::Waiting { reason } => json!({"State": "Waiting", "Reason": reason, "DetailStatus": reason}),
        Doing::Running { since } => json!({"State": "Running", "StartTime": context.time(since)}),
        Doing::Ended(Ended { began, at, code, reason }) => json!({
            "State": "Terminated", "StartTime": context.time(began), "FinishTime": context.time(at),
            "ExitCode": code, "Reason": reason, "DetailStatus": reason, "Signal": if code > 128 { code - 128 } else { 0 },
        }),
    }
}

/// What has been noted about a group, oldest first.
fn events(context: &Context<'_>, group: &Group) -> Vec<Value> {
    let mut events = Vec::new();
    let mut note = |at, kind: &str, reason: &str, message: &str| {
        if at <= context.now {
            let time = context.time(at);
            events.push(json!({
                "Type": kind, "Reason": reason, "Message": message, "Count": 1, "Name": group.name,
                "FirstTimestamp": time, "LastTimestamp": time,
            }));
        }
    };
    if group.fails_late {
        let at = group.finish().map_or(group.created, |finish| finish.at);
        note(at, "Warning", "ContainerGroup.NoStock", "The container group could not be scheduled: no stock.");
    } else {
        note(group.ready_at(), "Normal", "Started", "Started containers");
    }
    if let Some((notice, at)) = group.reclaimed {
        let message = format!("The spot instance will be released at {}.", context.time(at));
        note(notice, "Warning", "SpotToBeReleased", &message);
    }
    events
}

/// `DescribeContainerGroupStatus`
pub(super) fn statuses(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let found = find(state, context, MOST_STATUSES)?;
    let data = found.groups.into_iter().map(|group| status(context, group)).collect::<Vec<_>>();
    let mut answer = json!({"Data": data, "TotalCount": found.total});
    if let Some(next) = found.next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

fn status(context: &Context<'_>, group: &Group) -> Value {
    let now = context.now;
    let container = |container: &Container| {
        let state = group.container(container, now);
        let terminated = |ended: Ended| {
            json!({"Terminated": {
                "ExitCode": ended.code, "Reason": ended.reason,
                "StartedAt": context.time(ended.began), "FinishedAt": context.time(ended.at),
            }})
        };
        let current = match state.doing {
            Doing::Waiting { reason } => json!({"Waiting": {"Reason": reason}}),
            Doing::Running { since } => json!({"Running": {"StartedAtstartedAt": context.time(since)}}),
            Doing::Ended(ended) => terminated(ended),
        };
        let is_running = matches!(state.doing, Doing::Running { .. });
        json!({
            "Name": container.name, "Image": container.image, "Ready": is_running, "Started": is_running,
            "RestartCount": state.restarts, "State": current, "LastState": state.previous.map(terminated),
        })
    };
    let status = group.status(now);
    let phase = match status {
        "Running" | "Restarting" | "Updating" | "Terminating" => "Running",
        "Succeeded" => "Succeeded",
        "Failed" | "ScheduleFailed" => "Failed",
        _ => "Pending",
    };
    json!({
        "ContainerGroupId": group.id, "Name": group.name, "Namespace": "default", "uuid": group.id, "Status": status,
        "PodStatus": {
            "Phase": phase, "PodIp": group.address.map(|ip| ip.to_string()), "StartTime": context.time(group.created),
            "QosClass": "Guaranteed",
            "PodIps": group.address.into_iter().map(|ip| json!({"Ip": ip.to_string()})).collect::<Vec<_>>(),
            "ContainerStatuses": group.containers.iter().map(container).collect::<Vec<_>>(),
            "Conditions": [{"type": "Ready", "status": if status == "Running" { "True" } else { "False" },
                "Reason": group.reason(now)}],
        },
    })
}

/// `DescribeContainerGroupEvents`
pub(super) fn group_events(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let found = find(state, context, MOST_GROUPS)?;
    let data = found.groups.into_iter().map(|group| {
        let events = events(context, group);
        json!({"ContainerGroupId": group.id, "Name": group.name, "Namespace": "default", "uuid": group.id, "Events": events})
    });
    Ok(json!({"Data": data.collect::<Vec<_>>(), "TotalCount": found.total}))
}
