//! VirtualPool: a place to burst to, as an object of the API server.

pub mod alibaba_eci;
pub mod aws_fargate;
pub mod azure_aci;
pub mod capabilities;
mod check;
pub mod credentials;
pub mod import;
pub mod kingsoft_kci;
pub mod kubernetes;

use burstlet_engine::policy::spec::{Budget, MONEY_PATTERN, POOL_NAME_PATTERN, QUANTITY_PATTERN, ResourceAmounts};
use kube::core::{ApiResource, GroupVersionKind, Object};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{names, status::Condition};
use alibaba_eci::AlibabaEci;
use aws_fargate::AwsFargate;
use azure_aci::AzureAci;
use kingsoft_kci::KingsoftKci;
use kubernetes::Kubernetes;

/// The kind.
pub const KIND: &str = "VirtualPool";

/// A VirtualPool. Cluster-wide.
pub type VirtualPool = Object<PoolSpec, PoolStatus>;

/// A place to burst to: who runs its instances, the virtual nodes that stand for it, what it may take and cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.quota) || has(self.budget)",
    "message": "a pool needs a quota or a budget: no unlimited spending by accident; write for example quota: {pods: 200}"
}, {
    "rule": "!has(self.budget) || has(self.price) || !(has(self.budget.perHour) && !self.budget.perHour.endsWith('pod-minutes') || has(self.budget.perDay) && !self.budget.perDay.endsWith('pod-minutes'))",
    "message": "a budget in money needs the pool's price"
}]))]
pub struct PoolSpec {
    /// Who runs its instances. Changed settings hold for new pods only.
    pub provider: Provider,
    /// The virtual nodes that stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Nodes>,
    /// What it takes at most, over all workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What its pods cost, for budgets and reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What may be spent in it, over all workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Pool that takes its pods while it is out of order or out of stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = POOL_NAME_PATTERN))]
    pub fallback: Option<String>,
}

/// Who runs a pool's instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Provider {
    /// A cloud in memory, for trials.
    Simulated(Simulated),
    /// Alibaba Cloud's Elastic Container Instance.
    AlibabaEci(Box<AlibabaEci>),
    /// Kingsoft Cloud's Container Instances.
    KingsoftKci(Box<KingsoftKci>),
    /// AWS Fargate, through ECS.
    AwsFargate(Box<AwsFargate>),
    /// Azure Container Instances.
    AzureAci(Box<AzureAci>),
    /// Pods of another Kubernetes cluster.
    Kubernetes(Box<Kubernetes>),
    /// Processes of this host, without isolation, for trials: by configuration only, never by an object.
    #[cfg(feature = "lab")]
    #[schemars(skip)]
    Process(Process),
}

/// A cloud in memory, for trials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Simulated {
    /// Its HTTP address, such as `http://127.0.0.1:8080`.
    #[schemars(length(min = 8, max = 253), regex(pattern = "^https?://.+$"))]
    pub endpoint: String,
}

/// Processes of this host.
#[cfg(feature = "lab")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Folder of all pods' folders, the pool's alone: what is in it at the start is removed.
    pub folder: std::path::PathBuf,
}

/// The virtual nodes that stand for a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nodes {
    /// How many there are at most. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max: Option<u32>,
    /// How many pods each takes. Default 3000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub pods_per_node: Option<u32>,
    /// CPU that each shows. Default 12000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = QUANTITY_PATTERN))]
    pub cpu: Option<String>,
    /// Memory that each shows. Default 48Ti.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = QUANTITY_PATTERN))]
    pub memory: Option<String>,
}

/// What a pool takes at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct Quota {
    /// Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub pods: Option<u32>,
    /// CPU, summed over its pods, such as `4000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = QUANTITY_PATTERN))]
    pub cpu: Option<String>,
    /// Memory, summed over its pods, such as `16Ti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = QUANTITY_PATTERN))]
    pub memory: Option<String>,
}

impl Quota {
    /// Its CPU and memory, as a policy's caps have them.
    pub fn resources(&self) -> ResourceAmounts {
        ResourceAmounts { cpu: self.cpu.clone(), memory: self.memory.clone() }
    }
}

/// What a pool's pods cost while they run, in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.cpuSecond.split(' ')[1] == self.gibSecond.split(' ')[1]",
    "message": "cpuSecond and gibSecond must be in one currency"
}]))]
pub struct Price {
    /// A second of one CPU, such as `0.000049 CNY`.
    #[schemars(length(max = 40), regex(pattern = MONEY_PATTERN))]
    pub cpu_second: String,
    /// A second of one GiB of memory, such as `0.00000613 CNY`.
    #[schemars(length(max = 40), regex(pattern = MONEY_PATTERN))]
    pub gib_second: String,
}

/// What burstlet reports of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolStatus {
    /// Generation of the pool that the rest was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: it makes sense as it is now, and its provider can be used. `Ready`: its virtual nodes are kept and its
    /// provider answers. `TakesPods`: nothing keeps it from one more pod, else with what does as the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Virtual nodes that stand for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// Its live pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// CPU that they request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory that they request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Instances that its provider can still create, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// What was spent in it, as far as its present leader saw: told anew every minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// What was spent in a pool: money where it has a price, else pod-minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Spent {
    /// In this hour of UTC's.
    pub hour: String,
    /// On this day of UTC's.
    pub day: String,
}

/// How the API server knows the kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(names::GROUP, names::VERSION, KIND), "virtualpools")
}

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
