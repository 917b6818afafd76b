//! Namespaces, Deployments and ReplicaSets, turned into the engine's.

use burstlet_engine::{
    placement::{Controller, Namespace, Revision, Workload},
    policy::Marks,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Object;
use serde::Deserialize;

use crate::api::pod::{controller, object_name};

/// A ReplicaSet with what placement reads of it.
pub type SlimReplicaSet = Object<SlimReplicaSetSpec, Unread>;

/// Of `apps/v1 ReplicaSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimReplicaSetSpec {
    replicas: Option<u32>,
    #[serde(default)]
    template: SlimTemplate,
}

/// Of `core/v1 PodTemplateSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimTemplate {
    #[serde(default)]
    metadata: Option<ObjectMeta>,
}

/// A part of an object that is not read.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Unread {}

/// What resolution reads of an object's labels and annotations.
fn marks(meta: &ObjectMeta) -> Marks {
    let (labels, annotations) = (meta.labels.clone(), meta.annotations.clone());
    Marks { labels: labels.unwrap_or_default(), annotations: annotations.unwrap_or_default() }.slim()
}

/// A namespace and the default it sets.
pub fn namespace(meta: &ObjectMeta) -> Option<Namespace> {
    Some(Namespace { name: meta.name.clone()?, marks: marks(meta) })
}

/// A Deployment.
pub fn deployment(meta: &ObjectMeta) -> Option<Workload> {
    let id = meta.uid.as_deref()?.into();
    Some(Workload { id, kind: "Deployment", name: object_name(meta), marks: marks(meta) })
}

/// A ReplicaSet; one that says no number of replicas wants one (`apps/v1` default).
pub fn replica_set(set: &SlimReplicaSet) -> Option<Revision> {
    let meta = &set.metadata;
    Some(Revision {
        id: meta.uid.as_deref()?.into(),
        name: object_name(meta),
        controller: Controller::ReplicaSet,
        workload: controller(meta, "Deployment").map(Into::into),
        marks: marks(meta),
        pods: set.spec.template.metadata.as_ref().map(marks).unwrap_or_default(),
        wanted: set.spec.replicas.unwrap_or(1),
    })
}
