//! The webhooks: a gate on governed pods, warnings about bases that do nothing, a judgement of policies and pools.
//!
//! [`router`] answers `POST /mutate-pods`, `POST /warn` and `POST /judge` with an `AdmissionReview`, and `GET /healthz`.
//! No pod is ever denied, and what cannot be told leaves a pod as it is: burstlet must not stand between a cluster and
//! its pods. Only burstlet's own kinds are refused where they make no sense. No call has a side effect, so a dry run is
//! answered like any other.

mod configuration;
mod gate;
mod governance;
mod inject;
mod memory;
mod metrics;
mod namespaces;
mod policies;
mod warn;

use std::sync::{Arc, PoisonError};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use burstlet_engine::{model::PoolName, policy::Base};
use json_patch::{Patch, PatchOperation};
use kube::{
    Client, Resource, ResourceExt,
    core::{
        DynamicObject,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation, SerializePatchError},
    },
};
use serde::de::DeserializeOwned;
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::warn;

use crate::{
    api::{kinds::ForeignKinds, names, owner::marks},
    serve::{BodyError, read_body_limited},
    watch::{SharedPolicies, SharedProfile},
};
use gate::{AdmittedPod, Skip};
use governance::{Governance, Governed};
use inject::Injection;
use metrics::Outcome;
use namespaces::Namespaces;
use policies::PolicyJudge;

pub use configuration::{Endpoint, webhook_configurations};
pub use metrics::AdmissionMetrics;

const MUTATE_PATH: &str = "/mutate-pods";
const WARN_PATH: &str = "/warn";
const JUDGE_PATH: &str = "/judge";
/// Largest body in bytes: an update carries the object twice, each at etcd's limit of 1.5 MiB, and JSON is up to
/// twice the size of what etcd stores.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Calls answered at a time, so that bodies in memory are bounded.
const MAX_CALLS: usize = 64;

/// What the handlers share.
pub struct Admission {
    governance: Governance,
    namespaces: Arc<Namespaces>,
    policies: PolicyJudge,
    injection: Injection,
    scheduler: Option<String>,
    metrics: AdmissionMetrics,
}

impl Admission {
    /// Webhooks that ask `client` who governs a pod. `scheduler` is the name of the scheduler for governed pods, where
    /// there is one of their own; `policies` are the
    /// cluster's, `configured` the pools of the configuration file, `foreign` its kinds of other API groups.
    pub fn new(
        client: Client,
        policies: SharedPolicies,
        configured: Vec<PoolName>,
        foreign: ForeignKinds,
        scheduler: Option<String>,
        metrics: AdmissionMetrics,
    ) -> Self {
        let home = policies.read().unwrap_or_else(PoisonError::into_inner).home().to_owned();
        let judge = PolicyJudge::new(client.clone(), &home, configured);
        let namespaces = Namespaces::new(client.clone());
        let injection = Injection::new(namespaces.clone(), SharedProfile::default());
        let governance = Governance::new(client, namespaces.clone(), policies, foreign);
        Self { governance, namespaces, policies: judge, injection, scheduler, metrics }
    }

    /// With an ECI profile, as it is and will be.
    #[must_use]
    pub fn with_profile(mut self, profile: SharedProfile) -> Self {
        self.injection = Injection::new(self.namespaces.clone(), profile);
        self
    }

    /// Gives a pod that is about to be created what the profile has for it; answers the changes.
    async fn inject(&self, request: &mut AdmissionRequest<AdmittedPod>) -> Vec<PatchOperation> {
        let (Operation::Create, Some(pod), Some(namespace)) =
            (&request.operation, &mut request.object, &request.namespace)
        else {
            return Vec::new();
        };
        if matches!(gate::owner(pod, self.governance.foreign()), Err(Skip::Bound | Skip::Ignored)) {
            return Vec::new();
        }
        self.injection.inject(namespace, &mut pod.metadata).await
    }

    /// What to change on a pod that is about to be created, and why.
    async fn judge(&self, request: &AdmissionRequest<AdmittedPod>) -> (Outcome, Option<Patch>) {
        let (Operation::Create, Some(pod), Some(namespace)) = (&request.operation, &request.object, &request.namespace)
        else {
            return (Outcome::Skipped, None);
        };
        let Ok(owner) = gate::owner(pod, self.governance.foreign()) else {
            return (Outcome::Skipped, None);
        };
        match self.governance.of(namespace, owner, &marks(&pod.metadata)).await {
            Governed::No => (Outcome::NotGoverned, None),
            Governed::Unknown => (Outcome::Unknown, None),
            Governed::By(_) => match gate::gate(pod, self.scheduler.as_deref()) {
                None => (Outcome::AlreadyGated, None),
                patch => (Outcome::Gated, patch),
            },
        }
    }
}

/// The webhooks' paths.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new()
        .route(MUTATE_PATH, post(mutate_pods))
        .route(WARN_PATH, post(warn_about))
        .route(JUDGE_PATH, post(judge_policy))
        .layer(GlobalConcurrencyLimitLayer::new(MAX_CALLS))
        .route("/healthz", get(async || "ok"))
        .with_state(admission)
}

async fn mutate_pods(State(admission): State<Arc<Admission>>, body: Body) -> Result<Response, ReviewError> {
    let mut request = read_request::<AdmittedPod>(body).await.inspect_err(|fault| {
        admission.metrics.count(Outcome::BadRequest);
        warn!(%fault, "admission request refused");
    })?;
    let _timer = admission.metrics.seconds().start_timer();
    // What the profile gives may govern the pod.
    let mut changes = admission.inject(&mut request).await;
    let (outcome, patch) = admission.judge(&request).await;
    changes.extend(patch.into_iter().flat_map(|patch| patch.0));
    admission.metrics.count(outcome);
    let mut response = AdmissionResponse::from(&request);
    if !changes.is_empty() {
        response = response.with_patch(Patch(changes))?;
    }
    Ok(Json(response.into_review()).into_response())
}

async fn warn_about(State(admission): State<Arc<Admission>>, body: Body) -> Result<Response, ReviewError> {
    let request = read_request::<DynamicObject>(body).await?;
    let mut response = AdmissionResponse::from(&request);
    let mut warnings =
        request.object.as_ref().map(|object| warn::warnings(&request.kind.kind, object)).unwrap_or_default();
    if let (Some(object), Some(namespace), "Deployment") =
        (&request.object, &request.namespace, request.kind.kind.as_str())
        && let Some(base) = object.annotations().get(names::BASE).and_then(|base| base.parse::<Base>().ok())
    {
        warnings.extend(admission.policies.base_of_deployment(namespace, &object.name_any(), base).await);
    }
    admission.metrics.warned(warnings.len());
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    Ok(Json(response.into_review()).into_response())
}

async fn judge_policy(State(admission): State<Arc<Admission>>, body: Body) -> Result<Response, ReviewError> {
    let request = read_request::<DynamicObject>(body).await?;
    let verdict = admission.policies.judge(&request).await;
    let mut response = AdmissionResponse::from(&request);
    admission.metrics.judged(verdict.faults.is_empty());
    if !verdict.faults.is_empty() {
        response = response.deny(policies::told(&verdict.faults));
    }
    let warnings: Vec<_> = verdict.warnings.iter().map(ToString::to_string).collect();
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    Ok(Json(response.into_review()).into_response())
}

async fn read_request<T: Resource + DeserializeOwned>(body: Body) -> Result<AdmissionRequest<T>, ReviewError> {
    let body = read_body_limited(body, MAX_BODY).await?;
    let review: AdmissionReview<T> = serde_json::from_slice(&body).map_err(ReviewError::Malformed)?;
    review.try_into().map_err(|_| ReviewError::NoRequest)
}

/// Why a review gets no answer.
#[derive(Debug, thiserror::Error)]
enum ReviewError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error("the AdmissionReview holds no request")]
    NoRequest,
    #[error("unable to answer: {0}")]
    Patch(#[from] SerializePatchError),
}

impl IntoResponse for ReviewError {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self {
            Self::Body(fault) => fault.into_response(),
            Self::Malformed(_) | Self::NoRequest => (StatusCode::BAD_REQUEST, text).into_response(),
            Self::Patch(_) => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
        }
    }
}

#[cfg(test)]
mod tests;
