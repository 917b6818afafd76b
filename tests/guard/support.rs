//! The bench that the stories stand on, and what they look at.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use burstlet::{
    lab::{
        cluster::ClusterOptions,
        stand::{RealNodes, Replica, Scheduler, SimulatedPool, Stand, StandOptions},
    },
    provider::simulated::{Settings, StartUp},
};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

/// The pool of every bench.
pub(crate) const POOL: &str = "eci";

const WITHIN: Duration = Duration::from_mins(1);

static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A stand, and the turn to have one.
pub(crate) struct Bench {
    pub(crate) stand: Stand,
    pub(crate) client: Client,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    pub(crate) async fn start(options: StandOptions) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let begin = Instant::now();
        let stand = Stand::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        println!("the stand is up after {:.1} s", begin.elapsed().as_secs_f64());
        Self { client: stand.cluster().client(), stand, _turn: turn }
    }

    pub(crate) async fn run_here(&self) -> Replica {
        self.stand.run_here().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Creates or changes an object as a user does.
    pub(crate) fn apply(&self, object: &Value) -> String {
        let output = self.kubectl_with(&["apply", "--filename", "-"], object);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{object}: {told}");
        told
    }

    /// Runs kubectl with an object on its standard input.
    pub(crate) fn kubectl_with(&self, arguments: &[&str], object: &Value) -> Output {
        let mut command = self.stand.cluster().kubectl_command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command of burstlet's prints, as a user runs it.
    pub(crate) fn burstlet(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
        let output = command.args(arguments).arg("--kubeconfig").arg(self.stand.cluster().kubeconfig()).output();
        let output = output.unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        println!("burstlet {}:\n{told}", arguments.join(" "));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        told
    }

    pub(crate) async fn stop(self) {
        self.stand.stop().await.unwrap();
    }

    /// A namespace in which pods can be created.
    pub(crate) async fn namespace(&self, name: &str, annotations: &Value) {
        let namespace = json!({"metadata": {"name": name, "annotations": annotations}});
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), name);
        eventually("the namespace's service account", || async { accounts.get_opt("default").await.unwrap() }).await;
    }

    pub(crate) fn pods_of(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The pods that are not on their way out.
    pub(crate) async fn pods(&self, namespace: &str) -> Vec<Pod> {
        let all = self.pods_of(namespace).list(&ListParams::default()).await.unwrap();
        all.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    pub(crate) fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn deploy(&self, namespace: &str, wanted: &Wanted) {
        let api = self.deployments(namespace);
        api.create(&PostParams::default(), &wanted.deployment()).await.unwrap();
    }

    pub(crate) async fn scale(&self, namespace: &str, name: &str, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments(namespace).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// How many pods run on nodes whose names begin so, those on their way out left out.
    pub(crate) async fn runs_on(&self, namespace: &str, nodes: &str) -> usize {
        let pods = self.pods(namespace).await;
        pods.iter().filter(|pod| is_running(pod) && node(pod).is_some_and(|node| node.starts_with(nodes))).count()
    }

    /// Waits until so many pods run on real and on virtual nodes, and no other is there.
    pub(crate) async fn runs(&self, namespace: &str, real: usize, burst: usize) -> Vec<Pod> {
        self.runs_within(WITHIN, namespace, real, burst).await
    }

    /// The same, with another patience.
    pub(crate) async fn runs_within(&self, patience: Duration, namespace: &str, real: usize, burst: usize) -> Vec<Pod> {
        let what = format!("{real} pods of {namespace} run on real nodes, {burst} on virtual ones");
        eventually_else(&what, patience, || async {
            let pods = self.pods(namespace).await;
            let count = |is_meant: fn(&str) -> bool| {
                pods.iter().filter(|pod| is_running(pod) && node(pod).is_some_and(is_meant)).count()
            };
            let (on_real, on_virtual) = (count(|node| !is_virtual(node)), count(is_virtual));
            if (on_real, on_virtual, pods.len()) == (real, burst, real + burst) {
                Ok(pods)
            } else {
                Err(format!(
                    "{on_real} and {on_virtual} of {}: {:#?}",
                    pods.len(),
                    pods.iter().map(line).collect::<Vec<_>>()
                ))
            }
        })
        .await
    }
}

/// Four real nodes of 4 cores, one pool of two virtual nodes, everything fast.
pub(crate) fn options(scheduler: Scheduler) -> StandOptions {
    let settings = Settings { start_up: StartUp::fixed(Duration::from_millis(200)), ..Settings::default() };
    StandOptions {
        cluster: ClusterOptions { metrics_server: false, ..ClusterOptions::default() },
        real_nodes: RealNodes {
            count: 4,
            cpu: "4".to_owned(),
            memory: "16Gi".to_owned(),
            pods: 110,
            settings: Settings { network: 100, ..settings.clone() },
        },
        pools: vec![SimulatedPool { name: POOL.to_owned(), nodes: 2, pods_per_node: 3000, settings }],
        scheduler,
        move_on_after: Duration::from_secs(3),
        move_back_after: Duration::from_secs(3),
    }
}

/// A Deployment to make.
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) replicas: u32,
    pub(crate) annotations: Value,
    pub(crate) pod_annotations: Value,
    /// Merged into the pod's spec.
    pub(crate) pod_spec: Value,
}

impl Wanted {
    pub(crate) fn new(name: &'static str, base: Option<&str>, replicas: u32) -> Self {
        let annotations = base.map(|base| json!({"burstlet.dev/base": base})).unwrap_or_default();
        Self { name, replicas, annotations, pod_annotations: Value::Null, pod_spec: json!({}) }
    }

    pub(crate) fn object(&self, kind: &str) -> Value {
        let labels = json!({"app": self.name});
        let mut spec = json!({
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "50m"}}}],
        });
        json_patch::merge(&mut spec, &self.pod_spec);
        let metadata = json!({"labels": labels, "annotations": self.pod_annotations});
        json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": self.name, "annotations": self.annotations},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": metadata, "spec": spec},
            },
        })
    }

    fn deployment(&self) -> Deployment {
        serde_json::from_value(self.object("Deployment")).unwrap()
    }
}

pub(crate) fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

pub(crate) fn is_virtual(node: &str) -> bool {
    node.starts_with("burstlet-")
}

pub(crate) fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

pub(crate) fn is_gated(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty())
}

pub(crate) fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.annotations().get(name).map(String::as_str)
}

pub(crate) fn tier(pod: &Pod) -> Option<&str> {
    annotation(pod, "burstlet.dev/tier")
}

pub(crate) fn reason(pod: &Pod) -> &str {
    annotation(pod, "burstlet.dev/reason").unwrap_or_default()
}

/// A pod in one line, for failures.
pub(crate) fn line(pod: &Pod) -> String {
    let gated = if is_gated(pod) { "gated" } else { "open" };
    format!("{} {gated} on {:?}, tier {:?}: {}", pod.name_any(), node(pod), tier(pod), reason(pod))
}

/// Asks until the answer is there.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    eventually_else(what, WITHIN, || {
        let answer = ask();
        async { answer.await.ok_or_else(String::new) }
    })
    .await
}

/// Asks until the answer is there; else tells what was seen last.
pub(crate) async fn eventually_else<T, F>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => assert!(Instant::now() < deadline, "{what}: not within {within:?}; seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sum of a metric's samples whose line contains all of `labels`.
pub(crate) fn sample(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let lines =
        metrics.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Times, sorted.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (share * (self.0.len() - 1) as f64).round() as usize;
        self.0[index]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, high) = (self.quantile(0.5).as_secs_f64() * 1000.0, self.quantile(0.99).as_secs_f64() * 1000.0);
        write!(f, "p50 {median:.0} ms, p99 {high:.0} ms of {}", self.0.len())
    }
}

/// Creates plain pods that spread over hostnames, one every `every`, tells how long each took to be bound, and
/// removes them.
pub(crate) async fn created_to_bound(client: &Client, namespace: &str, count: usize, every: Duration) -> Times {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let bound = Arc::new(Mutex::new(BTreeMap::<String, (Instant, String)>::new()));
    let watching = {
        let (api, bound) = (api.clone(), bound.clone());
        tokio::spawn(async move {
            let mut pods = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
            while let Some(pod) = pods.next().await {
                if let Ok(pod) = pod
                    && let Some(node) = node(&pod)
                {
                    bound.lock().unwrap().entry(pod.name_any()).or_insert((Instant::now(), node.to_owned()));
                }
            }
        })
    };
    let mut created = BTreeMap::new();
    let mut tick = tokio::time::interval(every);
    for index in 0..count {
        tick.tick().await;
        let name = format!("plain-{index}");
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "plain"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "none"}],
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": "plain"}},
                }],
            },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        created.insert(name, Instant::now());
        api.create(&PostParams::default(), &pod).await.unwrap();
    }
    eventually_else("the plain pods are bound", WITHIN, || async {
        let bound = bound.lock().unwrap().len();
        if bound == count { Ok(()) } else { Err(format!("{bound} of {count}")) }
    })
    .await;
    watching.abort();
    let bound = bound.lock().unwrap().clone();
    let astray: Vec<_> = bound.values().filter(|(_, node)| is_virtual(node)).collect();
    assert!(astray.is_empty(), "plain pods on virtual nodes: {astray:?}");
    let mut times: Vec<_> = created.iter().map(|(name, at)| bound[name].0.saturating_duration_since(*at)).collect();
    times.sort_unstable();
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let gone = || async { api.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(()) };
    eventually("the plain pods are gone", gone).await;
    Times(times)
}
