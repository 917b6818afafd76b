//! Refusals in Kingsoft's form.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{lab::emulator::machines::Shortage, provider::clouds::signing::sigv4::SignatureError};

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

    pub(super) fn value(name: &str, why: &str) -> Self {
        Self::bad("InvalidParameterValue", format!("the value of {name} {why}"))
    }

    pub(super) fn response(self, request_id: &str) -> Response {
        let body =
            json!({"RequestId": request_id, "Error": {"Type": "Sender", "Code": self.code, "Message": self.message}});
        (self.status, Json(body)).into_response()
    }
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        let (status, code) = match &error {
            SignatureError::Missing => (StatusCode::FORBIDDEN, "MissingAuthenticationToken"),
            SignatureError::Malformed(_) => (StatusCode::BAD_REQUEST, "IncompleteSignature"),
            SignatureError::UnknownKey(_) => (StatusCode::FORBIDDEN, "InvalidClientTokenId"),
            SignatureError::Skewed { .. } => (StatusCode::BAD_REQUEST, "RequestExpired"),
            SignatureError::Scope { .. } | SignatureError::Mismatch => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
        };
        Self { status, code, message: error.to_string() }
    }
}

impl From<Shortage> for ApiError {
    fn from(shortage: Shortage) -> Self {
        match shortage {
            Shortage::Instances(quota) => Self::bad("QuotaExceeded", format!("at most {quota} instances")),
            Shortage::Cpu(quota) => Self::bad("QuotaExceeded", format!("at most {quota} vCPU")),
            Shortage::Stock => Self::bad("ResourceSoldOut", "the resources of this zone are sold out"),
            Shortage::Addresses => Self::bad("SubnetIpNotEnough", "the subnet has no free address"),
        }
    }
}
