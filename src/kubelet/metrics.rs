//! Counters of one kubelet.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

/// Whom a kubelet calls.
pub(crate) const SIDES: [&str; 2] = ["provider", "api"];

/// What a kubelet counts. Clones count together; several kubelets of a process may share one.
#[derive(Debug, Clone)]
pub struct KubeletMetrics {
    instances: IntCounter,
    provider_calls: IntCounterVec,
    provider_errors: IntCounterVec,
    status_writes: IntCounter,
    pools: IntGauge,
    stops: IntCounterVec,
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
            pools: IntGauge::new("burstlet_kubelet_pools", "Pools whose virtual nodes this replica keeps.")?,
            stops: IntCounterVec::new(
                Opts::new(
                    "burstlet_kubelet_stops_total",
                    "Times that a pool's calls stopped because they failed one after the other, by side: provider or api.",
                ),
                &["side"],
            )?,
        };
        for side in SIDES {
            metrics.stops.with_label_values(&[side]).inc_by(0);
        }
        registry.register(Box::new(metrics.instances.clone()))?;
        registry.register(Box::new(metrics.provider_calls.clone()))?;
        registry.register(Box::new(metrics.provider_errors.clone()))?;
        registry.register(Box::new(metrics.status_writes.clone()))?;
        registry.register(Box::new(metrics.pools.clone()))?;
        registry.register(Box::new(metrics.stops.clone()))?;
        Ok(metrics)
    }

    /// Statuses written so far.
    pub fn status_writes(&self) -> u64 {
        self.status_writes.get()
    }

    /// All of them, as the documentation lists them.
    pub fn collectors(&self) -> Vec<&dyn Collector> {
        let Self { instances, provider_calls, provider_errors, status_writes, pools, stops } = self;
        vec![instances, provider_calls, provider_errors, status_writes, pools, stops]
    }

    /// How many pools' nodes this replica keeps now.
    pub(crate) fn keeps(&self, pools: usize) {
        self.pools.set(i64::try_from(pools).unwrap_or(i64::MAX));
    }

    /// Calls to this side have stopped `times` times more.
    pub(crate) fn stopped(&self, side: &str, times: u64) {
        self.stops.with_label_values(&[side]).inc_by(times);
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
