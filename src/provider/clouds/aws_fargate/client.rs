//! Calls of ECS: JSON 1.1, signed, kept to the documented rates.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::classify,
    identity::{Identity, element},
};
use crate::{
    api::pool::aws_fargate::AwsFargate,
    provider::{
        ProviderError,
        clouds::{
            Secret,
            credentials::{KeyStore, SigningKeys},
            exchange::{Exchange, host_of},
            limits::{Bucket, Rate},
            pod::invalid,
            signing::sigv4::{Keys, Scope, Signable, sign},
        },
    },
};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// Tasks of one page, and of one `DescribeTasks`.
pub(super) const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct Client {
    http: Exchange,
    address: Uri,
    host: HeaderValue,
    scope: Scope,
    cluster: String,
    identity: Identity,
    rates: Rates,
}

/// The documented token buckets of ECS, and Fargate's own of launches.
#[derive(Debug)]
struct Rates {
    run: Bucket,
    launch: Bucket,
    read: Bucket,
    register: Bucket,
}

/// A task as `DescribeTasks` tells it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Task {
    #[serde(rename = "taskArn")]
    pub(super) arn: String,
    pub(super) last_status: String,
    pub(super) desired_status: String,
    pub(super) capacity_provider_name: String,
    pub(super) created_at: f64,
    pub(super) stop_code: String,
    pub(super) stopped_reason: String,
    pub(super) containers: Vec<TaskContainer>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) tags: Vec<Tag>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TaskContainer {
    pub(super) exit_code: Option<i32>,
    pub(super) reason: String,
    pub(super) network_interfaces: Vec<Interface>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Interface {
    pub(super) private_ipv4_address: String,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Attachment {
    pub(super) details: Vec<Detail>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

/// Why one of several was not done, in an answer of status 200.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    reason: String,
    detail: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tasks {
    tasks: Vec<Task>,
    failures: Vec<Failure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Arns {
    task_arns: Vec<String>,
    next_token: Option<String>,
}

impl Client {
    pub(super) fn new(settings: &AwsFargate, store: Arc<dyn KeyStore>) -> Result<Self, ProviderError> {
        let address = match &settings.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://ecs.{}.amazonaws.com", settings.region),
        };
        let address: Uri = format!("{address}/").parse().map_err(|error| invalid("endpoint", error))?;
        let http = Exchange::new(&address.to_string(), settings.trusted_certificate.as_deref())?;
        let rates = Rates {
            run: Bucket::new(Rate::new(100, 40.0)),
            launch: Bucket::new(Rate::new(20, 20.0)),
            read: Bucket::new(Rate::new(100, 20.0)),
            register: Bucket::new(Rate::new(20, 1.0)),
        };
        Ok(Self {
            host: HeaderValue::from_str(&host_of(&address)).map_err(|error| invalid("endpoint", error))?,
            address,
            scope: Scope { region: settings.region.clone(), service: "ecs" },
            cluster: settings.cluster.clone(),
            identity: Identity::new(settings, store, http.clone()),
            http,
            rates,
        })
    }

    /// Registers the definition of this family, if it is not yet.
    pub(super) async fn define(&self, family: &str, definition: &Value) -> Result<(), ProviderError> {
        match self.call("DescribeTaskDefinition", &json!({"taskDefinition": family})).await {
            Ok(answer) if answer["taskDefinition"]["status"] == "ACTIVE" => return Ok(()),
            Ok(_) | Err(ProviderError::Invalid(_)) => {}
            Err(error) => return Err(error),
        }
        self.call("RegisterTaskDefinition", definition).await.map(drop)
    }

    pub(super) async fn run(&self, task: &Value) -> Result<Task, ProviderError> {
        self.rates.launch.take().await;
        let answer: Tasks = read(self.call("RunTask", task).await?)?;
        if let Some(task) = answer.tasks.into_iter().next() {
            return Ok(task);
        }
        let failure = answer.failures.into_iter().next().unwrap_or_default();
        Err(classify(
            http::StatusCode::BAD_REQUEST,
            "ClientException",
            &format!("{} {}", failure.reason, failure.detail),
        ))
    }

    /// ARNs of tasks that run (or start) or have stopped; those that `started_by` started, or all of the cluster.
    pub(super) async fn arns(&self, status: &str, started_by: Option<&str>) -> Result<Vec<String>, ProviderError> {
        let mut all = Vec::new();
        let mut request = json!({"cluster": self.cluster, "desiredStatus": status, "maxResults": PAGE});
        if let Some(started_by) = started_by {
            request["startedBy"] = json!(started_by);
        }
        loop {
            let page: Arns = read(self.call("ListTasks", &request).await?)?;
            all.extend(page.task_arns);
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(token) => request["nextToken"] = json!(token),
                None => return Ok(all),
            }
        }
    }

    /// At most [`PAGE`] tasks; those that are no more are left out.
    pub(super) async fn describe(&self, arns: &[String]) -> Result<Vec<Task>, ProviderError> {
        let request = json!({"cluster": self.cluster, "tasks": arns, "include": ["TAGS"]});
        Ok(read::<Tasks>(self.call("DescribeTasks", &request).await?)?.tasks)
    }

    /// Stops a task; one that is no more is success.
    pub(super) async fn stop(&self, arn: &str, reason: &str) -> Result<(), ProviderError> {
        let request = json!({"cluster": self.cluster, "task": arn, "reason": reason});
        match self.call("StopTask", &request).await {
            Err(ProviderError::Invalid(text))
                if text.to_ascii_lowercase().contains("task") && text.contains("not found") =>
            {
                Ok(())
            }
            answer => answer.map(drop),
        }
    }

    async fn call(&self, action: &str, body: &Value) -> Result<Value, ProviderError> {
        let bucket = match action {
            "RunTask" | "StopTask" => &self.rates.run,
            "RegisterTaskDefinition" => &self.rates.register,
            _ => &self.rates.read,
        };
        bucket.take().await;
        let keys = self.identity.keys().await?;
        let answer = self.http.send(self.request(action, body.to_string(), &keys)?).await?;
        let value = serde_json::from_str::<Value>(&answer.text);
        if !answer.status.is_success() {
            let value = value.unwrap_or_default();
            // What stands before ECS refuses in XML.
            let kind = value["__type"].as_str().or_else(|| element(&answer.text, "Code")).unwrap_or_default();
            let kind = kind.rsplit('#').next().unwrap_or_default();
            let message = value["message"].as_str().or_else(|| value["Message"].as_str());
            let message = message.or_else(|| element(&answer.text, "Message")).unwrap_or(&answer.text);
            let error = classify(answer.status, kind, message);
            if let ProviderError::Throttled { .. } = error {
                bucket.hold(answer.retry_after().unwrap_or(Duration::from_millis(500)));
            }
            if let ProviderError::Unauthorized(_) = error {
                self.identity.forget(&keys).await;
            }
            return Err(error);
        }
        value.map_err(|error| {
            ProviderError::Unavailable(format!("ecs: the answer to {action} is not understood: {error}"))
        })
    }

    fn request(&self, action: &str, body: String, keys: &SigningKeys) -> Result<Request<String>, ProviderError> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{action}");
        let headers = HeaderMap::from_iter([
            (header::HOST, self.host.clone()),
            (header::CONTENT_TYPE, JSON),
            (TARGET, HeaderValue::from_str(&target).map_err(|error| invalid("action", error))?),
        ]);
        let signable =
            Signable { method: &Method::POST, path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let token = keys.token.as_ref().map(Secret::reveal);
        let signing = Keys { id: &keys.id, secret: keys.secret.reveal(), token };
        let headers = sign(&signable, signing, &self.scope, false, jiff::Timestamp::now())
            .map_err(|error| ProviderError::Unauthorized(error.to_string()))?;
        let mut request = Request::post(self.address.clone()).body(body).map_err(|error| invalid("request", error))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ProviderError> {
    serde_json::from_value(value)
        .map_err(|error| ProviderError::Unavailable(format!("ecs: an answer is not understood: {error}")))
}
