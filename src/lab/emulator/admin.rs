//! The admin endpoint: how a trial drives the cloud.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cloud, Ground, Settings};

type Driven = State<(Arc<Ground>, Arc<dyn Cloud>)>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reclaim {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Advance {
    #[serde(with = "humantime_serde")]
    by: Duration,
}

pub(super) fn router(ground: Arc<Ground>, cloud: Arc<dyn Cloud>) -> Router {
    Router::new()
        .route("/_admin/settings", get(settings).patch(change))
        .route("/_admin/reclaim", post(reclaim))
        .route("/_admin/advance", post(advance))
        .route("/_admin/instances", get(instances))
        .route("/_admin/instances/{id}", get(asked))
        .route("/_admin/bill", get(bill))
        .route("/_admin/calls", get(calls))
        .with_state((ground, cloud))
}

async fn settings(State((ground, _)): Driven) -> Json<Settings> {
    Json(ground.settings())
}

async fn change(State((ground, _)): Driven, Json(patch): Json<Value>) -> Response {
    let mut outcome = Ok(());
    ground.change(|settings| match patched(settings, &patch) {
        Ok(new) => *settings = new,
        Err(error) => outcome = Err(error),
    });
    match outcome {
        Ok(()) => Json(ground.settings()).into_response(),
        Err(error) => refused(&format!("these are no settings: {error}")),
    }
}

fn patched(settings: &Settings, patch: &Value) -> serde_json::Result<Settings> {
    let mut document = serde_json::to_value(settings)?;
    json_patch::merge(&mut document, patch);
    serde_json::from_value(document)
}

async fn reclaim(State((_, cloud)): Driven, Json(Reclaim { id }): Json<Reclaim>) -> Response {
    if cloud.reclaim(&id) { Json(json!({})).into_response() } else { refused(&format!("no spot instance {id}")) }
}

async fn advance(State((ground, _)): Driven, Json(Advance { by }): Json<Advance>) -> Json<Value> {
    ground.clock.advance(by);
    Json(json!({"now": humantime::format_duration(ground.clock.now()).to_string()}))
}

async fn instances(State((_, cloud)): Driven) -> Json<Value> {
    Json(cloud.instances())
}

async fn asked(State((_, cloud)): Driven, Path(id): Path<String>) -> Response {
    match cloud.asked(&id) {
        Some(parameters) => Json(parameters).into_response(),
        None => refused(&format!("no instance {id} stands, or this cloud does not keep what it was asked for with")),
    }
}

async fn bill(State((ground, cloud)): Driven) -> Json<Value> {
    cloud.settle();
    let now = ground.clock.now();
    Json(json!({"totals": ground.bill.totals(now), "items": ground.bill.items(now)}))
}

async fn calls(State((ground, _)): Driven) -> Json<Value> {
    Json(json!(ground.calls()))
}

fn refused(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": message}))).into_response()
}
