//! The kubelet API's certificate, signed by the cluster's signer for kubelets.
//!
//! All nodes that a process keeps are reached at one address, and callers verify the address that they dialled, never a
//! node's name. So one certificate, which one of the nodes asks for, serves them all. A node asks that stands at this address
//! now, because whoever approves compares the two. The key is made here and goes nowhere: a process that starts anew asks
//! anew.

mod request;

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::{
        certificates::v1::CertificateSigningRequest,
        core::v1::{Node, ObjectReference},
    },
    jiff::Timestamp,
};
use kube::{
    Client, Resource, ResourceExt,
    api::{GetParams, PostParams, Request},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use self::request::{Answer, Asking};
use super::{
    as_node::{as_node, may_not_impersonate, role_lacks},
    nodes::is_reached_at,
};
use crate::{
    serve::{HeldCertificate, HeldError, Validity},
    telemetry::Events,
};

/// Wait before it is looked again for a node that stands here.
const LOOK: Duration = Duration::from_secs(2);
/// Wait between two looks at a request, at first.
const POLL: Duration = Duration::from_secs(2);
/// How long that is so: what approves by itself does so within moments.
const EAGER: Duration = Duration::from_mins(2);
/// Wait between two looks at a request that somebody has to approve by hand.
const POLL_LATER: Duration = Duration::from_secs(15);
/// How long a request may wait before its node tells of it.
const TOLD_AFTER: Duration = Duration::from_secs(15);
/// Wait after the API server has failed.
const SOON: Duration = Duration::from_secs(10);
/// Wait after a refusal: whoever refused is not asked all the time.
const LATER: Duration = Duration::from_mins(10);
/// Longest wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Keeps the certificate of one listener. `nodes` answers the names of the nodes that may stand there.
pub(crate) struct Serving<N> {
    pub(crate) client: Client,
    pub(crate) nodes: N,
    /// Where the cluster reaches the listener.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) held: HeldCertificate,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum ServingError {
    #[error("unable to make a request: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the request {request} was {why}")]
    Refused { request: String, why: String },
    #[error("the request {0} is gone before it was signed")]
    Gone(String),
    #[error("what was signed for the request {request} is not usable: {source}")]
    Unusable { request: String, source: HeldError },
    #[error("{0}")]
    Role(String),
    #[error("{0}")]
    Api(String),
}

impl ServingError {
    /// How long to wait before another request.
    fn pause(&self) -> Duration {
        match self {
            Self::Refused { .. } | Self::Unusable { .. } => LATER,
            Self::Make(_) | Self::Gone(_) | Self::Role(_) | Self::Api(_) => SOON,
        }
    }
}

impl<N: Fn() -> Vec<String> + Send + Sync> Serving<N> {
    /// Gets a certificate as soon as a node stands here, and the next one well before it ends, for ever.
    pub(crate) async fn keep(self) {
        let events = Events::new(self.client.clone());
        loop {
            let node = self.standing().await;
            let about = About { events: &events, node: &node };
            match self.obtain(&about).await {
                Ok(validity) => {
                    let until = Timestamp::from_second(validity.until).unwrap_or_default();
                    tracing::info!(node = %node.name_any(), %until, "the kubelet API serves with a certificate of the cluster's");
                    sleep(until_renewal(validity, Timestamp::now())).await;
                }
                Err(error) => {
                    let pause = error.pause();
                    tracing::warn!(node = %node.name_any(), %error, "no certificate for the kubelet API, will ask again in {pause:?}");
                    about
                        .tell("ServingCertificateRefused", format!("no certificate for the kubelet API: {error}"))
                        .await;
                    sleep(pause).await;
                }
            }
        }
    }

    /// The first node that the cluster reaches here.
    async fn standing(&self) -> Node {
        let mut told = String::new();
        loop {
            for name in (self.nodes)() {
                let request = Request::new(Node::url_path(&(), None)).get(&name, &GetParams::default());
                match self.ask::<Node>(&name, request).await {
                    Ok(Some(node)) if is_reached_at(&node, self.address, self.port) => return node,
                    Ok(_) => {}
                    Err(error) => {
                        let error = error.to_string();
                        if error != told {
                            tracing::warn!(node = name, %error, "no certificate can be asked for");
                            told = error;
                        }
                    }
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Asks for a certificate, waits for it, and serves with it.
    async fn obtain(&self, about: &About<'_>) -> Result<Validity, ServingError> {
        let node = about.node.name_any();
        let Asking { object, key } = Asking::new(&node, self.address)?;
        let requests = || Request::new(CertificateSigningRequest::url_path(&(), None));
        let body = serde_json::to_vec(&object).map_err(|error| ServingError::Api(error.to_string()))?;
        let posted = requests().create(&PostParams::default(), body);
        let asked: Option<CertificateSigningRequest> = self.ask(&node, posted).await?;
        let name = asked.map(|asked| asked.name_any()).unwrap_or_default();
        let approve = format!("kubectl certificate approve {name}");
        tracing::info!(%node, request = name, "asked for the kubelet API's certificate; to approve it: {approve}");
        let (asked, mut is_told) = (Instant::now(), false);
        loop {
            sleep(if asked.elapsed() < EAGER { POLL } else { POLL_LATER }).await;
            let found = match self.ask(&node, requests().get(&name, &GetParams::default())).await {
                Ok(found) => found.ok_or_else(|| ServingError::Gone(name.clone()))?,
                Err(ServingError::Api(error)) => {
                    tracing::debug!(error, request = name, "not known whether it is signed");
                    continue;
                }
                Err(error) => return Err(error),
            };
            match Answer::of(&found) {
                Answer::Signed(certificate) => {
                    let held = self.held.set(&certificate, key.as_bytes());
                    return held.map_err(|source| ServingError::Unusable { request: name, source });
                }
                Answer::Refused(why) => return Err(ServingError::Refused { request: name, why }),
                Answer::Waits if !is_told && asked.elapsed() >= TOLD_AFTER => {
                    tracing::warn!(%node, request = name, "the kubelet API's certificate waits for approval: {approve}");
                    let text = format!("the kubelet API's certificate waits for approval: {approve}");
                    about.tell("ServingCertificateWaits", text).await;
                    is_told = true;
                }
                Answer::Waits => {}
            }
        }
    }

    /// Sends `request` as the node; `None` where nothing is there.
    async fn ask<T: DeserializeOwned>(
        &self,
        node: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Option<T>, ServingError> {
        let told = |error: &dyn std::fmt::Display| ServingError::Api(error.to_string());
        let request = as_node(request.map_err(|error| told(&error))?, node).map_err(|error| told(&error))?;
        match timeout(TIMEOUT, self.client.request::<T>(request)).await {
            Ok(Ok(object)) => Ok(Some(object)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(kube::Error::Api(status))) if may_not_impersonate(&status.message) => {
                Err(ServingError::Role(role_lacks(node)))
            }
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(ServingError::Api(format!("no answer within {TIMEOUT:?}"))),
        }
    }
}

/// The node that asks, and how people hear of it.
struct About<'a> {
    events: &'a Events,
    node: &'a Node,
}

impl About<'_> {
    async fn tell(&self, reason: &str, text: String) {
        let node = ObjectReference { kind: Some("Node".to_owned()), ..self.node.object_ref(&()) };
        self.events.warn(&node, "AskForCertificate", reason, &text).await;
    }
}

/// A fifth of its life before it ends, so that somebody who approves by hand has days.
fn until_renewal(Validity { from, until }: Validity, now: Timestamp) -> Duration {
    let renew_at = until.saturating_sub(until.saturating_sub(from) / 5);
    let left = renew_at.saturating_sub(now.as_second());
    // One that is over already does not keep us asking without a pause.
    Duration::from_secs(u64::try_from(left).unwrap_or(0)).max(SOON)
}

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests;
