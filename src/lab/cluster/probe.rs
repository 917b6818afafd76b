//! Requests to single components, with a client certificate each accepts.

use std::path::Path;
use std::time::Duration;

use axum::http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::certificates::CertificateFiles;
use super::{ClusterError, kubeconfig};

/// How long a component may take to answer a probe.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the server at `url`: of the API server, or of a component's own port.
pub(super) async fn client(url: &str, authority: &Path, files: &CertificateFiles) -> Result<Client, ClusterError> {
    make(config(url, authority, files).await?, url)
}

/// The same for short questions: nothing is asked again by itself, and no answer is waited for long.
pub(super) async fn prober(url: &str, authority: &Path, files: &CertificateFiles) -> Result<Client, ClusterError> {
    let mut config = config(url, authority, files).await?;
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    config.write_timeout = Some(TIMEOUT);
    config.default_retry = false;
    make(config, url)
}

/// The text at `path`, or the error that the server answers with.
pub(super) async fn get(client: &Client, path: &str) -> Result<String, kube::Error> {
    let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request_text(request).await
}

async fn config(url: &str, authority: &Path, files: &CertificateFiles) -> Result<Config, ClusterError> {
    let read = Kubeconfig::from_yaml(&kubeconfig::render(url, authority, "lab", files));
    let failed = |error: kube::config::KubeconfigError| client_error(url, &error);
    Config::from_custom_kubeconfig(read.map_err(failed)?, &KubeConfigOptions::default()).await.map_err(failed)
}

fn make(config: Config, url: &str) -> Result<Client, ClusterError> {
    Client::try_from(config).map_err(|error| client_error(url, &error))
}

fn client_error(url: &str, error: &dyn std::error::Error) -> ClusterError {
    ClusterError::Client { url: url.to_owned(), problem: error.to_string() }
}
