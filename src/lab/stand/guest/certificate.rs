//! The nodes' serving certificate, got as a real kubelet gets it: signed by the cluster, so that its API server and
//! metrics-server trust it.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams, Request},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{GuestError, error::refused};
use crate::lab::{
    cluster::{CertificateRequest, SigningRequest},
    stand::{StandError, real_node_name, said},
};

/// Who signs the certificates that kubelets serve with.
pub(super) const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// Name of the request's object.
pub(super) const NAME: &str = "burstlet-demo";
/// Group of every kubelet.
pub(super) const NODES: &str = "system:nodes";

/// How long the cluster gets to sign.
const SIGNED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than any trial; the signer may give less.
const VALID: Duration = Duration::from_hours(24);

/// The user that the first of the nodes is to the API server.
pub(super) fn node_user() -> String {
    format!("system:node:{}", real_node_name(0))
}

/// Has the cluster sign a certificate for `address`. All nodes share it, as they share their listener. Answers the
/// certificate and its key, PEM.
pub(super) async fn kubelet_certificate(client: &Client, address: IpAddr) -> Result<(String, String), StandError> {
    let wanted = CertificateRequest {
        common_name: node_user(),
        organisation: Some(NODES.to_owned()),
        addresses: vec![address],
        server: true,
        ..CertificateRequest::default()
    };
    let SigningRequest { request, key } = SigningRequest::new(&wanted)?;
    ask(client, request).await?;
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    approve(&api).await?;
    Ok((signed(&api).await?, key))
}

/// Asks as the node itself: nobody else may ask for a node's certificate.
async fn ask(client: &Client, request: String) -> Result<(), GuestError> {
    let doing = || format!("ask for a certificate as {}", node_user());
    let object = CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "server auth".to_owned()]),
            expiration_seconds: i32::try_from(VALID.as_secs()).ok(),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError).map_err(refused(doing()))?;
    let posted = Request::new(CertificateSigningRequest::url_path(&(), None)).create(&PostParams::default(), body);
    let mut posted = posted.map_err(kube::Error::BuildRequest).map_err(refused(doing()))?;
    for (header, value) in [("Impersonate-User", node_user()), ("Impersonate-Group", NODES.to_owned())] {
        let value = value.try_into().map_err(|error| kube::Error::HttpError(http::Error::from(error)));
        posted.headers_mut().insert(header, value.map_err(refused(doing()))?);
    }
    client.request::<CertificateSigningRequest>(posted).await.map(drop).map_err(refused(doing()))
}

async fn approve(api: &Api<CertificateSigningRequest>) -> Result<(), GuestError> {
    let approved = json!({
        "type": "Approved", "status": "True", "reason": "Demo", "message": "the nodes of a burstlet demo",
    });
    let patch = Patch::Merge(json!({"status": {"conditions": [approved]}}));
    let patched = api.patch_approval(NAME, &PatchParams::default(), &patch).await;
    patched.map(drop).map_err(refused("approve the nodes' certificate"))
}

async fn signed(api: &Api<CertificateSigningRequest>) -> Result<String, GuestError> {
    let begin = Instant::now();
    loop {
        let request = api.get(NAME).await.map_err(|error| GuestError::NotSigned { reason: said(&error) })?;
        let status = request.status.unwrap_or_default();
        if let Some(ByteString(certificate)) = status.certificate {
            let text = String::from_utf8(certificate);
            return text.map_err(|_| GuestError::NotSigned { reason: "it is no PEM".to_owned() });
        }
        let refusal = status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ != "Approved");
        if let Some(refusal) = refusal {
            let reason = refusal.message.unwrap_or(refusal.type_);
            return Err(GuestError::NotSigned { reason });
        }
        if begin.elapsed() > SIGNED_WITHIN {
            return Err(GuestError::NotSigned { reason: format!("nothing within {SIGNED_WITHIN:?}") });
        }
        sleep(Duration::from_millis(200)).await;
    }
}
