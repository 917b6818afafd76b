//! What a cluster can be asked for.

use std::time::Duration;

use super::ClusterError;

/// Options of a [`super::Cluster`]. The defaults are Kubernetes' own, but for metrics every 10 s, which a trial needs.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct ClusterOptions {
    /// How often the HPA controller looks at its HPAs (`--horizontal-pod-autoscaler-sync-period`).
    pub hpa_sync: Duration,
    /// How long after a pod's start the HPA may leave its CPU figures out
    /// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
    pub cpu_initialization: Duration,
    /// How long after a pod's start a change of its readiness counts as start-up
    /// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
    pub initial_readiness: Duration,
    /// How often metrics-server reads every node; 10 s is the least it accepts.
    pub metrics_resolution: Duration,
    /// Lifts the client limits of the controller manager (20 requests/s) and of both schedulers (50 requests/s) to 2,000/s:
    /// for trials of scale, never where the default user is measured.
    pub raised_client_limits: bool,
    /// Runs metrics-server.
    pub metrics_server: bool,
    /// An extender of the cluster's own scheduler. Without one that scheduler is the stock one.
    pub extender: Option<Extender>,
    /// Has the API server write down every call ([`super::Cluster::audit_log`]).
    pub audit: bool,
    /// Keeps the logs (in `target/lab-logs/`) when all goes well, too.
    pub keep_logs: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            hpa_sync: Duration::from_secs(15),
            cpu_initialization: Duration::from_mins(5),
            initial_readiness: Duration::from_secs(30),
            metrics_resolution: Duration::from_secs(10),
            raised_client_limits: false,
            metrics_server: true,
            extender: None,
            audit: false,
            keep_logs: false,
        }
    }
}

impl ClusterOptions {
    pub(super) fn check(&self) -> Result<(), ClusterError> {
        if self.metrics_resolution < Duration::from_secs(10) {
            return Err(ClusterError::Option {
                option: "metrics_resolution",
                problem: "metrics-server reads no more often than every 10s: give 10s or more",
            });
        }
        self.extender.as_ref().map_or(Ok(()), Extender::check)
    }
}

/// How a kube-scheduler calls an extender: over mutual TLS, with certificates of the cluster's authority, as
/// `system:kube-scheduler` or, from a dedicated scheduler, as `system:burstlet-scheduler`. Never ignorable: kube-scheduler
/// binds a pod itself when an ignorable extender refuses to.
#[derive(Debug, Clone)]
pub struct Extender {
    /// Where its verbs `filter`, `prioritize`, `preempt` and `bind` are, such as `https://127.0.0.1:8444/scheduler`.
    pub url: String,
    /// How long a call may take; a hung extender holds the scheduler that long. Whole milliseconds.
    pub http_timeout: Duration,
    /// What its scores are multiplied with.
    pub weight: u32,
    /// Calls it only for pods that ask for this extended resource; without one, for every pod.
    pub managed_resource: Option<String>,
}

impl Extender {
    /// An extender at `url` for every pod, with 500 ms a call.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), http_timeout: Duration::from_millis(500), weight: 1, managed_resource: None }
    }

    pub(super) fn check(&self) -> Result<(), ClusterError> {
        let problem = |problem| Err(ClusterError::Option { option: "extender", problem });
        match self {
            extender if !extender.url.starts_with("https://") => problem("its url must begin with https://"),
            extender if extender.http_timeout.as_millis() == 0 => problem("its http_timeout must be at least 1ms"),
            extender if extender.weight == 0 => problem("its weight must be at least 1"),
            _ => Ok(()),
        }
    }
}

/// A second kube-scheduler, which takes only the pods that name it, so that a hung extender harms nobody else. It looks at
/// every node for each pod (`percentageOfNodesToScore: 100`), else sampling would hide the few virtual ones.
#[derive(Debug, Clone)]
pub struct DedicatedScheduler {
    /// What governed pods have as `spec.schedulerName`.
    pub scheduler_name: String,
    /// The extender that it asks.
    pub extender: Extender,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_more_often_than_metrics_server_can_are_refused() {
        let options = ClusterOptions { metrics_resolution: Duration::from_secs(9), ..ClusterOptions::default() };
        assert!(options.check().unwrap_err().to_string().contains("metrics_resolution"));
        assert!(ClusterOptions::default().check().is_ok());
    }

    #[test]
    fn an_extender_without_tls_or_time_is_refused() {
        assert!(Extender::at("http://127.0.0.1:1").check().is_err());
        assert!(Extender { http_timeout: Duration::from_micros(5), ..Extender::at("https://a") }.check().is_err());
        assert!(Extender::at("https://127.0.0.1:1/x").check().is_ok());
    }
}
