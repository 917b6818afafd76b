//! The cloud over HTTP: JSON on loopback, so that instances outlive the process that asked for them.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Cloud, CpuTarget, Fault, Settings};
use crate::provider::{Owner, Provider, ProviderError};

/// Body of `POST /instances`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Create {
    pub(super) owner: Owner,
    pub(super) pod: Pod,
}

/// Body of `POST /instances/delete`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Delete {
    pub(super) owner: Owner,
    #[serde(with = "humantime_serde")]
    pub(super) grace: Duration,
}

/// Body of `PUT /admin/cpu`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetCpu {
    pub(super) target: CpuTarget,
    pub(super) millis: u64,
}

/// Body of `POST /admin/faults`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Plan {
    pub(super) count: usize,
    pub(super) fault: Fault,
}

/// Body of `POST /admin/reclaim`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reclaim {
    pub(super) uid: String,
}

#[derive(Debug, Deserialize)]
struct OfCluster {
    cluster: String,
}

impl Cloud {
    /// Routes that [`super::Remote`] calls:
    ///
    /// | route | |
    /// |---|---|
    /// | `POST /instances` | create: `{owner, pod}` → instance |
    /// | `POST /instances/delete` | `{owner, grace}` |
    /// | `GET /instances?cluster=` | list |
    /// | `GET /watch?cluster=` | changes, one JSON a line |
    /// | `GET /usage?cluster=`, `GET /stock` | |
    /// | `GET`, `PUT /admin/settings` | [`Settings`] |
    /// | `PUT /admin/cpu` | `{target: "all" or {pod: UID}, millis}` |
    /// | `POST /admin/faults`, `POST /admin/reclaim` | `{count, fault}`, `{uid}` |
    /// | `GET /audit` | creations and ends, summed up by pod UID |
    ///
    /// Refusals carry the [`ProviderError`] as JSON. There is no authentication: serve it on loopback only.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/instances", post(create).get(list))
            .route("/instances/delete", post(delete))
            .route("/watch", get(watch))
            .route("/usage", get(usage))
            .route("/stock", get(stock))
            .route("/admin/settings", get(settings).put(set_settings))
            .route("/admin/cpu", put(set_cpu))
            .route("/admin/faults", post(plan))
            .route("/admin/reclaim", post(reclaim))
            .route("/audit", get(audit))
            .with_state(self.clone())
    }
}

struct Refused(ProviderError);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0 {
            ProviderError::NoStock(_) => StatusCode::CONFLICT,
            ProviderError::QuotaExceeded(_) => StatusCode::FORBIDDEN,
            ProviderError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            ProviderError::Invalid(_) => StatusCode::BAD_REQUEST,
            ProviderError::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            ProviderError::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            ProviderError::NotFound(_) => StatusCode::NOT_FOUND,
            ProviderError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self.0)).into_response()
    }
}

fn answer<T: Serialize>(result: Result<T, ProviderError>) -> Response {
    result.map(Json).map_err(Refused).into_response()
}

async fn create(State(cloud): State<Cloud>, Json(body): Json<Create>) -> Response {
    answer(cloud.create(&body.owner, &body.pod).await)
}

async fn delete(State(cloud): State<Cloud>, Json(body): Json<Delete>) -> Response {
    answer(cloud.delete(&body.owner, body.grace).await)
}

async fn list(State(cloud): State<Cloud>, Query(of): Query<OfCluster>) -> Response {
    answer(cloud.list(&of.cluster).await)
}

async fn usage(State(cloud): State<Cloud>, Query(of): Query<OfCluster>) -> Response {
    answer(cloud.usage(&of.cluster).await)
}

async fn stock(State(cloud): State<Cloud>) -> Response {
    answer(cloud.stock().await)
}

async fn watch(State(cloud): State<Cloud>, Query(of): Query<OfCluster>) -> Response {
    let (sender, changes) = mpsc::channel(256);
    tokio::spawn(async move {
        if let Err(error) = cloud.watch(&of.cluster, sender).await {
            tracing::debug!(%error, "simulated cloud: watch ended");
        }
    });
    let lines = futures::stream::unfold(changes, |mut changes| async move {
        let mut line = serde_json::to_vec(&changes.recv().await?).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), changes))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn settings(State(cloud): State<Cloud>) -> Json<Settings> {
    Json(cloud.settings())
}

async fn set_settings(State(cloud): State<Cloud>, Json(settings): Json<Settings>) {
    cloud.set_settings(settings);
}

async fn set_cpu(State(cloud): State<Cloud>, Json(body): Json<SetCpu>) {
    cloud.set_cpu(&body.target, body.millis);
}

async fn plan(State(cloud): State<Cloud>, Json(body): Json<Plan>) {
    cloud.plan(body.count, body.fault);
}

async fn reclaim(State(cloud): State<Cloud>, Json(body): Json<Reclaim>) {
    cloud.reclaim(&body.uid);
}

async fn audit(State(cloud): State<Cloud>) -> Response {
    Json(cloud.audit()).into_response()
}
