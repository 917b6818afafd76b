//! Acting as one of the nodes that burstlet keeps.
//!
//! burstlet itself may read no Secret and ask for no certificate. It acts as `system:node:NAME`, whom the API server lets do
//! what a node's kubelet must, and nothing else (the node authorizer and NodeRestriction). Its role names the nodes that it
//! may act as.

use axum::http::{HeaderName, HeaderValue, Request, header::InvalidHeaderValue};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// Group of every node.
pub(crate) const NODES: &str = "system:nodes";

/// A node as the API server knows it.
pub(crate) fn user(node: &str) -> String {
    format!("system:node:{node}")
}

/// Has `request` be the node's.
pub(crate) fn as_node<B>(mut request: Request<B>, node: &str) -> Result<Request<B>, InvalidHeaderValue> {
    request.headers_mut().insert(USER, HeaderValue::from_str(&user(node))?);
    request.headers_mut().insert(GROUP, HeaderValue::from_static(NODES));
    Ok(request)
}

/// Whether the API server refuses because burstlet's role does not name the node.
pub(crate) fn may_not_impersonate(message: &str) -> bool {
    message.contains("cannot impersonate resource")
}

/// What to do about it.
pub(crate) fn role_lacks(node: &str) -> String {
    format!(
        "burstlet's role does not let it act as {}; name the node among the users that the role may impersonate (Helm: \
         virtualNodes)",
        user(node)
    )
}
