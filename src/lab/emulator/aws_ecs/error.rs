//! Refusals in the form of AWS's JSON protocol.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::provider::clouds::signing::sigv4::SignatureError;

/// A refusal: the exception's name and its message.
#[derive(Debug)]
pub(super) struct ApiError {
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn client(message: impl Into<String>) -> Self {
        Self::new("ClientException", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"))];
        let body = Json(json!({"__type": self.kind, "message": self.message})).into_response().into_body();
        (StatusCode::BAD_REQUEST, json, body).into_response()
    }
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        let kind = match &error {
            SignatureError::Missing => "MissingAuthenticationTokenException",
            SignatureError::Malformed(_) => "IncompleteSignatureException",
            SignatureError::UnknownKey(_) => "UnrecognizedClientException",
            SignatureError::Skewed { .. } | SignatureError::Scope { .. } | SignatureError::Mismatch => {
                "InvalidSignatureException"
            }
        };
        Self::new(kind, error.to_string())
    }
}
