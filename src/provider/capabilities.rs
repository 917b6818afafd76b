//! Holds pods to what a provider has, at the provider itself: what placement has seen may have changed since, and a pod
//! may have been bound by somebody else.

use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::Pod;

use super::ProviderError;
use crate::api::preflight;

/// Refuses a pod that asks for what the provider lacks, by the field.
pub(super) fn hold(pod: &Pod, capabilities: &Capabilities) -> Result<(), ProviderError> {
    match capabilities.lack(&preflight::needs_of(pod)) {
        Some(lack) => Err(ProviderError::Invalid(lack.to_string())),
        None => Ok(()),
    }
}
