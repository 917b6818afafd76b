//! Azure Container Instances, API version 2023-05-01, as far as burstlet and its users call them, and the login service
//! that grants their tokens.
//!
//! A zone is a subnet's name (the last part of its id), or the location where a group has no subnet. Tokens last an hour
//! of the instances' clock. A federated token is taken where it equals the client's secret: who issued it is not checked.

mod error;
mod group;

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use self::{error::ApiError, group::Group};
use super::{
    Call, Cloud, Ground, Moment, Price, ThrottleRate,
    exec::{Dialect, Sessions, websocket},
    machines::{Machines, Order},
};
use crate::provider::clouds::Secret;

const VERSION: &str = "2023-05-01";
const PROVIDER: &str = "Microsoft.ContainerInstance";
const LOCATIONS: [&str; 6] = ["eastus", "westus2", "westeurope", "northeurope", "southeastasia", "japaneast"];
/// Groups of a location unless the settings say otherwise.
const QUOTA: u64 = 100;
/// Groups of one page.
const PAGE: usize = 50;
const TOKEN_LASTS: Duration = Duration::from_hours(1);

/// A client that may sign in, as `TENANT:ID:SECRET`.
#[derive(Debug, Clone)]
pub struct ClientKey {
    tenant: String,
    id: String,
    secret: Secret,
}

impl FromStr for ClientKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.splitn(3, ':').collect::<Vec<_>>().as_slice() {
            [tenant, id, secret] if ![tenant, id, secret].iter().any(|part| part.is_empty()) => {
                Ok(Self { tenant: (*tenant).to_owned(), id: (*id).to_owned(), secret: Secret::new(secret) })
            }
            _ => Err("write a client as TENANT:ID:SECRET".to_owned()),
        }
    }
}

/// The emulated cloud.
#[derive(Debug)]
pub struct Aci {
    ground: Arc<Ground>,
    clients: Vec<ClientKey>,
    state: Mutex<State>,
    sessions: Arc<Sessions>,
}

#[derive(Debug, Default)]
struct State {
    /// By resource id.
    groups: BTreeMap<String, Group>,
    machines: Machines,
    /// Ends of tokens.
    tokens: BTreeMap<String, Moment>,
}

/// A path's parts below the subscription.
#[derive(Debug)]
enum Target<'a> {
    Groups { resource_group: Option<&'a str> },
    Group { resource_group: &'a str, name: &'a str },
    Container { resource_group: &'a str, name: &'a str, container: &'a str, what: &'a str },
    Location { location: &'a str, what: &'a str },
}

impl<'a> Target<'a> {
    /// The subscription, and what is asked of it.
    fn of(path: &'a str) -> Option<(&'a str, Self)> {
        let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
        let ["subscriptions", subscription, rest @ ..] = parts.as_slice() else { return None };
        let target = match rest {
            ["providers", PROVIDER, "containerGroups"] => Self::Groups { resource_group: None },
            ["providers", PROVIDER, "locations", location, what, ..] => Self::Location { location, what },
            ["resourceGroups", resource_group, "providers", PROVIDER, "containerGroups"] => {
                Self::Groups { resource_group: Some(resource_group) }
            }
            ["resourceGroups", resource_group, "providers", PROVIDER, "containerGroups", name] => {
                Self::Group { resource_group, name }
            }
            [
                "resourceGroups",
                resource_group,
                "providers",
                PROVIDER,
                "containerGroups",
                name,
                "containers",
                container,
                what,
            ] => Self::Container { resource_group, name, container, what },
            _ => return None,
        };
        Some((*subscription, target))
    }
}

fn id_of(subscription: &str, resource_group: &str, name: &str) -> String {
    format!("/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/{PROVIDER}/containerGroups/{name}")
}

impl Aci {
    /// An empty cloud that these clients may sign in to.
    pub fn new(ground: Arc<Ground>, clients: Vec<ClientKey>) -> Self {
        Self { ground, clients, state: Mutex::default(), sessions: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(&self, tenant: &str, body: &Bytes) -> Response {
        let form = form_urlencoded::parse(body).into_owned().collect::<BTreeMap<_, _>>();
        let value = |name: &str| form.get(name).map_or("", String::as_str);
        let refuse = |error: &str, text: &str| {
            let body = json!({"error": error, "error_description": text, "error_codes": []});
            (if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST }, Json(body))
                .into_response()
        };
        if value("grant_type") != "client_credentials" {
            return refuse("unsupported_grant_type", "AADSTS70003: only client_credentials is granted");
        }
        if !value("scope").ends_with("/.default") {
            return refuse("invalid_scope", "AADSTS1002012: the scope must end with /.default");
        }
        let secret =
            if value("client_assertion").is_empty() { value("client_secret") } else { value("client_assertion") };
        let known = self.clients.iter().filter(|client| client.tenant == tenant && client.id == value("client_id"));
        let known = known.collect::<Vec<_>>();
        if known.is_empty() {
            return refuse("unauthorized_client", "AADSTS700016: the application was not found in the tenant");
        }
        if !known.iter().any(|client| client.secret.reveal() == secret) {
            return refuse("invalid_client", "AADSTS7000215: invalid client secret provided");
        }
        let mut state = self.state();
        let token = format!("emulated.{:08x}", state.machines.serial());
        state.tokens.insert(token.clone(), self.ground.clock.now() + TOKEN_LASTS);
        Json(json!({"token_type": "Bearer", "expires_in": TOKEN_LASTS.as_secs(), "access_token": token}))
            .into_response()
    }

    fn act(&self, call: &Call<'_>) -> Result<Response, ApiError> {
        self.authorise(call)?;
        let query = form_urlencoded::parse(call.head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect::<BTreeMap<_, _>>();
        if query.get("api-version").map(String::as_str) != Some(VERSION) {
            return Err(ApiError::bad("InvalidApiVersionParameter", format!("this is api-version {VERSION}")));
        }
        let rate = match call.action {
            "CreateOrUpdate" => ThrottleRate { burst: 100, per_second: 300.0 / 3600.0 },
            _ => ThrottleRate { burst: 250, per_second: 25.0 },
        };
        if self.ground.throttle(if call.action == "CreateOrUpdate" { "CreateOrUpdate" } else { "other" }, rate).is_err()
        {
            return Err(ApiError {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "TooManyRequests",
                message: "try again later".to_owned(),
            });
        }
        let path = call.head.uri.path();
        let (subscription, target) = Target::of(path).ok_or_else(|| ApiError::missing(path))?;
        let method = &call.head.method;
        match target {
            Target::Groups { resource_group } if method == Method::GET => {
                Ok(self.list(call, subscription, resource_group, query.get("$skiptoken").map_or("", String::as_str)))
            }
            Target::Group { resource_group, name } => {
                let id = id_of(subscription, resource_group, name);
                match *method {
                    Method::PUT => self.put(call, subscription, &id, name),
                    Method::GET => Ok(Json(self.shown(&id, true)?).into_response()),
                    Method::DELETE => Ok(self.remove(&id)),
                    _ => Err(ApiError::missing(path)),
                }
            }
            Target::Container { resource_group, name, container, what } => {
                let id = id_of(subscription, resource_group, name);
                self.container(call, &id, container, what, &query)
            }
            Target::Location { location, what } => self.location(location, what),
            Target::Groups { .. } => Err(ApiError::missing(path)),
        }
    }

    fn authorise(&self, call: &Call<'_>) -> Result<(), ApiError> {
        let header = call.head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        let refuse =
            |code, message: &str| Err(ApiError { status: StatusCode::UNAUTHORIZED, code, message: message.to_owned() });
        match self.state().tokens.get(token) {
            None if token.is_empty() => refuse("AuthenticationFailed", "the header Authorization is missing"),
            None => refuse("InvalidAuthenticationToken", "the access token is invalid"),
            Some(until) if *until <= self.ground.clock.now() => {
                refuse("ExpiredAuthenticationToken", "the access token expired")
            }
            Some(_) => Ok(()),
        }
    }

    fn put(&self, call: &Call<'_>, subscription: &str, id: &str, name: &str) -> Result<Response, ApiError> {
        let body: Value = serde_json::from_slice(call.body)
            .map_err(|error| ApiError::bad("InvalidRequestContent", error.to_string()))?;
        let group = Group::read(name, &body)?;
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(standing) = state.groups.get(id) {
            if !standing.is_same(&group) {
                let text = "the updates on container group are invalid; delete it first";
                return Err(ApiError::bad("InvalidContainerGroupUpdate", text));
            }
            drop(guard);
            return Ok((StatusCode::OK, Json(self.shown(id, true)?)).into_response());
        }
        let share = if group.is_spot { 3 } else { 10 };
        let machine_id = format!("aci-{:08x}", state.machines.serial());
        let order = Order {
            id: machine_id.clone(),
            name: name.to_owned(),
            zone: group.zone.clone(),
            cpu_milli: group.cpu_milli,
            memory_mib: group.memory_mib,
            spot: group.is_spot,
            price: Price {
                currency: "USD".to_owned(),
                // 0.0405 dollars a vCPU and hour, 0.00445 a GB.
                cpu_second_pico: 11_250_000 * share / 10,
                gib_second_pico: 1_236_111 * share / 10,
            },
            least_charge: Duration::ZERO,
            job: group.job(),
            default_quota: Some(QUOTA),
        };
        state.machines.start(&self.ground, order)?;
        let location = group.location.clone();
        state.groups.insert(id.to_owned(), group.on(machine_id));
        drop(guard);
        let operation = format!(
            "{}/subscriptions/{subscription}/providers/{PROVIDER}/locations/{location}/operations/{name}?api-version={VERSION}",
            call.base()
        );
        let mut response = (StatusCode::CREATED, Json(self.shown(id, true)?)).into_response();
        if let Ok(operation) = HeaderValue::from_str(&operation) {
            response.headers_mut().insert("azure-asyncoperation", operation);
        }
        Ok(response)
    }

    fn shown(&self, id: &str, whole: bool) -> Result<Value, ApiError> {
        let state = self.state();
        let group = state.groups.get(id).ok_or_else(|| ApiError::missing(id))?;
        let machine = state.machines.get(group.machine()).ok_or_else(|| ApiError::missing(id))?;
        Ok(group.shown(id, machine, self.ground.clock.now(), whole))
    }

    fn list(&self, call: &Call<'_>, subscription: &str, resource_group: Option<&str>, after: &str) -> Response {
        let prefix = match resource_group {
            Some(resource_group) => id_of(subscription, resource_group, ""),
            None => format!("/subscriptions/{subscription}/"),
        };
        let mut ids = {
            let state = self.state();
            let matching = state.groups.keys().filter(|id| id.starts_with(&prefix) && id.as_str() > after);
            matching.take(PAGE + 1).cloned().collect::<Vec<_>>()
        };
        let mut answer = json!({});
        if ids.len() > PAGE {
            ids.truncate(PAGE);
            let last = ids.last().map_or("", String::as_str);
            let token = form_urlencoded::byte_serialize(last.as_bytes()).collect::<String>();
            let path = call.head.uri.path();
            answer["nextLink"] = json!(format!("{}{path}?api-version={VERSION}&$skiptoken={token}", call.base()));
        }
        answer["value"] = ids.iter().filter_map(|id| self.shown(id, false).ok()).collect();
        Json(answer).into_response()
    }

    fn remove(&self, id: &str) -> Response {
        let shown = self.shown(id, true);
        let mut state = self.state();
        match (state.groups.remove(id), shown) {
            (Some(group), Ok(shown)) => {
                state.machines.end(&self.ground, group.machine());
                Json(shown).into_response()
            }
            _ => StatusCode::NO_CONTENT.into_response(),
        }
    }

    fn container(
        &self,
        call: &Call<'_>,
        id: &str,
        container: &str,
        what: &str,
        query: &BTreeMap<String, String>,
    ) -> Result<Response, ApiError> {
        let mut state = self.state();
        let group = state.groups.get(id).ok_or_else(|| ApiError::missing(id))?;
        if !group.has_container(container) {
            return Err(ApiError::missing(container));
        }
        let machine = state.machines.get(group.machine()).ok_or_else(|| ApiError::missing(id))?;
        let now = self.ground.clock.now();
        if what == "logs" {
            let lines = now.checked_sub(machine.starts).map_or(0, |runs| runs.as_secs() + 1);
            let tail = query.get("tail").and_then(|tail| tail.parse::<u64>().ok()).unwrap_or(1000);
            let has_time = query.get("timestamps").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            let line = |at: u64| {
                let time = self.ground.clock.stamp(machine.starts + Duration::from_secs(at));
                if has_time { format!("{time} {container}: line {at}\n") } else { format!("{container}: line {at}\n") }
            };
            let content = (lines.saturating_sub(tail)..lines).map(line).collect::<String>();
            return Ok(Json(json!({"content": content})).into_response());
        }
        if !["exec", "attach"].contains(&what) {
            return Err(ApiError::missing(what));
        }
        let asked = serde_json::from_slice::<Value>(call.body).unwrap_or_default();
        let command = if what == "attach" { "cat" } else { asked["command"].as_str().unwrap_or_default() };
        if command.is_empty() {
            return Err(ApiError::bad("InvalidRequestContent", "properties.command is missing".to_owned()));
        }
        let serial = state.machines.serial();
        let password = format!("password-{serial}");
        // A program, and no arguments: spaces belong to its name.
        let path =
            self.sessions.add(&serial.to_string(), vec![command.to_owned()], Dialect::Terminal(password.clone()));
        Ok(Json(json!({"webSocketUri": websocket(&call.base(), &path), "password": password})).into_response())
    }

    fn location(&self, location: &str, what: &str) -> Result<Response, ApiError> {
        if !LOCATIONS.contains(&location) {
            return Err(ApiError::bad("NoRegisteredProviderFound", format!("there is no location {location}")));
        }
        let answer = match what {
            "usages" => {
                let state = self.state();
                let count = state.groups.values().filter(|group| group.location == location).count();
                let limit = self.ground.settings().quota_instances.unwrap_or(QUOTA);
                json!({"value": [{"name": {"value": "ContainerGroups", "localizedValue": "Container groups"},
                    "unit": "Count", "currentValue": count, "limit": limit}]})
            }
            "capabilities" => {
                json!({"value": [{"resourceType": "containerGroups", "osType": "Linux", "location": location,
                "ipAddressType": "Private", "gpu": "None",
                "capabilities": {"maxMemoryInGB": 16.0, "maxCpu": 4.0, "maxGpuCount": 0.0}}]})
            }
            "operations" => json!({"status": "Succeeded"}),
            _ => return Err(ApiError::missing(what)),
        };
        Ok(Json(answer).into_response())
    }
}

impl Cloud for Aci {
    fn action(&self, head: &Parts, _body: &Bytes) -> String {
        if head.uri.path().ends_with("/oauth2/v2.0/token") {
            return "Token".to_owned();
        }
        let action = match (&head.method, Target::of(head.uri.path())) {
            (_, None) => "none",
            (&Method::PUT, _) => "CreateOrUpdate",
            (&Method::DELETE, _) => "Delete",
            (_, Some((_, Target::Groups { .. }))) => "List",
            (_, Some((_, Target::Group { .. }))) => "Get",
            (_, Some((_, Target::Container { what, .. } | Target::Location { what, .. }))) => what,
        };
        action.to_owned()
    }

    fn answer(&self, call: &Call<'_>) -> Response {
        if call.action == "Token" {
            let tenant = call.head.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
            return self.grant(tenant, call.body);
        }
        self.act(call).unwrap_or_else(IntoResponse::into_response)
    }

    fn unavailable(&self) -> Response {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError { status, code: "InternalServerError", message: "an internal error happened".to_owned() }
            .into_response()
    }

    fn instances(&self) -> Value {
        json!(self.state().machines.shown(self.ground.clock.now()))
    }

    /// By the group's name, or the id that the admin endpoint shows.
    fn reclaim(&self, id: &str) -> bool {
        let mut state = self.state();
        let named = state.groups.iter().find(|(known, _)| known.as_str() == id || known.rsplit('/').next() == Some(id));
        let machine = named.map_or_else(|| id.to_owned(), |(_, group)| group.machine().to_owned());
        state.machines.reclaim(&self.ground, &machine)
    }

    fn streams(&self) -> Router {
        self.sessions.router()
    }

    fn settle(&self) {
        self.state().machines.settle(&self.ground, self.ground.clock.now());
    }
}
