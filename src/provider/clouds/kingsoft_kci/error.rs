//! What a refusal of Kingsoft's API means to the caller.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::provider::ProviderError;

/// `{"RequestId", "Error": {"Code", "Message"}}`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Refusal {
    pub(super) request_id: String,
    pub(super) error: Option<Reason>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Reason {
    pub(super) code: String,
    pub(super) message: String,
}

/// Codes have no published list for KCI; their words are those that Kingsoft uses across its services.
pub(super) fn classify(status: StatusCode, refusal: &Refusal, retry_after: Option<Duration>) -> ProviderError {
    let reason = refusal.error.as_ref();
    let code = reason.map_or("", |reason| reason.code.as_str());
    let message = reason.map_or("", |reason| reason.message.as_str());
    let text = format!("{code}: {message} (request {})", refusal.request_id);
    let has = |words: &[&str]| words.iter().any(|word| code.to_ascii_lowercase().contains(word));
    if status == StatusCode::TOO_MANY_REQUESTS || has(&["throttl", "toomanyrequests", "flowlimit"]) {
        return ProviderError::Throttled { message: text, retry_after };
    }
    if has(&["soldout", "stock", "inventory", "ipnotenough", "insufficientip", "noavailableip", "resourceinsufficient"])
    {
        return ProviderError::NoStock(text);
    }
    if has(&["quota", "limitexceed", "exceedlimit"]) {
        return ProviderError::QuotaExceeded(text);
    }
    if has(&[
        "signature",
        "clienttoken",
        "accesskey",
        "accessdenied",
        "authfail",
        "unauthor",
        "requestexpired",
        "forbidden",
    ]) || status == StatusCode::UNAUTHORIZED
    {
        return ProviderError::Unauthorized(text);
    }
    if status.is_server_error() || has(&["internal", "serviceunavailable"]) {
        return ProviderError::Unavailable(text);
    }
    ProviderError::Invalid(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_what_the_caller_does_next() {
        let kind = |status: u16, code: &str| {
            let error = Some(Reason { code: code.to_owned(), message: String::new() });
            let refusal = Refusal { request_id: String::new(), error };
            classify(StatusCode::from_u16(status).unwrap(), &refusal, None).kind()
        };
        assert_eq!(kind(400, "Throttling"), "Throttled");
        assert_eq!(kind(429, ""), "Throttled");
        assert_eq!(kind(400, "KciSoldOut"), "NoStock");
        assert_eq!(kind(400, "SubnetIpNotEnough"), "NoStock");
        assert_eq!(kind(400, "QuotaExceeded"), "QuotaExceeded");
        assert_eq!(kind(403, "SignatureDoesNotMatch"), "Unauthorized");
        assert_eq!(kind(400, "RequestExpired"), "Unauthorized");
        assert_eq!(kind(500, "InternalError"), "Unavailable");
        assert_eq!(kind(400, "InvalidParameterValue"), "Invalid");
    }
}
