//! The cloud's refusals, by what the caller does next.

use std::time::Duration;

use serde::Deserialize;

use crate::provider::ProviderError;

/// A refusal as the cloud sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: String,
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// The zone has no machines, or the vSwitch no addresses, now.
    Short(String),
    /// The client token was used with other parameters before.
    TokenUsed(String),
    /// What the call names does not exist.
    NotFound(String),
    /// Anything else, as the provider's callers see it.
    Other(ProviderError),
}

impl CallError {
    /// As a provider's caller sees it.
    pub(super) fn into_provider(self) -> ProviderError {
        match self {
            Self::Short(text) => ProviderError::NoStock(text),
            Self::TokenUsed(text) => ProviderError::Unavailable(text),
            Self::NotFound(text) => ProviderError::Invalid(text),
            Self::Other(error) => error,
        }
    }

    /// A refusal of `action` with this status; `retry_after` is what the header said.
    pub(super) fn of(action: &str, status: u16, refusal: &Refusal, retry_after: Option<Duration>) -> Self {
        let Refusal { code, message, request_id } = refusal;
        let field = field_of(code).map(|field| format!("{field}: ")).unwrap_or_default();
        let text = format!("alibaba-eci: {field}{action}: {code}: {message} (request {request_id})");
        Self::Other(match code.as_str() {
            "OperationDenied.NoStock"
            | "Zone.NotOnSale"
            | "Spot.NotMatched"
            | "RecommendEmpty.InstanceTypeFamilyNotMatched"
            | "InvalidVSwitchId.IpNotEnough" => return Self::Short(text),
            "IdempotentParameterMismatch" => return Self::TokenUsed(text),
            "SignatureNonceUsed" => ProviderError::Unavailable(text),
            code if code.starts_with("QuotaExceeded") || code == "Throttling.Vcpu.PerDay" => {
                ProviderError::QuotaExceeded(text)
            }
            code if code.starts_with("Throttling") || status == 429 => {
                ProviderError::Throttled { message: text, retry_after }
            }
            "InvalidAccessKeyId.NotFound"
            | "InvalidAccessKeyId.Inactive"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingSecurityToken"
            | "InvalidTimeStamp.Expired"
            | "NoPermission" => ProviderError::Unauthorized(text),
            code if code.starts_with("Forbidden") || code.starts_with("InvalidSecurityToken") => {
                ProviderError::Unauthorized(text)
            }
            "Account.Arrearage" => ProviderError::QuotaExceeded(text),
            code if code.contains("InsufficientBalance") => ProviderError::QuotaExceeded(text),
            code if status == 404 && (code.ends_with("NotFound") && code.contains("ContainerGroupId")) => {
                return Self::NotFound(text);
            }
            _ if status >= 500 => ProviderError::Unavailable(text),
            _ => ProviderError::Invalid(text),
        })
    }
}

/// The pool's field that a refusal is about, where its code tells.
fn field_of(code: &str) -> Option<&'static str> {
    let begins = |word: &str| code.starts_with(word);
    Some(match code {
        _ if begins("InvalidRegionId") => "region",
        _ if begins("InvalidVSwitchId") || begins("OperationDenied.VswZoneMisMatch") || begins("InvalidZoneId") => {
            "zones"
        }
        _ if begins("InvalidSecurityGroupId") || begins("OperationDenied.SecurityGroupMisMatch") => "securityGroupId",
        _ if begins("InvalidAccessKeyId") || begins("SignatureDoesNotMatch") || begins("InvalidSecurityToken") => {
            "credentials"
        }
        _ => return None,
    })
}

impl From<ProviderError> for CallError {
    fn from(error: ProviderError) -> Self {
        Self::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> &'static str {
        let refusal = Refusal { code: code.to_owned(), message: String::new(), request_id: String::new() };
        CallError::of("Create", status, &refusal, None).into_provider().kind()
    }

    #[test]
    fn codes_are_sorted_by_what_to_do_next() {
        let cases = [
            (403, "OperationDenied.NoStock", "NoStock"),
            (403, "Zone.NotOnSale", "NoStock"),
            (403, "InvalidVSwitchId.IpNotEnough", "NoStock"),
            (403, "QuotaExceeded", "QuotaExceeded"),
            (403, "Throttling.Vcpu.PerDay", "QuotaExceeded"),
            (400, "Account.Arrearage", "QuotaExceeded"),
            (400, "Throttling", "Throttled"),
            (400, "Throttling.User", "Throttled"),
            (404, "InvalidAccessKeyId.NotFound", "Unauthorized"),
            (400, "SignatureDoesNotMatch", "Unauthorized"),
            (400, "InvalidSecurityToken.Expired", "Unauthorized"),
            (403, "Forbidden.RiskControl", "Unauthorized"),
            (400, "InvalidParameter.CPU.Memory", "Invalid"),
            (400, "InvalidSpotCpuMemorySpec", "Invalid"),
            (503, "ServiceUnavailable", "Unavailable"),
        ];
        for (status, code, expected) in cases {
            assert_eq!(kind(status, code), expected, "{code}");
        }
    }
}
