//! Bind: the one write that gives a pod its node.
//!
//! The extender binds by itself, for kube-scheduler's own client is limited to 50 requests a second by default, and
//! the Binding's annotations are merged into the pod in the same write.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    core::Status,
};
use tokio::time::timeout;

use super::{
    nodes::{VirtualNode, VirtualNodesView},
    recent::Recent,
    standing::{Refusal, Standing},
};
use crate::api::{
    extender::{BindingArgs, PlacementAnnotations},
    names,
};

/// Longest wait for the API server. kube-scheduler has given up long before; its next try finds the pod bound.
const API_CALL: Duration = Duration::from_secs(10);

/// Why a pod is not bound.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindError {
    #[error("pod {namespace}/{pod} may not go to node {node}: {reason}", reason = refusal.reason())]
    Refused { namespace: String, pod: String, node: String, refusal: Refusal },
    #[error("pod {namespace}/{pod} is gone; another may have its name by now")]
    Gone { namespace: String, pod: String },
    #[error("pod {namespace}/{pod} is bound to node {node} already")]
    BoundElsewhere { namespace: String, pod: String, node: String },
    #[error("unable to bind: the API server said: {0}")]
    Api(#[from] kube::Error),
    #[error("unable to bind: the API server did not answer within {API_CALL:?}")]
    Silent,
}

/// Binds the pod, unless its tier forbids the node. A pod that is bound to that node already is a success: an answer
/// was lost, and kube-scheduler tries again.
pub(super) async fn bind(
    args: &BindingArgs,
    nodes: &VirtualNodesView,
    recent: &Recent,
    client: Client,
) -> Result<(), BindError> {
    let pods: Api<Pod> = Api::namespaced(client, &args.pod_namespace);
    let node = nodes.get(&args.node);
    timeout(API_CALL, async {
        if recent.get(&args.pod_uid).is_none_or(|standing| standing.check(node, nodes).is_err()) {
            check_live(args, node, nodes, &pods).await?;
        }
        let binding = binding(args, node);
        match pods.create_subresource::<_, Status>("binding", &args.pod_name, &PostParams::default(), &binding).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Err(gone(args)),
            Err(kube::Error::Api(status)) if status.code == 409 => check_bound(args, &pods, *status).await,
            Err(fault) => Err(fault.into()),
        }
    })
    .await
    .map_err(|_| BindError::Silent)?
}

/// Asks the API server for the pod's tier: filter's memory has none, or one that forbids the node and may be old.
async fn check_live(
    args: &BindingArgs,
    node: Option<&VirtualNode>,
    nodes: &VirtualNodesView,
    pods: &Api<Pod>,
) -> Result<(), BindError> {
    let metadata = match pods.get_metadata_opt(&args.pod_name).await? {
        Some(pod) if pod.metadata.uid.as_deref() == Some(&args.pod_uid) => pod.metadata,
        _ => return Err(gone(args)),
    };
    let mut all = metadata.annotations.unwrap_or_default();
    let annotations = PlacementAnnotations { tier: all.remove(names::TIER), pool: all.remove(names::POOL) };
    Standing::of(&annotations).check(node, nodes).map_err(|refusal| BindError::Refused {
        namespace: args.pod_namespace.clone(),
        pod: args.pod_name.clone(),
        node: args.node.clone(),
        refusal,
    })
}

fn binding(args: &BindingArgs, node: Option<&VirtualNode>) -> Binding {
    let pool = node.map(|node| BTreeMap::from([(names::POOL.to_owned(), node.pool.to_string())]));
    Binding {
        metadata: ObjectMeta {
            name: Some(args.pod_name.clone()),
            namespace: Some(args.pod_namespace.clone()),
            // A precondition: the API server refuses where the name is another pod's by now.
            uid: Some(args.pod_uid.clone()),
            annotations: pool,
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(args.node.clone()),
            ..ObjectReference::default()
        },
    }
}

/// After a conflict: whether the pod has come to the node wanted.
async fn check_bound(args: &BindingArgs, pods: &Api<Pod>, conflict: Status) -> Result<(), BindError> {
    let pod = match pods.get_opt(&args.pod_name).await? {
        Some(pod) if pod.metadata.uid.as_deref() == Some(&args.pod_uid) => pod,
        _ => return Err(gone(args)),
    };
    match pod.spec.and_then(|spec| spec.node_name) {
        Some(node) if node == args.node => Ok(()),
        Some(node) => {
            Err(BindError::BoundElsewhere { namespace: args.pod_namespace.clone(), pod: args.pod_name.clone(), node })
        }
        None => Err(kube::Error::Api(Box::new(conflict)).into()),
    }
}

fn gone(args: &BindingArgs) -> BindError {
    BindError::Gone { namespace: args.pod_namespace.clone(), pod: args.pod_name.clone() }
}
