//! Plays a scenario on a stand: applies its workload, drives its traffic, tells what is seen.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use burstlet_engine::{model::PoolName, traffic::Rate};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams, PropagationPolicy},
};
use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Alone, Driven, Place, PodSight, PodState, Pool, Record, Scenario, Tally, cpu_per_pod};
use crate::{
    api::names::MANAGED_BY,
    kubelet::virtual_node_name,
    lab::{
        cluster::{Cluster, ClusterOptions},
        stand::{
            self, Footing, Guest, Host, Replica, Scheduler, SimulatedPool, Stand, StandError, StandOptions, either,
            keep_to_own_nodes,
        },
    },
    page,
    provider::simulated::{CpuTarget, Settings, StartUp},
    study::Clocks,
    watch::{Listening, Seen, follow},
};

/// How often a sample is taken, and the traffic's cost is laid on the pods.
const EVERY: Duration = Duration::from_secs(1);
/// Longer than any demo.
const NEVER: Duration = Duration::from_hours(24);
/// How long instances get to be gone once their workload is deleted.
const GONE_WITHIN: Duration = Duration::from_mins(1);
/// The demo's own namespace.
const NAMESPACE: &str = "demo";

/// A scenario being played.
pub struct Play<C = Cluster> {
    scenario: Alone,
    stand: Stand<C>,
    replica: Replica,
    client: Client,
}

/// The picture of the workload that the watches keep, and the tally that folds it.
struct Picture {
    tally: Tally,
    pods: BTreeMap<String, PodSight>,
    wanted: u32,
    clocks: Clocks,
    /// When metrics-server read last.
    read: Option<Instant>,
    /// When the traffic began; before that nothing is tallied.
    begin: Option<Instant>,
}

impl Picture {
    fn elapsed(&self) -> Duration {
        self.begin.map(|begin| begin.elapsed()).unwrap_or_default()
    }

    fn changed(&mut self) {
        if self.begin.is_some() {
            let now = self.elapsed();
            self.tally.observe(now, self.wanted, self.pods.values().cloned());
        }
    }

    fn ready(&self) -> u32 {
        let ready = self.pods.values().filter(|pod| pod.state == PodState::Ready);
        u32::try_from(ready.count()).unwrap_or(u32::MAX)
    }
}

type Shared = Arc<Mutex<Picture>>;

fn locked(picture: &Shared) -> MutexGuard<'_, Picture> {
    // A panic elsewhere leaves the picture whole: the next event mends it.
    picture.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Play {
    /// Sets up the stand for a scenario, with burstlet in this process.
    pub async fn set_up(scenario: Alone) -> Result<Self, StandError> {
        let stand = Stand::start(options(&scenario.scenario)).await?;
        let replica = stand.run_here().await?;
        let client = stand.client();
        Ok(Self { scenario, stand, replica, client })
    }
}

impl Play<Guest> {
    /// Sets up the stand in a cluster that is there already. On failure and when `stop` comes, nothing is left there.
    pub async fn set_up_in(host: Host, mut scenario: Alone, stop: &CancellationToken) -> Result<Self, StandError> {
        let client = host.client.clone();
        keep_to_own_nodes(&mut scenario.driven.workload.deployment);
        // The real nodes' taint counts as closed to returning pods: none is to leave for a place that it cannot take.
        let options = StandOptions { move_back_after: NEVER, ..options(&scenario.scenario) };
        let stand = Stand::visit(host, &[NAMESPACE], options, stop).await?;
        let run = async {
            let replica = stand.run_here().await?;
            stand.is_asked().await?;
            Ok(replica)
        };
        match stop.run_until_cancelled(run).await {
            Some(Ok(replica)) => Ok(Self { scenario, stand, replica, client }),
            failed => {
                let failed = failed.and_then(Result::err).unwrap_or(StandError::Interrupted);
                Err(either(failed, stand.stop().await))
            }
        }
    }
}

impl<C: Footing> Play<C> {
    /// Shows the live page on loopback, to whoever is on this machine, for as long as the answer's second part lives.
    pub async fn page(&self) -> std::io::Result<(SocketAddr, AbortOnDropHandle<std::io::Result<()>>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = page::open(self.replica.board());
        let served = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((address, AbortOnDropHandle::new(served)))
    }

    /// Plays it through, or until `stop`; `tell` hears each sample and at last the summary, of what was played until
    /// then. Takes everything down, on failure too.
    pub async fn run(self, mut tell: impl FnMut(Record), stop: &CancellationToken) -> Result<Clocks, StandError> {
        let played = self.play(&mut tell, stop).await;
        let stopped = self.replica.stop().await;
        let ended = self.stand.stop().await;
        match stopped.and(played) {
            Ok(clocks) => ended.map(|()| clocks),
            Err(failed) => Err(either(failed, ended)),
        }
    }

    async fn play(&self, tell: &mut impl FnMut(Record), stop: &CancellationToken) -> Result<Clocks, StandError> {
        let picture = Arc::new(Mutex::new(Picture {
            tally: Tally::new(self.scenario.base, &self.scenario.scenario.pools),
            pods: BTreeMap::new(),
            wanted: 0,
            clocks: Clocks::default(),
            read: None,
            begin: None,
        }));
        let watches = [self.watch_pods(&picture), self.watch_deployment(&picture), self.watch_hpa(&picture)];
        self.apply().await?;
        self.warm_up(&picture, stop).await?;
        self.drive(&picture, tell, stop).await;
        self.clear_away().await?;
        let left = self.instances_left().await;
        let summary = locked(&picture).tally.summary(left);
        drop(watches);
        tell(Record::Summary { summary });
        let clocks = std::mem::take(&mut locked(&picture).clocks);
        Ok(clocks)
    }

    async fn apply(&self) -> Result<(), StandError> {
        let installed = |what: &str| {
            let what = what.to_owned();
            |source| StandError::Install { what, source }
        };
        let labels = BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())]);
        let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let post = PostParams::default();
        Api::all(self.client.clone()).create(&post, &namespace).await.map_err(installed("the demo's namespace"))?;
        let workload = &self.scenario.driven.workload;
        self.deployments().create(&post, &workload.deployment).await.map_err(installed("the Deployment"))?;
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), NAMESPACE);
        hpas.create(&post, &workload.hpa).await.map(drop).map_err(installed("the HPA"))
    }

    /// Waits until the least replicas are Ready and metrics-server tells of them, so that the traffic's first second
    /// meets a workload at rest.
    async fn warm_up(&self, picture: &Shared, stop: &CancellationToken) -> Result<(), StandError> {
        let least = self.scenario.driven.workload.hpa.spec.min_replicas.unwrap_or(1);
        let least = u32::try_from(least).unwrap_or(1);
        let begin = Instant::now();
        while !stop.is_cancelled() {
            self.lay_load(picture, Duration::ZERO);
            if locked(picture).ready() >= least && self.pods_with_metrics().await >= least as usize {
                return Ok(());
            }
            if begin.elapsed() > C::METRICS_WITHIN {
                let what = format!("{least} ready pods that metrics-server tells of");
                return Err(self.stand.footing().without_metrics(what));
            }
            sleep(Duration::from_millis(250)).await;
        }
        Err(StandError::Interrupted)
    }

    async fn drive(&self, picture: &Shared, tell: &mut impl FnMut(Record), stop: &CancellationToken) {
        {
            let mut picture = locked(picture);
            picture.begin = Some(Instant::now());
            picture.changed();
        }
        let end = self.scenario.driven.traffic.duration() + self.scenario.scenario.settle;
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = locked(picture).elapsed();
            let rate = self.lay_load(picture, now);
            let sample = {
                let mut picture = locked(picture);
                self.note_reading(&mut picture);
                picture.tally.sample(now, rate)
            };
            tell(Record::Sample(sample));
            if now >= end {
                return;
            }
        }
    }

    /// Lays the cost of the traffic at `now` on the ready pods, wherever they run.
    fn lay_load(&self, picture: &Shared, now: Duration) -> Rate {
        let Driven { traffic, workload, request_cpu, .. } = &self.scenario.driven;
        let rate = traffic.rate_at(now);
        let cpu = cpu_per_pod(rate, locked(picture).ready(), *request_cpu, workload.cpu_limit);
        let clouds = self.stand.clouds().map(|(_, cloud)| cloud).chain([self.stand.real_cloud()]);
        for cloud in clouds {
            cloud.set_cpu(&CpuTarget::All, cpu.0);
        }
        rate
    }

    /// Deletes the workload and waits until its pods are gone.
    async fn clear_away(&self) -> Result<(), StandError> {
        let removed = |source| StandError::Install { what: "the end of the demo".to_owned(), source };
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), NAMESPACE);
        hpas.delete(&self.scenario.driven.workload.hpa.name_any(), &DeleteParams::default()).await.map_err(removed)?;
        let background =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        self.deployments().delete(&self.workload_name(), &background).await.map(drop).map_err(removed)
    }

    /// How many instances the pools' clouds still run, once they have had time to end.
    async fn instances_left(&self) -> u32 {
        let begin = Instant::now();
        loop {
            let alive = self.stand.clouds().flat_map(|(_, cloud)| cloud.audit().into_values().map(|audit| audit.alive));
            let alive: u64 = alive.sum();
            if alive == 0 || begin.elapsed() > GONE_WITHIN {
                return u32::try_from(alive).unwrap_or(u32::MAX);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn workload_name(&self) -> String {
        self.scenario.driven.workload.deployment.name_any()
    }

    async fn pods_with_metrics(&self) -> usize {
        pod_metrics(&self.client).await.len()
    }

    /// Notes when the HPA tells another status.
    fn watch_hpa(&self, picture: &Shared) -> AbortOnDropHandle<()> {
        let picture = picture.clone();
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), NAMESPACE);
        let mut before = None;
        AbortOnDropHandle::new(tokio::spawn(follow(hpas, move |seen| {
            if let Seen::Set(hpa) = seen {
                let mut picture = locked(&picture);
                if picture.begin.is_some() && before.is_some() && before != hpa.status {
                    let now = picture.elapsed();
                    picture.clocks.hpa_s.push(seconds(now));
                }
                before = hpa.status;
            }
            std::future::ready(Listening::Yes)
        })))
    }

    /// Notes when metrics-server read the pods: its calls come through to the real nodes' cloud, on which the base always
    /// runs. What it tells itself are whole seconds.
    fn note_reading(&self, picture: &mut Picture) {
        let read = self.stand.real_cloud().measured();
        if let (Some(begin), Some(read)) = (picture.begin, read.filter(|_| read != picture.read))
            && read >= begin
        {
            picture.clocks.metrics_s.push(seconds(read - begin));
        }
        picture.read = read;
    }

    fn watch_pods(&self, picture: &Shared) -> AbortOnDropHandle<()> {
        let nodes = virtual_nodes(&self.scenario.scenario.pools);
        let picture = picture.clone();
        let api = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        AbortOnDropHandle::new(tokio::spawn(follow(api, move |seen| {
            let mut picture = locked(&picture);
            match seen {
                Seen::Begin => picture.pods.clear(),
                Seen::Set(pod) => {
                    let sight = PodSight::of(&pod, |node| nodes.get(node).cloned().map_or(Place::Real, Place::Pool));
                    picture.pods.insert(pod.uid().unwrap_or_default(), sight);
                    picture.changed();
                }
                Seen::Gone(pod) => {
                    picture.pods.remove(&pod.uid().unwrap_or_default());
                    picture.changed();
                }
                Seen::Finish => picture.changed(),
            }
            std::future::ready(Listening::Yes)
        })))
    }

    fn watch_deployment(&self, picture: &Shared) -> AbortOnDropHandle<()> {
        let (picture, name) = (picture.clone(), self.workload_name());
        AbortOnDropHandle::new(tokio::spawn(follow(self.deployments(), move |seen| {
            if let Seen::Set(deployment) = seen
                && deployment.name_any() == name
            {
                let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
                let mut picture = locked(&picture);
                picture.wanted = u32::try_from(wanted).unwrap_or(0);
                picture.changed();
            }
            std::future::ready(Listening::Yes)
        })))
    }
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// What metrics-server tells of the demo's pods.
async fn pod_metrics(client: &Client) -> Vec<serde_json::Value> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods");
    let Ok(request) = http::Request::get(path).body(Vec::new()) else { return Vec::new() };
    let list = client.request::<serde_json::Value>(request).await.unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The pools by the names of their virtual nodes; every other node is a real one.
fn virtual_nodes(pools: &[Pool]) -> BTreeMap<String, PoolName> {
    let names = |pool: &Pool| {
        let pool_name = pool.name.clone();
        (0..pool.nodes.get()).map(move |index| (virtual_node_name(pool_name.as_str(), index), pool_name.clone()))
    };
    pools.iter().flat_map(names).collect()
}

fn options(scenario: &Scenario) -> StandOptions {
    let nodes = &scenario.real_nodes;
    let usual = ClusterOptions::default();
    let resolution = scenario.cluster.metrics_resolution.map_or(usual.metrics_resolution, |span| span.0);
    let start_up = |range: &super::StartUp| StartUp { min: range.min, max: range.max };
    StandOptions {
        cluster: ClusterOptions {
            hpa_sync: scenario.cluster.hpa_sync.map_or(usual.hpa_sync, |span| span.0),
            // metrics-server takes no less.
            metrics_resolution: resolution.max(usual.metrics_resolution),
            ..usual
        },
        real_nodes: stand::RealNodes {
            count: nodes.count.get(),
            cpu: format!("{}m", nodes.cpu.0),
            memory: nodes.memory.0.to_string(),
            pods: nodes.pods.get(),
            settings: Settings { start_up: start_up(&nodes.start_up), network: 100, ..Settings::default() },
        },
        pools: scenario
            .pools
            .iter()
            .map(|pool| SimulatedPool {
                name: pool.name.to_string(),
                nodes: pool.nodes.get(),
                pods_per_node: pool.pods_per_node.get(),
                settings: Settings {
                    start_up: start_up(&pool.start_up),
                    stock: pool.stock.map(u64::from),
                    ..Settings::default()
                },
            })
            .collect(),
        scheduler: Scheduler::Dedicated,
        move_on_after: scenario.rules.move_on_after.map_or(Duration::from_secs(30), |span| span.0),
        move_back_after: scenario.rules.move_back_after.map_or(Duration::from_secs(10), |span| span.0),
    }
}
