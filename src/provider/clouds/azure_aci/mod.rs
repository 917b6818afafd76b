//! Azure Container Instances (ACI), API version 2023-05-01.
//!
//! - **Creation** is a `PUT` by a name made of the pod's UID: twice makes one. A group that stands is looked up first, since
//!   the second attempt may choose another subnet.
//! - **Whose it is** stands in tags.
//! - **Listing** does not tell how containers fare: groups that may end by themselves, or have failed, are read singly.
//! - **Stock** is what the location's quota of groups leaves. ACI tells no prices here.

mod error;
mod request;
mod token;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use http::{Method, Request as HttpRequest, StatusCode, header};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::request::{Request, name_of};
use self::{error::classify, token::Tokens};
use super::{
    Secret,
    credentials::KeyStore,
    exchange::Exchange,
    exec,
    fleet::{Api, Fleet, Found, Pace, places},
    limits::{Bucket, Rate},
    log::{Reads, Window},
    pod::invalid,
};
use crate::{
    api::pool::azure_aci::AzureAci,
    provider::{
        Content, Exec, ExitStatus, Instance, InstanceId, InstanceState, Owner, ProviderError, Stock, Streams, Takes,
        TerminalSize,
    },
};

const VERSION: &str = "2023-05-01";

/// Lines of a log that are asked for at most.
const MOST_LOG_LINES: usize = 2000;

/// How long the location's quota is believed.
const STOCK_LASTS: Duration = Duration::from_secs(30);

/// The provider.
pub type Aci = Fleet<AciApi>;

/// ACI, one call at a time.
#[derive(Debug)]
pub struct AciApi {
    settings: AzureAci,
    http: Exchange,
    base: String,
    tokens: Tokens,
    creations: Bucket,
    reads: Bucket,
    stock: Mutex<Option<(Instant, Stock)>>,
}

/// Where the streams of a command in a container are.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// Address of the WebSocket.
    web_socket_uri: String,
    /// The first message to send.
    password: Secret,
}

impl Session {
    async fn run(self, http: &Exchange, streams: Streams) -> Result<ExitStatus, ProviderError> {
        exec::run(http.client(), &self.web_socket_uri, exec::Dialect::Terminal(self.password), streams).await
    }
}

impl Aci {
    /// The provider of a pool, listing at `pace`. Fails where a field is beyond its limit.
    pub fn with_keys(settings: AzureAci, keys: Arc<dyn KeyStore>, pace: Pace) -> Result<Self, ProviderError> {
        ProviderError::refuse_faulty(settings.faults())?;
        let places = places(settings.subnet_ids.len().max(1), settings.subnet_order);
        let base = settings.endpoint.as_deref().unwrap_or("https://management.azure.com");
        let http = Exchange::new(base, settings.trusted_certificate.as_deref())?;
        let api = AciApi {
            base: base.trim_end_matches('/').to_owned(),
            tokens: Tokens::new(settings.login_endpoint.as_deref(), keys, http.clone()),
            http,
            settings,
            creations: Bucket::new(Rate::new(100, 300.0 / 3600.0)),
            reads: Bucket::new(Rate::new(250, 25.0)),
            stock: Mutex::default(),
        };
        Ok(Self::new(api, places, pace))
    }
}

fn session(answer: Value) -> Result<Session, ProviderError> {
    serde_json::from_value(answer)
        .map_err(|error| ProviderError::Unavailable(format!("aci: the session is not understood: {error}")))
}

impl AciApi {
    fn groups_path(&self) -> String {
        let AzureAci { subscription_id, resource_group, .. } = &self.settings;
        format!(
            "/subscriptions/{subscription_id}/resourceGroups/{resource_group}/providers/Microsoft.ContainerInstance/containerGroups"
        )
    }

    fn group_path(&self, owner: &Owner) -> String {
        format!("{}/{}", self.groups_path(), name_of(owner))
    }

    async fn read(&self, name: &str) -> Result<Option<Value>, ProviderError> {
        let path = format!("{}/{name}?api-version={VERSION}", self.groups_path());
        match self.call(Method::GET, &path, None).await {
            Err(ProviderError::Invalid(text)) if text.starts_with("ResourceNotFound") => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Calls a path, or an absolute address below the base. A token that is refused is renewed, and the call made again.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ProviderError> {
        let (bucket, has_body) =
            if method == Method::PUT { (&self.creations, true) } else { (&self.reads, body.is_some()) };
        bucket.take().await;
        let mut is_again = false;
        loop {
            let token = self.tokens.token().await?;
            let mut request = HttpRequest::builder()
                .method(method.clone())
                .uri(format!("{}{path}", self.base))
                .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
            if has_body {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            let text = body.map(Value::to_string).unwrap_or_default();
            let request = request.body(text).map_err(|error| invalid("request", error))?;
            let answer = self.http.send(request).await?;
            if answer.status == StatusCode::UNAUTHORIZED && !is_again {
                self.tokens.forget(&token).await;
                is_again = true;
                continue;
            }
            let value = serde_json::from_str::<Value>(&answer.text).unwrap_or_default();
            if answer.status.is_success() {
                return Ok(value);
            }
            let error = classify(answer.status, &value, answer.retry_after());
            if let ProviderError::Throttled { retry_after, .. } = &error {
                bucket.hold(retry_after.unwrap_or(Duration::from_secs(5)));
            }
            return Err(error);
        }
    }

    async fn remove(&self, name: &str) -> Result<(), ProviderError> {
        let path = format!("{}/{name}?api-version={VERSION}", self.groups_path());
        match self.call(Method::DELETE, &path, None).await {
            Err(ProviderError::Invalid(text)) if text.starts_with("ResourceNotFound") => Ok(()),
            answer => answer.map(drop),
        }
    }
}

#[async_trait]
impl Api for AciApi {
    type Request = Request;

    fn name(&self) -> &'static str {
        "azure-aci"
    }

    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities()
    }

    fn translate(&self, owner: &Owner, pod: &Pod) -> Result<Request, ProviderError> {
        request::translate(&self.settings, owner, pod, &Content::default())
    }

    /// Files travel with the creation and cannot be renewed, so tokens, which expire, are not taken.
    fn takes(&self) -> Takes {
        Takes { files: true, registries: true, ..Takes::default() }
    }

    fn translate_with(&self, owner: &Owner, pod: &Pod, content: &Content) -> Result<Request, ProviderError> {
        request::translate(&self.settings, owner, pod, content)
    }

    fn size(&self, request: &Request) -> String {
        request.size.clone()
    }

    fn log_reads(&self) -> Result<Reads, ProviderError> {
        Ok(Reads { most: MOST_LOG_LINES, has_times: true, has_previous: false })
    }

    async fn log(
        &self,
        owner: &Owner,
        _instance: &InstanceId,
        container: &str,
        window: Window,
    ) -> Result<String, ProviderError> {
        let (path, tail) = (self.group_path(owner), window.lines);
        let path = format!("{path}/containers/{container}/logs?api-version={VERSION}&timestamps=true&tail={tail}");
        let answer = self.call(Method::GET, &path, None).await?;
        Ok(answer["content"].as_str().unwrap_or_default().to_owned())
    }

    /// ACI begins one program, without arguments, and tells no exit code.
    async fn exec(&self, owner: &Owner, _instance: &InstanceId, exec: Exec) -> Result<ExitStatus, ProviderError> {
        let Exec { container, command, streams } = exec;
        let [program] = command.as_slice() else {
            let text = "ACI begins a program without arguments: begin a shell, such as kubectl exec -it POD -- /bin/sh, and type them";
            return Err(ProviderError::Unsupported(text.to_owned()));
        };
        let size = streams.resize.as_ref().and_then(|size| *size.borrow());
        let size = size.unwrap_or(TerminalSize { width: 80, height: 24 });
        let path = format!("{}/containers/{container}/exec?api-version={VERSION}", self.group_path(owner));
        let body = json!({"command": program, "terminalSize": {"rows": size.height, "cols": size.width}});
        session(self.call(Method::POST, &path, Some(&body)).await?)?.run(&self.http, streams).await
    }

    async fn attach(&self, owner: &Owner, container: &str, streams: Streams) -> Result<ExitStatus, ProviderError> {
        let path = format!("{}/containers/{container}/attach?api-version={VERSION}", self.group_path(owner));
        session(self.call(Method::POST, &path, None).await?)?.run(&self.http, streams).await
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Found>, ProviderError> {
        Ok(self.read(&name_of(owner)).await?.as_ref().and_then(found))
    }

    async fn create(&self, owner: &Owner, request: &Request, place: Option<usize>) -> Result<Instance, ProviderError> {
        let mut body = request.body.clone();
        if let Some(subnet) = place.and_then(|place| self.settings.subnet_ids.get(place)) {
            body["properties"]["subnetIds"] = json!([{"id": subnet}]);
        }
        let path = format!("{}?api-version={VERSION}", self.group_path(owner));
        let answer = self.call(Method::PUT, &path, Some(&body)).await?;
        tracing::debug!(pod = %owner.name, namespace = %owner.namespace, size = %request.size, "container group made");
        let understood = found(&answer).map(|found| found.instance);
        understood.ok_or_else(|| ProviderError::Unavailable("aci: the new group's answer is not understood".to_owned()))
    }

    /// ACI stops containers in its own time: the API has no grace period.
    async fn delete(&self, owner: &Owner, _known: Option<&Instance>, _grace: Duration) -> Result<(), ProviderError> {
        self.remove(&name_of(owner)).await
    }

    /// There are none: a name is one group's.
    async fn delete_copy(&self, copy: &Instance) -> Result<(), ProviderError> {
        tracing::error!(id = %copy.id, "two container groups of one name are listed");
        Ok(())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Found>, ProviderError> {
        let mut path = format!("{}?api-version={VERSION}", self.groups_path());
        let mut all = Vec::new();
        loop {
            let page = self.call(Method::GET, &path, None).await?;
            for group in page["value"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let Some(listed) = found(group).filter(|found| found.instance.owner.cluster == cluster) else {
                    continue;
                };
                let provisioned = group["properties"]["provisioningState"] == "Succeeded";
                if provisioned && group["properties"]["restartPolicy"] == "Always" {
                    all.push(listed);
                } else {
                    // Gone between listing and reading.
                    all.extend(self.read(&name_of(&listed.instance.owner)).await?.as_ref().and_then(found));
                }
            }
            match page["nextLink"].as_str().filter(|link| !link.is_empty()) {
                None => return Ok(all),
                Some(link) => {
                    let stays = || ProviderError::Unavailable("aci: the next page is at another address".to_owned());
                    path = link.strip_prefix(&self.base).ok_or_else(stays)?.to_owned();
                }
            }
        }
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        let standing = *self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stock)) = standing.filter(|(at, _)| at.elapsed() < STOCK_LASTS) {
            return Ok(stock);
        }
        let AzureAci { subscription_id, location, .. } = &self.settings;
        let path = format!(
            "/subscriptions/{subscription_id}/providers/Microsoft.ContainerInstance/locations/{location}/usages?api-version={VERSION}"
        );
        let answer = self.call(Method::GET, &path, None).await?;
        let usages = answer["value"].as_array().map(Vec::as_slice).unwrap_or_default();
        let groups = usages.iter().find(|usage| usage["name"]["value"] == "ContainerGroups");
        let left =
            groups.and_then(|usage| Some(usage["limit"].as_u64()?.saturating_sub(usage["currentValue"].as_u64()?)));
        let stock = Stock { instances: left };
        *self.stock.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), stock));
        Ok(stock)
    }
}

/// The instance of a group that is burstlet's.
fn found(group: &Value) -> Option<Found> {
    let tag = |key: &str| group["tags"][key].as_str().map(str::to_owned);
    let owner = Owner {
        cluster: tag(request::TAG_CLUSTER)?,
        node: tag(request::TAG_NODE)?,
        namespace: tag(request::TAG_NAMESPACE)?,
        name: tag(request::TAG_NAME)?,
        uid: tag(request::TAG_UID)?,
    };
    if group["name"] != name_of(&owner) {
        return None;
    }
    let properties = &group["properties"];
    let instance = Instance {
        id: InstanceId(group["id"].as_str()?.to_owned()),
        owner,
        state: state(properties),
        ip: properties["ipAddress"]["ip"].as_str().and_then(|text| text.parse().ok()),
        containers: Vec::new(),
    };
    Some(Found { instance, created: String::new(), notice: None })
}

fn state(properties: &Value) -> InstanceState {
    let view = properties["instanceView"]["state"].as_str();
    let provisioning = properties["provisioningState"].as_str().unwrap_or_default();
    match (view, provisioning) {
        (Some("Running"), _) | (None, "Succeeded") => InstanceState::Running,
        (Some("Succeeded"), _) => InstanceState::Succeeded,
        (Some("Failed" | "Stopped"), _) | (None, "Failed") => {
            let containers = properties["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut states =
                containers.iter().map(|container| &container["properties"]["instanceView"]["currentState"]);
            let failed = states.rfind(|state| state["exitCode"].as_i64().unwrap_or(1) != 0);
            let text = |name: &str, default: &str| {
                let text = failed.and_then(|state| state[name].as_str()).filter(|text| !text.is_empty());
                text.unwrap_or(default).to_owned()
            };
            let code = failed.and_then(|state| state["exitCode"].as_i64()).and_then(|code| i32::try_from(code).ok());
            InstanceState::Failed {
                reason: text("detailStatus", "Error"),
                message: text("message", "the container group has failed"),
                exit_code: code.unwrap_or(1),
            }
        }
        _ => InstanceState::Pending,
    }
}
