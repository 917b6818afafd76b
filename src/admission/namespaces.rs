//! Namespaces, read from the API server itself.

use std::sync::Arc;

use burstlet_engine::policy::Marks;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use super::memory::Memory;
use crate::api::owner::marks;

pub(super) struct Namespaces {
    client: Client,
    memory: Memory<Marks>,
}

impl Namespaces {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, memory: Memory::default() })
    }

    /// What the namespace says now, or said within the last second; nothing where it is gone.
    pub(super) async fn marks(&self, namespace: &str) -> Result<Marks, kube::Error> {
        let look_up = async || {
            let found = Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await?;
            Ok(found.map(|found| marks(&found.metadata)).unwrap_or_default())
        };
        self.memory.get(namespace, look_up).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::fake_api::FakeApi;

    #[tokio::test]
    async fn all_that_ask_at_once_cost_one_look_up_and_a_failure_is_not_kept() {
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                            "metadata": {"name": "shop", "labels": {"team": "dev"}}});
        let api = FakeApi::new(&[("/api/v1/namespaces/shop", object)]);
        let namespaces = Namespaces::new(api.client());
        let all = futures::future::join_all((0..100).map(|_| namespaces.marks("shop"))).await;
        assert!(all.iter().all(|found| found.as_ref().is_ok_and(|marks| marks.labels["team"] == "dev")));
        assert_eq!(api.asked().len(), 1);
        assert_eq!(namespaces.marks("gone").await.unwrap(), Marks::default());
        let api = FakeApi::failing();
        let namespaces = Namespaces::new(api.client());
        assert!(namespaces.marks("shop").await.is_err() && namespaces.marks("shop").await.is_err());
        assert_eq!(api.asked().len(), 2);
    }
}
