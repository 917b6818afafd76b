//! A policy as people write it: the `spec` of a BurstPolicy.
//!
//! Everything is optional, because a field left out comes from the policy's parent or from a default
//! ([`super::resolve`]). Amounts stay the texts that were written; [`super::check`] reads them and names each fault by
//! the path of its field, all of them at once.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::policy::{Exhausted, Mode, Per, Waiting};

/// The shape of a Kubernetes quantity.
pub const QUANTITY_PATTERN: &str = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";
/// The shape of a duration, such as `90s` or `1h 30m`.
pub const DURATION_PATTERN: &str = r"^[0-9]+ ?(ms|s|sec|m|min|h|hour|hours|d|day|days)( ?[0-9]+ ?(ms|s|sec|m|min|h))*$";
/// The shape of an amount of money, such as `120 CNY`.
pub const MONEY_PATTERN: &str = r"^[0-9]{1,12}(\.[0-9]{1,9})? [A-Z]{3}$";
/// The shape of an amount to spend: money, or minutes of pods.
pub const SPEND_PATTERN: &str = r"^([0-9]{1,12}(\.[0-9]{1,9})? [A-Z]{3}|[0-9]{1,15} pod-minutes)$";
/// The shape of a pool's name.
pub const POOL_NAME_PATTERN: &str = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$";

/// How a workload is split between real nodes and pools. Fields left out come from `extends`, else from the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Pods of this namespace that the policy is for. Without it, the policy holds where it is named
    /// (`burstlet.dev/policy`), extended, or the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Policy that fields left out here come from: of this namespace, else of burstlet's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub extends: Option<String>,
    /// What happens at all. Default: `AfterBase` where a base is given, else `WhenFull`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Pods of a revision that belong on real nodes: a number, or a percentage of the wanted replicas, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Amount>,
    /// CPU and memory, summed over a revision's base pods, that the base takes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_resources: Option<ResourceAmounts>,
    /// Places for the pods beyond the base, tried in this order. Default: all pools, in the cluster's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub tiers: Option<Vec<Tier>>,
    /// When a pod passes on to the next tier; tiers may say otherwise for themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub move_on: Option<MoveOn>,
    /// Which pods count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// When burst pods return to real nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub move_back: Option<MoveBack>,
    /// What may be spent on the policy's pods in pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// When new pods may burst, such as `Mon-Fri 08:00-20:00 Asia/Shanghai`. Outside of all windows they go to real
    /// nodes; what runs stays. Default: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 120)))]
    pub windows: Option<Vec<String>>,
    /// Who goes first where workloads share a pool: larger before smaller. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: Option<i32>,
}

/// Which pods a policy is for. All conditions must hold; an empty selector is for all pods of the namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Labels that the pod must have, each with this value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on the pod's labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Expression>,
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
    "message": "In and NotIn need values; Exists and DoesNotExist take none"
}]))]
pub struct Expression {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// What must hold for it.
    pub operator: Operator,
    /// Values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// A condition's operator, as in Kubernetes' label selectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The value is one of these.
    In,
    /// The label is missing, or its value is none of these.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

impl Selector {
    /// Whether a pod with these labels is meant.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.match_labels.iter().all(|(key, value)| label(key) == Some(value))
            && self.match_expressions.iter().all(|expression| {
                let found = label(&expression.key);
                let is_one_of = found.is_some_and(|value| expression.values.iter().any(|one| one == value));
                match expression.operator {
                    Operator::In => is_one_of,
                    Operator::NotIn => !is_one_of,
                    Operator::Exists => found.is_some(),
                    Operator::DoesNotExist => found.is_none(),
                }
            })
    }
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Observe, Self::AfterBase, Self::WhenFull, Self::Always, Self::Never];

    /// The mode as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Observe => "Observe",
            Self::AfterBase => "AfterBase",
            Self::WhenFull => "WhenFull",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A number, or a text such as a percentage: `3`, `"3"` or `30%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// A number.
    Number(i64),
    /// A percentage, or a number in quotes.
    Text(String),
}

impl From<u32> for Amount {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "maximum": i32::MAX,
            "maxLength": 10,
            "pattern": "^((100|[1-9]?[0-9])%|[0-9]{1,10})$",
        })
    }
}

/// Amounts of CPU and memory, as Kubernetes quantities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct ResourceAmounts {
    /// CPU, such as `400` or `500m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = QUANTITY_PATTERN))]
    pub cpu: Option<String>,
    /// Memory, such as `64Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = QUANTITY_PATTERN))]
    pub memory: Option<String>,
}

/// One place in the order: a pool, or real nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.pool) != has(self.real)",
    "message": "a tier is one place: write either pool: NAME or real: {}"
}]))]
pub struct Tier {
    /// The pool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = POOL_NAME_PATTERN))]
    pub pool: Option<String>,
    /// Real nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<Real>,
    /// Pods of a revision that this tier takes at most: a number, or a percentage of the wanted replicas, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Amount>,
    /// CPU and memory, summed over a revision's pods here, that this tier takes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resources: Option<ResourceAmounts>,
    /// When a pod passes on from this tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub move_on: Option<MoveOn>,
    /// Labels that pods of this tier get, unless they have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// Annotations that pods of this tier get, unless they have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// Real nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Real {
    /// Labels that the nodes must have. Default: any real node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
}

/// When a pod passes on to the next tier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveOn {
    /// What a pod passes a tier for. `Full`: its cap is reached. `Short`: its place cannot take the pod now. Where one
    /// is left out, pods wait for the tier instead. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub when: Option<Vec<Reason>>,
    /// How long a short place (and a node autoscaler) gets before pods pass it, such as `90s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = DURATION_PATTERN))]
    pub after: Option<String>,
    /// How pods wait for real nodes. Default: `Plain`, so that a node autoscaler sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What a pod passes a tier for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// The tier's cap is reached.
    Full,
    /// The tier's place cannot take the pod now: no stock, no room, unschedulable.
    Short,
}

/// Which pods count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Count {
    /// What base and caps are counted by. Default: `Revision`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
    /// Whether pods that are being deleted no longer count. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_terminating: Option<bool>,
    /// Whether pods that were there before the policy do not count. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_previous: Option<bool>,
}

/// When burst pods return to real nodes, by the Eviction API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveBack {
    /// Whether they return at all. Default: true. Pods of Jobs never do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How long the base must have had room on real nodes, such as `10m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = DURATION_PATTERN))]
    pub after: Option<String>,
    /// How many pods return at once. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub at_once: Option<u32>,
    /// Least time between two returns, such as `1m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = DURATION_PATTERN))]
    pub cool_down: Option<String>,
}

/// What may be spent on pods in pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.perHour) || has(self.perDay)",
    "message": "a budget needs perHour or perDay, such as perDay: \"120 CNY\" or \"600 pod-minutes\""
}, {
    "rule": "!has(self.perHour) || !has(self.perDay) || self.perHour.split(' ')[1] == self.perDay.split(' ')[1]",
    "message": "perHour and perDay must be in one currency, or both in pod-minutes"
}]))]
pub struct Budget {
    /// By the hour: money (`10 CNY`), or `600 pod-minutes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = SPEND_PATTERN))]
    pub per_hour: Option<String>,
    /// By the day, in UTC: money (`120 CNY`), or `14400 pod-minutes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = SPEND_PATTERN))]
    pub per_day: Option<String>,
    /// What becomes of pods that would burst once it is spent. Default: `Wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhausted: Option<Exhausted>,
}
