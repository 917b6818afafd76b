//! What a run simulates: workloads and their traffic, real nodes, pools, and how fast the cluster itself is.
//!
//! Read and checked already: a [`Setup`] holds no names of files and nothing that refers to nothing.

use std::{
    collections::BTreeMap,
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use crate::{
    model::{Bytes, Capabilities, MilliCpu, Needs, ObjectName, PoolName, Resources, Timestamp},
    placement::PoolFacts,
    policy::{Marks, Settings, Spec},
    simulator::{
        constraints::{Constraints, Taint},
        hpa,
        money::PerMilli,
        told::Source,
    },
    traffic::Traffic,
};

/// Everything that a run needs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The seed of all that is random.
    pub seed: u64,
    /// When the traffic begins: the hours and days of budgets go by it, and windows. Never before the warm-up's length
    /// since the epoch.
    pub starts_at: Timestamp,
    /// What scales; at least one.
    pub workloads: Vec<Workload>,
    /// The labels and annotations of namespaces; one that is not named has none.
    pub namespaces: BTreeMap<String, Marks>,
    /// The cluster's BurstPolicies.
    pub policies: BTreeMap<ObjectName, Spec>,
    /// The cluster's real nodes.
    pub real_nodes: RealNodes,
    /// Real nodes of other kinds, which nothing adds or removes.
    pub other_nodes: Vec<RealNodes>,
    /// Adds and removes real nodes.
    pub autoscaler: Option<Autoscaler>,
    /// Where the overflow may go; the order in which they are tried is that of the policies, else that of `rules`.
    pub pools: Vec<Pool>,
    /// burstlet's own settings.
    pub rules: Settings,
    /// How fast the cluster is.
    pub timing: Timing,
    /// How long the first second's traffic is met before the start, so that the traffic finds a workload at rest.
    pub warm_up: Duration,
    /// How long to go on after the traffic's end, at its last rate.
    pub settle: Duration,
    /// Time between two samples.
    pub sample_every: Duration,
}

impl Setup {
    /// The real nodes that stand from the start, of all kinds, those that are added and removed first.
    pub fn all_real_nodes(&self) -> impl Iterator<Item = &RealNodes> {
        std::iter::once(&self.real_nodes).chain(&self.other_nodes)
    }
}

/// A Deployment, the HPA that scales it, and what it meets.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its own labels and annotations. What governs it is resolved of them, as in a cluster; where nothing does, it is
    /// left to kube-scheduler alone.
    pub marks: Marks,
    /// The labels and annotations of its pods.
    pub pods: Marks,
    /// Replicas to begin with.
    pub replicas: u32,
    /// What a pod requests.
    pub requests: Resources,
    /// A pod's containers, the one that serves requests first; where there are none, one of the name `app`.
    pub containers: Vec<Container>,
    /// CPU that one pod can use.
    pub cpu_limit: Option<MilliCpu>,
    /// Labels that a pod's node must have.
    pub node_selector: Vec<(Box<str>, Box<str>)>,
    /// What a pod asks of a virtual node's provider.
    pub needs: Needs,
    /// What else a pod asks of its node.
    pub constraints: Constraints,
    /// Why no virtual node can take its pods, if so.
    pub virtual_obstacle: Option<Box<str>>,
    /// How far a rolling update may go at a time.
    pub rolling: Rolling,
    /// The HPA.
    pub hpa: hpa::Spec,
    /// Metrics of type Pods, Object and External that the HPA may ask for, by their names.
    pub metrics: BTreeMap<String, Source>,
    /// What comes, from the start.
    pub traffic: Traffic,
    /// What a pod can serve.
    pub serving: Serving,
    /// When a new revision is rolled out.
    pub updates: Vec<Duration>,
}

/// A container of a workload's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it requests.
    pub requests: Resources,
}

/// Bounds of a rolling update, as Deployments have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolling {
    /// Pods beyond the wanted replicas; shares round up.
    pub max_surge: Amount,
    /// Pods that may lack; shares round down.
    pub max_unavailable: Amount,
}

impl Default for Rolling {
    fn default() -> Self {
        Self { max_surge: Amount::Percent(25), max_unavailable: Amount::Percent(25) }
    }
}

/// A number, or a share of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many in a hundred.
    Percent(u32),
}

/// What one pod can serve, and how patient requests are; the queue model stands in the [flow](super)'s description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// CPU time of one request.
    pub request_cpu: Duration,
    /// Time that one request takes a pod, waiting for others included.
    pub request_time: Duration,
    /// Requests that a pod serves at once.
    pub concurrency: Option<NonZeroU32>,
    /// Memory that a pod uses; `None` where nobody asks.
    pub memory: Option<Memory>,
    /// A request that waits longer is late.
    pub late_after: Duration,
    /// A request that would wait longer is unserved.
    pub give_up_after: Duration,
    /// From a pod's containers running until it is Ready.
    pub ready_after: Latency,
    /// From a pod's deletion until its containers have stopped.
    pub stop: Duration,
}

/// The memory of one pod: what it always uses, and what each request adds that it serves or that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Without requests.
    pub idle: Bytes,
    /// Of each request.
    pub per_request: Bytes,
}

/// Real nodes that stand from the start, all alike.
#[derive(Debug, Clone)]
pub struct RealNodes {
    /// How many.
    pub count: u32,
    /// What each offers.
    pub allocatable: Resources,
    /// Pods that each takes.
    pub max_pods: u32,
    /// Labels of each.
    pub labels: BTreeMap<String, String>,
    /// Taints of each.
    pub taints: Vec<Taint>,
    /// Zones in which they stand, by turns; none where they have no such label.
    pub zones: Vec<String>,
    /// From a pod bound until its containers run.
    pub start_up: Latency,
    /// What each costs while it is up.
    pub price: PerMilli,
}

/// A node autoscaler, as cluster-autoscaler works: pods that fit nowhere bring nodes, empty nodes go.
#[derive(Debug, Clone)]
pub struct Autoscaler {
    /// Most real nodes.
    pub max: u32,
    /// From asking for a node until it takes pods.
    pub boot: Latency,
    /// How often it looks.
    pub scan: Duration,
    /// How long a node is empty, or hardly used, before it goes.
    pub scale_down_after: Duration,
    /// A node whose pods request less than this share of its CPU, in percent, is given up if they fit elsewhere.
    pub utilization: u32,
}

/// A pool and how its provider behaves.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Virtual nodes that stand for it.
    pub nodes: u32,
    /// Pods that each takes.
    pub pods_per_node: u32,
    /// From asking for an instance until its containers run.
    pub start_up: Latency,
    /// Instances that it can run at once, from each moment on; in order, the first at zero. `None` is no bound.
    pub stock: Vec<(Duration, Option<u32>)>,
    /// Instances that the account may run at once.
    pub quota: Option<u32>,
    /// Calls to create that it takes.
    pub throttle: Option<RateLimit>,
    /// How it takes instances back.
    pub reclaim: Reclaim,
    /// Price of one core and of one GiB for one second.
    pub price: (f64, f64),
    /// What its object says to burstlet: price, quota and budget, over all workloads.
    pub facts: Option<PoolFacts>,
    /// What its provider has of what pods ask for; everything where nothing says.
    pub capabilities: Option<Capabilities>,
}

/// How a pool takes spot instances back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reclaim {
    /// Chance of each instance in each hour, in millionths.
    pub per_hour: u32,
    /// Waves: when, and which share of the instances, in millionths.
    pub waves: Vec<(Duration, u32)>,
}

/// So many a second, so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The rate.
    pub per_second: NonZeroU32,
    /// The burst.
    pub burst: u32,
}

impl RateLimit {
    /// kube-controller-manager's default limit on the requests of each of its controllers.
    pub const CONTROLLER: Self = Self { per_second: NonZeroU32::MIN.saturating_add(19), burst: 30 };

    /// kube-scheduler's default limit.
    pub const SCHEDULER: Self = Self { per_second: NonZeroU32::MIN.saturating_add(49), burst: 100 };
}

/// How fast the cluster is. [`Default`] is Kubernetes as it comes.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How often the HPA looks.
    pub hpa_sync: Duration,
    /// When the HPA looks first, within its period.
    pub hpa_phase: Duration,
    /// When it looks after that, rising, from the warm-up's begin on, as a real one was seen to; after the last of these,
    /// and where there are none, every `hpa_sync`.
    pub hpa_looks: Vec<Duration>,
    /// How often metrics-server reads the pods' counters.
    pub metrics_resolution: Duration,
    /// When metrics-server reads first, within its period.
    pub metrics_phase: Duration,
    /// What kube-controller-manager's flags say about the HPA.
    pub hpa: hpa::Settings,
    /// From one component's write until another one acts on it.
    pub api_lag: Duration,
    /// How long the kubelet takes to report a pod Ready.
    pub status_lag: Duration,
    /// Limit on the ReplicaSet controller's requests.
    pub controller: Option<RateLimit>,
    /// Limit on kube-scheduler's bindings.
    pub scheduler: Option<RateLimit>,
    /// Whether burstlet's extender binds burst pods, beside kube-scheduler's limit.
    pub extender_binds: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            hpa_sync: Duration::from_secs(15),
            hpa_phase: Duration::from_secs(7),
            hpa_looks: Vec::new(),
            metrics_resolution: Duration::from_secs(15),
            metrics_phase: Duration::from_secs(3),
            hpa: hpa::Settings::default(),
            api_lag: Duration::from_millis(10),
            status_lag: Duration::from_millis(50),
            controller: Some(RateLimit::CONTROLLER),
            scheduler: Some(RateLimit::SCHEDULER),
            extender_binds: false,
        }
    }
}

/// How long something takes, as evenly spaced quantiles: two of them are a shortest and a longest time, evenly spread;
/// more follow what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency(Vec<Duration>);

impl Latency {
    /// Always so long.
    pub fn fixed(time: Duration) -> Self {
        Self(vec![time])
    }

    /// The quantiles from the shortest (0 %) to the longest (100 %); `None` where there are none or they fall.
    pub fn of_quantiles(quantiles: Vec<Duration>) -> Option<Self> {
        (!quantiles.is_empty() && quantiles.is_sorted() && u16::try_from(quantiles.len()).is_ok())
            .then_some(Self(quantiles))
    }

    /// The quantiles.
    pub fn quantiles(&self) -> &[Duration] {
        &self.0
    }

    /// The time at `position` of all positions, in whole milliseconds.
    pub(super) fn at(&self, position: u64) -> Duration {
        let millis =
            |index: usize| self.0.get(index).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let spans = NonZeroU16::new(u16::try_from(self.0.len().saturating_sub(1)).unwrap_or(u16::MAX));
        let Some(spans) = spans else { return Duration::from_millis(millis(0)) };
        let place = u128::from(position) * u128::from(spans.get());
        let index = usize::try_from(place >> 64).unwrap_or_default();
        let within = (place >> 32) & u128::from(u32::MAX);
        let (low, high) = (millis(index), millis(index + 1));
        let above = (u128::from(high - low) * within) >> 32;
        Duration::from_millis(low + u64::try_from(above).unwrap_or_default())
    }
}

impl Amount {
    /// The number that this is of `replicas`.
    pub(super) fn of(self, replicas: u32, rounds_up: bool) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let hundredths = u64::from(replicas) * u64::from(percent);
                let share = if rounds_up { hundredths.div_ceil(100) } else { hundredths / 100 };
                u32::try_from(share).unwrap_or(u32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_follow_their_quantiles() {
        let seconds = |all: &[u64]| Latency::of_quantiles(all.iter().map(|s| Duration::from_secs(*s)).collect());
        let two = seconds(&[2, 4]).unwrap();
        assert_eq!([two.at(0), two.at(1 << 63)], [2, 3].map(Duration::from_secs));
        assert_eq!(two.at(u64::MAX), Duration::from_millis(3_999));
        let three = seconds(&[0, 1, 11]).unwrap();
        assert_eq!([three.at(1 << 62), three.at(3 << 62)].map(|time| time.as_millis()), [500, 6_000]);
        assert_eq!(Latency::fixed(Duration::from_secs(1)).at(u64::MAX), Duration::from_secs(1));
        assert_eq!([seconds(&[]), seconds(&[2, 1])], [None, None]);
    }

    #[test]
    fn shares_round_as_deployments_do() {
        assert_eq!([Amount::Percent(25).of(10, true), Amount::Percent(25).of(10, false)], [3, 2]);
        assert_eq!(Amount::Count(4).of(10, true), 4);
    }
}
