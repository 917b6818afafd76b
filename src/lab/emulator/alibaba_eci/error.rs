//! Refusals, as the cloud words them.

use axum::{
    Json,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Header that tells, in milliseconds, how long to wait; the SDK takes a throttle for one only where it is above 0.
const RETRY_AFTER: HeaderName = HeaderName::from_static("x-acs-retry-after");

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    /// Milliseconds to wait.
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), retry_after: None }
    }

    /// The request is wrong (400).
    pub(super) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The request is right and refused (403).
    pub(super) fn denied(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// What it names does not exist (404).
    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// A parameter is missing.
    pub(super) fn missing(parameter: &str) -> Self {
        Self::invalid(
            &format!("Missing{parameter}"),
            format!("The parameter {parameter} that is mandatory for processing the request is not supplied."),
        )
    }

    /// A parameter cannot be read or has a value that is not taken.
    pub(super) fn parameter(parameter: &str, why: &str) -> Self {
        Self::invalid(&format!("InvalidParameter.{parameter}"), format!("The parameter {parameter} is invalid: {why}"))
    }

    /// Too many calls.
    pub(super) fn throttled(wait: std::time::Duration) -> Self {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Self {
            retry_after: Some(milliseconds),
            ..Self::invalid("Throttling.User", "Request was denied due to user flow control.")
        }
    }

    /// The server fails.
    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "The request has failed due to a temporary failure of the server.",
        )
    }

    pub(super) fn response(self, request_id: &str, host: &str) -> Response {
        let recommend = format!("https://api.aliyun.com/troubleshoot?q={}", self.code);
        let body = Json(json!({
            "RequestId": request_id, "HostId": host, "Code": self.code, "Message": self.message, "Recommend": recommend,
        }));
        let mut response = (self.status, body).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, wait.into());
        }
        response
    }
}
