//! Labels and annotations that an ECI profile gives to the pods that it selects.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use burstlet_engine::policy::Marks;
use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{admission::namespaces::Namespaces, watch::SharedProfile};

/// Longest look-up: below the webhook's own timeout, so that the answer still reaches the API server.
const LOOK_UP: Duration = Duration::from_secs(1);

type Labels = BTreeMap<String, String>;

/// The profile, and the namespaces that its selectors ask for.
pub(super) struct Injection {
    namespaces: Arc<Namespaces>,
    profile: SharedProfile,
}

impl Injection {
    pub(super) fn new(namespaces: Arc<Namespaces>, profile: SharedProfile) -> Self {
        Self { namespaces, profile }
    }

    /// Gives the pod what the profile has for it; answers the changes. Where the namespace cannot be read, nothing.
    pub(super) async fn inject(&self, namespace: &str, pod: &mut ObjectMeta) -> Vec<PatchOperation> {
        let profile = self.profile.read().unwrap_or_else(PoisonError::into_inner).clone();
        if profile.is_empty() {
            return Vec::new();
        }
        let Ok(Ok(of_namespace)) = timeout(LOOK_UP, self.namespaces.marks(namespace)).await else { return Vec::new() };
        let own = Marks {
            labels: pod.labels.clone().unwrap_or_default(),
            annotations: pod.annotations.clone().unwrap_or_default(),
        };
        let given = profile.effect(&of_namespace.labels, &own);
        let mut changes = give("labels", &mut pod.labels, given.labels);
        changes.extend(give("annotations", &mut pod.annotations, given.annotations));
        changes
    }
}

/// Adds to a map of the metadata that may not be there yet.
fn give(field: &str, to: &mut Option<Labels>, given: Labels) -> Vec<PatchOperation> {
    let add = |path: &[&str], value: Value| {
        PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
    };
    if given.is_empty() {
        return Vec::new();
    }
    let changes = match to {
        None => vec![add(&["metadata", field], json!(given))],
        Some(_) => given.iter().map(|(key, value)| add(&["metadata", field, key], json!(value))).collect(),
    };
    to.get_or_insert_default().extend(given);
    changes
}

#[cfg(test)]
mod tests {
    use burstlet_engine::policy::profile::Profile;

    use super::*;
    use crate::watch::fake_api::FakeApi;

    const NAMESPACE: &str = "/api/v1/namespaces/shop";
    const SELECTORS: &str = r#"[{"namespaceSelector": {"matchLabels": {"team": "dev"}},
        "effect": {"labels": {"alibabacloud.com/eci": "true"}, "annotations": {"a/b": "c", "own": "no"}}}]"#;

    #[tokio::test]
    async fn a_pod_gets_what_the_profile_has_now_and_keeps_its_own() {
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                            "metadata": {"name": "shop", "labels": {"team": "dev"}}});
        let api = FakeApi::new(&[(NAMESPACE, object)]);
        let profile = SharedProfile::default();
        let injection = Injection::new(Namespaces::new(api.client()), Arc::clone(&profile));
        let mut pod =
            ObjectMeta { annotations: Some([("own".to_owned(), "mine".to_owned())].into()), ..ObjectMeta::default() };
        assert_eq!(injection.inject("shop", &mut pod).await, []);
        assert!(api.asked().is_empty(), "without a profile nothing is asked");
        *profile.write().unwrap() = Profile::read(SELECTORS).unwrap();
        let changes = injection.inject("shop", &mut pod).await;
        let wanted = json!([
            {"op": "add", "path": "/metadata/labels", "value": {"alibabacloud.com/eci": "true"}},
            {"op": "add", "path": "/metadata/annotations/a~1b", "value": "c"},
        ]);
        assert_eq!(serde_json::to_value(&changes).unwrap(), wanted);
        assert_eq!(pod.annotations.unwrap()["own"], "mine");
    }

    #[tokio::test]
    async fn where_the_namespace_cannot_be_read_the_pod_stays_as_it_is() {
        let profile = SharedProfile::default();
        *profile.write().unwrap() = Profile::read(SELECTORS).unwrap();
        let injection = Injection::new(Namespaces::new(FakeApi::failing().client()), profile);
        assert_eq!(injection.inject("shop", &mut ObjectMeta::default()).await, []);
    }
}
