//! Objects that a bare API server lacks: roles of the components without built-in ones, and the metrics API.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ClusterError;
use super::layout::{DEDICATED_SCHEDULER_USER, KUBELET_CLIENT_USER, METRICS_SERVER_USER};

const SYSTEM: &str = "kube-system";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Lists what `kubectl top` and the HPA read.
pub(super) const NODE_METRICS_PATH: &str = "/apis/metrics.k8s.io/v1beta1/nodes";

/// Lets the API server's own client reach kubelets: logs, exec, attach, port-forward.
pub(super) async fn allow_kubelet_client(client: &Client) -> Result<(), ClusterError> {
    bind(client, "system:kubelet-api-admin", KUBELET_CLIENT_USER).await
}

/// Gives a second scheduler what the first one has by its built-in name.
pub(super) async fn allow_dedicated_scheduler(client: &Client) -> Result<(), ClusterError> {
    bind(client, "system:kube-scheduler", DEDICATED_SCHEDULER_USER).await?;
    bind(client, "system:volume-scheduler", DEDICATED_SCHEDULER_USER).await?;
    allow_reading_client_authorities(client, DEDICATED_SCHEDULER_USER).await
}

/// The roles of metrics-server's own manifests.
pub(super) async fn allow_metrics_server(client: &Client) -> Result<(), ClusterError> {
    let role = json!({
        "metadata": {"name": METRICS_SERVER_USER},
        "rules": [
            {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
        ],
    });
    let reader = json!({
        "metadata": {
            "name": "system:aggregated-metrics-reader",
            "labels": {
                format!("{RBAC}/aggregate-to-view"): "true",
                format!("{RBAC}/aggregate-to-edit"): "true",
                format!("{RBAC}/aggregate-to-admin"): "true",
            },
        },
        "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
    });
    create::<ClusterRole>(Api::all(client.clone()), role).await?;
    create::<ClusterRole>(Api::all(client.clone()), reader).await?;
    bind(client, METRICS_SERVER_USER, METRICS_SERVER_USER).await?;
    bind(client, "system:auth-delegator", METRICS_SERVER_USER).await?;
    allow_reading_client_authorities(client, METRICS_SERVER_USER).await
}

/// Has the API server hand `metrics.k8s.io` on to metrics-server at `port` of this machine. Endpoints may not hold loopback
/// addresses, so the Service is a mere name of it.
pub(super) async fn register_metrics(client: &Client, port: u16, authority_pem: &str) -> Result<(), ClusterError> {
    let service = json!({
        "metadata": {"name": "metrics-server"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    });
    let api_service = json!({
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": SYSTEM, "name": "metrics-server", "port": port},
            "caBundle": k8s_openapi::ByteString(authority_pem.as_bytes().to_vec()),
        },
    });
    create::<Service>(Api::namespaced(client.clone(), SYSTEM), service).await?;
    create::<APIService>(Api::all(client.clone()), api_service).await
}

/// Whether pods can be created in the namespace `default`: admission refuses them before it has its service account.
pub(super) async fn default_service_account_exists(client: &Client) -> Result<bool, ClusterError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let account = accounts.get_opt("default").await;
    Ok(account.map_err(ClusterError::request("read the service account default/default"))?.is_some())
}

async fn bind(client: &Client, role: &str, user: &str) -> Result<(), ClusterError> {
    let binding = binding(&format!("{role}:{user}"), "ClusterRole", role, user);
    create::<ClusterRoleBinding>(Api::all(client.clone()), binding).await
}

/// Components read from a `ConfigMap` whose certificates they are to trust.
async fn allow_reading_client_authorities(client: &Client, user: &str) -> Result<(), ClusterError> {
    let role = "extension-apiserver-authentication-reader";
    let binding = binding(&format!("{role}:{user}"), "Role", role, user);
    create::<RoleBinding>(Api::namespaced(client.clone(), SYSTEM), binding).await
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    })
}

async fn create<K>(api: Api<K>, object: Value) -> Result<(), ClusterError>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let action = format!("create {} {}", std::any::type_name::<K>(), object["metadata"]["name"]);
    let typed = serde_json::from_value(object).map_err(kube::Error::SerdeError);
    let created = match typed {
        Ok(typed) => api.create(&PostParams::default(), &typed).await,
        Err(error) => Err(error),
    };
    match created {
        // An earlier attempt, cut short, came this far.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop).map_err(ClusterError::request(action)),
    }
}
