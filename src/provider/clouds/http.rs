//! The HTTP client that clouds are called with.

use std::{sync::Once, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Url};

use crate::provider::ProviderError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The beginning of any client: it has what TLS needs.
pub fn builder() -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    // reqwest takes the process's default; where another part has set one already, that one serves.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder()
}

/// A client of `endpoint`, which gives up a call after `timeout`. It trusts what the system trusts, or `certificate`
/// (PEM) alone.
pub fn client(endpoint: &str, certificate: Option<&str>, timeout: Duration) -> Result<Client, ProviderError> {
    let invalid = |error: &dyn std::fmt::Display| ProviderError::Invalid(format!("endpoint {endpoint}: {error}"));
    let url = Url::parse(endpoint).map_err(|error| invalid(&error))?;
    let mut builder = builder().connect_timeout(CONNECT).timeout(timeout).pool_idle_timeout(Duration::from_secs(20));
    if url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.")) {
        // Loopback never goes through a proxy, whatever the environment says.
        builder = builder.no_proxy();
    }
    if let Some(pem) = certificate {
        let certificate = Certificate::from_pem(pem.as_bytes()).map_err(|error| invalid(&error))?;
        builder = builder.tls_certs_only([certificate]);
    }
    builder.build().map_err(|error| invalid(&error))
}
