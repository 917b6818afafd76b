//! Calls of Kingsoft's API: form-encoded, signed, kept to a rate.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::error::{Refusal, classify};
use crate::{
    api::pool::kingsoft_kci::KingsoftKci,
    provider::{
        ProviderError,
        clouds::{
            credentials::{KeyStore, Names, SigningKeys},
            exchange::{Exchange, host_of},
            limits::{Bucket, Rate},
            pod::invalid,
            signing::sigv4::{Keys, Scope, Signable, sign},
        },
    },
};

const VERSION: &str = "2020-07-02";
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Names of the keys: Kingsoft's own virtual kubelet's, those of Kingsoft's temporary keys, and those that Secrets use.
const ID: Names = &["KCI_ACCESS_KEY", "ak", "access-key-id"];
const SECRET: Names = &["KCI_SECRET_KEY", "sk", "access-key-secret"];
const TOKEN: Names = &["securityToken", "KCI_SECURITY_TOKEN"];

/// Instances of one page; the API takes no more.
const PAGE: u64 = 100;

#[derive(Debug)]
pub(super) struct Client {
    http: Exchange,
    address: Uri,
    host: HeaderValue,
    scope: Scope,
    store: Arc<dyn KeyStore>,
    bucket: Bucket,
}

/// An instance as `DescribeContainerGroup` tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Group {
    pub(super) container_group_id: String,
    pub(super) container_group_name: String,
    pub(super) status: String,
    pub(super) create_time: String,
    #[serde(alias = "Label")]
    pub(super) labels: Vec<Label>,
    pub(super) network_interface_attributes: Vec<Interface>,
    pub(super) containers: Vec<ContainerState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Label {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Interface {
    pub(super) private_ip_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ContainerState {
    pub(super) current_state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub(super) exit_code: Option<i32>,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    container_groups: Vec<Group>,
    total_count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    container_group_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Log {
    content: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exec {
    web_socket_uri: String,
}

type Params<'a> = Vec<(&'a str, String)>;

impl Client {
    pub(super) fn new(settings: &KingsoftKci, store: Arc<dyn KeyStore>) -> Result<Self, ProviderError> {
        let address = match &settings.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None if settings.request_internal => "https://kci.internal.api.ksyun.com".to_owned(),
            None => "https://kci.api.ksyun.com".to_owned(),
        };
        let address: Uri = format!("{address}/").parse().map_err(|error| invalid("endpoint", error))?;
        let host = HeaderValue::from_str(&host_of(&address)).map_err(|error| invalid("endpoint", error))?;
        let rate = Rate::new(settings.calls_per_second, f64::from(settings.calls_per_second));
        Ok(Self {
            http: Exchange::new(&address.to_string(), settings.trusted_certificate.as_deref())?,
            address,
            host,
            scope: Scope { region: settings.region.clone(), service: "kci" },
            store,
            bucket: Bucket::new(rate),
        })
    }

    /// Reaches what answers name.
    pub(super) fn http(&self) -> &reqwest::Client {
        self.http.client()
    }

    pub(super) async fn create(&self, params: &[(String, String)], subnet: &str) -> Result<String, ProviderError> {
        let mut all: Params<'_> = params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        all.push(("SubnetId", subnet.to_owned()));
        let created: Created = self.call("CreateContainerGroup", all).await?;
        Ok(created.container_group_id)
    }

    /// Ends an instance; one that is gone is success.
    pub(super) async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        let gone = |text: &str| text.contains("NotFound") || text.contains("NotExist");
        match self.call::<serde_json::Value>("DeleteContainerGroup", vec![("ContainerGroupId", id.to_owned())]).await {
            Err(ProviderError::Invalid(text)) if gone(&text) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// All instances, or those whose name contains `search`.
    pub(super) async fn describe(&self, search: Option<&str>) -> Result<Vec<Group>, ProviderError> {
        let mut groups = Vec::new();
        loop {
            let marker = groups.len() as u64;
            let mut params = vec![("MaxResults", PAGE.to_string()), ("Marker", marker.to_string())];
            params.extend(search.map(|search| ("Search", search.to_owned())));
            let page: Page = self.call("DescribeContainerGroup", params).await?;
            let is_last = page.container_groups.is_empty();
            groups.extend(page.container_groups);
            if is_last || groups.len() as u64 >= page.total_count {
                return Ok(groups);
            }
        }
    }

    pub(super) async fn log(&self, id: &str, container: &str, tail: usize) -> Result<String, ProviderError> {
        let params = vec![
            ("ContainerGroupId", id.to_owned()),
            ("ContainerName", container.to_owned()),
            ("Tail", tail.to_string()),
        ];
        Ok(self.call::<Log>("DescribeContainerLog", params).await?.content)
    }

    pub(super) async fn exec(
        &self,
        id: &str,
        container: &str,
        command: &[String],
        tty: bool,
    ) -> Result<String, ProviderError> {
        let names = (0..command.len()).map(|at| format!("Command.{at}")).collect::<Vec<_>>();
        let mut params = vec![
            ("ContainerGroupId", id.to_owned()),
            ("ContainerName", container.to_owned()),
            ("TTY", tty.to_string()),
        ];
        params.extend(names.iter().map(String::as_str).zip(command.iter().cloned()));
        Ok(self.call::<Exec>("ExecContainerCommand", params).await?.web_socket_uri)
    }

    async fn call<T: DeserializeOwned>(&self, action: &str, params: Params<'_>) -> Result<T, ProviderError> {
        self.bucket.take().await;
        let answer = self.http.send(self.request(action, params).await?).await?;
        let refusal = serde_json::from_str::<Refusal>(&answer.text).unwrap_or_default();
        if !answer.status.is_success() || refusal.error.is_some() {
            let error = classify(answer.status, &refusal, answer.retry_after());
            if let ProviderError::Throttled { retry_after, .. } = &error {
                self.bucket.hold(retry_after.unwrap_or(std::time::Duration::from_secs(1)));
            }
            return Err(error);
        }
        serde_json::from_str(&answer.text).map_err(|error| {
            ProviderError::Unavailable(format!("kci: the answer to {action} is not understood: {error}"))
        })
    }

    async fn request(&self, action: &str, params: Params<'_>) -> Result<Request<String>, ProviderError> {
        let keys = SigningKeys::read(&*self.store, ID, SECRET, TOKEN).await?;
        let common = [
            ("Service", "kci"),
            ("Action", action),
            ("Version", VERSION),
            ("Region", &self.scope.region),
            ("Accesskey", &keys.id),
        ];
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params.iter().map(|(name, value)| (*name, value.as_str()))).extend_pairs(common);
        let body = form.finish();
        let headers = HeaderMap::from_iter([
            (header::HOST, self.host.clone()),
            (header::CONTENT_TYPE, FORM),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let signable =
            Signable { method: &Method::POST, path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let token = keys.token.as_ref().map(super::super::Secret::reveal);
        let signing = Keys { id: &keys.id, secret: keys.secret.reveal(), token };
        let headers = sign(&signable, signing, &self.scope, true, jiff::Timestamp::now())
            .map_err(|error| ProviderError::Unauthorized(error.to_string()))?;
        let mut request = Request::post(self.address.clone()).body(body).map_err(|error| invalid("request", error))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::clouds::credentials::Held;

    #[test]
    fn the_internal_address_is_asked_where_the_pool_says_so() {
        let address = |extra: &str| {
            let settings = serde_saphyr::from_str(&format!("{{region: cn-beijing-6{extra}}}")).unwrap();
            Client::new(&settings, Arc::new(Held::default())).unwrap().address.to_string()
        };
        assert_eq!(address(""), "https://kci.api.ksyun.com/");
        assert_eq!(address(", requestInternal: true"), "https://kci.internal.api.ksyun.com/");
    }
}
