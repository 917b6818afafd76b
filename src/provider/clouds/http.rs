//! Calls to a cloud over HTTP and HTTPS.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::{provider::ProviderError, serve::read_body_limited};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer that is read: a page of 100 instances takes less than a tenth of it.
const MOST: usize = 16 * 1024 * 1024;

/// A cloud's answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub text: String,
}

impl Answer {
    /// What the header `retry-after` says, where it says seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Sends calls; clones share their connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

impl Http {
    /// Trusts what the system trusts, or only `trust` (PEM) where it is given, as an emulator's certificate.
    pub fn new(trust: Option<&str>) -> Result<Self, ProviderError> {
        let invalid = |what: &str, error: &dyn std::fmt::Display| ProviderError::Invalid(format!("{what}: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("TLS", &error))?;
        let config = match trust {
            None => {
                let builder =
                    builder.with_platform_verifier().map_err(|error| invalid("the system's certificates", &error))?;
                builder.with_no_client_auth()
            }
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| invalid("trustedCertificate", &error))?;
                    roots.add(certificate).map_err(|error| invalid("trustedCertificate", &error))?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Sends `request`, whose address is absolute. An error means that nothing, or not all, was answered: the call
    /// may or may not have taken effect.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer, ProviderError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let unavailable = |problem: String| ProviderError::Unavailable(format!("{host}: {problem}"));
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| unavailable(chain(&error)))?;
            let (head, body) = response.into_parts();
            let body =
                read_body_limited(Body::new(body), MOST).await.map_err(|error| unavailable(error.to_string()))?;
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status: head.status, headers: head.headers, text })
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(unavailable(format!("no answer within {TIMEOUT:?}"))))
    }
}

/// The authority of an address, as the header `host` has it.
pub fn host_of(address: &Uri) -> String {
    address.authority().map(ToString::to_string).unwrap_or_default()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
