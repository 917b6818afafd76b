//! Kingsoft Cloud's Container Instances, version 2020-07-02, as far as burstlet and its users call them.
//!
//! A subnet's zone goes by the subnet's name: `zones: {subnet-1: {instances: 0}}` sells out that subnet. Kingsoft
//! publishes neither rates, prices nor the codes for shortages; those here are the emulator's own.

mod error;
mod group;
mod params;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use self::{error::ApiError, group::Group, params::Params};
use super::{
    AccessKey, Call, Cloud, Ground, Price, ThrottleRate,
    exec::{Dialect, Sessions, websocket},
    machines::{Job, Machines, Order},
    sigv4::KeyRing,
};
use crate::provider::clouds::kingsoft_kci::Sizes;

const VERSION: &str = "2020-07-02";

/// Regions that the emulator has.
const REGIONS: [&str; 6] =
    ["cn-beijing-6", "cn-shanghai-2", "cn-guangzhou-1", "cn-ningbo-1", "cn-hongkong-2", "ap-singapore-1"];

/// Calls of each action; Kingsoft publishes no figure.
const RATE: ThrottleRate = ThrottleRate { burst: 100, per_second: 50.0 };

/// Most items of a page, and how many come unasked.
const MOST_RESULTS: usize = 100;
const DEFAULT_RESULTS: usize = 20;

/// The emulated cloud.
#[derive(Debug)]
pub struct Kci {
    ground: Arc<Ground>,
    keys: KeyRing,
    state: Mutex<State>,
    sessions: Arc<Sessions>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    machines: Machines,
}

impl Kci {
    /// An empty account, which these keys open.
    pub fn new(ground: Arc<Ground>, keys: Vec<AccessKey>) -> Self {
        Self { ground, keys: KeyRing::new(keys), state: Mutex::default(), sessions: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, call: &Call<'_>) -> Result<Value, ApiError> {
        let region = self.keys.check(&self.ground, call, "kci")?;
        let params = Params::read(call.head, call.body);
        if let Err(pause) = self.ground.throttle(call.action, RATE) {
            let message = format!("too many calls of {}; try again in {pause:?}", call.action);
            return Err(ApiError { status: StatusCode::TOO_MANY_REQUESTS, code: "Throttling", message });
        }
        if params.get("Version") != Some(VERSION) {
            return Err(ApiError::bad("NoSuchVersion", format!("this is version {VERSION}")));
        }
        if !REGIONS.contains(&region.as_str()) || params.get("Region").is_some_and(|named| named != region) {
            return Err(ApiError::value(
                "Region",
                &format!("is not one of {}, or not the signature's", REGIONS.join(", ")),
            ));
        }
        match call.action {
            "CreateContainerGroup" => self.create(&region, &params),
            "DescribeContainerGroup" => self.describe(&params),
            "DeleteContainerGroup" => self.delete(&params),
            "DescribeContainerLog" => self.log(&params),
            "ExecContainerCommand" => self.exec(&call.base(), &params),
            "DescribeContainerGroupEvents" => self.events(&params),
            "DescribeContainerGroupCount" => Ok(self.count(&params)),
            "DescribeKciPackages" => Ok(packages()),
            "DescribeRegions" => Ok(json!({"RegionSet": REGIONS.map(|region| json!({"Region": region}))})),
            other => Err(ApiError::bad("InvalidAction", format!("there is no action {other}"))),
        }
    }

    fn create(&self, region: &str, params: &Params) -> Result<Value, ApiError> {
        let (mut group, subnets) = Group::read(region, params)?;
        let (cpu, memory) = group.asked;
        let size = Sizes::new(&[]).round_up(cpu, memory);
        let size = size.map_err(|error| ApiError::value("Cpu and Memory", &format!("fit no size: {error}")))?;
        let mut state = self.state();
        let serial = state.machines.serial();
        let id = uuid(serial);
        let job = match group.containers.as_slice() {
            [only] if group.restart_policy != "Always" => Job::of(&only.words),
            _ => None,
        };
        let discount = if group.is_spot { 3 } else { 10 };
        let mut short = None;
        for subnet in subnets {
            let order = Order {
                id: id.clone(),
                name: group.name.clone(),
                zone: subnet.clone(),
                cpu_milli: size.cpu_millis,
                memory_mib: size.memory_gib * 1024,
                spot: group.is_spot,
                price: Price {
                    currency: "CNY".to_owned(),
                    cpu_second_pico: 49_000_000 * discount / 10,
                    gib_second_pico: 6_130_000 * discount / 10,
                },
                least_charge: std::time::Duration::ZERO,
                job,
                default_quota: None,
            };
            match state.machines.start(&self.ground, order) {
                Err(shortage) => short = Some(shortage),
                Ok(machine) => {
                    group.created = self.ground.clock.stamp(machine.created).to_string();
                    group.subnet = subnet;
                    group.size = (size.cpu(), size.memory_gib);
                    state.groups.insert(id.clone(), group);
                    return Ok(json!({"ContainerGroupId": id}));
                }
            }
        }
        Err(short.map_or_else(|| ApiError::value("SubnetId", "is missing"), ApiError::from))
    }

    fn describe(&self, params: &Params) -> Result<Value, ApiError> {
        let number = |name: &str, default: usize| match params.get(name) {
            None => Ok(default),
            Some(text) => text.parse::<usize>().map_err(|_| ApiError::value(name, "is no number")),
        };
        let results = number("MaxResults", DEFAULT_RESULTS)?;
        if results == 0 || results > MOST_RESULTS {
            return Err(ApiError::value("MaxResults", &format!("is not within 1 and {MOST_RESULTS}")));
        }
        let marker = number("Marker", 0)?;
        let ids = params.list("ContainerGroupId");
        let search = params.get("Search").unwrap_or_default();
        let filters = params.objects("Filter");
        let now = self.ground.clock.now();
        let state = self.state();
        let mut matching = Vec::new();
        for (id, group) in &state.groups {
            let Some(machine) = state.machines.get(id) else { continue };
            let is_asked = ids.is_empty() || ids.contains(&id.as_str());
            if is_asked && group.name.contains(search) && group.passes(&filters, machine.phase(now))? {
                matching.push(group.shown(id, machine, now, &self.ground.clock));
            }
        }
        let total = matching.len();
        let page = matching.into_iter().skip(marker).take(results).collect::<Vec<_>>();
        Ok(json!({"ContainerGroups": page, "TotalCount": total, "Marker": marker, "MaxResults": results}))
    }

    fn delete(&self, params: &Params) -> Result<Value, ApiError> {
        let mut state = self.state();
        let (id, _) = known(&state, params)?;
        state.machines.end(&self.ground, &id);
        state.groups.remove(&id);
        Ok(json!({"Return": true}))
    }

    fn log(&self, params: &Params) -> Result<Value, ApiError> {
        let tail = params.get("Tail").unwrap_or("500").parse::<usize>().ok().filter(|tail| (1..=2000).contains(tail));
        let tail = tail.ok_or_else(|| ApiError::value("Tail", "is not within 1 and 2000"))?;
        let state = self.state();
        let (id, group) = known(&state, params)?;
        let container = group.container(params)?;
        let now = self.ground.clock.now();
        let runs = state.machines.get(&id).and_then(|machine| now.checked_sub(machine.starts));
        let lines = runs.map_or(0, |runs| usize::try_from(runs.as_secs()).unwrap_or(usize::MAX).saturating_add(1));
        let lines = (lines.saturating_sub(tail)..lines).map(|line| format!("{container}: line {line}\n"));
        Ok(json!({"ContainerName": container, "Content": lines.collect::<String>()}))
    }

    fn exec(&self, base: &str, params: &Params) -> Result<Value, ApiError> {
        let mut state = self.state();
        let (_, group) = known(&state, params)?;
        group.container(params)?;
        let command = params.list("Command").into_iter().map(str::to_owned).collect::<Vec<_>>();
        if command.is_empty() {
            return Err(ApiError::value("Command", "is missing"));
        }
        let token = uuid(state.machines.serial());
        Ok(json!({"WebSocketUri": websocket(base, &self.sessions.add(&token, command, Dialect::Channels))}))
    }

    fn events(&self, params: &Params) -> Result<Value, ApiError> {
        let state = self.state();
        let (id, _) = known(&state, params)?;
        let events = state
            .machines
            .get(&id)
            .map_or_else(Vec::new, |machine| group::events(machine, self.ground.clock.now(), &self.ground.clock));
        Ok(json!({"Events": events}))
    }

    fn count(&self, params: &Params) -> Value {
        let wanted = group::labels(params);
        let state = self.state();
        let has = |group: &&Group| wanted.iter().all(|label| group.labels.contains(label));
        json!({"Count": state.groups.values().filter(has).count()})
    }
}

fn known<'a>(state: &'a State, params: &Params) -> Result<(String, &'a Group), ApiError> {
    let id = params.get("ContainerGroupId").ok_or_else(|| ApiError::value("ContainerGroupId", "is missing"))?;
    let missing = || ApiError {
        status: StatusCode::NOT_FOUND,
        code: "ContainerGroupNotFound",
        message: format!("there is no container group {id}"),
    };
    state.groups.get(id).map(|group| (id.to_owned(), group)).ok_or_else(missing)
}

fn packages() -> Value {
    let sizes = Sizes::new(&[]);
    let packages = sizes.pairs().map(|(cpu, memory)| json!({"Cpu": cpu, "Memory": memory, "KciType": "RBKCI"}));
    json!({"KciPackages": packages.collect::<Vec<_>>()})
}

fn uuid(serial: u32) -> String {
    format!("{serial:08x}-0000-4000-8000-{:012x}", u64::from(serial) * 0x9e37)
}

impl Cloud for Kci {
    fn action(&self, head: &Parts, body: &Bytes) -> String {
        Params::read(head, body).get("Action").unwrap_or("none").to_owned()
    }

    fn answer(&self, call: &Call<'_>) -> Response {
        let request_id = uuid(self.state().machines.serial());
        let mut response = match self.act(call) {
            Ok(mut answer) => {
                answer["RequestId"] = json!(request_id);
                Json(answer).into_response()
            }
            Err(error) => error.response(&request_id),
        };
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn unavailable(&self) -> Response {
        let error = ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "InternalError",
            message: "an internal error happened".to_owned(),
        };
        error.response(&uuid(self.state().machines.serial()))
    }

    fn instances(&self) -> Value {
        json!(self.state().machines.shown(self.ground.clock.now()))
    }

    fn asked(&self, id: &str) -> Option<BTreeMap<String, String>> {
        Some(self.state().groups.get(id)?.params.all().clone())
    }

    fn streams(&self) -> Router {
        self.sessions.router()
    }

    fn settle(&self) {
        self.state().machines.settle(&self.ground, self.ground.clock.now());
    }

    fn reclaim(&self, id: &str) -> bool {
        self.state().machines.reclaim(&self.ground, id)
    }
}
