//! The processes of a control plane.

use std::fmt;

/// One process of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The database.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: Deployments, their replicas, the HPA, garbage collection and the rest.
    ControllerManager,
    /// The cluster's own kube-scheduler (`default-scheduler`).
    Scheduler,
    /// A second kube-scheduler that takes governed pods only.
    DedicatedScheduler,
    /// metrics-server: `kubectl top`, and the figures of the HPA.
    MetricsServer,
}

impl Component {
    /// In the order of their start. They are stopped in the reverse order: each before what it depends on.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::DedicatedScheduler,
        Self::MetricsServer,
    ];

    /// Its name in logs, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::DedicatedScheduler => "dedicated-scheduler",
            other => other.program(),
        }
    }

    /// The first argument of the control plane's binary.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler | Self::DedicatedScheduler => "kube-scheduler",
            Self::MetricsServer => "metrics-server",
        }
    }

    /// Where it answers 200 once it can be used.
    pub(super) fn ready_path(self) -> &'static str {
        match self {
            Self::Etcd | Self::ApiServer | Self::Scheduler | Self::DedicatedScheduler => "/readyz",
            Self::ControllerManager => "/healthz",
            // Its /readyz waits for figures of a first node, which a cluster without nodes never has.
            Self::MetricsServer => "/livez",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
