//! Calls of ECS and of its logs, kept to the documented rates.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::classify,
    identity::{Identity, element},
    logs::{self, Events},
    service::Service,
};
use crate::{
    api::pool::aws_fargate::AwsFargate,
    provider::{
        ProviderError,
        clouds::{
            credentials::KeyStore,
            exchange::Exchange,
            limits::{Bucket, Rate},
        },
    },
};

/// Tasks of one page, and of one `DescribeTasks`.
pub(super) const PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct Client {
    http: Exchange,
    ecs: Service,
    logs: Service,
    cluster: String,
    identity: Identity,
    rates: Rates,
}

/// The documented token buckets of ECS, Fargate's own of launches, and the least that any region allows for reading logs.
#[derive(Debug)]
struct Rates {
    run: Bucket,
    launch: Bucket,
    read: Bucket,
    register: Bucket,
    logs: Bucket,
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
        let ecs = Service::ecs(&settings.region, settings.endpoint.as_deref())?;
        let logs = Service::logs(&settings.region, settings.logs_endpoint.as_deref())?;
        let http = Exchange::new(&ecs.address(), settings.trusted_certificate.as_deref())?;
        let rates = Rates {
            run: Bucket::new(Rate::new(100, 40.0)),
            launch: Bucket::new(Rate::new(20, 20.0)),
            read: Bucket::new(Rate::new(100, 20.0)),
            register: Bucket::new(Rate::new(20, 1.0)),
            logs: Bucket::new(Rate::new(10, 10.0)),
        };
        Ok(Self {
            ecs,
            logs,
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

    /// A page of a stream of logs; `None` where nothing was written yet.
    pub(super) async fn log_events(&self, request: &Value) -> Result<Option<Events>, ProviderError> {
        match self.ask(&self.logs, &self.rates.logs, "GetLogEvents", request).await {
            Ok(page) => read(page).map(Some),
            Err(error) if logs::is_unwritten(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn call(&self, action: &str, body: &Value) -> Result<Value, ProviderError> {
        let bucket = match action {
            "RunTask" | "StopTask" => &self.rates.run,
            "RegisterTaskDefinition" => &self.rates.register,
            _ => &self.rates.read,
        };
        self.ask(&self.ecs, bucket, action, body).await
    }

    async fn ask(
        &self,
        service: &Service,
        bucket: &Bucket,
        action: &str,
        body: &Value,
    ) -> Result<Value, ProviderError> {
        bucket.take().await;
        let keys = self.identity.keys().await?;
        let answer = self.http.send(service.request(action, body.to_string(), &keys)?).await?;
        let value = serde_json::from_str::<Value>(&answer.text);
        if !answer.status.is_success() {
            let value = value.unwrap_or_default();
            // What stands before a service refuses in XML.
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
            let name = service.name();
            ProviderError::Unavailable(format!("{name}: the answer to {action} is not understood: {error}"))
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ProviderError> {
    serde_json::from_value(value)
        .map_err(|error| ProviderError::Unavailable(format!("ecs: an answer is not understood: {error}")))
}
