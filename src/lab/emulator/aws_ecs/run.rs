//! `RunTask`.

use serde_json::{Value, json};

use super::{
    Ecs, State, arn, definition,
    error::ApiError,
    known_cluster,
    task::{self, Task},
    text,
};
use crate::lab::emulator::{
    Price,
    machines::{Job, Order, Shortage},
};

/// Prices of Linux on x86 in millionths of a millionth of a dollar a second; Spot costs 30 % of them.
const CPU_SECOND: u64 = 11_244_000;
const GIB_SECOND: u64 = 1_234_700;

const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";

impl Ecs {
    pub(super) fn run(&self, region: &str, body: &Value) -> Result<Value, ApiError> {
        let mut state = self.state();
        let cluster = known_cluster(&state, body)?;
        let token = text(body, "clientToken").to_owned();
        if token.len() > 64 {
            return Err(ApiError::invalid("clientToken must be at most 64 characters."));
        }
        if let Some((asked, answer)) = state.tokens.get(&token).filter(|_| !token.is_empty()) {
            if asked == body {
                return Ok(answer.clone());
            }
            return Err(ApiError::new("ConflictException", "The client token was used with other parameters."));
        }
        let count = body["count"].as_u64().unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(ApiError::invalid("count must be within 1 and 10."));
        }
        let started_by = text(body, "startedBy");
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_".contains(&byte);
        if started_by.len() > 128 || !started_by.bytes().all(is_sign) {
            return Err(ApiError::invalid(
                "startedBy must be at most 128 letters, digits, hyphens, slashes and underscores.",
            ));
        }
        let is_spot = spot(body)?;
        let subnets = subnets(body)?;
        let found = definition(&state, text(body, "taskDefinition"))?;
        if found["status"] != "ACTIVE" {
            return Err(ApiError::client("TaskDefinition is inactive"));
        }
        if body["overrides"].to_string().len() > 8192 {
            return Err(ApiError::invalid("Overrides length must be at most 8192."));
        }
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for _ in 0..count {
            match self.start(&mut state, region, &cluster, body, &found, is_spot, &subnets) {
                Ok(task) => tasks.push(task),
                Err(Shortage::Stock) => failures.push(json!({"reason": NO_CAPACITY})),
                Err(Shortage::Addresses) => {
                    let reason = "InsufficientFreeAddressesInSubnet: the subnet does not have enough free addresses";
                    failures.push(json!({"reason": reason}));
                }
                Err(Shortage::Cpu(_) | Shortage::Instances(_)) if tasks.is_empty() => {
                    return Err(ApiError::client(
                        "You've reached the limit on the number of vCPUs you can run concurrently",
                    ));
                }
                Err(Shortage::Cpu(_) | Shortage::Instances(_)) => break,
            }
        }
        let answer = json!({"tasks": tasks, "failures": failures});
        if !token.is_empty() {
            state.tokens.insert(token, (body.clone(), answer.clone()));
        }
        Ok(answer)
    }

    #[expect(clippy::too_many_arguments, reason = "what RunTask has checked")]
    fn start(
        &self,
        state: &mut State,
        region: &str,
        cluster: &str,
        body: &Value,
        definition: &Value,
        spot: bool,
        subnets: &[String],
    ) -> Result<Value, Shortage> {
        let id = arn(region, "task", &format!("{cluster}/{:032x}", state.machines.serial()));
        let containers = definition["containerDefinitions"].as_array().cloned().unwrap_or_default();
        let job = match containers.as_slice() {
            [only] if only["restartPolicy"]["enabled"] != true => Job::of(&task::command(only)),
            _ => None,
        };
        let number = |name: &str| text(definition, name).parse::<u64>().unwrap_or(0);
        let share = if spot { 3 } else { 10 };
        let mut short = Shortage::Stock;
        for subnet in subnets {
            let order = Order {
                id: id.clone(),
                name: text(body, "startedBy").to_owned(),
                zone: subnet.clone(),
                cpu_milli: number("cpu") * 1000 / 1024,
                memory_mib: number("memory"),
                spot,
                price: Price {
                    currency: "USD".to_owned(),
                    cpu_second_pico: CPU_SECOND * share / 10,
                    gib_second_pico: GIB_SECOND * share / 10,
                },
                least_charge: std::time::Duration::from_mins(1),
                job,
                default_quota: None,
            };
            match state.machines.start(&self.ground, order) {
                Err(shortage) => short = shortage,
                Ok(machine) => {
                    let task = Task::new(cluster, body, definition, spot, subnet);
                    let shown = task.shown(&id, machine, self.ground.clock.now(), &self.ground.clock);
                    state.tasks.insert(id, task);
                    return Ok(shown);
                }
            }
        }
        Err(short)
    }
}

/// Whether it is to run on Spot. A launch type and a strategy exclude each other; only one provider may have a base.
fn spot(body: &Value) -> Result<bool, ApiError> {
    let strategy = body["capacityProviderStrategy"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (body["launchType"].as_str(), strategy) {
        (Some(_), [_, ..]) => {
            Err(ApiError::invalid("Specifying both a launch type and capacity provider strategy is not supported."))
        }
        (Some("FARGATE"), []) => Ok(false),
        (_, []) => Err(ApiError::invalid("No Container Instances were found in your cluster.")),
        (None, items) => {
            let with_base = items.iter().filter(|item| item["base"].as_u64().unwrap_or(0) > 0).count();
            let is_known = |item: &Value| ["FARGATE", "FARGATE_SPOT"].contains(&text(item, "capacityProvider"));
            let weighs = |item: &Value| item["weight"].as_u64().unwrap_or(0) <= 1000;
            if with_base > 1 || !items.iter().all(|item| is_known(item) && weighs(item)) {
                return Err(ApiError::invalid("The capacity provider strategy is invalid."));
            }
            let heaviest = items.iter().max_by_key(|item| item["weight"].as_u64().unwrap_or(0));
            Ok(heaviest.is_some_and(|item| text(item, "capacityProvider") == "FARGATE_SPOT"))
        }
    }
}

fn subnets(body: &Value) -> Result<Vec<String>, ApiError> {
    let network = &body["networkConfiguration"]["awsvpcConfiguration"];
    let list = |name: &str| {
        let items = network[name].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let subnets = list("subnets");
    if subnets.is_empty() {
        let text = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
        return Err(ApiError::invalid(text));
    }
    if subnets.len() > 16 || list("securityGroups").len() > 5 {
        return Err(ApiError::invalid("at most 16 subnets and 5 security groups are allowed."));
    }
    Ok(subnets)
}
