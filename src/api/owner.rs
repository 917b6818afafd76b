//! Namespaces, Deployments and ReplicaSets, turned into the engine's.

use burstlet_engine::placement::{Controller, Namespace, Revision, Workload};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Object;
use serde::Deserialize;

use crate::api::{
    names,
    pod::{controller, object_name},
};

/// A ReplicaSet with what placement reads of it.
pub type SlimReplicaSet = Object<SlimReplicaSetSpec, Unread>;

/// Of `apps/v1 ReplicaSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimReplicaSetSpec {
    replicas: Option<u32>,
}

/// A part of an object that is not read.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Unread {}

fn base(meta: &ObjectMeta) -> Option<String> {
    meta.annotations.as_ref()?.get(names::BASE).cloned()
}

fn policy(meta: &ObjectMeta) -> Option<String> {
    meta.annotations.as_ref()?.get(names::POLICY).cloned()
}

/// A namespace and the default it sets.
pub fn namespace(meta: &ObjectMeta) -> Option<Namespace> {
    Some(Namespace { name: meta.name.clone()?, base: base(meta), policy: policy(meta) })
}

/// A Deployment.
pub fn deployment(meta: &ObjectMeta) -> Option<Workload> {
    let id = meta.uid.as_deref()?.into();
    Some(Workload { id, kind: "Deployment", name: object_name(meta), base: base(meta), policy: policy(meta) })
}

/// A ReplicaSet; one that says no number of replicas wants one (`apps/v1` default).
pub fn replica_set(set: &SlimReplicaSet) -> Option<Revision> {
    let meta = &set.metadata;
    Some(Revision {
        id: meta.uid.as_deref()?.into(),
        name: object_name(meta),
        controller: Controller::ReplicaSet,
        workload: controller(meta, "Deployment").map(Into::into),
        base: base(meta),
        policy: policy(meta),
        wanted: set.spec.replicas.unwrap_or(1),
    })
}
