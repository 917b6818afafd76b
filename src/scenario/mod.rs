//! Scenarios: what the demo plays and what the simulator replays, in one YAML file beside its manifests and its traffic.
//!
//! ```yaml
//! name: flash-crowd
//! about: One line of what it shows.
//! manifests: [workload.yaml]        # the files a cluster takes: Deployment, HPA, and BurstPolicy, VirtualPool, Namespace
//! traffic: {file: traffic.csv, speed: 1, scale: 1}
//! requestCpu: 20ms                  # CPU time that one request costs a pod
//! realNodes: {count: 3, cpu: "2", memory: 4Gi, pods: 30, startUp: {min: 500ms, max: 1500ms}}
//! pools:
//! - name: cloud
//!   nodes: 2
//!   podsPerNode: 50
//!   startUp: {min: 1500ms, max: 4s}
//!   stock: 40                       # optional: instances it can run at once
//!   price: {cpuSecond: 0.000049, gibSecond: 0.00000613, currency: CNY}
//! settle: 10s                       # how long to watch after the traffic's end
//! ```
//!
//! All of the following may be left out. What is marked with an asterisk only a simulation can play:
//!
//! ```yaml
//! seed: 1                           # * of all that is random
//! warmUp: 10m                       # * how long the first rate is met before the start
//! sampleEvery: 15s                  # * by default 1s for runs up to an hour, 15s for longer ones
//! updates: [10m]                    # * when a new revision is rolled out
//! cluster: {hpaSync: 15s, metricsResolution: 15s, creations: {perSecond: 20, burst: 30}, bindings: {perSecond: 50, burst: 100}}
//! rules: {moveOnAfter: 90s, moveBackAfter: 20s, coolDown: 20s}
//! serving:                          # *
//!   requestTime: 50ms               # time that a request takes a pod, by default its CPU time
//!   concurrency: 8                  # requests that a pod serves at once
//!   lateAfter: 1s                   # a request that waits longer is late
//!   giveUpAfter: 10s                # one that would wait longer is unserved
//!   readyAfter: {min: 0s, max: 0s}  # from containers running to Ready
//!   stop: 0s                        # from deletion to stopped; never more than the pod's grace
//!   memory: {idle: 100Mi, perRequest: 1Mi}           # what a pod uses, for HPAs that ask for memory
//!   container: web                  # the container that serves, by default the first; the others idle
//! metrics:                          # * what the HPA's metrics of type Pods, Object and External are, by their names
//!   http_requests_per_second: requestRate            # requests that arrive a second; servedRate: that are served
//!   concurrency: inFlight           # requests that are being served or wait
//!   queue_length: {file: queue.csv, speed: 1, scale: 1}   # recorded, in the format of traffic: its rates are the values
//! nodeAutoscaler: {max: 10, boot: {min: 60s, max: 120s}, scan: 10s, scaleDownAfter: 10m, utilization: 50}   # *
//! realNodes:
//!   labels: {disk: ssd}             # *
//!   taints: [{key: team, value: web, effect: NoSchedule}]   # *
//!   zones: [a, b, c]                # * in which they stand by turns: their label topology.kubernetes.io/zone
//!   price: {hour: 0.36}             # * of one node, in the pools' currency
//! otherNodes: [{count: 2, cpu: "8", memory: 16Gi, pods: 110, startUp: {min: 1s, max: 2s}, labels: {disk: hdd}}]
//!                                   # * real nodes of other kinds, written as realNodes is; nothing adds or removes any
//! pools:
//! - quota: 100                      # * instances that the account may run
//!   throttle: {perSecond: 5, burst: 10}              # * calls to create
//!   stockOuts: [{from: 5m, until: 10m, left: 4}]     # * how many instances there are meanwhile
//!   reclaim: {perHour: 2%, waves: [{at: 20m, share: 60%}]}   # * spot instances that are taken back
//!   startUp: {min: 1s, between: [2s, 9s], max: 40s}  # * measured: evenly spaced quantiles between the extremes
//! ```
//!
//! Several workloads share real nodes and pools; each Deployment of the manifests has its own HPA and its own traffic:
//!
//! ```yaml
//! manifests: [web.yaml, api.yaml, policies.yaml, pools.yaml]
//! workloads:                        # instead of traffic and updates at the top
//! - {deployment: shop/web, traffic: {file: web.csv}}
//! - {deployment: shop/api, traffic: {file: api.csv}, requestCpu: 5ms, serving: {concurrency: 8}, updates: [10m]}
//! requestCpu: 20ms                  # of those that say nothing else; serving likewise. Each has metrics of its own
//! startsAt: 2026-03-02T08:00:00+08:00   # * when the traffic begins; windows need it, budgets' hours and days go by it.
//!                                   #   By default midnight, UTC
//! ```
//!
//! Of a pool that has a VirtualPool in the manifests, `nodes`, `podsPerNode` and `price` are said there; what stands here as well
//! must be the same. Pools without one come first where a policy names no tiers, in the file's order.
//!
//! kube-scheduler follows what the Deployments say of labels, taints, pod anti-affinity and topology spread. What they say
//! beside that and a replay leaves out is [named](Scenario::left_out) by file and field.
//!
//! Metrics are described in `docs/replay-metrics.md`.
//!
//! File names are relative to the scenario's folder. Unknown fields are refused, with line and column.

mod check;
mod documents;
mod driven;
mod folder;
mod manifests;
mod metrics;
mod plant;
mod pool;
mod pools;
mod read;
mod setup;
mod template;
mod workload;

pub use manifests::{Fault, ManifestError};
pub use metrics::Memory;
pub use plant::{ClusterSpeed, NodeAutoscaler, Rules, Serving, Taint};
pub use pool::{
    Currency, NodePrice, Percent, Pool, Price, Reclaim, Span, StartUp, StockOut, Throttle, UnitPrice, Wave,
};
pub use read::{Alone, Driven, RealNodes, Scenario, ScenarioError};
pub use setup::SetupError;
pub use workload::Workload;

#[cfg(test)]
mod tests;
