//! What a sync sees: the target's scale, its pods, and metrics that belong to no pod.

use std::{collections::BTreeMap, time::Duration};

use super::{moment::Moment, quantity::MilliValue};

/// The scale of what the HPA scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// `spec.replicas`: how many are wanted.
    pub spec_replicas: i32,
    /// `status.replicas`: how many there are.
    pub status_replicas: i32,
}

impl Target {
    /// A target that has as many replicas as are wanted.
    pub fn of(replicas: i32) -> Self {
        Self { spec_replicas: replicas, status_replicas: replicas }
    }
}

/// A pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Accepted, but not all of its containers run.
    Pending,
    /// Bound, its containers started.
    #[default]
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them not well.
    Failed,
    /// Its node does not tell.
    Unknown,
}

/// A resource of a pod's one container: what it requests, and what the resource metrics API says that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// The container's request; `None` where it has none.
    pub request: Option<MilliValue>,
    /// Its usage; `None` where there is no metric.
    pub usage: Option<MilliValue>,
}

/// One container of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContainerSample<'a> {
    /// Its name.
    pub name: &'a str,
    /// CPU, in thousandths of a core.
    pub cpu: Reading,
    /// Memory, in thousandths of a byte.
    pub memory: Reading,
}

/// One pod of the target at the moment of a sync. Borrows: 10,000 of them cost nothing to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodSample<'a> {
    /// Its name, which errors tell.
    pub name: &'a str,
    /// Its phase.
    pub phase: Phase,
    /// Whether it is being deleted.
    pub deleted: bool,
    /// The status of its Ready condition; `None` where it has no such condition.
    pub ready: Option<bool>,
    /// When its Ready condition last changed, in either direction.
    pub ready_since: Moment,
    /// When it started; `None` where its status does not say.
    pub started: Option<Moment>,
    /// CPU, in thousandths of a core.
    pub cpu: Reading,
    /// Memory, in thousandths of a byte.
    pub memory: Reading,
    /// When its metrics were sampled.
    pub sampled: Moment,
    /// The time over which its metrics were sampled.
    pub window: Duration,
    /// Its containers; where there are none, it is one of the name `app`, which uses all.
    pub containers: &'a [ContainerSample<'a>],
    /// Its custom metrics (type Pods), by name.
    pub metrics: &'a [(String, MilliValue)],
    /// How many more pods there are that differ from this one in nothing but their names.
    pub alike: u32,
}

impl PodSample<'_> {
    /// This pod and those alike.
    pub(super) fn count(&self) -> i64 {
        i64::from(self.alike) + 1
    }

    /// Whether the resource metrics API knows the pod.
    pub(super) fn has_resource_metrics(&self) -> bool {
        self.cpu.usage.is_some() || self.memory.usage.is_some()
    }

    /// A resource of the pod, or of one of its containers; nothing where it has no such container or resource.
    pub(super) fn reading(&self, resource: &str, container: Option<&str>) -> Reading {
        let own = |name: &str| self.containers.iter().find(|known| known.name == name);
        let (cpu, memory) = match container {
            Some(name) if self.containers.is_empty() && name != "app" => Default::default(),
            Some(name) if !self.containers.is_empty() => own(name).map(|own| (own.cpu, own.memory)).unwrap_or_default(),
            _ => (self.cpu, self.memory),
        };
        match resource {
            "cpu" => cpu,
            "memory" => memory,
            _ => Reading::default(),
        }
    }

    /// A custom metric.
    pub(super) fn metric(&self, name: &str) -> Option<MilliValue> {
        self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Metrics that belong to no pod. A name that is missing stands for a metrics API that fails.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtherMetrics {
    /// External metrics: the values of all series that the selector matches.
    pub external: BTreeMap<String, Vec<MilliValue>>,
    /// Metrics of other objects.
    pub object: BTreeMap<String, MilliValue>,
}
