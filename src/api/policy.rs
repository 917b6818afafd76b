//! BurstPolicy: how a workload is split, as an object of the API server.

use burstlet_engine::policy::Spec;
use kube::core::{ApiResource, GroupVersionKind, Object};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{names, status::Condition};

/// The kind.
pub const KIND: &str = "BurstPolicy";

/// A BurstPolicy. Namespaced.
pub type BurstPolicy = Object<Spec, PolicyStatus>;

/// What burstlet reports of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// Generation of the policy that the rest was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: it makes sense as it is now; else the last version that did stays in force. `Ready`: it is in force as
    /// it was meant, else with the reason `Conflict`, `UnknownPool`, `MissingParent` or `Invalid`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Workloads that it governs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<u32>,
    /// Live pods on real nodes; of mode `Observe`, those that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<u32>,
    /// Live pods in pools; of mode `Observe`, those that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Pods that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// Live pods of each place, in the policy's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierStatus>,
}

/// How many pods a place has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TierStatus {
    /// `base`, `real`, or the pool's name.
    pub place: String,
    /// Its live pods.
    pub pods: u32,
}

/// How the API server knows the kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(names::GROUP, names::VERSION, KIND), "burstpolicies")
}
