//! One pod through the Eviction API, so within disruption budgets.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, EvictParams, Preconditions},
};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evicted {
    /// It is on its way out.
    Asked,
    /// It was gone already, or another of its name stands there.
    Gone,
    /// A disruption budget holds it for now.
    Held,
}

/// Asks the pod with this UID, and no other of its name, to go.
pub(super) async fn evict(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: Option<String>,
) -> Result<Evicted, kube::Error> {
    let preconditions = Preconditions { uid, resource_version: None };
    let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let params = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
    match Api::<Pod>::namespaced(client.clone(), namespace).evict(name, &params).await {
        Ok(_) => Ok(Evicted::Asked),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Evicted::Gone),
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(Evicted::Held),
        Err(error) => Err(error),
    }
}
