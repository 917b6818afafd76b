//! `kubectl debug`: containers that somebody adds to a pod that runs.
//!
//! No provider can add one to its instance. Left alone, the container would be waited for without end; so its status says
//! at once that it has ended and why, and an event tells the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    events::Events,
    index::{Notice, Uid},
};
use crate::{api::names, provider::Owner};

const REASON: &str = "EphemeralContainersUnsupported";

/// Exit code of a container that could not be started, as container runtimes have it.
const NOT_STARTED: i32 = 128;

/// Tries to tell it, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Refuses ephemeral containers.
pub(crate) struct Debugs {
    client: Client,
    events: Arc<Events>,
    cluster: String,
    provider: &'static str,
    /// How many of each pod's have been refused.
    refused: HashMap<Uid, usize>,
}

impl Debugs {
    pub(crate) fn new(client: Client, events: Arc<Events>, cluster: &str, provider: &'static str) -> Self {
        Self { client, events, cluster: cluster.to_owned(), provider, refused: HashMap::new() }
    }

    /// Looks at a pod as the API server shows it; what is new is refused in the background.
    pub(crate) fn see(&mut self, pod: &Pod) {
        let asked = untold(pod);
        let meta = &pod.metadata;
        let (Some(uid), Some(name), Some(namespace)) = (&meta.uid, &meta.name, &meta.namespace) else { return };
        if asked.is_empty() || meta.deletion_timestamp.is_some() {
            return;
        }
        if self.refused.insert(uid.as_str().into(), asked.len()) == Some(asked.len()) {
            return;
        }
        let owner = Owner {
            cluster: self.cluster.clone(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
        };
        let text = format!(
            "{} cannot add containers to an instance that runs ({}); use kubectl exec with a program that the image has, or a pod of its own",
            self.provider,
            asked.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(", ")
        );
        let patch = refusal(uid, &asked, &text);
        self.events.warn(&owner, &Notice { reason: REASON, text });
        tokio::spawn(tell(Api::namespaced(self.client.clone(), namespace), name.clone(), patch));
    }

    /// The pod is gone.
    pub(crate) fn forget(&mut self, pod: &Pod) {
        if let Some(uid) = pod.metadata.uid.as_deref() {
            self.refused.remove(uid);
        }
    }
}

/// The pod's ephemeral containers, if its status lacks one of them.
fn untold(pod: &Pod) -> Vec<&EphemeralContainer> {
    let asked: Vec<_> = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten()).collect();
    let status = pod.status.as_ref().and_then(|status| status.ephemeral_container_statuses.as_deref());
    let told = |name: &str| status.unwrap_or_default().iter().any(|told| told.name == name);
    if asked.iter().all(|container| told(&container.name)) { Vec::new() } else { asked }
}

fn refusal(uid: &str, asked: &[&EphemeralContainer], text: &str) -> Value {
    let status = |container: &&EphemeralContainer| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": NOT_STARTED, "reason": "Unsupported", "message": text}},
        })
    };
    let statuses: Vec<Value> = asked.iter().map(status).collect();
    json!({"metadata": {"uid": uid}, "status": {"ephemeralContainerStatuses": statuses}})
}

async fn tell(pods: Api<Pod>, name: String, patch: Value) {
    let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    for _ in 0..TRIES {
        match pods.patch_status(&name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => return,
            // It is gone, or its name is another pod's.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => tracing::warn!(pod = %name, %error, "refusal of an ephemeral container not told"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: &[&str], told: &[&str]) -> Pod {
        let container = |name: &&str| json!({"name": name, "image": "busybox"});
        let status =
            |name: &&str| json!({"name": name, "image": "busybox", "imageID": "", "ready": false, "restartCount": 0});
        let pod = json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [], "ephemeralContainers": containers.iter().map(container).collect::<Vec<_>>()},
            "status": {"ephemeralContainerStatuses": told.iter().map(status).collect::<Vec<_>>()},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn what_a_status_does_not_tell_of_is_refused_with_all_that_came_before() {
        assert!(untold(&pod(&[], &[])).is_empty());
        assert!(untold(&pod(&["a"], &["a"])).is_empty());
        let pod = pod(&["a", "b"], &["a"]);
        let asked = untold(&pod);
        let patch = refusal("u", &asked, "no");
        let statuses = patch["status"]["ephemeralContainerStatuses"].as_array().unwrap();
        let names: Vec<_> = statuses.iter().map(|status| &status["name"]).collect();
        assert_eq!(names, ["a", "b"], "the list is written as a whole");
        assert_eq!(statuses[1]["state"]["terminated"]["message"], "no");
        assert_eq!(patch["metadata"]["uid"], "u", "a successor of its name is left alone");
    }
}
