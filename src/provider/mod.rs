//! Who runs the instances: the trait that the kubelet drives, and its implementations.
//!
//! A provider keeps one *instance* for one pod. The kubelet decides when one is wanted and proves ownership; the
//! provider makes creation idempotent by the pod's UID and reports every change, so that nothing polls through the
//! API server.

mod capabilities;
pub mod clouds;
mod containers;
mod content;
mod error;
mod hex;
pub mod kubernetes;
#[cfg(feature = "lab")]
pub mod process;
mod session;
pub mod simulated;

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use clouds::meter::Consumed;
pub use containers::{ContainerEnd, ContainerReport, ContainerState};
pub use content::{Content, File, RegistryKey, Takes, Tokens, literal};
pub use error::ProviderError;
pub use session::{Duplex, Exec, ExitStatus, LogOptions, LogStream, Streams, TerminalSize};

/// Who an instance belongs to; every provider stores it with the instance and gives it back in [`Instance`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// Cluster that the pod lives in; instances of other clusters are never touched.
    pub cluster: String,
    /// Node that the pod is bound to.
    pub node: String,
    /// Pod's namespace.
    pub namespace: String,
    /// Pod's name.
    pub name: String,
    /// Pod's UID: the key of idempotent creation.
    pub uid: String,
}

impl Owner {
    /// The pod, as Events name it.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// The provider's own name for an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far an instance has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceState {
    /// Accepted; its containers do not run yet.
    Pending,
    /// All containers run.
    Running,
    /// All containers ended with exit code 0 and are not restarted.
    Succeeded,
    /// The instance ended otherwise, or could not be started.
    Failed {
        /// One word in Kubernetes' style, such as `Error` or `NoStock`.
        reason: String,
        /// The provider's words.
        message: String,
        /// Exit code of the containers, where they ran.
        exit_code: i32,
    },
}

impl InstanceState {
    /// Whether no container will run any more.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { .. })
    }
}

/// What a provider runs for one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// The provider's name for it.
    pub id: InstanceId,
    /// The pod it runs for.
    pub owner: Owner,
    /// How far it has come.
    pub state: InstanceState,
    /// Its address, once it has one.
    pub ip: Option<IpAddr>,
    /// Each container's own state, init containers too, where the provider knows them apart; empty where it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerReport>,
}

/// A change that a provider reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceChange {
    /// First of every watch: each change after this moment will be sent, so a list taken from now on misses nothing.
    Watching,
    /// The instance is new or its state differs.
    Changed(Instance),
    /// The instance is no more; nothing is billed for it.
    Gone(Owner),
}

/// What an instance has used since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Pod's UID.
    pub uid: String,
    /// CPU time used since the start; only ever grows.
    pub cpu: Duration,
    /// CPU used lately, in billionths of a core.
    pub cpu_nano_cores: u64,
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
}

/// What a pool can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// Instances that may still be created now; `None` where the provider tells no number.
    pub instances: Option<u64>,
}

/// An instance that its cloud has said it will take back soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReclaimNotice {
    /// The pod it runs for.
    pub owner: Owner,
    /// The cloud's words.
    pub message: String,
}

/// A place that runs instances. Implementations are cheap to share and safe to call from many tasks.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Name in the taint and in labels, such as `simulated` or `alibabacloud`.
    fn name(&self) -> &'static str;

    /// Starts an instance for `pod`. A second call with the same `owner.uid` answers the first one's instance, also
    /// after a crash or a lost answer.
    ///
    /// The kubelet has made the pod's variables literal, but for `status.podIP` and `status.podIPs`, which only the
    /// instance knows: a field reference is left there. What has no such variable by nature refuses it.
    async fn create(&self, owner: &Owner, pod: &Pod) -> Result<Instance, ProviderError>;

    /// What it has of what pods ask for; placement reads the same from the pool. [`Provider::create`] refuses the rest as
    /// [`ProviderError::Invalid`].
    fn capabilities(&self) -> Capabilities {
        Capabilities::all(self.name())
    }

    /// What of a pod's content this provider passes on; the kubelet reads no more than that.
    fn takes(&self) -> Takes {
        Takes::default()
    }

    /// [`Provider::create`] with the pod's content, as far as [`Provider::takes`] asks for it.
    async fn create_with(&self, owner: &Owner, pod: &Pod, content: &Content) -> Result<Instance, ProviderError> {
        let _ = content;
        self.create(owner, pod).await
    }

    /// Puts the files of `content` in the place of those that the pod's instance has. Called again and again where
    /// [`Takes::renewals`] says so, whether or not something differs.
    async fn renew(&self, owner: &Owner, content: &Content) -> Result<(), ProviderError> {
        let _ = (owner, content);
        Err(lacks(self.name(), "renewal of files"))
    }

    /// Ends the pod's instance, giving its containers `grace` to stop by themselves. Success means that the provider
    /// has accepted; [`InstanceChange::Gone`] says that it is done. An instance that does not exist is success, and
    /// [`InstanceChange::Gone`] is sent for it too, or the next [`Provider::list`] without it says so.
    async fn delete(&self, owner: &Owner, grace: Duration) -> Result<(), ProviderError>;

    /// All instances of `cluster`, whatever their state.
    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError>;

    /// Sends [`InstanceChange::Watching`], then every change of `cluster`'s instances, until the receiver is dropped.
    /// An error ends the watch; the caller watches and lists again.
    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError>;

    /// What `cluster`'s instances have used, running ones only.
    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError>;

    /// What can still be taken.
    async fn stock(&self) -> Result<Stock, ProviderError>;

    /// What the provider tells of the pod's instance, such as its id and size, as annotations of the pod. They travel with
    /// the pod's next status, so they cost no write of their own.
    async fn annotations(&self, owner: &Owner) -> BTreeMap<String, String> {
        let _ = owner;
        BTreeMap::new()
    }

    /// Instances of `cluster` that run and whose end the provider has announced: spot instances that it takes back. Only
    /// what it has said; an instance that cannot be read is not among them.
    async fn reclaim_notices(&self, cluster: &str) -> Result<Vec<ReclaimNotice>, ProviderError> {
        let _ = cluster;
        Ok(Vec::new())
    }

    /// What the instances have consumed since this process knows them, by the sizes and times that the provider charges
    /// for; `None` where nobody counts.
    fn consumed(&self) -> Option<Consumed> {
        None
    }

    /// What a container wrote to its standard output and error, oldest first. With [`LogOptions::follow`] the stream ends
    /// with the container.
    async fn logs(&self, owner: &Owner, container: &str, options: &LogOptions) -> Result<LogStream, ProviderError> {
        let _ = (owner, container, options);
        Err(lacks(self.name(), "logs"))
    }

    /// Runs a command until it ends. What it wrote has gone into its streams when this answers; dropping the call ends it.
    async fn exec(&self, owner: &Owner, exec: Exec) -> Result<ExitStatus, ProviderError> {
        let _ = (owner, exec);
        Err(lacks(self.name(), "exec"))
    }

    /// Joins the container's own streams until it ends.
    async fn attach(&self, owner: &Owner, container: &str, streams: Streams) -> Result<ExitStatus, ProviderError> {
        let _ = (owner, container, streams);
        Err(lacks(self.name(), "attach"))
    }

    /// A connection to a TCP port of the pod.
    async fn port_forward(&self, owner: &Owner, port: u16) -> Result<Duplex, ProviderError> {
        let _ = (owner, port);
        Err(lacks(self.name(), "port-forward"))
    }
}

fn lacks(provider: &str, what: &str) -> ProviderError {
    ProviderError::Unsupported(format!("the provider {provider} has no {what}"))
}
