//! Alibaba Cloud's ECI, version 2018-08-08, and of the VPC (2016-04-28) and STS (2015-04-01) what goes with it.
//!
//! Both signatures are verified, of GET and POST, with parameters in the query or in a form. What containers do is a
//! guess at their command (`super::program`): `sleep 5` ends after five seconds, a service runs for ever.
//!
//! The network is one VPC with the vSwitches that it is given ([`VSwitch`]), one route table `vtb-emulated`, and security
//! groups of any name; a normal one takes 2,000 instances.

mod caches;
mod catalog;
mod create;
mod describe;
mod error;
mod group;
mod network;
mod nodes;
mod operate;
mod state;
mod sts;
mod tree;
mod verify;
mod vpc;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{AccessKey, Call, Cloud, Ground, ThrottleRate, exec::Sessions};
use error::ApiError;
use network::Network;
pub use network::VSwitch;
use state::{Context, State};
use tree::Tree;
use verify::Verifier;

const HOST: &str = "eci.aliyuncs.com";

/// What the cloud has, to begin with.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The region that it is.
    pub region: String,
    /// Its vSwitches.
    pub vswitches: Vec<VSwitch>,
    /// How many instances a security group takes, where not as many as a normal one.
    pub security_groups: BTreeMap<String, u64>,
}

/// The cloud, in memory.
#[derive(Debug)]
pub struct Eci {
    ground: Arc<Ground>,
    verifier: Mutex<Verifier>,
    state: Mutex<State>,
    sessions: Arc<Sessions>,
}

/// Documented rates, by action.
fn documented(action: &str) -> ThrottleRate {
    let per_minute = |calls: u32| ThrottleRate { burst: (calls / 20).max(1), per_second: f64::from(calls) / 60.0 };
    match action {
        "CreateContainerGroup" | "DeleteContainerGroup" => ThrottleRate { burst: 100, per_second: 20.0 },
        "DescribeContainerGroups" => per_minute(2000),
        "DescribeContainerGroupStatus" => per_minute(10_000),
        "DescribeContainerLog" | "ExecContainerCommand" => per_minute(500),
        // Nothing is documented for the others: enough for any caller, too little for a loop that runs wild.
        _ => ThrottleRate { burst: 200, per_second: 50.0 },
    }
}

impl Eci {
    /// An empty cloud that knows `keys`.
    pub fn new(ground: Arc<Ground>, keys: impl IntoIterator<Item = AccessKey>, layout: Layout) -> Self {
        let network = Network::new(layout.vswitches);
        let state = State::new(layout.region, network, layout.security_groups);
        Self { ground, verifier: Mutex::new(Verifier::new(keys)), state: Mutex::new(state), sessions: Arc::default() }
    }

    fn perform(&self, call: &Call<'_>, state: &mut State) -> Result<Value, ApiError> {
        let mut verifier = lock(&self.verifier);
        if let Some(parameters) = verify::unsigned(call) {
            self.ground.throttle(sts::ACTION, documented(sts::ACTION)).map_err(ApiError::throttled)?;
            return sts::assume(&mut verifier.granted, &Tree::new(&parameters), &self.ground);
        }
        let request = verifier.verify(call, &self.ground)?;
        drop(verifier);
        self.ground.throttle(&request.action, documented(&request.action)).map_err(ApiError::throttled)?;
        let tree = Tree::new(&request.parameters);
        if let Some(region) = tree.text("RegionId").filter(|region| *region != state.region) {
            let why = format!("The specified region {region} does not exist.");
            return Err(ApiError::not_found("InvalidRegionId.NotFound", why));
        }
        let now = self.ground.clock.now();
        state.settle(&self.ground, now);
        let (settings, base) = (self.ground.settings(), call.base());
        let context = Context { now, ground: &self.ground, settings, sessions: &self.sessions, base, tree };
        let answer = match request.version.as_str() {
            "2018-08-08" => eci(&request, state, &context),
            "2016-04-28" => vpc(&request, state, &context),
            _ => None,
        };
        answer.unwrap_or_else(|| {
            let verify::Request { action, version, .. } = &request;
            let why = format!("Specified api is not found: {action} of version {version}.");
            Err(ApiError::not_found("InvalidAction.NotFound", why))
        })
    }
}

fn eci(request: &verify::Request, state: &mut State, context: &Context<'_>) -> Option<Result<Value, ApiError>> {
    let needs_region = |answer: Result<Value, ApiError>| context.tree.needed("RegionId").and(answer);
    let mut once = |work: fn(&mut State, &Context<'_>) -> Result<Value, ApiError>| {
        let region = context.tree.needed("RegionId").map(drop);
        region.and_then(|()| state.once(&request.action, &request.parameters, |state| work(state, context)))
    };
    Some(match request.action.as_str() {
        "CreateContainerGroup" => once(create::create),
        "DeleteContainerGroup" => once(operate::delete),
        "RestartContainerGroup" => once(operate::restart),
        "UpdateContainerGroup" => once(operate::update),
        "CreateVirtualNode" => once(nodes::create),
        "UpdateVirtualNode" => once(nodes::update),
        "DeleteVirtualNode" => once(nodes::delete),
        "CreateImageCache" => once(caches::create),
        "UpdateImageCache" => once(caches::update),
        "DeleteImageCache" => once(caches::delete),
        "DescribeContainerGroups" => needs_region(describe::groups(state, context)),
        "DescribeContainerGroupStatus" => needs_region(describe::statuses(state, context)),
        "DescribeContainerGroupEvents" => needs_region(describe::group_events(state, context)),
        "DescribeContainerLog" => needs_region(operate::log(state, context)),
        "ExecContainerCommand" => needs_region(operate::exec(state, context)),
        "DescribeContainerGroupMetric" => needs_region(operate::metric(state, context)),
        "DescribeMultiContainerGroupMetric" => needs_region(operate::metrics(state, context)),
        "DescribeContainerGroupPrice" => needs_region(catalog::describe_price(context)),
        "DescribeAvailableResource" => needs_region(catalog::describe_available(state, context)),
        "ListUsage" => needs_region(Ok(catalog::list_usage(state, context))),
        "DescribeRegions" => Ok(catalog::describe_regions(state)),
        "DescribeVirtualNodes" => needs_region(nodes::describe(state, context)),
        "DescribeImageCaches" => needs_region(caches::describe(state, context)),
        _ => return None,
    })
}

fn vpc(request: &verify::Request, state: &mut State, context: &Context<'_>) -> Option<Result<Value, ApiError>> {
    let mut once = |work: fn(&mut State, &Context<'_>) -> Result<Value, ApiError>| {
        state.once(&request.action, &request.parameters, |state| work(state, context))
    };
    Some(match request.action.as_str() {
        "CreateRouteEntry" => once(vpc::create_entry),
        "DeleteRouteEntry" => once(vpc::delete_entry),
        "DescribeVSwitchAttributes" => vpc::vswitch_attributes(state, context),
        "DescribeRouteEntryList" => vpc::list_entries(state, context),
        _ => return None,
    })
}

impl Cloud for Eci {
    fn action(&self, head: &Parts, body: &Bytes) -> String {
        verify::action(head, body)
    }

    fn answer(&self, call: &Call<'_>) -> Response {
        let mut state = lock(&self.state);
        let request_id = state.request_id();
        match self.perform(call, &mut state) {
            Ok(mut answer) => {
                answer["RequestId"] = request_id.into();
                Json(answer).into_response()
            }
            Err(error) => error.response(&request_id, HOST),
        }
    }

    fn unavailable(&self) -> Response {
        ApiError::unavailable().response(&lock(&self.state).request_id(), HOST)
    }

    fn instances(&self) -> Value {
        let now = self.ground.clock.now();
        let mut state = lock(&self.state);
        state.settle(&self.ground, now);
        state.summaries(now)
    }

    fn asked(&self, id: &str) -> Option<BTreeMap<String, String>> {
        let state = lock(&self.state);
        let definition = match state.groups.get(id) {
            Some(group) => &group.definition,
            None => state.nodes.get(id)?.definition(),
        };
        Some(definition.flat())
    }

    fn streams(&self) -> Router {
        self.sessions.router()
    }

    fn reclaim(&self, id: &str) -> bool {
        let now = self.ground.clock.now();
        let notice = self.ground.settings().reclaim_notice;
        let mut state = lock(&self.state);
        let Some(group) = state.groups.get_mut(id).filter(|group| group.is_spot()) else { return false };
        group.reclaimed.get_or_insert((now, now + notice));
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
