//! The scheduler extender: guards a pod's tier, prefers nodes by live state, and binds.
//!
//! kube-scheduler asks at [`router`]'s paths `/filter`, `/prioritize`, `/preempt` and `/bind`, configured with
//! `nodeCacheCapable: true` (only names travel) and `ignorable: false` (else a refused bind is bound anyway). What a
//! pod may do travels on the pod, in the annotations that placement writes; the extender adds live state of the
//! virtual nodes and their pools, [`VirtualNodes`], which the caller keeps up to date.
//!
//! | pod's tier | filter passes | prioritize | preempt | bind |
//! |---|---|---|---|---|
//! | none | every node | no preference | on real nodes | anywhere |
//! | `base` | real nodes | no preference | on real nodes | real nodes |
//! | `burst` | virtual nodes of its pool, while there is stock | ready ones, spread | nobody | as filter |
//! | `base-short` | both | real nodes first | on real nodes | as filter |
//! | unknown | real nodes | no preference | on real nodes | real nodes |

pub mod args;
mod bind;
pub mod filter;
mod metrics;
pub mod nodes;
pub mod preempt;
pub mod prioritize;
mod recent;
pub mod standing;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use kube::Client;
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::{info, warn};

use crate::{
    api::extender::BindingResult,
    serve::{BodyError, read_body_limited},
};
use args::{ArgsError, NodesArgs, parse_binding, parse_preemption};
use bind::BindError;
use metrics::{Outcome, Verb};
use recent::Recent;
use standing::Standing;

pub use metrics::ExtenderMetrics;
pub use nodes::VirtualNodes;

/// Largest body in bytes: 5,000 names of 253 characters and a pod at etcd's limit of 1.5 MiB come to 2.8 MB, and
/// names of common length leave room for 100,000 of them.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Calls answered at a time, so that bodies in memory are bounded. kube-scheduler sends filter and prioritize one by
/// one; binds run side by side.
const MAX_CALLS: usize = 64;

/// What the handlers share.
pub struct Extender {
    nodes: Arc<VirtualNodes>,
    client: Client,
    metrics: ExtenderMetrics,
    recent: Recent,
}

impl Extender {
    /// An extender that judges by `nodes` and binds through `client`.
    pub fn new(nodes: Arc<VirtualNodes>, client: Client, metrics: ExtenderMetrics) -> Self {
        Self { nodes, client, metrics, recent: Recent::default() }
    }

    async fn read(&self, verb: Verb, body: Body) -> Result<Bytes, CallError> {
        read_body_limited(body, MAX_BODY).await.map_err(|fault| self.refuse(verb, fault.into()))
    }

    /// kube-scheduler logs an answer's status and drops its text, so the reason is logged here.
    fn refuse(&self, verb: Verb, fault: CallError) -> CallError {
        self.metrics.count(verb, Outcome::BadRequest);
        warn!(?verb, %fault, "call of kube-scheduler refused");
        fault
    }
}

/// The extender's paths.
pub fn router(extender: Arc<Extender>) -> Router {
    Router::new()
        .route("/filter", post(answer_filter))
        .route("/prioritize", post(answer_prioritize))
        .route("/preempt", post(answer_preempt))
        .route("/bind", post(answer_bind))
        .layer(GlobalConcurrencyLimitLayer::new(MAX_CALLS))
        .route("/healthz", get(async || "ok"))
        .with_state(extender)
}

async fn answer_filter(State(extender): State<Arc<Extender>>, body: Body) -> Result<Response, CallError> {
    let body = extender.read(Verb::Filter, body).await?;
    let _timer = extender.metrics.seconds(Verb::Filter).start_timer();
    let args = NodesArgs::parse(&body).map_err(|fault| extender.refuse(Verb::Filter, fault.into()))?;
    let standing = Standing::of(&args.pod.metadata.annotations);
    let answer = filter::filter(&args, &standing, &extender.nodes.view());
    extender.recent.remember(&args.pod.metadata.uid, standing);
    let is_empty = answer.starts_with(br#"{"NodeNames":[]"#);
    extender.metrics.count(Verb::Filter, if is_empty { Outcome::Refused } else { Outcome::Ok });
    Ok(json(answer))
}

async fn answer_prioritize(State(extender): State<Arc<Extender>>, body: Body) -> Result<Response, CallError> {
    let body = extender.read(Verb::Prioritize, body).await?;
    let _timer = extender.metrics.seconds(Verb::Prioritize).start_timer();
    let args = NodesArgs::parse(&body).map_err(|fault| extender.refuse(Verb::Prioritize, fault.into()))?;
    let standing = Standing::of(&args.pod.metadata.annotations);
    let answer = prioritize::prioritize(&args, &standing, &extender.nodes.view());
    extender.metrics.count(Verb::Prioritize, Outcome::Ok);
    Ok(json(answer))
}

async fn answer_preempt(State(extender): State<Arc<Extender>>, body: Body) -> Result<Response, CallError> {
    let body = extender.read(Verb::Preempt, body).await?;
    let _timer = extender.metrics.seconds(Verb::Preempt).start_timer();
    let args = parse_preemption(&body).map_err(|fault| extender.refuse(Verb::Preempt, fault.into()))?;
    let answer = preempt::preempt(args, &extender.nodes.view());
    extender.metrics.count(Verb::Preempt, Outcome::Ok);
    Ok(Json(answer).into_response())
}

async fn answer_bind(State(extender): State<Arc<Extender>>, body: Body) -> Result<Response, CallError> {
    let body = extender.read(Verb::Bind, body).await?;
    let _timer = extender.metrics.seconds(Verb::Bind).start_timer();
    let args = parse_binding(&body).map_err(|fault| extender.refuse(Verb::Bind, fault.into()))?;
    let bound = bind::bind(&args, &extender.nodes.view(), &extender.recent, extender.client.clone()).await;
    extender.metrics.count(
        Verb::Bind,
        match &bound {
            Ok(()) => Outcome::Ok,
            Err(BindError::Refused { .. }) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        },
    );
    if let Err(fault) = &bound {
        info!(%fault, "pod not bound");
    }
    let error = bound.err().map(|fault| fault.to_string()).unwrap_or_default();
    Ok(Json(BindingResult { error }).into_response())
}

fn json(answer: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

/// Why a call gets no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Args(#[from] ArgsError),
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(fault) => fault.into_response(),
            Self::Args(fault) => (StatusCode::BAD_REQUEST, fault.to_string()).into_response(),
        }
    }
}

#[cfg(test)]
mod tests;
