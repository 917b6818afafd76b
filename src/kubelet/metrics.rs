//! Counters of one kubelet.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry, core::Collector};

/// What a kubelet counts. Clones count together; several kubelets of a process may share one.
#[derive(Debug, Clone)]
pub struct KubeletMetrics {
    instances: IntCounter,
    provider_calls: IntCounterVec,
    provider_errors: IntCounterVec,
    status_writes: IntCounter,
}

impl KubeletMetrics {
    /// Counters named `burstlet_kubelet_…`, registered with `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            instances: IntCounter::new(
                "burstlet_kubelet_instances_created_total",
                "Instances that the provider was asked for and granted.",
            )?,
            provider_calls: IntCounterVec::new(
                Opts::new(
                    "burstlet_kubelet_provider_calls_total",
                    "Calls to the provider for a pod's instance, by call.",
                ),
                &["call"],
            )?,
            provider_errors: IntCounterVec::new(
                Opts::new("burstlet_kubelet_provider_errors_total", "Refusals and silences of the provider, by kind."),
                &["kind"],
            )?,
            status_writes: IntCounter::new(
                "burstlet_kubelet_status_writes_total",
                "Pod statuses written to the API server.",
            )?,
        };
        registry.register(Box::new(metrics.instances.clone()))?;
        registry.register(Box::new(metrics.provider_calls.clone()))?;
        registry.register(Box::new(metrics.provider_errors.clone()))?;
        registry.register(Box::new(metrics.status_writes.clone()))?;
        Ok(metrics)
    }

    /// Statuses written so far.
    pub fn status_writes(&self) -> u64 {
        self.status_writes.get()
    }

    /// All of them, as the documentation lists them.
    pub fn collectors(&self) -> Vec<&dyn Collector> {
        let Self { instances, provider_calls, provider_errors, status_writes } = self;
        vec![instances, provider_calls, provider_errors, status_writes]
    }

    pub(crate) fn called(&self, call: &str) {
        self.provider_calls.with_label_values(&[call]).inc();
    }

    pub(crate) fn created(&self) {
        self.instances.inc();
    }

    pub(crate) fn provider_error(&self, kind: &str) {
        self.provider_errors.with_label_values(&[kind]).inc();
    }

    pub(crate) fn status_written(&self) {
        self.status_writes.inc();
    }
}
