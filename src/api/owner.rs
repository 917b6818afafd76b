//! Namespaces and what scales pods, turned into the engine's.

use burstlet_engine::{
    placement::{Controller, Looked, Namespace, Revision, Workload},
    policy::Marks,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DynamicObject, Object};
use serde::Deserialize;

use crate::api::{
    kinds::{ForeignKinds, cron_job_of, scaler_of_set},
    pod::object_name,
};

/// A ReplicaSet with what placement reads of it.
pub type SlimReplicaSet = Object<SlimReplicaSetSpec, Unread>;
/// A StatefulSet with what placement reads of it.
pub type SlimStatefulSet = Object<SlimStatefulSetSpec, Unread>;
/// A Job with what placement reads of it.
pub type SlimJob = Object<SlimJobSpec, Unread>;

/// Of `apps/v1 ReplicaSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimReplicaSetSpec {
    replicas: Option<u32>,
    #[serde(default)]
    template: SlimTemplate,
}

/// Of `apps/v1 StatefulSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimStatefulSetSpec {
    replicas: Option<u32>,
    ordinals: Option<SlimOrdinals>,
    #[serde(default)]
    template: SlimTemplate,
}

/// Of `apps/v1 StatefulSetOrdinals`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct SlimOrdinals {
    #[serde(default)]
    start: u32,
}

/// Of `batch/v1 JobSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimJobSpec {
    parallelism: Option<u32>,
    completions: Option<u32>,
    #[serde(default)]
    template: SlimTemplate,
}

/// Of `core/v1 PodTemplateSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimTemplate {
    #[serde(default)]
    metadata: Option<ObjectMeta>,
}

impl SlimTemplate {
    fn marks(&self) -> Marks {
        self.metadata.as_ref().map(marks).unwrap_or_default()
    }
}

/// A part of an object that is not read.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Unread {}

/// What resolution reads of an object's labels and annotations.
pub fn marks(meta: &ObjectMeta) -> Marks {
    let (labels, annotations) = (meta.labels.clone(), meta.annotations.clone());
    Marks { labels: labels.unwrap_or_default(), annotations: annotations.unwrap_or_default() }.slim()
}

/// A namespace and the default it sets.
pub fn namespace(meta: &ObjectMeta) -> Option<Namespace> {
    Some(Namespace { name: meta.name.clone()?, marks: marks(meta) })
}

/// What scales other objects, such as a Deployment.
pub fn workload(meta: &ObjectMeta, kind: &str) -> Option<Workload> {
    let id = meta.uid.as_deref()?.into();
    Some(Workload { id, kind: kind.into(), name: object_name(meta), marks: marks(meta) })
}

fn revision(
    meta: &ObjectMeta,
    controller: Controller,
    workload: Option<&str>,
    pods: Marks,
    wanted: u32,
) -> Option<Revision> {
    Some(Revision {
        id: meta.uid.as_deref()?.into(),
        name: object_name(meta),
        controller,
        workload: workload.map(Into::into),
        marks: marks(meta),
        pods,
        wanted,
        generation: generation(meta),
    })
}

fn generation(meta: &ObjectMeta) -> u64 {
    meta.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(0)
}

/// What a look at a revision found.
pub fn looked(revision: &Revision) -> Looked {
    Looked { wanted: revision.wanted, generation: revision.generation }
}

/// A ReplicaSet; one that says no number of replicas wants one (`apps/v1` default).
pub fn replica_set(set: &SlimReplicaSet, foreign: &ForeignKinds) -> Option<Revision> {
    let (meta, spec) = (&set.metadata, &set.spec);
    let workload = scaler_of_set(meta, foreign).map(|(owner, _)| owner.uid.as_str());
    revision(meta, Controller::ReplicaSet, workload, spec.template.marks(), spec.replicas.unwrap_or(1))
}

/// A StatefulSet.
pub fn stateful_set(set: &SlimStatefulSet) -> Option<Revision> {
    let (meta, spec) = (&set.metadata, &set.spec);
    let first = spec.ordinals.unwrap_or_default().start;
    revision(meta, Controller::StatefulSet { first }, None, spec.template.marks(), spec.replicas.unwrap_or(1))
}

/// A Job. It wants as many pods as run beside each other, also while the last of its completions need fewer: that its
/// work comes to an end is no scale-in.
pub fn job(job: &SlimJob) -> Option<Revision> {
    let (meta, spec) = (&job.metadata, &job.spec);
    let wanted = spec.parallelism.unwrap_or(1).min(spec.completions.unwrap_or(u32::MAX));
    let cron_job = cron_job_of(meta).map(|owner| owner.uid.as_str());
    revision(meta, Controller::Job, cron_job, spec.template.marks(), wanted)
}

/// An object of a foreign kind, which is the workload of its own pods.
pub fn foreign(object: &DynamicObject) -> Option<Revision> {
    let replicas = object.data.pointer("/spec/replicas").and_then(serde_json::Value::as_u64);
    let wanted = replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(u32::MAX));
    let template = object.data.pointer("/spec/template/metadata");
    let template = template.and_then(|template| serde_json::from_value::<ObjectMeta>(template.clone()).ok());
    let meta = &object.metadata;
    revision(meta, Controller::Other, meta.uid.as_deref(), template.as_ref().map(marks).unwrap_or_default(), wanted)
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn meta(owner: Option<(&str, &str)>) -> Value {
        let owners: Vec<_> = owner
            .map(|(api_version, kind)| {
                json!({"apiVersion": api_version, "kind": kind, "name": "o", "uid": "o", "controller": true})
            })
            .into_iter()
            .collect();
        json!({"name": "x", "namespace": "d", "uid": "u", "generation": 7, "ownerReferences": owners,
               "annotations": {"burstlet.dev/base": "2", "else": "long"}})
    }

    #[test]
    fn a_stateful_set_reads_with_its_first_ordinal_and_its_pods_marks() {
        let template = json!({"metadata": {"labels": {"app": "db"}}});
        let set = read(
            json!({"metadata": meta(None), "spec": {"replicas": 5, "ordinals": {"start": 3}, "template": template}}),
        );
        let found = stateful_set(&set).unwrap();
        assert_eq!(found.controller, Controller::StatefulSet { first: 3 });
        assert_eq!((found.wanted, found.generation, found.workload), (5, 7, None));
        assert_eq!(found.pods.labels["app"], "db");
        assert_eq!(found.marks.annotations.len(), 1, "what nobody reads is left out");
        let least = read(json!({"metadata": meta(None), "spec": {}}));
        assert_eq!(stateful_set(&least).unwrap().controller, Controller::StatefulSet { first: 0 });
    }

    #[test]
    fn a_job_wants_what_runs_beside_each_other_and_is_its_cron_jobs() {
        let of =
            |spec: Value| job(&read(json!({"metadata": meta(Some(("batch/v1", "CronJob"))), "spec": spec}))).unwrap();
        assert_eq!(of(json!({"parallelism": 6, "completions": 40})).wanted, 6);
        assert_eq!(of(json!({"parallelism": 6, "completions": 4})).wanted, 4);
        assert_eq!(of(json!({})).wanted, 1);
        assert_eq!(of(json!({})).workload, Some("o".into()));
    }

    #[test]
    fn a_replica_set_that_an_unknown_kind_scales_stands_for_itself() {
        let of = |owner| {
            let set = read(json!({"metadata": meta(Some(owner)), "spec": {"replicas": 2}}));
            replica_set(&set, &ForeignKinds::default()).unwrap().workload
        };
        assert_eq!(of(("apps/v1", "Deployment")), Some("o".into()));
        assert_eq!(of(("argoproj.io/v1alpha1", "Rollout")), None);
    }

    #[test]
    fn an_object_of_a_foreign_kind_is_the_workload_of_its_pods() {
        let object = read(json!({"metadata": meta(None), "spec": {"replicas": 4}}));
        let found = foreign(&object).unwrap();
        assert_eq!((found.controller, found.workload, found.wanted), (Controller::Other, Some("u".into()), 4));
    }
}
