//! A container group: what was asked for, checked, and how it is shown.

use burstlet_engine::model::{Bytes, MilliCpu};
use serde_json::{Value, json};

use super::{error::ApiError, params::Params};
use crate::lab::emulator::{
    Clock, Moment,
    machines::{Machine, Phase},
};

const MOST_CONTAINERS: usize = 5;
const MOST_SECURITY_GROUPS: usize = 3;
const MOST_SUBNETS: usize = 5;
const MOST_CPU: f64 = 256.0;
const MOST_MEMORY: f64 = 512.0;
/// Labels that an instance in cluster mode must have.
const CLUSTER_LABELS: [&str; 3] = ["cluster-id", "namespace", "pod-name"];

#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    image: String,
    /// Command and arguments.
    pub(super) words: Vec<String>,
    env: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    region: String,
    pub(super) subnet: String,
    security_groups: Vec<String>,
    pub(super) is_spot: bool,
    pub(super) asked: (MilliCpu, Bytes),
    pub(super) size: (String, u64),
    pub(super) restart_policy: String,
    pub(super) containers: Vec<Container>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) created: String,
    /// As it was asked for.
    pub(super) params: Params,
}

pub(super) fn labels(params: &Params) -> Vec<(String, String)> {
    let text = |label: &Params, name: &str| label.get(name).unwrap_or_default().to_owned();
    params.objects("Label").iter().map(|label| (text(label, "Key"), text(label, "Value"))).collect()
}

impl Group {
    /// The group, and the subnets that it may stand in.
    pub(super) fn read(region: &str, params: &Params) -> Result<(Self, Vec<String>), ApiError> {
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let name = params.get("ContainerGroupName").unwrap_or_default();
        let is_name = |name: &str| {
            let sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            name.len() <= 128
                && name.bytes().all(|byte| sign(byte) || byte == b'-' || byte == b'.')
                && name.bytes().next().is_some_and(sign)
                && name.bytes().last().is_some_and(sign)
        };
        if !is_name(name) {
            let why = "has not 1 to 128 of a-z, 0-9, - and ., or begins or ends with a sign";
            return Err(ApiError::value("ContainerGroupName", why));
        }
        let subnets = match params.get("SubnetId") {
            Some(subnet) => vec![subnet.to_owned()],
            None => owned(params.list("MultiSubnetId")),
        };
        within("SubnetId or MultiSubnetId", subnets.len(), 1, MOST_SUBNETS)?;
        let security_groups = owned(params.list("SecurityGroupId"));
        within("SecurityGroupId", security_groups.len(), 1, MOST_SECURITY_GROUPS)?;
        if params.get("KciType") != Some("RBKCI") {
            return Err(ApiError::value("KciType", "is not RBKCI"));
        }
        let is_spot = match params.get("ChargeType") {
            None | Some("HourlyInstantSettlement") => false,
            Some("Spot") if params.get("SpotStrategy").is_none_or(|strategy| strategy == "SpotAsPriceGo") => true,
            Some("Spot") => return Err(ApiError::value("SpotStrategy", "is not SpotAsPriceGo")),
            Some(_) => return Err(ApiError::value("ChargeType", "is neither HourlyInstantSettlement nor Spot")),
        };
        let labels = labels(params);
        if params.get("KubeConfig").is_some() {
            let has = |key: &&str| labels.iter().any(|(label, _)| label == key);
            if let Some(missing) = CLUSTER_LABELS.iter().find(|key| !has(key)) {
                return Err(ApiError::value("Label", &format!("lacks {missing}, which cluster mode needs")));
            }
        }
        let containers = containers(params)?;
        let restart_policy = params.get("RestartPolicy").unwrap_or("Always");
        if !["Always", "OnFailure", "Never"].contains(&restart_policy) {
            return Err(ApiError::value("RestartPolicy", "is neither Always, OnFailure nor Never"));
        }
        let group = Self {
            name: name.to_owned(),
            region: region.to_owned(),
            subnet: String::new(),
            security_groups,
            is_spot,
            asked: asked(params)?,
            size: (String::new(), 0),
            restart_policy: restart_policy.to_owned(),
            containers,
            labels,
            created: String::new(),
            params: params.clone(),
        };
        Ok((group, subnets))
    }

    /// The container that a request names, or the only one.
    pub(super) fn container(&self, params: &Params) -> Result<&str, ApiError> {
        let name = params.get("ContainerName");
        let mut containers = self.containers.iter().filter(|container| name.is_none_or(|name| name == container.name));
        let missing = || ApiError::value("ContainerName", "is no container of the group");
        containers.next().map(|container| container.name.as_str()).ok_or_else(missing)
    }

    /// Whether it passes all filters.
    pub(super) fn passes(&self, filters: &[Params], phase: Phase) -> Result<bool, ApiError> {
        for filter in filters {
            let is = match filter.get("Name").unwrap_or_default() {
                "subnet-id" => self.subnet.as_str(),
                "status" => status(phase),
                "availability-zone.name" => self.region.as_str(),
                "vpc-id" => "vpc-emulated",
                other => return Err(ApiError::value("Filter.N.Name", &format!("{other:?} is no filter"))),
            };
            if !filter.list("Value").contains(&is) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn shown(&self, id: &str, machine: &Machine, now: Moment, clock: &Clock) -> Value {
        let phase = machine.phase(now);
        let address = machine.address.to_string();
        let containers = self.containers.iter().map(|container| {
            let env = container.env.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
            json!({
                "Name": container.name,
                "Image": container.image,
                "Command": container.words,
                "EnvironmentVar": env.collect::<Vec<_>>(),
                "CurrentState": state(phase, machine, clock),
                "Ready": phase == Phase::Running,
                "RestartCount": 0,
            })
        });
        let labels = self.labels.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
        json!({
            "ContainerGroupId": id,
            "ContainerGroupName": self.name,
            "Status": status(phase),
            "CreateTime": self.created,
            "SubnetId": self.subnet,
            "SecurityGroupIds": self.security_groups,
            "ChargeType": if self.is_spot { "Spot" } else { "HourlyInstantSettlement" },
            "KciType": "RBKCI",
            "Cpu": self.size.0.parse::<f64>().unwrap_or_default(),
            "Memory": self.size.1,
            "RestartPolicy": self.restart_policy,
            "NetworkInterfaceAttributes": [{"NetworkInterfaceId": format!("eni-{id}"), "PrivateIpAddress": address}],
            "Containers": containers.collect::<Vec<_>>(),
            "Labels": labels.collect::<Vec<_>>(),
        })
    }
}

fn within(name: &str, count: usize, least: usize, most: usize) -> Result<(), ApiError> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(ApiError::value(name, &format!("has {count} entries, and {least} to {most} are allowed")))
}

fn containers(params: &Params) -> Result<Vec<Container>, ApiError> {
    let objects = params.objects("Container");
    let least = usize::from(params.get("KubeConfig").is_none());
    within("Container", objects.len(), least, MOST_CONTAINERS)?;
    let read = objects.iter().map(|object| {
        let text = |name: &str| {
            object
                .get(name)
                .map(str::to_owned)
                .ok_or_else(|| ApiError::value(&format!("Container.N.{name}"), "is missing"))
        };
        let words = object.list("Command").into_iter().chain(object.list("Arg")).map(str::to_owned).collect();
        let value = |variable: &Params, name: &str| variable.get(name).unwrap_or_default().to_owned();
        let env = object.objects("EnvironmentVar");
        let env = env.iter().map(|variable| (value(variable, "Key"), value(variable, "Value"))).collect();
        Ok(Container { name: text("Name")?, image: text("Image")?, words, env })
    });
    read.collect()
}

fn asked(params: &Params) -> Result<(MilliCpu, Bytes), ApiError> {
    let number = |name: &str, most: f64| match params.get(name) {
        None => Ok(0.0),
        Some(text) => {
            let number = text.parse::<f64>().ok().filter(|number| (0.0..=most).contains(number));
            number.ok_or_else(|| ApiError::value(name, &format!("is not within 0 and {most}")))
        }
    };
    let thousandths = |number: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 512,000")]
        let whole = (number * 1000.0).round() as u64;
        whole
    };
    let cpu = thousandths(number("Cpu", MOST_CPU)?);
    let memory = thousandths(number("Memory", MOST_MEMORY)?);
    Ok((MilliCpu(cpu), Bytes(memory * (1 << 30) / 1000)))
}

fn status(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "ImagePulling",
        Phase::Running => "Running",
        Phase::Finished(0) => "Succeeded",
        Phase::Finished(_) | Phase::NoMachine | Phase::Reclaimed => "Failed",
        Phase::Ended => "Unknown",
    }
}

fn state(phase: Phase, machine: &Machine, clock: &Clock) -> Value {
    let started = clock.stamp(machine.starts).to_string();
    let ended = |code: i32, reason: &str, message: &str| {
        let finished = clock.stamp(machine.over_at().unwrap_or(machine.starts)).to_string();
        json!({"State": "Terminated", "ExitCode": code, "Reason": reason, "Message": message,
            "StartTime": started, "FinishTime": finished})
    };
    match phase {
        Phase::Pending | Phase::Ended => json!({"State": "Waiting", "Reason": "ImagePulling"}),
        Phase::Running => json!({"State": "Running", "StartTime": started}),
        Phase::Finished(0) => ended(0, "Completed", ""),
        Phase::Finished(code) => ended(code, "Error", "the container has failed"),
        Phase::NoMachine => ended(128, "NoStock", "no machine was found"),
        Phase::Reclaimed => ended(137, "SpotReclaimed", "the spot instance was taken back"),
    }
}

/// What has happened to an instance.
pub(super) fn events(machine: &Machine, now: Moment, clock: &Clock) -> Vec<Value> {
    let mut events = vec![("Normal", "Pulling", machine.created), ("Normal", "Started", machine.starts)];
    events.extend(machine.noticed.map(|noticed| ("Warning", "SpotToBeReleased", noticed)));
    let past = events.into_iter().filter(|(_, _, at)| *at <= now);
    past.map(|(kind, reason, at)| json!({"Type": kind, "Reason": reason, "Time": clock.stamp(at).to_string()}))
        .collect()
}
