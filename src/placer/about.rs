//! What an Event is about, as Kubernetes refers to it.

use burstlet_engine::{
    model::{ObjectName, PodRef, PoolName},
    placement::Annotated,
};
use k8s_openapi::api::core::v1::ObjectReference;

use super::POD;
use crate::api::{kinds::ForeignKinds, names, pool::KIND};

/// A pool that is an object.
pub(super) fn pool(name: &PoolName, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{}/{}", names::GROUP, names::VERSION)),
        kind: Some(KIND.to_owned()),
        name: Some(name.to_string()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// A pod.
pub(super) fn pod(pod: &PodRef) -> ObjectReference {
    ObjectReference { uid: Some(pod.uid.to_string()), ..object("v1", POD, &pod.name) }
}

/// What carries an annotation.
pub(super) fn annotated(carrier: Annotated, foreign: &ForeignKinds) -> ObjectReference {
    match carrier {
        Annotated::Namespace(name) => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(name),
            ..ObjectReference::default()
        },
        Annotated::Workload { kind, name, uid } => {
            let foreign = foreign.iter().find(|foreign| *foreign.kind == *kind);
            let api_version = foreign.map_or_else(|| api_version(&kind), |foreign| &foreign.api_version);
            ObjectReference { uid: Some(uid), ..object(api_version, &kind, &name) }
        }
    }
}

/// An object of a namespace, whose kind is one of `api_version`.
pub(super) fn object(api_version: &str, kind: &str, name: &ObjectName) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(name.namespace.to_string()),
        name: Some(name.name.to_string()),
        ..ObjectReference::default()
    }
}

/// Where Kubernetes' own kinds stand.
pub(super) fn api_version(kind: &str) -> &'static str {
    match kind {
        POD => "v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "apps/v1",
    }
}
