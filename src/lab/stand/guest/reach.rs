//! Whether the cluster's API server finds its way to this process.

use std::time::Duration;

use http::header::WARNING;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Client, Resource,
    api::{PostParams, Request},
    client::Body,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{GuestError, error::refused};
use crate::api::names;

/// How long API servers get to learn of the webhook.
const LEARNT_WITHIN: Duration = Duration::from_secs(30);

/// Whether the API server asks our webhook. A webhook that it does not reach is passed over without a word, so this
/// writes, as a dry run that leaves nothing, a base that the webhook must warn about.
pub(super) async fn asks_webhook(client: &Client) -> Result<bool, GuestError> {
    let begin = Instant::now();
    while begin.elapsed() < LEARNT_WITHIN {
        if is_warned(client).await? {
            return Ok(true);
        }
        sleep(Duration::from_millis(500)).await;
    }
    Ok(false)
}

async fn is_warned(client: &Client) -> Result<bool, GuestError> {
    let doing = || refused("try the webhook");
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "burstlet-is-asked", "annotations": {names::BASE: "no base"}},
    });
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let request = Request::new(Namespace::url_path(&(), None)).create(&dry, object.to_string().into_bytes());
    let request = request.map_err(kube::Error::BuildRequest).map_err(doing())?;
    let answer = client.send(request.map(Body::from)).await.map_err(doing())?;
    let warnings = answer.headers().get_all(WARNING);
    Ok(warnings.iter().any(|warning| String::from_utf8_lossy(warning.as_bytes()).contains(names::BASE)))
}
