//! What a pool's file says of its provider, as plain data: one file a cloud.

pub mod alibaba_eci;
pub mod aws_fargate;
pub mod azure_aci;
pub mod credentials;
pub mod import;
pub mod kingsoft_kci;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In which order a pool's subnets are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubnetOrder {
    /// As they are written.
    #[default]
    Ordered,
    /// Beginning with another one for each pod.
    Spread,
}
