//! A simulated cloud in another process.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::{
    Audit, CpuTarget, Fault, Settings, TAKES,
    http::{Create, Delete, Plan, Reclaim, SetCpu},
};
use crate::provider::{Instance, InstanceChange, Owner, Provider, ProviderError, Stock, Takes, Usage, clouds};

/// Longest wait for an answer; a watch has none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Client of [`super::Cloud::router`].
#[derive(Debug, Clone)]
pub struct Remote {
    client: Client,
    base: String,
}

impl Remote {
    /// A client of the cloud at `base`, such as `http://127.0.0.1:7070`.
    pub fn new(base: &str) -> Result<Self, ProviderError> {
        // Loopback never goes through a proxy, whatever the environment says.
        let client =
            clouds::http::builder().no_proxy().connect_timeout(TIMEOUT).build().map_err(|e| unavailable(&e))?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    /// [`super::Cloud::settings`].
    pub async fn settings(&self) -> Result<Settings, ProviderError> {
        self.get("/admin/settings", None).await
    }

    /// [`super::Cloud::set_settings`].
    pub async fn set_settings(&self, settings: &Settings) -> Result<(), ProviderError> {
        self.tell(Method::PUT, "/admin/settings", settings).await
    }

    /// [`super::Cloud::set_cpu`].
    pub async fn set_cpu(&self, target: CpuTarget, millis: u64) -> Result<(), ProviderError> {
        self.tell(Method::PUT, "/admin/cpu", &SetCpu { target, millis }).await
    }

    /// [`super::Cloud::plan`].
    pub async fn plan(&self, count: usize, fault: Fault) -> Result<(), ProviderError> {
        self.tell(Method::POST, "/admin/faults", &Plan { count, fault }).await
    }

    /// [`super::Cloud::reclaim`].
    pub async fn reclaim(&self, uid: &str) -> Result<(), ProviderError> {
        self.tell(Method::POST, "/admin/reclaim", &Reclaim { uid: uid.to_owned() }).await
    }

    /// [`super::Cloud::audit`].
    pub async fn audit(&self) -> Result<BTreeMap<String, Audit>, ProviderError> {
        self.get("/audit", None).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, cluster: Option<&str>) -> Result<T, ProviderError> {
        let mut request = self.client.get(format!("{}{path}", self.base)).timeout(TIMEOUT);
        if let Some(cluster) = cluster {
            request = request.query(&[("cluster", cluster)]);
        }
        send(request).await?.json().await.map_err(|e| unavailable(&e))
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ProviderError> {
        let request = self.client.post(format!("{}{path}", self.base)).timeout(TIMEOUT).json(body);
        send(request).await?.json().await.map_err(|e| unavailable(&e))
    }

    async fn tell(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), ProviderError> {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(TIMEOUT).json(body);
        send(request).await.map(drop)
    }
}

fn unavailable(error: &reqwest::Error) -> ProviderError {
    ProviderError::Unavailable(format!("simulated cloud: {error}"))
}

async fn send(request: RequestBuilder) -> Result<Response, ProviderError> {
    let response = request.send().await.map_err(|e| unavailable(&e))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.map_err(|e| unavailable(&e))?;
    Err(serde_json::from_str(&text)
        .unwrap_or_else(|_| ProviderError::Unavailable(format!("simulated cloud answered {status}: {text}"))))
}

#[async_trait]
impl Provider for Remote {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn takes(&self) -> Takes {
        TAKES
    }

    async fn create(&self, owner: &Owner, pod: &Pod) -> Result<Instance, ProviderError> {
        self.post("/instances", &Create { owner: owner.clone(), pod: pod.clone() }).await
    }

    async fn delete(&self, owner: &Owner, grace: Duration) -> Result<(), ProviderError> {
        self.post("/instances/delete", &Delete { owner: owner.clone(), grace }).await
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        self.get("/instances", Some(cluster)).await
    }

    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError> {
        let request = self.client.get(format!("{}/watch", self.base)).query(&[("cluster", cluster)]);
        let mut response = send(request).await?;
        let mut buffer = Vec::new();
        loop {
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk.map_err(|e| unavailable(&e))?,
                () = changes.closed() => return Ok(()),
            };
            let Some(chunk) = chunk else {
                return Err(ProviderError::Unavailable("simulated cloud closed the watch".to_owned()));
            };
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let change: InstanceChange = serde_json::from_slice(&line)
                    .map_err(|e| ProviderError::Unavailable(format!("simulated cloud: unreadable change: {e}")))?;
                if changes.send(change).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        self.get("/usage", Some(cluster)).await
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        self.get("/stock", None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{InstanceState, simulated::Cloud};

    async fn serve(cloud: &Cloud) -> Remote {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = cloud.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Remote::new(&base).unwrap()
    }

    fn owner(uid: &str) -> Owner {
        Owner {
            cluster: "a cluster & more".to_owned(),
            node: "node".to_owned(),
            namespace: "default".to_owned(),
            name: "pod".to_owned(),
            uid: uid.to_owned(),
        }
    }

    #[tokio::test]
    async fn everything_works_over_http_as_in_the_process() {
        let cloud = Cloud::new(Settings::default());
        let remote = serve(&cloud).await;
        let cluster = owner("a").cluster;

        let (sender, mut changes) = mpsc::channel(8);
        let (watching, watched) = (remote.clone(), cluster.clone());
        tokio::spawn(async move { watching.watch(&watched, sender).await });
        assert_eq!(changes.recv().await, Some(InstanceChange::Watching));

        let created = remote.create(&owner("a"), &Pod::default()).await.unwrap();
        assert_eq!(created.state, InstanceState::Running);
        assert_eq!(changes.recv().await, Some(InstanceChange::Changed(created.clone())));
        assert_eq!(remote.list(&cluster).await.unwrap(), [created]);
        assert_eq!(remote.list("another").await.unwrap(), []);
        assert_eq!(remote.usage(&cluster).await.unwrap().len(), 1);
        assert_eq!(remote.stock().await.unwrap(), Stock { instances: None });

        remote.delete(&owner("a"), Duration::from_secs(30)).await.unwrap();
        assert_eq!(changes.recv().await, Some(InstanceChange::Gone(owner("a"))));
        assert_eq!(remote.audit().await.unwrap()["a"], Audit { created: 1, alive: 0 });
    }

    #[tokio::test]
    async fn refusals_keep_their_kind() {
        let cloud = Cloud::new(Settings::default());
        let remote = serve(&cloud).await;
        remote.plan(1, Fault::QuotaExceeded).await.unwrap();
        let refused = remote.create(&owner("a"), &Pod::default()).await.unwrap_err();
        assert!(matches!(refused, ProviderError::QuotaExceeded(_)), "{refused}");
        let settings = Settings { stock: Some(0), ..remote.settings().await.unwrap() };
        remote.set_settings(&settings).await.unwrap();
        let refused = remote.create(&owner("a"), &Pod::default()).await.unwrap_err();
        assert!(matches!(refused, ProviderError::NoStock(_)), "{refused}");
    }

    #[tokio::test]
    async fn a_cloud_that_does_not_answer_is_unavailable() {
        let remote = Remote::new("http://127.0.0.1:1").unwrap();
        assert!(matches!(remote.stock().await, Err(ProviderError::Unavailable(_))));
    }
}
