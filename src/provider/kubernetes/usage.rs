//! What pods use, from the other cluster's `metrics.k8s.io`.
//!
//! It tells rates; a counter is made of them here. It begins with the first window that was told, and only ever grows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use burstlet_engine::model::Bytes;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Deserialize;

use super::{
    error::told,
    identity::{UID, selector},
};
use crate::provider::{ProviderError, Usage};

/// The least CPU time that is told: metrics-server drops a pod whose counter is zero.
const LEAST: Duration = Duration::from_millis(1);
/// The window of a figure that tells none.
const WINDOW: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
struct PodMetricsList {
    items: Vec<PodMetrics>,
}

#[derive(Debug, Clone, Deserialize)]
struct PodMetrics {
    metadata: kube::api::ObjectMeta,
    timestamp: Timestamp,
    #[serde(default)]
    window: Option<String>,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Clone, Deserialize)]
struct ContainerMetrics {
    usage: BTreeMap<String, String>,
}

/// CPU time so far and when it was counted last, by the pod's UID.
#[derive(Default)]
pub(super) struct Counters(Mutex<BTreeMap<String, (Timestamp, Duration)>>);

impl Counters {
    /// What the cluster's pods have used.
    pub(super) async fn read(
        &self,
        client: &Client,
        namespace: &str,
        cluster: &str,
    ) -> Result<Vec<Usage>, ProviderError> {
        let selector =
            form_urlencoded::Serializer::new(String::new()).append_pair("labelSelector", &selector(cluster)).finish();
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?{selector}");
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| ProviderError::Invalid(format!("kubernetes: {error}")))?;
        match client.request::<PodMetricsList>(request).await {
            Ok(list) => Ok(self.count(list.items)),
            // No metrics-server there.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(told(&error)),
        }
    }

    fn count(&self, items: Vec<PodMetrics>) -> Vec<Usage> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeMap::new();
        let mut usage = Vec::with_capacity(items.len());
        for item in items {
            let Some(uid) = item.metadata.labels.as_ref().and_then(|labels| labels.get(UID)).cloned() else { continue };
            let sum = |name: &str, parse: fn(&str) -> Option<u64>| {
                let each = item.containers.iter().filter_map(|container| parse(container.usage.get(name)?));
                each.fold(0, u64::saturating_add)
            };
            let (rate, memory) = (sum("cpu", nano_cores), sum("memory", bytes));
            let (cpu, counted_at) = match counters.get(&uid) {
                Some((before, cpu)) if *before >= item.timestamp => (*cpu, *before),
                Some((before, cpu)) => (*cpu + used(rate, between(*before, item.timestamp)), item.timestamp),
                None => (used(rate, window(item.window.as_deref())).max(LEAST), item.timestamp),
            };
            now.insert(uid.clone(), (counted_at, cpu));
            usage.push(Usage { uid, cpu, cpu_nano_cores: rate, memory_bytes: memory });
        }
        *counters = now;
        usage
    }
}

fn between(before: Timestamp, after: Timestamp) -> Duration {
    after.duration_since(before).try_into().unwrap_or_default()
}

/// CPU time at `rate` billionths of a core.
fn used(rate: u64, during: Duration) -> Duration {
    let nanos = u128::from(rate) * during.as_nanos() / 1_000_000_000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A window such as `10.062s`.
fn window(text: Option<&str>) -> Duration {
    let seconds = text.and_then(|text| text.strip_suffix('s')?.parse::<f64>().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(WINDOW)
}

/// CPU as metrics-server writes it: `12345678n`, `12u`, `3m`, `1`.
fn nano_cores(text: &str) -> Option<u64> {
    let (digits, each) = match text.as_bytes().last()? {
        b'n' => (&text[..text.len() - 1], 1),
        b'u' => (&text[..text.len() - 1], 1_000),
        b'm' => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1_000_000_000),
    };
    digits.parse::<u64>().ok()?.checked_mul(each)
}

fn bytes(text: &str) -> Option<u64> {
    text.parse::<Bytes>().ok().map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told_at(second: u32, cpu: &str) -> Vec<PodMetrics> {
        let item = json!({"metadata": {"name": "web", "labels": {"burstlet.dev/pod-uid": "u-1"}},
            "timestamp": format!("2026-01-01T00:00:{second:02}Z"), "window": "10.5s",
            "containers": [{"name": "a", "usage": {"cpu": cpu, "memory": "20Mi"}},
                           {"name": "b", "usage": {"cpu": "0", "memory": "1024Ki"}}]});
        let foreign = json!({"metadata": {"name": "other"}, "timestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!([item, foreign])).unwrap()
    }

    #[test]
    fn rates_become_a_counter_that_only_grows() {
        let counters = Counters::default();
        let told = |second, cpu| counters.count(told_at(second, cpu)).remove(0);
        let first = told(0, "500000000n");
        assert_eq!((first.uid.as_str(), first.memory_bytes), ("u-1", 21 << 20));
        assert_eq!((first.cpu, first.cpu_nano_cores), (Duration::from_millis(5250), 500_000_000));
        assert_eq!(told(10, "2").cpu, Duration::from_millis(25_250));
        assert_eq!(told(10, "2").cpu, Duration::from_millis(25_250), "the same window counts once");
        assert_eq!(told(5, "1").cpu, Duration::from_millis(25_250), "an older figure takes nothing away");
        assert_eq!(told(20, "100m").cpu, Duration::from_millis(26_250));
    }

    #[test]
    fn a_pod_that_idles_counts_more_than_zero() {
        assert_eq!(Counters::default().count(told_at(0, "0")).remove(0).cpu, LEAST);
    }
}
