//! Objects as people name them on the command line: `deployment/web`, `pod/web-1`.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use burstlet_engine::policy::{Asked, Base, Marks, Policies, check, profile::Profile};
use clap::Args;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscaler},
        batch::v1::{CronJob, Job},
        core::v1::{Namespace, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{DynamicObject, GroupVersionKind, ObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    api::{
        kinds::{cron_job_of, is_of},
        policy::{self, BurstPolicy},
        pool::{self, VirtualPool},
    },
    cli::{ClusterArgs, output::OutputArgs},
    watch::present_profile,
};

/// What is asked of one workload or pod.
#[derive(Debug, Args)]
pub(super) struct AskedArgs {
    /// Workload or pod, such as deployment/web or pod/web-1
    pub(super) workload: Named,
    /// Its namespace; else the kubeconfig's
    #[arg(long, short, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// Namespace that burstlet lives in
    #[arg(long, default_value = "burstlet-system", value_name = "NAME")]
    pub(super) burstlet_namespace: String,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// A kind and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// Kinds that have a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    Job,
    CronJob,
    /// One of another API group, by its name in URLs or in the singular, and its group.
    Foreign {
        name: String,
        group: String,
    },
}

impl Kind {
    /// Whether an autoscaler that aims there aims at this kind.
    fn is_scaled_by(&self, target: &CrossVersionObjectReference) -> bool {
        let Self::Foreign { name, group } = self else { return target.kind == format!("{self:?}") };
        let aimed = target.api_version.as_deref().and_then(|version| version.split_once('/'));
        let kind = target.kind.to_lowercase();
        aimed.is_some_and(|(of, _)| of == group) && (kind == *name || format!("{kind}s") == *name)
    }
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} names no workload; write for example deployment/web or pod/web-1");
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        let kind = match kind.to_lowercase().as_str() {
            "pod" | "pods" | "po" => Kind::Pod,
            "deployment" | "deployments" | "deploy" => Kind::Deployment,
            "replicaset" | "replicasets" | "rs" => Kind::ReplicaSet,
            "statefulset" | "statefulsets" | "sts" => Kind::StatefulSet,
            "job" | "jobs" => Kind::Job,
            "cronjob" | "cronjobs" | "cj" => Kind::CronJob,
            other if let Some((name, group)) = other.split_once('.') => {
                Kind::Foreign { name: name.to_owned(), group: group.to_owned() }
            }
            _ => return Err(format!("{}, of pod, deployment, replicaset, statefulset, job and cronjob", wrong())),
        };
        if name.is_empty() { Err(wrong()) } else { Ok(Self { kind, name: name.to_owned() }) }
    }
}

/// The marks that a policy is resolved from.
#[derive(Debug, Clone, Default)]
pub(super) struct Marked {
    pub(super) namespace: String,
    pub(super) pod: Marks,
    pub(super) workload: Marks,
    pub(super) namespace_marks: Marks,
    /// The workload's UID.
    pub(super) uid: Option<String>,
}

impl Marked {
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            namespace: &self.namespace,
            pod: &self.pod,
            workload: &self.workload,
            namespace_marks: &self.namespace_marks,
        }
    }
}

fn marks(meta: &ObjectMeta) -> Marks {
    Marks { labels: meta.labels.clone().unwrap_or_default(), annotations: meta.annotations.clone().unwrap_or_default() }
}

/// An object's own metadata, and that of its pod template.
async fn get<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    template: &str,
) -> anyhow::Result<(ObjectMeta, ObjectMeta)>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + serde::Serialize,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let kind = K::kind(&());
    let object = api.get(name).await.with_context(|| format!("unable to read {kind} {namespace}/{name}"))?;
    let value = serde_json::to_value(&object)?;
    let template = value.pointer(template).cloned().unwrap_or(Value::Null);
    let template = if template.is_null() { ObjectMeta::default() } else { serde_json::from_value(template)? };
    Ok((object.meta().clone(), template))
}

/// What a workload's pods are marked with.
pub(super) async fn marked(client: &Client, namespace: &str, named: &Named) -> anyhow::Result<Marked> {
    const TEMPLATE: &str = "/spec/template/metadata";
    let name = named.name.as_str();
    let (own, template) = match &named.kind {
        Kind::Pod => {
            let pod = get::<Pod>(client, namespace, name, "").await?.0;
            let owner = workload_of(client, namespace, &pod).await?;
            (owner, pod)
        }
        Kind::Deployment => get::<Deployment>(client, namespace, name, TEMPLATE).await?,
        Kind::ReplicaSet => get::<ReplicaSet>(client, namespace, name, TEMPLATE).await?,
        Kind::StatefulSet => get::<StatefulSet>(client, namespace, name, TEMPLATE).await?,
        Kind::Job => {
            let (job, template) = get::<Job>(client, namespace, name, TEMPLATE).await?;
            // What its CronJob says comes first.
            let of = cron_job_of(&job).map(|cron_job| cron_job.name.clone());
            let cron_job = match of {
                Some(of) => get::<CronJob>(client, namespace, &of, TEMPLATE).await.ok(),
                None => None,
            };
            (cron_job.map_or(job.clone(), |(cron_job, _)| filled_in(cron_job, &job)), template)
        }
        Kind::CronJob => {
            let template = "/spec/jobTemplate/spec/template/metadata";
            let (own, template) = get::<CronJob>(client, namespace, name, template).await?;
            let (_, of_jobs) = get::<CronJob>(client, namespace, name, "/spec/jobTemplate/metadata").await?;
            (filled_in(own, &of_jobs), template)
        }
        Kind::Foreign { name: kind, group } => foreign(client, namespace, name, kind, group).await?,
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let of_namespace = namespaces.get_metadata(namespace).await.context("unable to read the namespace")?;
    let namespace_marks = marks(&of_namespace.metadata);
    let pod = profile(client).await.applied(&namespace_marks.labels, &marks(&template));
    let (workload, uid) = (marks(&own), own.uid.clone());
    Ok(Marked { namespace: namespace.to_owned(), pod, workload, namespace_marks, uid })
}

/// The ECI profile; an empty one where it cannot be read or makes no sense, which is told.
async fn profile(client: &Client) -> Profile {
    let fault = match present_profile(client).await {
        Ok(Ok(profile)) => return profile,
        Ok(Err(fault)) => fault.to_string(),
        Err(error) => error.to_string(),
    };
    eprintln!("what the ConfigMap kube-system/eci-profile gives to pods is left out: {fault}");
    Profile::default()
}

/// An object's metadata, with annotations of another's where it has none of its own.
fn filled_in(mut meta: ObjectMeta, other: &ObjectMeta) -> ObjectMeta {
    let own = meta.annotations.get_or_insert_default();
    for (key, value) in other.annotations.iter().flatten() {
        own.entry(key.clone()).or_insert_with(|| value.clone());
    }
    meta
}

/// As [`get`], of an object of another API group.
async fn foreign(
    client: &Client,
    namespace: &str,
    name: &str,
    kind: &str,
    group: &str,
) -> anyhow::Result<(ObjectMeta, ObjectMeta)> {
    let group = kube::discovery::group(client, group).await.with_context(|| format!("no API group {group}"))?;
    let all = group.recommended_resources();
    let is_meant =
        |resource: &kube::core::ApiResource| resource.plural == kind || resource.kind.eq_ignore_ascii_case(kind);
    let found = all.into_iter().map(|(resource, _)| resource).find(is_meant);
    let resource = found.with_context(|| format!("the API group {} has no {kind}", group.name()))?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = api.get(name).await.with_context(|| format!("unable to read {kind} {namespace}/{name}"))?;
    let template = object.data.pointer("/spec/template/metadata").cloned();
    let template = template.map(serde_json::from_value).transpose()?.unwrap_or_default();
    Ok((object.metadata, template))
}

/// UIDs of what controls the workload's pods: itself, and what it scales.
pub(super) async fn controllers(client: &Client, namespace: &str, uid: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::from([uid.to_owned()]);
    all.extend(owned_by::<ReplicaSet>(client, namespace, uid).await?);
    all.extend(owned_by::<Job>(client, namespace, uid).await?);
    Ok(all)
}

async fn owned_by<K>(client: &Client, namespace: &str, uid: &str) -> anyhow::Result<Vec<String>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let all = api
        .list_metadata(&ListParams::default())
        .await
        .with_context(|| format!("unable to list {}", K::plural(&())))?;
    let is_owned = |meta: &ObjectMeta| meta.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    Ok(all.items.into_iter().filter(|one| is_owned(&one.metadata)).filter_map(|one| one.metadata.uid).collect())
}

/// Metadata of what scales a pod: the last of its controllers that Kubernetes itself knows.
async fn workload_of(client: &Client, namespace: &str, pod: &ObjectMeta) -> anyhow::Result<ObjectMeta> {
    let mut found = ObjectMeta::default();
    let mut owners = pod.owner_references.clone();
    // Pod, ReplicaSet, Deployment; or Pod, Job, CronJob.
    for _ in 0..2 {
        let mut all = owners.iter().flatten();
        // A Job made by hand is owned by its CronJob, not controlled.
        let is_next = |owner: &&OwnerReference| owner.controller == Some(true) || is_of(owner, "batch", "CronJob");
        let Some(owner) = all.find(is_next).cloned() else { break };
        if !(owner.api_version.starts_with("apps/") || owner.api_version.starts_with("batch/")) {
            break;
        }
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let resource = kube::core::ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let Some(object) = api.get_metadata_opt(&owner.name).await? else { break };
        owners.clone_from(&object.metadata.owner_references);
        found = if is_of(&owner, "batch", "CronJob") { filled_in(object.metadata, &found) } else { object.metadata };
    }
    Ok(found)
}

/// The cluster's policies: of all namespaces. A policy that makes no sense is told and left aside.
pub(super) async fn policies(client: &Client, home: &str) -> anyhow::Result<(Policies, Vec<BurstPolicy>)> {
    let api: Api<BurstPolicy> = Api::all_with(client.clone(), &policy::resource());
    let all = list(&api, policy::KIND).await?;
    let mut policies = Policies::new(home);
    for object in &all {
        let name = burstlet_engine::model::ObjectName::new(&object.namespace().unwrap_or_default(), &object.name_any());
        for fault in policies.set(name.clone(), &object.spec).err().into_iter().flatten() {
            eprintln!("BurstPolicy {name} is left aside: {fault}");
        }
    }
    Ok((policies, all))
}

/// The cluster's pools.
pub(super) async fn pools(client: &Client) -> anyhow::Result<Vec<VirtualPool>> {
    let api: Api<VirtualPool> = Api::all_with(client.clone(), &pool::resource());
    list(&api, pool::KIND).await
}

/// The autoscalers of a namespace; none where they cannot be read, which is told.
pub(super) async fn autoscalers(client: &Client, namespace: &str) -> Vec<HorizontalPodAutoscaler> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => {
            eprintln!("unable to list autoscalers, so a base above their maximum is not told: {error}");
            Vec::new()
        }
    }
}

/// What is told of a workload's base beside the autoscalers that scale it.
pub(super) fn bases_above(all: &[HorizontalPodAutoscaler], kind: &Kind, name: &str, base: Base) -> Vec<String> {
    let is_meant = |autoscaler: &&HorizontalPodAutoscaler| {
        let target = &autoscaler.spec.scale_target_ref;
        target.name == name && kind.is_scaled_by(target)
    };
    let told = all.iter().filter(is_meant).filter_map(|autoscaler| {
        let most = u32::try_from(autoscaler.spec.max_replicas).unwrap_or(0);
        check::base_above("base", base, &autoscaler.name_any(), most)
    });
    told.map(|fault| fault.to_string()).collect()
}

/// All objects; none where the cluster does not know the kind.
async fn list<K>(api: &Api<K>, kind: &str) -> anyhow::Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            eprintln!("the cluster knows no {kind}; apply what `burstlet crd` prints to have it");
            Ok(Vec::new())
        }
        Err(error) => bail!("unable to list {kind}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_named_as_kubectl_names_it() {
        let named: Named = "deploy/web".parse().unwrap();
        assert_eq!(named, Named { kind: Kind::Deployment, name: "web".to_owned() });
        assert!("web".parse::<Named>().unwrap_err().contains("deployment/web"));
        assert!("service/web".parse::<Named>().unwrap_err().contains("of pod, deployment"));
        let foreign = Kind::Foreign { name: "rollout".to_owned(), group: "argoproj.io".to_owned() };
        assert_eq!("rollout.argoproj.io/web".parse::<Named>().unwrap().kind, foreign);
        assert!("pod/".parse::<Named>().is_err());
    }
}
