//! Kinds that scale pods: Kubernetes' own, and those of other API groups that the configuration names.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::ApiResource;
use serde::Deserialize;

/// A kind of another API group that scales pods, such as Argo's Rollout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForeignKind {
    /// Its API group and version, such as `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// Its name, such as `Rollout`.
    pub kind: String,
    /// Its name in URLs and roles, such as `rollouts`.
    pub resource: String,
    /// What its objects own.
    pub owns: Owns,
}

/// What objects of a foreign kind own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Owns {
    /// ReplicaSets, as a Deployment does.
    ReplicaSets,
    /// Pods, as a ReplicaSet does; how many it wants is in `spec.replicas`.
    Pods,
}

impl ForeignKind {
    /// For calls to the API server.
    pub fn api_resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.resource.clone(),
        }
    }

    fn is_of(&self, owner: &OwnerReference) -> bool {
        owner.kind == self.kind && group(&owner.api_version) == group(&self.api_version)
    }
}

/// The foreign kinds of a cluster.
#[derive(Debug, Clone, Default)]
pub struct ForeignKinds(Arc<[ForeignKind]>);

impl ForeignKinds {
    /// Those that the configuration names.
    pub fn new(kinds: &[ForeignKind]) -> Self {
        Self(kinds.into())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ForeignKind> {
        self.0.iter()
    }

    /// The one that an owner is of, if it owns these.
    pub fn find(&self, owner: &OwnerReference, owns: Owns) -> Option<&ForeignKind> {
        self.0.iter().find(|kind| kind.owns == owns && kind.is_of(owner))
    }
}

/// What controls a pod, of what can be governed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodController<'a> {
    /// A ReplicaSet.
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet,
    /// A Job.
    Job,
    /// An object of another API group.
    Foreign(&'a ForeignKind),
}

/// What keeps a pod in being, if that is something that can be governed: neither a DaemonSet nor a node.
pub fn pod_controller<'a, 'b>(
    meta: &'a ObjectMeta,
    foreign: &'b ForeignKinds,
) -> Option<(&'a OwnerReference, PodController<'b>)> {
    let owner = controller(meta)?;
    let of = match (group(&owner.api_version), owner.kind.as_str()) {
        ("apps", "ReplicaSet") => PodController::ReplicaSet,
        ("apps", "StatefulSet") => PodController::StatefulSet,
        ("batch", "Job") => PodController::Job,
        _ => PodController::Foreign(foreign.find(owner, Owns::Pods)?),
    };
    Some((owner, of))
}

/// What scales a ReplicaSet, if it is known to: a Deployment (`None`), or an object of a foreign kind.
pub fn scaler_of_set<'a, 'b>(
    set: &'a ObjectMeta,
    foreign: &'b ForeignKinds,
) -> Option<(&'a OwnerReference, Option<&'b ForeignKind>)> {
    let owner = controller(set)?;
    if is_of(owner, "apps", "Deployment") {
        return Some((owner, None));
    }
    Some((owner, Some(foreign.find(owner, Owns::ReplicaSets)?)))
}

/// The `CronJob` that a Job is of. By hand (`kubectl create job --from`) it is owned, not controlled.
pub fn cron_job_of(job: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = job.owner_references.iter().flatten();
    owners.find(|owner| is_of(owner, "batch", "CronJob"))
}

/// The owner that keeps an object in being; there is one at most.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether an owner is of this group and kind, not another API's kind of the same name.
pub fn is_of(owner: &OwnerReference, of_group: &str, kind: &str) -> bool {
    owner.kind == kind && group(&owner.api_version) == of_group
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(api_version: &str, kind: &str, controller: bool) -> ObjectMeta {
        let owner = json!({"apiVersion": api_version, "kind": kind, "name": "x", "uid": "u", "controller": controller});
        serde_json::from_value(json!({"name": "p", "ownerReferences": [owner]})).unwrap()
    }

    fn fleets(owns: Owns) -> ForeignKinds {
        let api_version = "example.com/v1".to_owned();
        ForeignKinds::new(&[ForeignKind { api_version, kind: "Fleet".to_owned(), resource: "fleets".to_owned(), owns }])
    }

    #[test]
    fn a_pod_is_controlled_by_what_its_group_says_not_its_kind_alone() {
        let none = ForeignKinds::default();
        let of =
            |api_version, kind| pod_controller(&owned(api_version, kind, true), &none).map(|(_, of)| format!("{of:?}"));
        assert_eq!(of("apps/v1", "ReplicaSet").as_deref(), Some("ReplicaSet"));
        assert_eq!(of("apps/v1", "StatefulSet").as_deref(), Some("StatefulSet"));
        assert_eq!(of("batch/v1", "Job").as_deref(), Some("Job"));
        for (api_version, kind) in
            [("apps/v1", "DaemonSet"), ("v1", "Node"), ("example.com/v1", "Job"), ("example.com/v1", "Fleet")]
        {
            assert_eq!(of(api_version, kind), None, "{api_version} {kind}");
        }
        assert!(pod_controller(&owned("apps/v1", "ReplicaSet", false), &none).is_none(), "owned, not controlled");
    }

    #[test]
    fn a_foreign_kind_controls_what_the_configuration_says_it_owns() {
        let pod = owned("example.com/v1beta1", "Fleet", true);
        let found = fleets(Owns::Pods);
        assert!(matches!(pod_controller(&pod, &found), Some((_, PodController::Foreign(_)))), "whatever the version");
        assert!(pod_controller(&pod, &fleets(Owns::ReplicaSets)).is_none());
        assert!(scaler_of_set(&pod, &fleets(Owns::ReplicaSets)).is_some());
        assert!(scaler_of_set(&pod, &found).is_none());
        assert!(scaler_of_set(&owned("apps/v1", "Deployment", true), &found).is_some_and(|(_, kind)| kind.is_none()));
    }

    #[test]
    fn a_job_made_by_hand_is_its_cron_jobs_too() {
        assert!(cron_job_of(&owned("batch/v1", "CronJob", false)).is_some());
        assert!(cron_job_of(&owned("example.com/v1", "CronJob", true)).is_none());
    }
}
