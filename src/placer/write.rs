//! Writes that the API server takes at most once, and not after this replica's right to write has ended.

use std::time::Duration;

use burstlet_engine::{model::PodRef, placement::Outcome};
use http::{Method, Request, header};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, core::ApiResource};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    api::pod::{SlimPod, patchable},
    watch::Leadership,
};

/// The API server gives a write up after this, so that none lands long after its sender has lost the lease.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// The client gives up a little later, to hear the server's answer.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(2500);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A write to one pod.
pub(super) enum Write {
    /// A JSON patch that takes the gate off.
    Place(Value),
    /// Another JSON patch.
    Patch(Value),
    /// An eviction, which respects disruption budgets.
    Evict,
}

/// What the API server said to one try.
enum Answer {
    Settled(Outcome),
    /// Not known, or later: try again, not before this pause where one was named.
    Again(Option<Duration>),
}

/// Writes until the API server has answered for good; an eviction is tried once. `None` where the right to write ended first.
pub(super) async fn write(
    client: &Client,
    pod: &PodRef,
    write: &Write,
    leadership: &watch::Receiver<Leadership>,
) -> Option<Outcome> {
    let mut pause = FIRST_PAUSE;
    loop {
        let may_write = leadership.borrow().may_write();
        if !may_write {
            return None;
        }
        match attempt(client, pod, write).await {
            Answer::Settled(outcome) => return Some(outcome),
            // Decided on room that may be gone by then. A budget's refusal comes as no answer at all: the client
            // repeats what is answered 429 by itself. One that has landed, the watch shows.
            Answer::Again(_) if matches!(write, Write::Evict) => return Some(Outcome::Refused),
            Answer::Again(named) => {
                sleep(named.unwrap_or(pause).max(pause).min(LONGEST_PAUSE)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn attempt(client: &Client, pod: &PodRef, write: &Write) -> Answer {
    let request = match request(pod, write) {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(%error, pod = %pod.name, "the write cannot be expressed");
            return Answer::Settled(Outcome::Refused);
        }
    };
    match timeout(CLIENT_TIMEOUT, client.request::<IgnoredAny>(request)).await {
        Ok(Ok(_)) => Answer::Settled(Outcome::Applied),
        Ok(Err(kube::Error::Api(status))) => match (status.code, write) {
            (429, Write::Place(_) | Write::Patch(_)) => {
                let seconds = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
                Answer::Again(seconds.map(Duration::from_secs))
            }
            (422, Write::Place(_)) => look(client, pod).await,
            (400..=499, _) => {
                tracing::debug!(pod = %pod.name, code = status.code, message = status.message, "write refused");
                Answer::Settled(Outcome::Refused)
            }
            _ => Answer::Again(None),
        },
        Ok(Err(error)) => {
            tracing::debug!(%error, pod = %pod.name, "write not answered");
            Answer::Again(None)
        }
        Err(_) => Answer::Again(None),
    }
}

/// A refused placing may have landed before: by a try whose answer was lost, or by the leader before us. Then the pod
/// counts where it was sent, until the watch shows it.
async fn look(client: &Client, pod: &PodRef) -> Answer {
    let resource = ApiResource::erase::<Pod>(&());
    let api = Api::<SlimPod>::namespaced_with(client.clone(), &pod.name.namespace, &resource);
    match timeout(CLIENT_TIMEOUT, api.get_opt(&pod.name.name)).await {
        Ok(Ok(found)) => {
            let same = found.filter(|found| found.metadata.uid.as_deref() == Some(pod.uid.as_str()));
            let is_placed = same.is_some_and(|found| patchable(&found).gate.is_none());
            Answer::Settled(if is_placed { Outcome::Applied } else { Outcome::Refused })
        }
        Ok(Err(_)) | Err(_) => Answer::Again(None),
    }
}

fn request(pod: &PodRef, write: &Write) -> Result<Request<Vec<u8>>, http::Error> {
    let url = format!("/api/v1/namespaces/{}/pods/{}", pod.name.namespace, pod.name.name);
    let limits = format!("timeout={}s&fieldManager={}", SERVER_TIMEOUT.as_secs(), crate::api::names::MANAGER);
    // The answer is not read, so only its metadata is asked for.
    let metadata_only = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    match write {
        Write::Place(patch) | Write::Patch(patch) => Request::builder()
            .method(Method::PATCH)
            .uri(format!("{url}?{limits}"))
            .header(header::CONTENT_TYPE, "application/json-patch+json")
            .header(header::ACCEPT, metadata_only)
            .body(patch.to_string().into_bytes()),
        Write::Evict => {
            let eviction = json!({
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"namespace": &*pod.name.namespace, "name": &*pod.name.name},
                "deleteOptions": {"preconditions": {"uid": pod.uid.as_str()}},
            });
            Request::builder()
                .method(Method::POST)
                .uri(format!("{url}/eviction?{limits}"))
                .header(header::CONTENT_TYPE, "application/json")
                .body(eviction.to_string().into_bytes())
        }
    }
}
