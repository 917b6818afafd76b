//! What surrounds the workload in a scenario: the cluster's speed, burstlet's settings, what pods serve, node autoscaling.

use std::{num::NonZeroU32, time::Duration};

use burstlet_engine::simulator::Effect;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Memory, Percent, Span, StartUp, Throttle, template::effect};

/// How fast the cluster's own components are; left out, as Kubernetes comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterSpeed {
    /// How often the HPA looks.
    pub hpa_sync: Option<Span>,
    /// How often metrics-server reads the pods' counters.
    pub metrics_resolution: Option<Span>,
    /// Limit on the ReplicaSet controller's requests.
    pub creations: Option<Throttle>,
    /// Limit on kube-scheduler's bindings.
    pub bindings: Option<Throttle>,
}

/// burstlet's own settings; left out, as its configuration has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// How long real nodes get to take a base pod before the pool may.
    pub move_on_after: Option<Span>,
    /// How long the base must have had room before a pod returns.
    pub move_back_after: Option<Span>,
    /// Least time between two returns.
    pub cool_down: Option<Span>,
}

/// What a pod can serve, and how patient requests are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Serving {
    /// Time that one request takes a pod; left out, its CPU time.
    pub request_time: Option<Span>,
    /// Requests that a pod serves at once.
    pub concurrency: Option<NonZeroU32>,
    /// The container that serves requests; left out, the first one.
    pub container: Option<String>,
    /// Memory that a pod uses, for an HPA that asks for it.
    pub memory: Option<Memory>,
    /// A request that waits longer is late.
    pub late_after: Span,
    /// A request that would wait longer is unserved.
    pub give_up_after: Span,
    /// From a pod's containers running until it is Ready.
    pub ready_after: StartUp,
    /// From a pod's deletion until its containers have stopped.
    pub stop: Span,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            request_time: None,
            concurrency: None,
            container: None,
            memory: None,
            late_after: Span(Duration::from_secs(1)),
            give_up_after: Span(Duration::from_secs(10)),
            ready_after: StartUp::default(),
            stop: Span(Duration::ZERO),
        }
    }
}

/// A taint of real nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(deserialize_with = "effect_by_name")]
    pub effect: Effect,
}

fn effect_by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Effect, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = "expected NoSchedule, PreferNoSchedule or NoExecute";
    effect(&name).ok_or_else(|| D::Error::custom(known))
}

/// What adds and removes real nodes, as cluster-autoscaler does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAutoscaler {
    /// Most real nodes.
    pub max: u32,
    /// From asking for a node until it takes pods.
    pub boot: StartUp,
    /// How often it looks.
    #[serde(default = "every_ten_seconds")]
    pub scan: Span,
    /// How long a node is hardly used before it goes.
    #[serde(default = "ten_minutes")]
    pub scale_down_after: Span,
    /// A node whose pods request less of its CPU than this is hardly used.
    #[serde(default = "half")]
    pub utilization: Percent,
}

fn every_ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

fn ten_minutes() -> Span {
    Span(Duration::from_mins(10))
}

fn half() -> Percent {
    Percent::of_millionths(500_000)
}
