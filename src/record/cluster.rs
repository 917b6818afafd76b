//! Recording of a live cluster: what its HPAs want and measure, and how long its pods take to start.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use burstlet_engine::{
    model::{MilliCpu, PoolName, Timestamp},
    traffic::{Rate, Recording, RecordingError, Step},
};
use futures::StreamExt;
use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::starts::{Extent, Ground, Look, StartUps, Starts};
use crate::api;

/// Why a cluster cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server does not give what is needed.
    #[error("unable to {what}: {error}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: Box<kube::Error>,
    },
    /// No usage of CPU was seen.
    #[error(
        "no HPA {}in namespace {namespace} told of CPU used; traffic is counted from it: wait for metrics, or name an HPA that scales on CPU",
        hpa.as_ref().map(|name| format!("{name} ")).unwrap_or_default()
    )]
    NoUsage {
        /// Where.
        namespace: String,
        /// Which HPA was asked for.
        hpa: Option<String>,
    },
    /// The usage makes no recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// What is recorded.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Namespace.
    pub namespace: String,
    /// The HPA whose usage counts as traffic; None for all of the namespace together.
    pub hpa: Option<String>,
    /// From sample to sample.
    pub every: Step,
    /// How long.
    pub length: Duration,
}

/// What an HPA said at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HpaSample {
    /// Seconds since the start.
    pub t: f64,
    /// The HPA's name.
    pub hpa: String,
    /// Replicas that it wants.
    pub wanted: i32,
    /// Replicas that there are.
    pub current: i32,
    /// CPU that the pods use together, in cores; null where it has no such metric.
    pub cpu: Option<f64>,
}

/// All that was recorded.
#[derive(Debug, Default)]
pub struct Seen {
    /// Start-up times.
    pub start_ups: StartUps,
    /// Virtual nodes by pool.
    pub extents: BTreeMap<PoolName, Extent>,
    /// Cores used at each sample; None where no HPA told.
    pub cpu: Vec<Option<f64>>,
}

impl Seen {
    /// The requests that used the CPU, where each costs `request_cpu`. A sample without a measure holds the last one.
    pub fn recording(&self, watch: &Watch, begun: Timestamp, request_cpu: Duration) -> Result<Recording, ClusterError> {
        let none = || ClusterError::NoUsage { namespace: watch.namespace.clone(), hpa: watch.hpa.clone() };
        let mut held = *self.cpu.iter().flatten().next().ok_or_else(none)?;
        let seconds = watch.every.length().as_secs_f64();
        let requests = self.cpu.iter().map(|cores| {
            held = cores.unwrap_or(held);
            (held / request_cpu.as_secs_f64()).clamp(0.0, Rate::MAX.per_second()) * seconds
        });
        Ok(Recording::new(Some(begun), watch.every, requests.collect())?)
    }
}

/// Watches until the time is over or `stop` is cancelled; what was seen until then is kept. `tell` gets each sample.
pub async fn watch_cluster(
    client: &Client,
    watch: &Watch,
    stop: &CancellationToken,
    mut tell: impl FnMut(&HpaSample),
) -> Result<Seen, ClusterError> {
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), &watch.namespace);
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), &watch.namespace);
    let mut events = watcher(pods, watcher::Config::default()).default_backoff().boxed();
    let mut ticks = tokio::time::interval(watch.every.length());
    let end = tokio::time::sleep(watch.length);
    tokio::pin!(end);
    let begun = tokio::time::Instant::now();
    let (mut seen, mut starts, mut grounds) = (Seen::default(), Starts::default(), BTreeMap::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = &mut end => break,
            _ = ticks.tick() => {
                let samples = samples(&hpas, watch, begun.elapsed()).await?;
                samples.iter().for_each(&mut tell);
                seen.cpu.push(samples.iter().filter_map(|sample| sample.cpu).reduce(|all, cores| all + cores));
            }
            Some(event) = events.next() => {
                // A watch that failed is begun anew by itself.
                let Ok(event) = event else { continue };
                if let Some(start) = started(&mut starts, &event) {
                    let ground = ground_of(&nodes, &start.node, &mut grounds).await?;
                    seen.start_ups.add(ground, start.took);
                }
            }
        }
    }
    seen.extents = extents(&nodes).await?;
    Ok(seen)
}

fn started(starts: &mut Starts, event: &watcher::Event<Pod>) -> Option<super::starts::Start> {
    match event {
        watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let is_ready =
                conditions.filter(|condition| condition.type_ == "Ready").any(|ready| ready.status == "True");
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            starts.look(now(), Look { uid: pod.metadata.uid.as_deref()?, node, is_ready })
        }
        watcher::Event::Delete(pod) => {
            starts.gone(pod.metadata.uid.as_deref()?);
            None
        }
        watcher::Event::Init | watcher::Event::InitDone => None,
    }
}

async fn samples(
    hpas: &Api<HorizontalPodAutoscaler>,
    watch: &Watch,
    passed: Duration,
) -> Result<Vec<HpaSample>, ClusterError> {
    let listed = hpas.list(&ListParams::default()).await;
    let listed = listed.map_err(|error| ClusterError::Api { what: "list HPAs", error: Box::new(error) })?;
    let chosen = listed.items.iter().filter(|hpa| watch.hpa.as_ref().is_none_or(|name| *name == hpa.name_any()));
    Ok(chosen.map(|hpa| sample_of(hpa, passed)).collect())
}

fn sample_of(hpa: &HorizontalPodAutoscaler, passed: Duration) -> HpaSample {
    let status = hpa.status.clone().unwrap_or_default();
    let current = status.current_replicas.unwrap_or(0);
    let metrics = status.current_metrics.unwrap_or_default();
    let cpu = metrics.iter().find_map(|metric| {
        let resource = metric.resource.as_ref().filter(|resource| resource.name == "cpu")?;
        let average: MilliCpu = resource.current.average_value.as_ref()?.0.parse().ok()?;
        let pods = f64::from(u32::try_from(current).ok()?);
        Some(Duration::from_millis(average.0).as_secs_f64() * pods)
    });
    let wanted = status.desired_replicas;
    let t = Duration::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)).as_secs_f64();
    HpaSample { t, hpa: hpa.name_any(), wanted, current, cpu }
}

/// What kind of node `name` is; each is asked for once.
async fn ground_of(
    nodes: &Api<Node>,
    name: &str,
    known: &mut BTreeMap<String, Ground>,
) -> Result<Ground, ClusterError> {
    if let Some(ground) = known.get(name) {
        return Ok(ground.clone());
    }
    let node = nodes.get_opt(name).await;
    let node = node.map_err(|error| ClusterError::Api { what: "read a node", error: Box::new(error) })?;
    let ground = node.as_ref().and_then(api::node::pool).map_or(Ground::Real, Ground::Pool);
    known.insert(name.to_owned(), ground.clone());
    Ok(ground)
}

async fn extents(nodes: &Api<Node>) -> Result<BTreeMap<PoolName, Extent>, ClusterError> {
    let virtual_nodes = ListParams::default().labels(api::names::POOL);
    let listed = nodes.list(&virtual_nodes).await;
    let listed = listed.map_err(|error| ClusterError::Api { what: "list nodes", error: Box::new(error) })?;
    let mut extents = BTreeMap::<PoolName, Extent>::new();
    for node in &listed.items {
        let Some(pool) = api::node::pool(node) else { continue };
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let pods = allocatable.and_then(|all| all.get("pods")).and_then(|pods| pods.0.parse().ok()).unwrap_or(0);
        let extent = extents.entry(pool).or_default();
        extent.nodes += 1;
        extent.pods_per_node = extent.pods_per_node.max(pods);
    }
    Ok(extents)
}

/// The present, as recordings and starts count it.
pub fn now() -> Timestamp {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cpu_that_an_hpa_tells_of_becomes_requests() {
        let hpa = |average: &str| {
            let current = json!({"averageValue": average, "averageUtilization": 50});
            let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]);
            let status =
                json!({"currentReplicas": 4, "desiredReplicas": 6, "currentMetrics": metrics, "conditions": []});
            serde_json::from_value(json!({"metadata": {"name": "web"}, "status": status})).unwrap()
        };
        let sample = sample_of(&hpa("250m"), Duration::from_secs(5));
        assert_eq!((sample.wanted, sample.current, sample.cpu), (6, 4, Some(1.0)));
        let seen = Seen { cpu: vec![None, sample.cpu, None, Some(2.0)], ..Seen::default() };
        let watch = Watch { namespace: "d".to_owned(), hpa: None, every: Step::SECOND, length: Duration::ZERO };
        let recording = seen.recording(&watch, Timestamp::from_millis(0), Duration::from_millis(20)).unwrap();
        assert_eq!(recording.requests(), [50.0, 50.0, 50.0, 100.0]);
        let nothing = Seen::default().recording(&watch, Timestamp::from_millis(0), Duration::from_millis(20));
        assert!(nothing.unwrap_err().to_string().starts_with("no HPA in namespace d told of CPU used"));
    }
}
