//! What a refusal of ECS means to the caller.

use http::StatusCode;

use crate::provider::ProviderError;

/// By the exception's name, and for shortages, which have none of their own, by its text.
pub(super) fn classify(status: StatusCode, kind: &str, message: &str) -> ProviderError {
    let text = format!("{kind}: {message}");
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if kind.contains("Throttl") || kind == "TooManyRequestsException" || status == StatusCode::TOO_MANY_REQUESTS {
        return ProviderError::Throttled { message: text, retry_after: None };
    }
    if is_shortage(message) {
        return ProviderError::NoStock(text);
    }
    if kind == "LimitExceededException" || says(&["reached the limit", "limit on the number of"]) {
        return ProviderError::QuotaExceeded(text);
    }
    let unauthorised = [
        "AccessDenied",
        "UnrecognizedClient",
        "InvalidSignature",
        "MissingAuthentication",
        "ExpiredToken",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "InvalidIdentityToken",
    ];
    if unauthorised.iter().any(|name| kind.contains(name)) {
        return ProviderError::Unauthorized(text);
    }
    // A token that was used with other parameters: the next attempt has a token of its own.
    if status.is_server_error() || kind == "ServerException" || kind == "ConflictException" {
        return ProviderError::Unavailable(text);
    }
    ProviderError::Invalid(text)
}

/// Whether a text tells that a subnet has neither machines nor addresses.
pub(super) fn is_shortage(message: &str) -> bool {
    [
        "Capacity is unavailable",
        "RESOURCE:",
        "insufficient free addresses",
        "does not have enough free addresses",
        "InsufficientFreeAddresses",
        "no Fargate capacity",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_become_what_the_caller_does_next() {
        let kind = |kind: &str, message: &str| classify(StatusCode::BAD_REQUEST, kind, message).kind();
        assert_eq!(kind("ThrottlingException", "Rate exceeded"), "Throttled");
        assert_eq!(kind("ClientException", "Capacity is unavailable at this time. Please try again later"), "NoStock");
        let quota = "You've reached the limit on the number of vCPUs you can run concurrently";
        assert_eq!(kind("ClientException", quota), "QuotaExceeded");
        assert_eq!(kind("UnrecognizedClientException", ""), "Unauthorized");
        assert_eq!(kind("ServerException", ""), "Unavailable");
        assert_eq!(kind("ClusterNotFoundException", "Cluster not found."), "Invalid");
    }
}
