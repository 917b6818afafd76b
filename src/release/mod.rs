//! Taking burstlet's hands off a cluster: the gates alone ([`gates`]), or everything, amid a burst too ([`uninstall`]).
//!
//! Both work without burstlet: they are what helps where it does not run any more.

mod fate;
mod uninstall;

use burstlet_engine::{
    model::{Pod, Stage},
    placement::Reason,
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::json;

pub use uninstall::{Left, Uninstall, uninstall};

use crate::api::{
    kinds::ForeignKinds,
    names,
    pod::{SlimPod, patchable, to_engine},
};

/// Pods a page.
const PAGE: u32 = 500;
/// Writes under way at once.
const AT_ONCE: usize = 20;

/// Why burstlet could not be taken off.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The API server refused.
    #[error("unable to {doing}: {source}")]
    Refused {
        /// What was tried.
        doing: String,
        /// The API server's answer.
        source: kube::Error,
    },
    /// Something stays.
    #[error("{0}; run it again to go on")]
    Left(Left),
}

impl ReleaseError {
    fn refused(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        |source| Self::Refused { doing, source }
    }
}

/// Takes the gate off every pod that waits behind it, of one namespace or of all, and answers how many they were. They
/// are plain pods then, without a tier; what gates new ones (the webhook) is left as it is.
pub async fn gates(client: &Client, namespace: Option<&str>) -> Result<usize, ReleaseError> {
    let pods = pods(client, namespace).await?;
    let gated = pods.iter().filter(|(_, pod)| pod.stage == Stage::Gated && !pod.deleting);
    let released = stream::iter(gated).map(|(slim, pod)| ungate(client, slim, pod)).buffer_unordered(AT_ONCE);
    released.try_fold(0, |sum, is_released| async move { Ok(sum + usize::from(is_released)) }).await
}

/// All pods of a namespace, or of the cluster, as written and as the engine sees them.
async fn pods(client: &Client, namespace: Option<&str>) -> Result<Vec<(SlimPod, Pod)>, ReleaseError> {
    let resource = ApiResource::erase::<CorePod>(&());
    let api = match namespace {
        Some(namespace) => Api::<SlimPod>::namespaced_with(client.clone(), namespace, &resource),
        None => Api::<SlimPod>::all_with(client.clone(), &resource),
    };
    // What controls a pod makes no difference here.
    let foreign = ForeignKinds::default();
    let mut pods = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = api.list(&page).await.map_err(ReleaseError::refused("list pods"))?;
        pods.extend(listed.items.into_iter().filter_map(|slim| to_engine(&slim, &foreign).map(|pod| (slim, pod))));
        match listed.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(pods),
        }
    }
}

/// Whether the gate is off now by this write: a pod that is gone, or that somebody else has released, is none.
async fn ungate(client: &Client, slim: &SlimPod, pod: &Pod) -> Result<bool, ReleaseError> {
    let Some(gate) = patchable(slim).gate else { return Ok(false) };
    let at = format!("/spec/schedulingGates/{gate}");
    let told = format!("/metadata/annotations/{}", names::REASON.replace('/', "~1"));
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": pod.uid.as_str()}),
        json!({"op": "test", "path": format!("{at}/name"), "value": names::GATE}),
        json!({"op": "remove", "path": at}),
    ];
    if !patchable(slim).own_annotations.is_empty() {
        patch.push(json!({"op": "add", "path": told, "value": Reason::Ungoverned.to_string()}));
    }
    let patch = json_patch::Patch(serde_json::from_value(json!(patch)).unwrap_or_default());
    let api = Api::<SlimPod>::namespaced_with(client.clone(), &pod.name.namespace, &ApiResource::erase::<CorePod>(&()));
    match api.patch(&pod.name.name, &PatchParams::default(), &Patch::<()>::Json(patch)).await {
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) || is_code(&error, 422) => Ok(false),
        Err(error) => Err(ReleaseError::refused(format!("take the gate off pod {}", pod.name))(error)),
    }
}

fn is_gone(error: &kube::Error) -> bool {
    is_code(error, 404) || is_code(error, 409)
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
