//! Counters of kubelets.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::index::Index;
use crate::{
    provider::ProviderError,
    telemetry::{Collectors, listed, register},
};

/// Whom a kubelet calls.
pub(crate) const SIDES: [&str; 2] = ["provider", "api"];

/// What kubelets count, each for its pool. Clones count together.
#[derive(Debug, Clone)]
pub struct KubeletMetrics {
    instances: IntCounterVec,
    provider_calls: IntCounterVec,
    provider_errors: IntCounterVec,
    status_writes: IntCounter,
    standing: Standing,
    pools: IntGauge,
    stops: IntCounterVec,
    /// Whose calls these are.
    pool: Arc<str>,
}

impl KubeletMetrics {
    /// Counters named `burstlet_kubelet_…`, registered with `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            instances: counters(
                "burstlet_kubelet_instances_created_total",
                "Instances that a pool's provider was asked for and granted.",
                &["pool"],
            )?,
            provider_calls: counters(
                "burstlet_kubelet_provider_calls_total",
                "Calls to a pool's provider, by call.",
                &["pool", "call"],
            )?,
            provider_errors: counters(
                "burstlet_kubelet_provider_errors_total",
                "Refusals and silences of a pool's provider, by kind.",
                &["pool", "kind"],
            )?,
            status_writes: IntCounter::new(
                "burstlet_kubelet_status_writes_total",
                "Pod statuses written to the API server.",
            )?,
            standing: Standing::new()?,
            pools: IntGauge::new("burstlet_kubelet_pools", "Pools whose virtual nodes this replica keeps.")?,
            stops: counters(
                "burstlet_kubelet_stops_total",
                "Times that a pool's calls stopped because they failed one after the other, by side: provider or api.",
                &["pool", "side"],
            )?,
            pool: "".into(),
        };
        register(registry, metrics.collectors())?;
        Ok(metrics)
    }

    /// The same, for what is done for `pool`.
    #[must_use]
    pub fn of_pool(&self, pool: &str) -> Self {
        for side in SIDES {
            self.stops.with_label_values(&[pool, side]).inc_by(0);
        }
        Self { pool: pool.into(), ..self.clone() }
    }

    /// Shows what the kubelet of this index has, as long as it lives.
    pub(super) fn show(&self, index: &Arc<Mutex<Index>>) {
        let mut kubelets = self.standing.kubelets.lock().unwrap_or_else(PoisonError::into_inner);
        kubelets.push((Arc::clone(&self.pool), Arc::downgrade(index)));
    }

    /// Statuses written so far.
    pub fn status_writes(&self) -> u64 {
        self.status_writes.get()
    }

    /// All of them, to register and to document.
    pub fn collectors(&self) -> Collectors {
        let Self { instances, provider_calls, provider_errors, status_writes, standing, pools, stops, pool: _ } = self;
        vec![
            listed(instances),
            listed(provider_calls),
            listed(provider_errors),
            listed(status_writes),
            listed(standing),
            listed(pools),
            listed(stops),
        ]
    }

    /// How many pools' nodes this replica keeps now.
    pub(crate) fn keeps(&self, pools: usize) {
        self.pools.set(i64::try_from(pools).unwrap_or(i64::MAX));
    }

    /// Calls to this side have stopped `times` times more.
    pub(crate) fn stopped(&self, side: &str, times: u64) {
        self.stops.with_label_values(&[&*self.pool, side]).inc_by(times);
    }

    /// Counts a call to the provider (`create`, `list` and so on), and its refusal by kind.
    pub(crate) async fn asked<T>(
        &self,
        call: &str,
        answer: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        self.provider_calls.with_label_values(&[&*self.pool, call]).inc();
        let refused =
            |error: &ProviderError| self.provider_errors.with_label_values(&[&*self.pool, error.kind()]).inc();
        answer.await.inspect_err(refused)
    }

    pub(crate) fn created(&self) {
        self.instances.with_label_values(&[&self.pool]).inc();
    }

    pub(crate) fn status_written(&self) {
        self.status_writes.inc();
    }
}

/// A pool, and what its kubelet knows.
type Shown = (Arc<str>, Weak<Mutex<Index>>);

/// What each pool's kubelet has, counted when somebody looks. One that has ended shows nothing.
#[derive(Debug, Clone)]
struct Standing {
    pods: IntGaugeVec,
    instances: IntGaugeVec,
    orphans: IntGaugeVec,
    kubelets: Arc<Mutex<Vec<Shown>>>,
}

impl Standing {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pool"]);
        Ok(Self {
            pods: gauge("burstlet_kubelet_pods", "Pods bound to a pool's virtual nodes.")?,
            instances: gauge("burstlet_kubelet_instances", "Instances of a pool that stand.")?,
            orphans: gauge("burstlet_kubelet_orphans", "Instances of a pool that stand although their pod does not.")?,
            kubelets: Arc::default(),
        })
    }

    fn gauges(&self) -> [&IntGaugeVec; 3] {
        [&self.pods, &self.instances, &self.orphans]
    }
}

impl Collector for Standing {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut kubelets = self.kubelets.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges().into_iter().for_each(IntGaugeVec::reset);
        kubelets.retain(|(pool, index)| {
            let Some(index) = index.upgrade() else { return false };
            let counts = index.lock().unwrap_or_else(PoisonError::into_inner).counts();
            for (gauge, count) in self.gauges().into_iter().zip([counts.pods, counts.instances, counts.orphans]) {
                // A pool's kubelet and the one before it may both live for a moment.
                gauge.with_label_values(&[pool]).add(i64::try_from(count).unwrap_or(i64::MAX));
            }
            true
        });
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}
