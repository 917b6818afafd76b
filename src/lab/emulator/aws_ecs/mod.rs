//! AWS ECS on Fargate, version 2014-11-13, as far as burstlet and its users call it; `CloudWatch` Logs, where its tasks
//! write; and STS's exchange of web identities.
//!
//! A subnet's zone goes by the subnet's name: `zones: {subnet-1: {instances: 0}}` leaves that subnet without capacity.

mod error;
mod logs;
mod run;
mod sts;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    body::Bytes,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use self::{error::ApiError, task::Task};
use super::{
    AccessKey, Call, Cloud, Ground, ThrottleRate,
    grants::Grants,
    machines::Machines,
    sigv4::{KeyRing, verified},
};
use crate::provider::clouds::{aws_fargate::is_size, signing::sigv4::Claim};

/// What an action's name stands behind, and the service that its call is signed for.
const TARGETS: [(&str, &str); 2] = [("AmazonEC2ContainerServiceV20141113.", "ecs"), ("Logs_20140328.", "logs")];
const MOST_RESULTS: usize = 100;

/// The emulated cloud.
#[derive(Debug)]
pub struct Ecs {
    ground: Arc<Ground>,
    keys: KeyRing,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clusters: Vec<String>,
    /// By family, each revision in turn.
    definitions: BTreeMap<String, Vec<Value>>,
    tasks: BTreeMap<String, Task>,
    machines: Machines,
    log_groups: BTreeSet<String>,
    granted: Grants,
    /// What was asked with a client token, and what was answered.
    tokens: BTreeMap<String, (Value, Value)>,
}

impl Ecs {
    /// An account with the cluster `default`, which these keys open, and those that STS grants.
    pub fn new(ground: Arc<Ground>, keys: Vec<AccessKey>) -> Self {
        let state = State { clusters: vec!["default".to_owned()], ..State::default() };
        Self { ground, keys: KeyRing::new(keys), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, call: &Call<'_>) -> Result<Value, ApiError> {
        let service = target(call.head).map_or("ecs", |(service, _)| service);
        let region = self.region(call, service)?;
        let (bucket, rate) = match call.action {
            "RunTask" | "StopTask" | "ExecuteCommand" => ("RunTask", rate(100, 40.0)),
            "RegisterTaskDefinition" => ("RegisterTaskDefinition", rate(20, 1.0)),
            "DescribeTasks" | "ListTasks" => ("DescribeTasks", rate(100, 20.0)),
            "GetLogEvents" => ("GetLogEvents", rate(10, 10.0)),
            _ => ("other", rate(50, 20.0)),
        };
        let is_throttled = self.ground.throttle(bucket, rate).is_err()
            || call.action == "RunTask" && self.ground.throttle("fargate", self::rate(20, 20.0)).is_err();
        if is_throttled {
            return Err(ApiError::new("ThrottlingException", "Rate exceeded"));
        }
        let body: Value = serde_json::from_slice(call.body)
            .map_err(|error| ApiError::new("SerializationException", error.to_string()))?;
        match call.action {
            "CreateCluster" => Ok(self.create_cluster(&region, &body)),
            "RegisterTaskDefinition" => self.register(&region, &body),
            "DescribeTaskDefinition" => {
                Ok(json!({"taskDefinition": definition(&self.state(), text(&body, "taskDefinition"))?, "tags": []}))
            }
            "DeregisterTaskDefinition" => self.deregister(&body),
            "RunTask" => self.run(&region, &body),
            "ListTasks" => self.list(&body),
            "DescribeTasks" => self.describe(&body),
            "StopTask" => self.stop(&body),
            "ExecuteCommand" => self.exec(&body),
            "CreateLogGroup" => self.create_log_group(&body),
            "GetLogEvents" => self.log_events(&body),
            other => Err(ApiError::new("UnknownOperationException", format!("there is no {other}"))),
        }
    }

    /// Where the call is made, if whoever signed it may make it.
    fn region(&self, call: &Call<'_>, service: &'static str) -> Result<String, ApiError> {
        let headers = &call.head.headers;
        let claim = Claim::read(headers)?;
        let granted = sts::secret(&self.state().granted, &claim.key_id, headers, self.ground.clock.now())?;
        match granted {
            Some(secret) => Ok(verified(&self.ground, call, service, &claim, &secret)?),
            None => Ok(self.keys.check(&self.ground, call, service)?),
        }
    }

    fn create_cluster(&self, region: &str, body: &Value) -> Value {
        let name = match text(body, "clusterName") {
            "" => "default",
            name => name,
        };
        let mut state = self.state();
        if !state.clusters.iter().any(|known| known == name) {
            state.clusters.push(name.to_owned());
        }
        json!({"cluster": {"clusterName": name, "clusterArn": arn(region, "cluster", name), "status": "ACTIVE"}})
    }

    fn register(&self, region: &str, body: &Value) -> Result<Value, ApiError> {
        let family = text(body, "family");
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if family.is_empty() || family.len() > 255 || !family.bytes().all(is_sign) {
            return Err(ApiError::client("Family should be 1 to 255 letters, digits, hyphens and underscores."));
        }
        if text(body, "networkMode") != "awsvpc" {
            return Err(ApiError::client("Fargate only supports network mode ‘awsvpc’."));
        }
        let number = |name: &str| text(body, name).parse::<u64>().unwrap_or(0);
        if !is_size(number("cpu"), number("memory")) {
            return Err(ApiError::client("No Fargate configuration exists for given values."));
        }
        let containers = body["containerDefinitions"].as_array().cloned().unwrap_or_default();
        if containers.is_empty() || containers.len() > 10 {
            return Err(ApiError::client("Container list cannot be empty, nor longer than 10."));
        }
        if containers.iter().any(|container| text(container, "image").is_empty() || text(container, "name").is_empty())
        {
            return Err(ApiError::client("Container.name and Container.image should not be null or empty."));
        }
        let mut state = self.state();
        let revisions = state.definitions.entry(family.to_owned()).or_default();
        let revision = revisions.len() + 1;
        let mut definition = body.clone();
        definition["revision"] = json!(revision);
        definition["status"] = json!("ACTIVE");
        definition["taskDefinitionArn"] = json!(arn(region, "task-definition", &format!("{family}:{revision}")));
        revisions.push(definition.clone());
        Ok(json!({"taskDefinition": definition}))
    }

    fn deregister(&self, body: &Value) -> Result<Value, ApiError> {
        let mut state = self.state();
        let mut found = definition(&state, text(body, "taskDefinition"))?;
        found["status"] = json!("INACTIVE");
        let family = text(&found, "family").to_owned();
        let at = found["revision"].as_u64().and_then(|revision| usize::try_from(revision).ok()).unwrap_or(1);
        if let Some(known) = state.definitions.get_mut(&family).and_then(|revisions| revisions.get_mut(at - 1)) {
            *known = found.clone();
        }
        Ok(json!({"taskDefinition": found}))
    }

    fn list(&self, body: &Value) -> Result<Value, ApiError> {
        let now = self.ground.clock.now();
        let state = self.state();
        let cluster = known_cluster(&state, body)?;
        let started_by = body["startedBy"].as_str();
        let wants_stopped = body["desiredStatus"] == "STOPPED";
        if started_by.is_some() && !body["family"].is_null() {
            return Err(ApiError::invalid("startedBy must be the only filter."));
        }
        let most = body["maxResults"].as_u64().unwrap_or(100);
        let most = usize::try_from(most).ok().filter(|most| (1..=MOST_RESULTS).contains(most));
        let most = most.ok_or_else(|| ApiError::invalid("maxResults must be within 1 and 100."))?;
        let after = body["nextToken"].as_str().unwrap_or_default();
        let matching = state.tasks.iter().filter(|(arn, task)| {
            let stops = state.machines.get(arn).is_none_or(|machine| task::is_stopping(machine, now));
            task.cluster == cluster
                && stops == wants_stopped
                && started_by.is_none_or(|started_by| task.started_by == started_by)
                && arn.as_str() > after
        });
        let mut arns = matching.map(|(arn, _)| arn.clone()).take(most + 1).collect::<Vec<_>>();
        let mut answer = json!({});
        if arns.len() > most {
            arns.truncate(most);
            answer["nextToken"] = json!(arns.last());
        }
        answer["taskArns"] = json!(arns);
        Ok(answer)
    }

    fn describe(&self, body: &Value) -> Result<Value, ApiError> {
        let now = self.ground.clock.now();
        let state = self.state();
        let cluster = known_cluster(&state, body)?;
        let asked = body["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        if asked.is_empty() || asked.len() > MOST_RESULTS {
            return Err(ApiError::invalid("Tasks must be 1 to 100."));
        }
        let has_tags = body["include"].as_array().is_some_and(|include| include.iter().any(|what| what == "TAGS"));
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for asked in asked.iter().filter_map(Value::as_str) {
            let found = state.tasks.iter().find(|(arn, task)| task.cluster == cluster && is_named(arn, asked));
            match found.and_then(|(arn, task)| Some((arn, task, state.machines.get(arn)?))) {
                Some((arn, task, machine)) => {
                    let mut shown = task.shown(arn, machine, now, &self.ground.clock);
                    if !has_tags {
                        shown["tags"] = json!([]);
                    }
                    tasks.push(shown);
                }
                None => failures.push(json!({"arn": asked, "reason": "MISSING"})),
            }
        }
        Ok(json!({"tasks": tasks, "failures": failures}))
    }

    fn stop(&self, body: &Value) -> Result<Value, ApiError> {
        let mut guard = self.state();
        let state = &mut *guard;
        let cluster = known_cluster(state, body)?;
        let asked = text(body, "task");
        let found = state.tasks.iter_mut().find(|(arn, task)| task.cluster == cluster && is_named(arn, asked));
        let (arn, task) = found.ok_or_else(|| ApiError::invalid("The referenced task was not found."))?;
        let now = self.ground.clock.now();
        if state.machines.get(arn).is_some_and(|machine| !machine.phase(now).is_over()) {
            body["reason"].as_str().unwrap_or("Task stopped by user").clone_into(&mut task.stopped_reason);
            state.machines.end(&self.ground, arn);
        }
        let machine = state.machines.get(arn).ok_or_else(|| ApiError::invalid("The referenced task was not found."))?;
        let now = self.ground.clock.now();
        Ok(json!({"task": task.shown(arn, machine, now, &self.ground.clock)}))
    }

    fn exec(&self, body: &Value) -> Result<Value, ApiError> {
        let state = self.state();
        let cluster = known_cluster(&state, body)?;
        let asked = text(body, "task");
        let found = state.tasks.iter().find(|(arn, task)| task.cluster == cluster && is_named(arn, asked));
        let (arn, task) = found.ok_or_else(|| ApiError::invalid("The referenced task was not found."))?;
        let runs = state.machines.get(arn).is_some_and(|machine| task::runs(machine, self.ground.clock.now()));
        if !runs || !task.takes_commands {
            let text = "The execute command failed because execute command was not enabled when the task was run or the \
                        execute command agent isn’t running.";
            return Err(ApiError::invalid(text));
        }
        let session = json!({"sessionId": "ecs-execute-command-0", "streamUrl": "wss://ecs.emulator.invalid/session",
            "tokenValue": "emulated"});
        Ok(json!({"clusterArn": cluster, "taskArn": arn, "containerName": text(body, "container"),
            "interactive": body["interactive"], "session": session}))
    }
}

/// The service and the action that a call names.
fn target(head: &Parts) -> Option<(&'static str, &str)> {
    let target = head.headers.get("x-amz-target")?.to_str().ok()?;
    TARGETS.iter().find_map(|(prefix, service)| Some((*service, target.strip_prefix(prefix)?)))
}

fn rate(burst: u32, per_second: f64) -> ThrottleRate {
    ThrottleRate { burst, per_second }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

fn arn(region: &str, kind: &str, name: &str) -> String {
    format!("arn:aws:ecs:{region}:123456789012:{kind}/{name}")
}

/// An ARN is named by itself or by its last part.
fn is_named(arn: &str, name: &str) -> bool {
    arn == name || arn.rsplit('/').next() == Some(name)
}

fn known_cluster(state: &State, body: &Value) -> Result<String, ApiError> {
    let asked = body["cluster"].as_str().unwrap_or("default");
    let known = state.clusters.iter().find(|known| is_named(asked, known));
    known.cloned().ok_or_else(|| ApiError::new("ClusterNotFoundException", "Cluster not found."))
}

/// By ARN, `family:revision`, or the family's latest that is active.
fn definition(state: &State, asked: &str) -> Result<Value, ApiError> {
    let name = asked.rsplit('/').next().unwrap_or_default();
    let missing = || ApiError::client("Unable to describe task definition.");
    let (family, revision) = name.split_once(':').map_or((name, None), |(family, revision)| (family, Some(revision)));
    let revisions = state.definitions.get(family).ok_or_else(missing)?;
    let found = match revision {
        Some(revision) => revisions.iter().find(|known| known["revision"].as_u64() == revision.parse().ok()),
        None => revisions.iter().rev().find(|known| known["status"] == "ACTIVE"),
    };
    found.cloned().ok_or_else(missing)
}

impl Cloud for Ecs {
    fn action(&self, head: &Parts, body: &Bytes) -> String {
        let target = target(head);
        if target.is_none() && body.starts_with(format!("Action={}", sts::ACTION).as_bytes()) {
            return sts::ACTION.to_owned();
        }
        target.map_or("none", |(_, action)| action).to_owned()
    }

    fn answer(&self, call: &Call<'_>) -> Response {
        if call.action == sts::ACTION {
            return sts::exchange(&mut self.state().granted, call.body, &self.ground);
        }
        let json = HeaderValue::from_static("application/x-amz-json-1.1");
        match self.act(call) {
            Ok(answer) => ([(header::CONTENT_TYPE, json)], Json(answer).into_response().into_body()).into_response(),
            Err(error) => error.into_response(),
        }
    }

    fn unavailable(&self) -> Response {
        let error = ApiError::new("ServerException", "Service Unavailable. Please try again later.");
        (StatusCode::INTERNAL_SERVER_ERROR, error.into_response().into_body()).into_response()
    }

    fn instances(&self) -> Value {
        json!(self.state().machines.shown(self.ground.clock.now()))
    }

    fn reclaim(&self, id: &str) -> bool {
        self.state().machines.reclaim(&self.ground, id)
    }

    fn settle(&self) {
        self.state().machines.settle(&self.ground, self.ground.clock.now());
    }
}
