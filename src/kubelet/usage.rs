//! What pods and nodes have used, for the kubelet API.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{
    index::{Counts, Found, Index, OnNode, Sample},
    metrics::KubeletMetrics,
    node::NodeTemplate,
};
use crate::provider::{Provider, ProviderError, Usage};

/// Age up to which a snapshot is shared: scrapers come node after node.
const FRESH: Duration = Duration::from_secs(1);

/// CPU that a node itself is said to use, in thousandths of a core: metrics-server takes 0 for missing.
const OWN_MILLIS: u32 = 1;

/// Memory that a node itself is said to use.
const OWN_MEMORY: u64 = 1 << 20;

/// A running pod and what it has used.
#[derive(Debug)]
pub(crate) struct PodUsage {
    pub(crate) sample: Sample,
    pub(crate) usage: Usage,
}

/// A node and its running pods.
#[derive(Debug, Default)]
pub(crate) struct NodeUsage {
    /// CPU of the node since the kubelet started, ended pods included: it only ever grows.
    pub(crate) cpu: Duration,
    pub(crate) cpu_nano_cores: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) pods: Vec<PodUsage>,
}

/// All nodes of a kubelet at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Timestamp,
    taken: Instant,
    pub(crate) nodes: BTreeMap<Arc<str>, NodeUsage>,
}

/// CPU that must not be lost when pods end.
#[derive(Debug, Default)]
struct Totals {
    by_node: HashMap<Arc<str>, Duration>,
    last: HashMap<Arc<str>, Duration>,
}

impl Totals {
    /// Adds what `pod` used since the last time.
    fn add(&mut self, node: &Arc<str>, seen: &mut HashMap<Arc<str>, Duration>, uid: &Arc<str>, cpu: Duration) {
        let before = self.last.get(uid).copied().unwrap_or_default();
        *self.by_node.entry(Arc::clone(node)).or_default() += cpu.saturating_sub(before);
        seen.insert(Arc::clone(uid), cpu);
    }
}

#[derive(Default)]
struct Cache {
    totals: Totals,
    snapshot: Option<Arc<Snapshot>>,
}

/// A kubelet as the kubelet API sees it. Clones are the same.
#[derive(Clone)]
pub struct KubeletHandle {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: String,
    nodes: Vec<NodeTemplate>,
    provider: Arc<dyn Provider>,
    index: Arc<Mutex<Index>>,
    metrics: KubeletMetrics,
    started: Instant,
    cache: AsyncMutex<Cache>,
}

impl KubeletHandle {
    pub(crate) fn new(
        cluster: &str,
        nodes: &[NodeTemplate],
        provider: Arc<dyn Provider>,
        index: Arc<Mutex<Index>>,
        metrics: KubeletMetrics,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                cluster: cluster.to_owned(),
                nodes: nodes.to_vec(),
                provider,
                index,
                metrics,
                started: Instant::now(),
                cache: AsyncMutex::default(),
            }),
        }
    }

    /// Names of the kubelet's nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.inner.nodes.iter().map(|n| n.name.as_str())
    }

    /// How many pods and instances there are now.
    pub fn counts(&self) -> Counts {
        self.index().counts()
    }

    /// See [`Index::by_node`].
    pub(crate) fn by_node(&self) -> Option<Vec<OnNode>> {
        self.index().by_node()
    }

    /// Who runs the kubelet's instances.
    pub(crate) fn provider(&self) -> &Arc<dyn Provider> {
        &self.inner.provider
    }

    /// What is counted for the kubelet's pool.
    pub(crate) fn metrics(&self) -> &KubeletMetrics {
        &self.inner.metrics
    }

    /// The node's template, if it is one of the kubelet's.
    pub(crate) fn template(&self, node: &str) -> Option<&NodeTemplate> {
        self.inner.nodes.iter().find(|template| template.name == node)
    }

    /// See [`Index::find`].
    pub(crate) fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Found> {
        self.index().find(namespace, name, uid)
    }

    /// The running pods of `node`, by namespace and name.
    pub(crate) fn running(&self, node: &str) -> Vec<Sample> {
        let mut samples = self.index().samples();
        samples.retain(|sample| &*sample.node == node);
        samples.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        samples
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all nodes have used, at most a second old.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, ProviderError> {
        let mut cache = self.inner.cache.lock().await;
        if let Some(snapshot) = cache.snapshot.as_ref().filter(|s| s.taken.elapsed() < FRESH) {
            return Ok(Arc::clone(snapshot));
        }
        let Inner { metrics, provider, cluster, .. } = &*self.inner;
        let usages = metrics.asked("usage", provider.usage(cluster)).await?;
        let at = Timestamp::now();
        let samples = self.index().samples();
        let nodes = self.merge(&mut cache.totals, usages, samples);
        let snapshot = Arc::new(Snapshot { at, taken: Instant::now(), nodes });
        cache.snapshot = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn merge(&self, totals: &mut Totals, usages: Vec<Usage>, samples: Vec<Sample>) -> BTreeMap<Arc<str>, NodeUsage> {
        let own = NodeUsage {
            cpu: self.inner.started.elapsed() * OWN_MILLIS / 1000 + Duration::from_millis(1),
            cpu_nano_cores: u64::from(OWN_MILLIS) * 1_000_000,
            memory_bytes: OWN_MEMORY,
            pods: Vec::new(),
        };
        let mut nodes: BTreeMap<Arc<str>, NodeUsage> = BTreeMap::new();
        for template in &self.inner.nodes {
            nodes.insert(template.name.as_str().into(), NodeUsage { pods: Vec::new(), ..own });
        }
        let mut by_uid: HashMap<String, Usage> = usages.into_iter().map(|u| (u.uid.clone(), u)).collect();
        let mut seen = HashMap::with_capacity(by_uid.len());
        for sample in samples {
            let Some(usage) = by_uid.remove(&*sample.uid) else { continue };
            let Some(node) = nodes.get_mut(&sample.node) else { continue };
            totals.add(&sample.node, &mut seen, &sample.uid, usage.cpu);
            node.cpu_nano_cores += usage.cpu_nano_cores;
            node.memory_bytes += usage.memory_bytes;
            node.pods.push(PodUsage { sample, usage });
        }
        totals.last = seen;
        for (name, node) in &mut nodes {
            node.cpu += totals.by_node.get(name).copied().unwrap_or_default();
            node.pods.sort_by(|a, b| {
                let key = |p: &PodUsage| (Arc::clone(&p.sample.namespace), p.sample.name.clone());
                key(a).cmp(&key(b))
            });
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_cpu_keeps_what_ended_pods_used() {
        let (node, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("n".into(), "a".into(), "b".into());
        let mut totals = Totals::default();
        for round in [[(&a, 5), (&b, 1)].as_slice(), &[(&a, 7)], &[(&b, 2)]] {
            let mut seen = HashMap::new();
            for (uid, seconds) in round {
                totals.add(&node, &mut seen, uid, Duration::from_secs(*seconds));
            }
            totals.last = seen;
        }
        assert_eq!(totals.by_node[&node], Duration::from_secs(5 + 1 + 2 + 2));
    }
}
