//! What a refusal of Azure's resource manager means to the caller.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::provider::ProviderError;

/// By `{"error": {"code", "message"}}`. The text of a quota may carry the code of missing capacity, so it is read first.
pub(super) fn classify(status: StatusCode, body: &Value, retry_after: Option<Duration>) -> ProviderError {
    let code = body["error"]["code"].as_str().unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    let text = format!("{code}: {message}");
    let lower = message.to_ascii_lowercase();
    if status == StatusCode::TOO_MANY_REQUESTS || code == "TooManyRequests" {
        return ProviderError::Throttled { message: text, retry_after };
    }
    if code.contains("Quota") || lower.contains("quota") {
        return ProviderError::QuotaExceeded(text);
    }
    if status == StatusCode::CONFLICT && code == "ServiceUnavailable" || code == "SubnetIsFull" {
        return ProviderError::NoStock(text);
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return ProviderError::Unauthorized(text);
    }
    // A group that is in transition takes no change for a while.
    if status.is_server_error() || status == StatusCode::CONFLICT {
        return ProviderError::Unavailable(text);
    }
    ProviderError::Invalid(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_become_what_the_caller_does_next() {
        let refused = |status: u16, code: &str, message: &str| {
            let body = json!({"error": {"code": code, "message": message}});
            classify(StatusCode::from_u16(status).unwrap(), &body, None)
        };
        let none = "The requested resource is not available in the location 'westeurope' at this moment.";
        assert_eq!(refused(409, "ServiceUnavailable", none).kind(), "NoStock");
        let quota = "Resource type 'Microsoft.ContainerInstance/containerGroups' quota 'StandardCores' exceeded";
        assert_eq!(refused(409, "ServiceUnavailable", quota).kind(), "QuotaExceeded");
        assert_eq!(refused(400, "ContainerGroupQuotaReached", "").kind(), "QuotaExceeded");
        assert_eq!(refused(409, "ContainerGroupTransitioning", "").kind(), "Unavailable");
        assert_eq!(refused(429, "TooManyRequests", "").kind(), "Throttled");
        assert_eq!(refused(401, "InvalidAuthenticationToken", "").kind(), "Unauthorized");
        // The caller tells a group that is no more by this beginning.
        let missing = refused(404, "ResourceNotFound", "no such group").to_string();
        assert_eq!(missing, "invalid request: ResourceNotFound: no such group");
    }
}
