//! Pods of another cluster as instances.
//!
//! Each pod becomes a pod there, in one namespace, under a name that ends with its UID: the API server there makes
//! creation idempotent. Files and registry keys travel along as Secrets that the pod there owns, so that they go with it.
//! Every object carries its owner; what does not is never touched, whatever it is called.

mod connect;
mod error;
mod identity;
mod observe;
mod session;
mod translate;
mod usage;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Pod, ResourceQuota, Secret},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{watcher, watcher::Event},
};
use ring::digest;
use serde_json::json;
use tokio::sync::mpsc;

use self::{
    connect::Connection,
    error::told,
    identity::{belongs, name_of, owner_of, selector},
    observe::instance_of,
    translate::{Travelling, translate},
    usage::Counters,
};
use super::{
    Content, Duplex, Exec, ExitStatus, Instance, InstanceChange, LogOptions, LogStream, Owner, Provider, ProviderError,
    Stock, Streams, Takes, Tokens, Usage, capabilities::hold,
};
use crate::api::pool::kubernetes::Kubernetes;

/// How long a Secret may stand without its pod: it is made first.
const ORPHANED_AFTER: Duration = Duration::from_mins(5);
/// How long what the quotas left counts.
const QUOTA_COUNTS: Duration = Duration::from_secs(5);
/// The least grace: with none, an API server forgets a pod that may still run.
const LEAST_GRACE: u32 = 1;

/// The provider.
pub struct OtherCluster {
    settings: Kubernetes,
    connection: Connection,
    counters: Counters,
    /// Digest of the files that each pod has, by its UID: only what differs is sent.
    sent: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What the quotas left, and when that was asked.
    left: tokio::sync::Mutex<Option<(Instant, Option<u64>)>>,
}

impl fmt::Debug for OtherCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherCluster").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl OtherCluster {
    /// Pods of the cluster that `settings` name. Where its kubeconfig is a Secret, [`OtherCluster::set_kubeconfig`] gives it.
    pub fn new(settings: Kubernetes) -> Result<Self, ProviderError> {
        Self::over(settings, Connection::default())
    }

    /// The same with a client that is there already.
    pub fn with_client(settings: Kubernetes, client: Client) -> Result<Self, ProviderError> {
        Self::over(settings, Connection::with(client))
    }

    fn over(settings: Kubernetes, connection: Connection) -> Result<Self, ProviderError> {
        ProviderError::refuse_faulty(settings.faults())?;
        Ok(Self {
            settings,
            connection,
            counters: Counters::default(),
            sent: Mutex::default(),
            left: tokio::sync::Mutex::default(),
        })
    }

    /// Takes what the Secret with the kubeconfig holds; it counts from the next call on.
    pub fn set_kubeconfig(&self, text: &str) {
        self.connection.set(text);
    }

    async fn client(&self) -> Result<Client, ProviderError> {
        self.connection.client(&self.settings).await
    }

    async fn pods(&self) -> Result<Api<Pod>, ProviderError> {
        Ok(Api::namespaced(self.client().await?, &self.settings.namespace))
    }

    async fn secrets(&self) -> Result<Api<Secret>, ProviderError> {
        Ok(Api::namespaced(self.client().await?, &self.settings.namespace))
    }

    /// The pod there that stands for `owner`'s, proven.
    async fn find(&self, pods: &Api<Pod>, owner: &Owner) -> Result<Option<Pod>, ProviderError> {
        let found = pods.get_opt(&name_of(owner)).await.map_err(|error| told(&error))?;
        Ok(found.filter(|pod| belongs(&pod.metadata, owner)))
    }

    /// Its name, for a conversation. The name alone proves nothing.
    async fn named(&self, owner: &Owner) -> Result<(Api<Pod>, String), ProviderError> {
        let pods = self.pods().await?;
        let found = self.find(&pods, owner).await?;
        let found = found.ok_or_else(|| ProviderError::NotFound(format!("pod {} has no pod there", owner.name)))?;
        Ok((pods, found.name_any()))
    }

    /// Makes what the pod refers to, or finds it made; answers whether all is as it is now.
    async fn send_secrets(&self, owner: &Owner, travelling: &Travelling) -> Result<bool, ProviderError> {
        let mut is_fresh = true;
        let all = [&travelling.files, &travelling.keys].into_iter().flatten();
        for secret in all {
            let api = self.secrets().await?;
            match api.create(&PostParams::default(), secret).await {
                Ok(_) => {}
                Err(error) if is_taken(&error) => {
                    let standing = api.get_metadata(&secret.name_any()).await.map_err(|error| told(&error))?;
                    if !belongs(&standing.metadata, owner) {
                        return Err(taken(&secret.name_any()));
                    }
                    is_fresh = false;
                }
                Err(error) => return Err(told(&error)),
            }
        }
        Ok(is_fresh)
    }

    /// Hands the Secrets to the pod that uses them, so that they go with it.
    async fn hand_over(&self, travelling: &Travelling, pod: &Pod) {
        for secret in [&travelling.files, &travelling.keys].into_iter().flatten() {
            if let Err(error) = self.give(&secret.name_any(), pod).await {
                tracing::debug!(%error, secret = secret.name_any(), "not handed over, the next list does");
            }
        }
    }

    async fn give(&self, secret: &str, pod: &Pod) -> Result<(), ProviderError> {
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
        let given = self.secrets().await?.patch_metadata(secret, &PatchParams::default(), &patch).await;
        given.map(drop).map_err(|error| told(&error))
    }

    /// Secrets whose pod was never made, or not told of them: a process that died between two calls leaves such.
    async fn tidy(&self, cluster: &str, pods: &[Pod]) -> Result<(), ProviderError> {
        let api = self.secrets().await?;
        let params = ListParams::default().labels(&selector(cluster));
        let secrets = api.list_metadata(&params).await.map_err(|error| told(&error))?;
        let unowned = secrets.items.iter().filter(|secret| secret.owner_references().is_empty());
        for secret in unowned {
            let Some(owner) = owner_of(&secret.metadata).filter(|owner| owner.cluster == cluster) else { continue };
            let name = secret.name_any();
            if let Some(pod) = pods.iter().find(|pod| pod.name_any() == name_of(&owner)) {
                self.give(&name, pod).await?;
            } else if is_old(secret.creation_timestamp().map(|time| time.0)) {
                let preconditions = Preconditions { uid: secret.uid(), ..Preconditions::default() };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                tracing::info!(secret = %name, "a Secret whose pod was never made is removed");
                let _ = api.delete(&name, &params).await.map_err(|error| told(&error))?;
            }
        }
        Ok(())
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pods that the namespace's quotas still take.
    async fn left_of_quotas(&self) -> Result<Option<u64>, ProviderError> {
        let api: Api<ResourceQuota> = Api::namespaced(self.client().await?, &self.settings.namespace);
        let quotas = api.list(&ListParams::default()).await.map_err(|error| told(&error))?;
        Ok(quotas.items.iter().filter_map(left_of).min())
    }
}

/// Pods that a quota still takes, where it counts all of them.
fn left_of(quota: &ResourceQuota) -> Option<u64> {
    let spec = quota.spec.as_ref()?;
    if spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty()) || spec.scope_selector.is_some() {
        return None;
    }
    let status = quota.status.as_ref()?;
    let left = ["pods", "count/pods"].iter().filter_map(|name| {
        let amount = |amounts: &Option<BTreeMap<String, _>>| -> Option<u64> {
            let amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = amounts.as_ref()?.get(*name)?;
            amount.0.parse().ok()
        };
        Some(amount(&status.hard)?.saturating_sub(amount(&status.used).unwrap_or(0)))
    });
    left.min()
}

fn is_taken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

fn taken(name: &str) -> ProviderError {
    ProviderError::Invalid(format!("kubernetes: {name} is there already and is not ours; it is left alone"))
}

fn is_old(created: Option<Timestamp>) -> bool {
    let age = created.map(|created| Timestamp::now().duration_since(created));
    age.and_then(|age| Duration::try_from(age).ok()).is_some_and(|age| age > ORPHANED_AFTER)
}

/// What tells one set of files from another.
fn digest_of(secret: Option<&Secret>) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for (key, file) in secret.and_then(|secret| secret.data.as_ref()).into_iter().flatten() {
        for part in [key.as_bytes(), &file.0] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
    }
    context.finish().as_ref().to_vec()
}

#[async_trait]
impl Provider for OtherCluster {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities()
    }

    /// Tokens of this cluster's accounts are none there.
    fn takes(&self) -> Takes {
        Takes { files: true, tokens: Tokens::Asked, registries: true, renewals: true }
    }

    async fn create(&self, owner: &Owner, pod: &Pod) -> Result<Instance, ProviderError> {
        self.create_with(owner, pod, &Content::default()).await
    }

    async fn create_with(&self, owner: &Owner, pod: &Pod, content: &Content) -> Result<Instance, ProviderError> {
        hold(pod, &self.capabilities())?;
        let travelling = translate(&self.settings, owner, pod, content)?;
        let pods = self.pods().await?;
        let is_fresh = self.send_secrets(owner, &travelling).await?;
        let created = match pods.create(&PostParams::default(), &travelling.pod).await {
            Ok(created) => created,
            Err(error) if is_taken(&error) => {
                self.find(&pods, owner).await?.ok_or_else(|| taken(&travelling.pod.name_any()))?
            }
            // The namespace is not there, which no other pod would change.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(ProviderError::Unavailable(format!("kubernetes: {}", status.message)));
            }
            Err(error) => return Err(told(&error)),
        };
        self.hand_over(&travelling, &created).await;
        if is_fresh {
            self.sent().insert(owner.uid.clone(), digest_of(travelling.files.as_ref()));
        }
        instance_of(&created).ok_or_else(|| taken(&created.name_any()))
    }

    async fn renew(&self, owner: &Owner, content: &Content) -> Result<(), ProviderError> {
        let name = name_of(owner);
        let Some(secret) = translate::files(&self.settings, owner, &name, content)? else { return Ok(()) };
        let digest = digest_of(Some(&secret));
        if self.sent().get(&owner.uid) == Some(&digest) {
            return Ok(());
        }
        let api = self.secrets().await?;
        let standing = api.get_metadata(&secret.name_any()).await.map_err(|error| told(&error))?;
        if !belongs(&standing.metadata, owner) {
            return Err(taken(&secret.name_any()));
        }
        let patch = Patch::Merge(json!({"data": secret.data}));
        api.patch(&secret.name_any(), &PatchParams::default(), &patch).await.map_err(|error| told(&error))?;
        self.sent().insert(owner.uid.clone(), digest);
        Ok(())
    }

    async fn delete(&self, owner: &Owner, grace: Duration) -> Result<(), ProviderError> {
        let pods = self.pods().await?;
        self.sent().remove(&owner.uid);
        let Some(standing) = self.find(&pods, owner).await? else { return Ok(()) };
        let seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX).max(LEAST_GRACE);
        let preconditions = Preconditions { uid: standing.uid(), ..Preconditions::default() };
        let params = DeleteParams {
            grace_period_seconds: Some(seconds),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match pods.delete(&standing.name_any(), &params).await {
            Ok(_) => Ok(()),
            // It has gone in the meantime, or another one has its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(told(&error)),
        }
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        let pods = self.pods().await?;
        let params = ListParams::default().labels(&selector(cluster));
        let listed = pods.list(&params).await.map_err(|error| told(&error))?.items;
        if let Err(error) = self.tidy(cluster, &listed).await {
            tracing::warn!(%error, "Secrets in the other cluster are not tidied up, will be tried again");
        }
        let instances = listed.iter().filter_map(instance_of).filter(|instance| instance.owner.cluster == cluster);
        Ok(instances.collect())
    }

    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError> {
        let config = watcher::Config::default().labels(&selector(cluster));
        let mut events = Box::pin(watcher(self.pods().await?, config));
        let is_ours = |instance: &Instance| instance.owner.cluster == cluster;
        let mut listed = Vec::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = changes.closed() => return Ok(()),
            };
            let ended = || ProviderError::Unavailable("kubernetes: the watch ended".to_owned());
            let event = event
                .ok_or_else(ended)?
                .map_err(|error| ProviderError::Unavailable(format!("kubernetes: the watch ended: {error}")))?;
            let told = match event {
                Event::Init => Vec::new(),
                Event::InitApply(pod) => {
                    listed.extend(instance_of(&pod).filter(is_ours).map(InstanceChange::Changed));
                    Vec::new()
                }
                // What stood before the watch is told, too: the receiver may have listed before.
                Event::InitDone => [InstanceChange::Watching].into_iter().chain(std::mem::take(&mut listed)).collect(),
                Event::Apply(pod) => {
                    instance_of(&pod).filter(is_ours).map(InstanceChange::Changed).into_iter().collect()
                }
                Event::Delete(pod) => {
                    let owner = owner_of(&pod.metadata).filter(|owner| owner.cluster == cluster);
                    owner.map(InstanceChange::Gone).into_iter().collect::<Vec<_>>()
                }
            };
            for change in told {
                if changes.send(change).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        self.counters.read(&self.client().await?, &self.settings.namespace, cluster).await
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        let mut left = self.left.lock().await;
        if let Some((asked, instances)) = *left
            && asked.elapsed() < QUOTA_COUNTS
        {
            return Ok(Stock { instances });
        }
        let instances = self.left_of_quotas().await?;
        *left = Some((Instant::now(), instances));
        Ok(Stock { instances })
    }

    async fn logs(&self, owner: &Owner, container: &str, options: &LogOptions) -> Result<LogStream, ProviderError> {
        let (pods, name) = self.named(owner).await?;
        let log = pods.log_stream(&name, &session::log_params(container, options)).await;
        Ok(session::log_stream(log.map_err(|error| told(&error))?))
    }

    async fn exec(&self, owner: &Owner, exec: Exec) -> Result<ExitStatus, ProviderError> {
        let Exec { container, command, streams } = exec;
        let (pods, name) = self.named(owner).await?;
        let process = pods.exec(&name, command, &session::attach_params(&container, &streams)).await;
        session::join(process.map_err(|error| told(&error))?, streams).await
    }

    async fn attach(&self, owner: &Owner, container: &str, streams: Streams) -> Result<ExitStatus, ProviderError> {
        let (pods, name) = self.named(owner).await?;
        let process = pods.attach(&name, &session::attach_params(container, &streams)).await;
        session::join(process.map_err(|error| told(&error))?, streams).await
    }

    async fn port_forward(&self, owner: &Owner, port: u16) -> Result<Duplex, ProviderError> {
        let (pods, name) = self.named(owner).await?;
        let mut forwarder = pods.portforward(&name, &[port]).await.map_err(|error| told(&error))?;
        let stream = forwarder.take_stream(port);
        let none = || ProviderError::Unavailable("kubernetes: the other API server opened no stream".to_owned());
        Ok(Box::pin(stream.ok_or_else(none)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_leaves_what_it_has_not_counted() {
        let left = |spec: &str, status: &str| {
            left_of(&serde_saphyr::from_str(&format!("{{spec: {spec}, status: {status}}}")).unwrap())
        };
        assert_eq!(left("{}", "{hard: {pods: '10'}, used: {pods: '4'}}"), Some(6));
        assert_eq!(left("{}", "{hard: {pods: '10', count/pods: '5'}, used: {pods: '4', count/pods: '4'}}"), Some(1));
        assert_eq!(left("{}", "{hard: {pods: '3'}, used: {pods: '4'}}"), Some(0));
        assert_eq!(left("{}", "{hard: {cpu: '3'}}"), None);
        assert_eq!(left("{scopes: [BestEffort]}", "{hard: {pods: '3'}}"), None);
    }
}
