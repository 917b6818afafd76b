//! What all stories share: a stand with its auditor, workloads, waiting, and the judgement at the end.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use burstlet::{
    lab::{
        cluster::ClusterOptions,
        stand::{RealNodes, Scheduler, SimulatedPool, Stand, StandOptions},
    },
    provider::simulated::{Settings, StartUp},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, events::v1::Event};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};

use crate::auditor::{Auditor, History, Life, Verdict, instances, judge};

/// Control planes that stand at once; each takes about 1 GB, and all share the processors.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Longest wait for anything that takes no more than seconds on a machine at rest.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// What a story needs.
pub struct Shape {
    pub real_nodes: u32,
    pub pods_per_real_node: u32,
    pub pods_per_virtual_node: u32,
    pub metrics_server: bool,
    pub raised_client_limits: bool,
    /// Has the stand install burstlet's namespace, role and webhooks; else the story installs all of it.
    pub installs: bool,
    /// Calls to the pool's cloud that fail, of 1,000; half of them have taken effect.
    pub lost_answers_per_mille: u16,
    /// In the order in which they are tried; two virtual nodes each.
    pub pools: &'static [&'static str],
    pub move_back_after: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            real_nodes: 5,
            pods_per_real_node: 110,
            pods_per_virtual_node: 500,
            metrics_server: false,
            raised_client_limits: false,
            installs: true,
            lost_answers_per_mille: 0,
            pools: &["sim"],
            move_back_after: Duration::from_secs(10),
        }
    }
}

/// A story under way.
pub struct Trial {
    story: &'static str,
    pub stand: Stand,
    pub client: Client,
    pub auditor: Auditor,
    begun: Instant,
    _place: SemaphorePermit<'static>,
}

impl Trial {
    /// Sets up a cluster with real nodes and a pool of two virtual ones; burstlet itself is the story's to start.
    pub async fn begin(story: &'static str, shape: &Shape) -> Self {
        let place = PLACES.acquire().await.unwrap();
        let begun = Instant::now();
        let start_up = StartUp { min: Duration::from_millis(200), max: Duration::from_millis(800) };
        let settings = Settings { start_up, stop: Duration::from_millis(100), ..Settings::default() };
        let pool = |name: &&str| SimulatedPool {
            name: (*name).to_owned(),
            nodes: 2,
            pods_per_node: shape.pods_per_virtual_node,
            settings: Settings { failures_per_mille: shape.lost_answers_per_mille, ..settings.clone() },
        };
        let options = StandOptions {
            cluster: ClusterOptions {
                hpa_sync: Duration::from_secs(5),
                metrics_server: shape.metrics_server,
                raised_client_limits: shape.raised_client_limits,
                audit: !shape.installs,
                ..ClusterOptions::default()
            },
            real_nodes: RealNodes {
                count: shape.real_nodes,
                cpu: "64".to_owned(),
                memory: "256Gi".to_owned(),
                pods: shape.pods_per_real_node,
                // Where burstlet's own pods run as processes, these get time to end before their pods are gone.
                settings: Settings {
                    network: 100,
                    stop: if shape.installs { settings.stop } else { Duration::from_secs(2) },
                    ..settings.clone()
                },
            },
            pools: shape.pools.iter().map(pool).collect(),
            scheduler: Scheduler::Dedicated,
            move_on_after: Duration::from_mins(5),
            move_back_after: shape.move_back_after,
        };
        let stand = if shape.installs { Stand::start(options).await } else { Stand::without_burstlet(options).await };
        let stand = stand.unwrap_or_else(|error| panic!("{error}"));
        let client = stand.cluster().client();
        let auditor = Auditor::begin(&client).await;
        let trial = Self { story, stand, client, auditor, begun, _place: place };
        trial.say("the stand is up");
        trial
    }

    /// Prints what was measured, also where the test harness captures output.
    pub fn say(&self, text: impl AsRef<str>) {
        let at = self.begun.elapsed().as_secs_f32();
        let _ = writeln!(std::io::stderr(), "{} {at:6.1}s  {}", self.story, text.as_ref());
    }

    pub async fn apply(&self, deployment: &Value) {
        let deployment: Deployment = serde_json::from_value(deployment.clone()).unwrap();
        self.deployments().create(&PostParams::default(), &deployment).await.unwrap();
    }

    pub fn deployments(&self) -> Api<Deployment> {
        Api::default_namespaced(self.client.clone())
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub async fn scale(&self, name: &str, replicas: usize) {
        scale(&self.deployments(), name, replicas).await;
    }

    /// Asks the auditor until the answer is there.
    pub async fn until<T>(&self, what: &str, mut ask: impl FnMut(&History) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let history = self.auditor.history();
            if let Some(answer) = ask(&history) {
                return answer;
            }
            if begun.elapsed() > PATIENCE {
                self.tell_what_is_stuck(&history);
                panic!("{}: {what}: not within {PATIENCE:?}", self.story);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// What Kubernetes Events of this reason say.
    pub async fn events(&self, reason: &str) -> Vec<String> {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let all = api.list(&ListParams::default()).await.unwrap();
        let meant = all.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        meant.filter_map(|event| event.note).collect()
    }

    /// Waits until an app has exactly so many Ready pods on real and on virtual nodes, and no other live pod.
    pub async fn until_ready(&self, app: &str, real: usize, burst: usize) {
        self.until(&format!("{app}: {real} ready on real nodes, {burst} on virtual ones"), |history| {
            let is_all = history.living(app).count() == real + burst;
            (is_all && history.ready(app) == (real, burst)).then_some(())
        })
        .await;
    }

    fn tell_what_is_stuck(&self, history: &History) {
        let living = history.lives.values().filter(|life| life.gone.is_none());
        for life in living.filter(|life| !life.ready.last().is_some_and(|(_, ready)| *ready)).take(20) {
            self.say(format!(
                "not ready: {} {} opened {} tier {:?} node {:?} terminating {}",
                life.name,
                life.phase,
                life.opened.is_some(),
                life.tier.last().and_then(|(_, tier)| tier.as_ref()),
                life.bound.as_ref().map(|(_, node)| node),
                life.ended.is_some()
            ));
        }
        let verdict = judge(history);
        self.say(format!("{verdict}: {:#?}", verdict.violations));
        for revision in history.revisions.values() {
            let wanted = revision.wanted.last().map(|(_, wanted)| *wanted);
            self.say(format!("{}: wanted {wanted:?}", revision.name));
        }
    }

    /// Per pod UID: instances ever made, and alive now, on virtual nodes and on real ones.
    pub fn made(&self) -> BTreeMap<String, (u64, u64)> {
        let clouds = self.stand.clouds().map(|(_, cloud)| cloud).chain([self.stand.real_cloud()]);
        let mut made = BTreeMap::<_, (u64, u64)>::new();
        for (uid, audit) in clouds.flat_map(|cloud| cloud.audit()) {
            let entry = made.entry(uid).or_default();
            *entry = (entry.0 + audit.created, entry.1 + audit.alive);
        }
        made
    }

    /// Instances that the pool still runs.
    pub fn alive_in_pool(&self) -> u64 {
        self.stand.clouds().flat_map(|(_, cloud)| cloud.audit()).map(|(_, audit)| audit.alive).sum()
    }

    /// Waits until nothing is under way, judges; then takes all workloads away and judges what is left.
    pub async fn settle(&self) -> Verdict {
        self.until("nothing is gated, pending or terminating", |history| {
            let is_settled = |life: &Life| {
                life.gone.is_some() || life.phase == "Running" && life.ended.is_none() && life.bound.is_some()
            };
            history.lives.values().all(is_settled).then_some(())
        })
        .await;
        let begun = Instant::now();
        loop {
            let found = instances(&self.auditor.history(), &self.made());
            if found.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {found:?}", self.story);
            sleep(Duration::from_millis(200)).await;
        }
        for deployment in self.deployments().list(&ListParams::default()).await.unwrap() {
            self.scale(deployment.metadata.name.as_deref().unwrap(), 0).await;
        }
        self.until("all pods are gone", |history| history.lives.values().all(|life| life.gone.is_some()).then_some(()))
            .await;
        let begun = Instant::now();
        while self.made().values().any(|(_, alive)| *alive > 0) {
            assert!(begun.elapsed() < PATIENCE, "{}: instances are left", self.story);
            sleep(Duration::from_millis(200)).await;
        }
        let made = self.made();
        let history = self.auditor.history();
        let twice = made.values().filter(|(made, _)| *made > 1).count();
        self.say(format!("{} instances made, {twice} pods with more than one, none left", made.len()));
        for (uid, _) in made.iter().filter(|(_, (made, _))| *made > 1) {
            let records = self.stand.clouds().flat_map(|(_, cloud)| cloud.record());
            let records: Vec<_> = records.filter(|entry| *entry.uid == **uid).collect();
            self.say(format!("  more than one: {:?}, {records:?}", history.lives.get(uid)));
        }
        let mut verdict = judge(&history);
        verdict.violations.extend(instances(&history, &made));
        self.say(verdict.to_string());
        for (pod, since) in &verdict.overtaken {
            self.say(format!("  overtaken: {pod}, {since:?} after the base had got room"));
        }
        if let [first, ..] = verdict.gateless.as_slice() {
            self.say(format!("  without the gate: {} pods, such as {first}", verdict.gateless.len()));
        }
        verdict
    }

    /// Ends the story: nothing may have been found.
    pub async fn end(self, verdict: Verdict) {
        assert!(verdict.violations.is_empty(), "{}: {:#?}", self.story, verdict.violations);
        self.say("done");
        self.stand.stop().await.unwrap();
    }
}

pub async fn scale(deployments: &Api<Deployment>, name: &str, replicas: usize) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    // A control plane under load may be slow once; what was asked is checked by who waits for it.
    for _ in 0..5 {
        match deployments.patch_scale(name, &PatchParams::default(), &patch).await {
            Ok(_) => return,
            Err(error) => eprintln!("scale {name}: {error}"),
        }
        sleep(Duration::from_millis(500)).await;
    }
    panic!("{name} cannot be scaled");
}

/// A Deployment; governed where it has a base.
pub fn deployment(name: &str, base: Option<&str>, replicas: usize) -> Value {
    let annotations = base.map(|base| json!({"burstlet.dev/base": base})).unwrap_or_default();
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "main",
                        "image": "registry.example/main:1",
                        "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"cpu": "1"}},
                    }],
                },
            },
        },
    })
}
