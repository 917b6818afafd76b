//! What burstlet needs in a cluster: its namespace, its role, and the webhooks.

use std::fmt::Debug;

use k8s_openapi::api::{
    core::v1::Namespace,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule},
};
use kube::{Api, Client, Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    admission::{Endpoint, webhook_configurations},
    api::{crd::definitions, names::MANAGED_BY},
    kubelet::virtual_node_name,
    lab::{
        service::Service,
        stand::{Ground, SimulatedPool, StandError},
    },
};

/// The user that burstlet is to the API server.
pub(super) const USER: &str = "burstlet";
/// burstlet's own namespace.
pub(super) const NAMESPACE: &str = "burstlet-system";

/// The role that a user of burstlet binds, too.
const ROLE: &str = include_str!("../../../docs/install/role.yaml");

/// The role by which burstlet acts as its virtual nodes.
const NODES_ROLE: &str = include_str!("../../../docs/install/nodes-role.yaml");

/// Makes burstlet's namespace. Where it stands already, somebody else has burstlet there.
pub(super) async fn namespace(client: &Client) -> Result<(), StandError> {
    let labels = json!({MANAGED_BY.0: MANAGED_BY.1});
    create::<Namespace>(client, json!({"metadata": {"name": NAMESPACE, "labels": labels}})).await
}

/// Has the API server know burstlet's own kinds.
pub(super) async fn kinds(client: &Client) -> Result<(), StandError> {
    let all = definitions().map_err(|error| StandError::Install {
        what: "CustomResourceDefinition".to_owned(),
        source: kube::Error::Service(error.into()),
    })?;
    for (_, definition) in all {
        created(client, &definition).await?;
    }
    Ok(())
}

/// Gives burstlet's user its role.
pub(super) async fn role(client: &Client) -> Result<(), StandError> {
    bound(client, serde_saphyr::from_str::<serde_json::Value>(ROLE).unwrap_or_default()).await
}

/// Lets burstlet's user act as the nodes of these pools, and as no other.
pub(super) async fn nodes(client: &Client, pools: &[SimulatedPool]) -> Result<(), StandError> {
    let mut role = serde_saphyr::from_str::<serde_json::Value>(NODES_ROLE).unwrap_or_default();
    let of_pool = |pool: &SimulatedPool| {
        let name = pool.name.clone();
        (0..pool.nodes).map(move |index| format!("system:node:{}", virtual_node_name(&name, index)))
    };
    role["rules"][0]["resourceNames"] = pools.iter().flat_map(of_pool).collect();
    bound(client, role).await
}

/// Makes a role and binds it to burstlet's user.
async fn bound(client: &Client, role: serde_json::Value) -> Result<(), StandError> {
    let name = role["metadata"]["name"].clone();
    create::<ClusterRole>(client, role).await?;
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER});
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let binding = json!({"metadata": {"name": name}, "roleRef": role_ref, "subjects": [subject]});
    create::<ClusterRoleBinding>(client, binding).await
}

/// What burstlet does in a cluster.
pub(super) fn burstlets_rules() -> Vec<PolicyRule> {
    serde_saphyr::from_str::<ClusterRole>(ROLE).ok().and_then(|role| role.rules).unwrap_or_default()
}

/// Has the API server ask the webhooks behind `admission`.
pub(super) async fn webhooks(ground: &Ground, admission: &Service) -> Result<(), StandError> {
    let endpoint = Endpoint::Url(format!("https://{}", admission.address()));
    let (gate, warn) = webhook_configurations(&endpoint, ground.authority.pem.as_bytes(), NAMESPACE);
    created(&ground.client, &gate).await?;
    created(&ground.client, &warn).await
}

async fn create<K>(client: &Client, object: serde_json::Value) -> Result<(), StandError>
where
    K: Resource<Scope = kube::core::ClusterResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let what = K::kind(&()).into_owned();
    let object: K = serde_json::from_value(object)
        .map_err(|error| StandError::Install { what, source: kube::Error::SerdeError(error) })?;
    created(client, &object).await
}

async fn created<K>(client: &Client, object: &K) -> Result<(), StandError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let made = Api::<K>::all(client.clone()).create(&PostParams::default(), object).await;
    made.map(drop).map_err(|source| StandError::Install { what: K::kind(&()).into_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burstlets_rules_are_those_of_the_role() {
        let rules = burstlets_rules();
        assert_eq!(rules[0].resources.as_deref().unwrap(), ["namespaces", "nodes", "pods"]);
        assert!(rules.len() > 5, "{rules:?}");
    }
}
