//! What can go wrong at a provider, by what the caller does next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A provider's refusal or silence. The kinds are few because callers act on them; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum ProviderError {
    /// The place has no machines left now; another pool or zone may have.
    #[error("no stock: {0}")]
    NoStock(String),
    /// The account's limit is reached; waiting alone does not help.
    #[error("quota exceeded: {0}")]
    QuotaExceeded(String),
    /// Too many calls; try again, not before `retry_after` where the provider said one.
    #[error("throttled: {message}")]
    Throttled {
        /// The provider's words.
        message: String,
        /// Earliest moment to try again, from now.
        retry_after: Option<Duration>,
    },
    /// The request can never succeed as it is.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// Credentials are missing, wrong or too weak.
    #[error("not authorised: {0}")]
    Unauthorized(String),
    /// This provider cannot do it for any pod, such as `exec` where the cloud has none.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The pod has no such instance, container or log here.
    #[error("not found: {0}")]
    NotFound(String),
    /// Nothing was answered, or a server error: the call may or may not have taken effect.
    #[error("provider unavailable: {0}")]
    Unavailable(String),
}

impl ProviderError {
    /// Refuses a pool by the first of its faults, each its field and what is wrong with it.
    pub(super) fn refuse_faulty(faults: impl IntoIterator<Item = impl std::fmt::Display>) -> Result<(), Self> {
        faults.into_iter().next().map_or(Ok(()), |fault| Err(Self::Invalid(fault.to_string())))
    }

    /// The kind in one word, as metrics, events and waiting containers show it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoStock(_) => "NoStock",
            Self::QuotaExceeded(_) => "QuotaExceeded",
            Self::Throttled { .. } => "Throttled",
            Self::Invalid(_) => "Invalid",
            Self::Unauthorized(_) => "Unauthorized",
            Self::Unsupported(_) => "Unsupported",
            Self::NotFound(_) => "NotFound",
            Self::Unavailable(_) => "Unavailable",
        }
    }

    /// Whether other pods' calls will most likely end so, too: it is the provider or its account, not what was asked.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Throttled { .. } | Self::Unauthorized(_))
    }

    /// Earliest moment to try again, from now, where the provider said one.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Throttled { retry_after, .. } = self { *retry_after } else { None }
    }

    /// The same without what differs from call to call, such as a request's number: what lasts is told once.
    #[must_use]
    pub fn lasting(self) -> Self {
        let cut = |text: String| {
            let end = [" (request ", "; the next "].iter().filter_map(|sign| text.find(sign)).min();
            end.and_then(|end| text.get(..end)).map_or(text.clone(), str::to_owned)
        };
        match self {
            Self::NoStock(text) => Self::NoStock(cut(text)),
            Self::QuotaExceeded(text) => Self::QuotaExceeded(cut(text)),
            Self::Throttled { message, retry_after } => Self::Throttled { message: cut(message), retry_after },
            Self::Invalid(text) => Self::Invalid(cut(text)),
            Self::Unauthorized(text) => Self::Unauthorized(cut(text)),
            Self::Unsupported(text) => Self::Unsupported(cut(text)),
            Self::NotFound(text) => Self::NotFound(cut(text)),
            Self::Unavailable(text) => Self::Unavailable(cut(text)),
        }
    }

    /// Whether the same call may succeed later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Invalid(_) | Self::Unauthorized(_) | Self::Unsupported(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_has_neither_requests_nor_waits() {
        let wrong = ProviderError::Unauthorized("SignatureDoesNotMatch: no (request 7-A)".to_owned()).lasting();
        assert_eq!(wrong, ProviderError::Unauthorized("SignatureDoesNotMatch: no".to_owned()));
        let out = ProviderError::Unavailable("it does not answer; the next try is in 1.5s".to_owned()).lasting();
        assert_eq!(out.to_string(), "provider unavailable: it does not answer");
    }
}
