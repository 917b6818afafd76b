//! A container group: what was asked for, checked, and how it is shown.

use serde_json::{Value, json};

use super::{LOCATIONS, error::ApiError};
use crate::lab::emulator::{
    Moment,
    machines::{Job, Machine, Phase},
};

const MOST_CONTAINERS: usize = 60;
const MOST_CPU: f64 = 4.0;
const MOST_MEMORY: f64 = 16.0;

#[derive(Debug)]
pub(super) struct Group {
    name: String,
    pub(super) location: String,
    pub(super) zone: String,
    pub(super) is_spot: bool,
    pub(super) cpu_milli: u64,
    pub(super) memory_mib: u64,
    body: Value,
    machine: String,
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Group {
    pub(super) fn read(name: &str, body: &Value) -> Result<Self, ApiError> {
        let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = name.len() <= 63
            && name.bytes().all(|byte| is_sign(byte) || byte == b'-')
            && name.bytes().next().is_some_and(is_sign)
            && name.bytes().last().is_some_and(is_sign);
        if !is_name {
            return Err(ApiError::bad("InvalidContainerGroupName", "1 to 63 of a-z, 0-9 and - are a name"));
        }
        let location = body["location"].as_str().unwrap_or_default();
        if !LOCATIONS.contains(&location) {
            let text = format!("the location {location:?} is not one of {}", LOCATIONS.join(", "));
            return Err(ApiError::bad("LocationNotAvailableForResourceType", text));
        }
        let properties = &body["properties"];
        if properties["osType"] != "Linux" {
            return Err(ApiError::bad("InvalidOsType", "osType must be Linux"));
        }
        let (cpu, memory) = size(properties)?;
        let subnet = items(properties, "subnetIds").first().and_then(|subnet| subnet["id"].as_str());
        let is_spot = properties["priority"] == "Spot";
        if is_spot && (subnet.is_some() || !properties["ipAddress"].is_null()) {
            let text = "spot container groups take neither a virtual network nor an address";
            return Err(ApiError::bad("SpotPriorityContainerGroupNotSupported", text));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 16,384")]
        let (cpu_milli, memory_mib) = ((cpu * 1000.0).round() as u64, (memory * 1024.0).round() as u64);
        Ok(Self {
            name: name.to_owned(),
            location: location.to_owned(),
            zone: subnet.and_then(|id| id.rsplit('/').next()).unwrap_or(location).to_owned(),
            is_spot,
            cpu_milli,
            memory_mib,
            body: body.clone(),
            machine: String::new(),
        })
    }

    /// The same, on its machine.
    pub(super) fn on(self, machine: String) -> Self {
        Self { machine, ..self }
    }

    pub(super) fn machine(&self) -> &str {
        &self.machine
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.body == other.body
    }

    pub(super) fn has_container(&self, name: &str) -> bool {
        items(&self.body["properties"], "containers").iter().any(|container| container["name"] == name)
    }

    /// How its only container ends, if it does and is not started again.
    pub(super) fn job(&self) -> Option<Job> {
        let properties = &self.body["properties"];
        let [only] = items(properties, "containers") else { return None };
        if properties["restartPolicy"].as_str().unwrap_or("Always") == "Always" {
            return None;
        }
        let words = items(&only["properties"], "command").iter();
        Job::of(&words.filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<_>>())
    }

    /// Lists leave out how containers fare.
    pub(super) fn shown(&self, id: &str, machine: &Machine, now: Moment, whole: bool) -> Value {
        let phase = machine.phase(now);
        let mut shown = self.body.clone();
        shown["id"] = json!(id);
        shown["name"] = json!(self.name);
        shown["type"] = json!("Microsoft.ContainerInstance/containerGroups");
        let properties = &mut shown["properties"];
        if properties["restartPolicy"].is_null() {
            properties["restartPolicy"] = json!("Always");
        }
        properties["provisioningState"] = json!(match phase {
            Phase::Pending => "Creating",
            Phase::NoMachine | Phase::Reclaimed => "Failed",
            _ => "Succeeded",
        });
        if !items(properties, "subnetIds").is_empty() {
            properties["ipAddress"] = json!({"type": "Private", "ip": machine.address.to_string(), "ports": []});
        }
        let has_view = whole && phase != Phase::Pending;
        if has_view {
            properties["instanceView"] = json!({"state": state(phase), "events": []});
        }
        for container in properties["containers"].as_array_mut().into_iter().flatten() {
            let own = &mut container["properties"];
            for variable in own["environmentVariables"].as_array_mut().into_iter().flatten() {
                if let Some(fields) = variable.as_object_mut() {
                    // Secret values are never told again.
                    fields.remove("secureValue");
                }
            }
            if has_view {
                own["instanceView"] = json!({"restartCount": 0, "currentState": current(phase), "events": []});
            }
        }
        for credential in properties["imageRegistryCredentials"].as_array_mut().into_iter().flatten() {
            if let Some(fields) = credential.as_object_mut() {
                fields.remove("password");
            }
        }
        shown
    }
}

fn size(properties: &Value) -> Result<(f64, f64), ApiError> {
    let containers = items(properties, "containers");
    if containers.is_empty() || containers.len() > MOST_CONTAINERS {
        return Err(ApiError::bad("InvalidContainers", "1 to 60 containers make a group"));
    }
    let (mut cpu, mut memory) = (0.0, 0.0);
    for container in containers {
        let own = &container["properties"];
        let asked = &own["resources"]["requests"];
        let (Some(one_cpu), Some(one_memory)) = (asked["cpu"].as_f64(), asked["memoryInGB"].as_f64()) else {
            return Err(ApiError::bad("ResourceRequestsNotSpecified", "resources.requests needs cpu and memoryInGB"));
        };
        if container["name"].as_str().unwrap_or_default().is_empty()
            || own["image"].as_str().unwrap_or_default().is_empty()
        {
            return Err(ApiError::bad("InvalidContainers", "a container needs a name and an image"));
        }
        (cpu, memory) = (cpu + one_cpu, memory + one_memory);
    }
    if !(cpu > 0.0 && cpu <= MOST_CPU && memory > 0.0 && memory <= MOST_MEMORY) {
        let text = format!("{cpu} vCPU and {memory} GB are not within {MOST_CPU} and {MOST_MEMORY}");
        return Err(ApiError::bad("ResourceRequestsInvalid", text));
    }
    Ok((cpu, memory))
}

fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Finished(0) => "Succeeded",
        Phase::Finished(_) | Phase::NoMachine | Phase::Reclaimed => "Failed",
        Phase::Ended => "Stopped",
    }
}

fn current(phase: Phase) -> Value {
    let ended = |code: i32, status: &str| json!({"state": "Terminated", "exitCode": code, "detailStatus": status});
    match phase {
        Phase::Pending => json!({"state": "Waiting", "detailStatus": "Pulling"}),
        Phase::Running => json!({"state": "Running", "detailStatus": ""}),
        Phase::Finished(0) => ended(0, "Completed"),
        Phase::Finished(code) => ended(code, "Error"),
        Phase::NoMachine => ended(128, "NoStock"),
        Phase::Reclaimed => ended(137, "SpotPreempted"),
        Phase::Ended => ended(143, "Stopped"),
    }
}
