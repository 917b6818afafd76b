//! Refusals in the form of Azure's resource manager.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::lab::emulator::machines::Shortage;

/// A refusal: status, code, message.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    pub(super) fn missing(what: &str) -> Self {
        let message = format!("the resource {what} was not found");
        Self { status: StatusCode::NOT_FOUND, code: "ResourceNotFound", message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": {"code": self.code, "message": self.message}}));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<Shortage> for ApiError {
    fn from(shortage: Shortage) -> Self {
        match shortage {
            Shortage::Instances(quota) => {
                Self::bad("ContainerGroupQuotaReached", format!("the quota of {quota} container groups is reached"))
            }
            Shortage::Cpu(quota) => {
                let message = format!(
                    "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' of {quota} exceeded"
                );
                Self { status: StatusCode::CONFLICT, code: "ServiceUnavailable", message }
            }
            Shortage::Stock => Self {
                status: StatusCode::CONFLICT,
                code: "ServiceUnavailable",
                message: "The requested resource is not available in the location at this moment. Please retry with a \
                          different resource request or in another location."
                    .to_owned(),
            },
            Shortage::Addresses => Self::bad("SubnetIsFull", "the subnet has no free address"),
        }
    }
}
