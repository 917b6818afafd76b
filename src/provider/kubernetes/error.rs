//! What the other API server's answers mean for the pod.

use std::error::Error;

use kube::client::UpgradeConnectionError;

use crate::provider::ProviderError;

/// An answer, by what is to be done about it.
pub(super) fn told(error: &kube::Error) -> ProviderError {
    match error {
        kube::Error::Api(status) => refusal(status.code, &status.message),
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
            refusal(status.as_u16(), &format!("the other API server opened no session: {status}"))
        }
        kube::Error::BuildRequest(error) => ProviderError::Invalid(format!("kubernetes: {error}")),
        other => ProviderError::Unavailable(format!("kubernetes: {}", innermost(other))),
    }
}

fn refusal(code: u16, message: &str) -> ProviderError {
    let text = format!("kubernetes: {message}");
    match code {
        // A namespace so new that its account is not there yet.
        403 if message.contains("error looking up service account") => ProviderError::Unavailable(text),
        403 if message.contains("exceeded quota") => ProviderError::QuotaExceeded(text),
        // A webhook there.
        400 | 403 if message.contains("denied the request") => ProviderError::Invalid(text),
        // RBAC names the user; everything else that forbids is admission, which minds the pod.
        403 if !message.contains("User \"") && message.contains("is forbidden:") => ProviderError::Invalid(text),
        401 | 403 => ProviderError::Unauthorized(text),
        404 => ProviderError::NotFound(text),
        400 | 413 | 422 => ProviderError::Invalid(text),
        429 => ProviderError::Throttled { message: text, retry_after: None },
        _ => ProviderError::Unavailable(text),
    }
}

/// The reason without the client library's wrappings.
fn innermost(error: &kube::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_kind() {
        let cases = [
            (401, "Unauthorized", "Unauthorized"),
            (403, "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\"", "Unauthorized"),
            (403, "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1", "QuotaExceeded"),
            (403, "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\"", "Invalid"),
            (403, "pods \"a\" is forbidden: error looking up service account burst/default: not found", "Unavailable"),
            (403, "admission webhook \"x\" denied the request: no", "Invalid"),
            (422, "Pod \"a\" is invalid", "Invalid"),
            (404, "namespaces \"burst\" not found", "NotFound"),
            (409, "the object has been modified", "Unavailable"),
            (429, "too many requests", "Throttled"),
            (500, "etcdserver: request timed out", "Unavailable"),
            (503, "", "Unavailable"),
        ];
        for (code, message, kind) in cases {
            assert_eq!(refusal(code, message).kind(), kind, "{code} {message}");
        }
    }
}
