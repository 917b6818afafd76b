//! A VirtualPool on the ECI emulator, on a real control plane: what kubectl shows of its pods and does to its nodes, what
//! becomes of pods sent by hand, of bad input and of spot pods, and a burst amid everything that a cloud can do.

mod burst;
mod by_hand;
mod drain;
mod input;
mod kubectl;
mod managed;
mod spot;

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use burstlet::{
    lab::{
        cluster::ClusterOptions,
        emulator::{Emulator, Ground, Range, Settings, ZoneStock, alibaba_eci::Eci},
        stand::{RealNodes, Replica, Scheduler, SimulatedPool, Stand, StandOptions},
    },
    provider::simulated,
};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};

use crate::alibaba_eci_sdk::emulator;

/// Longest wait for anything that takes no more than seconds on a machine at rest.
const PATIENCE: Duration = Duration::from_mins(2);
const NODE: &str = "burstlet-eci-0";
const UID: &str = "burstlet.dev/uid";

struct Bench {
    stand: Stand,
    client: Client,
    replica: Replica,
    ground: Arc<Ground>,
    cloud: Arc<Eci>,
    emulator: Emulator,
    begun: Instant,
}

impl Bench {
    async fn start() -> Self {
        let begun = Instant::now();
        let start_up = Range { min: Duration::from_millis(200), max: Duration::from_millis(600) };
        let (ground, cloud, emulator) = emulator(Settings { start_up, ..Settings::default() }).await;
        let settings = simulated::Settings::default();
        let options = StandOptions {
            cluster: ClusterOptions { metrics_server: false, raised_client_limits: true, ..ClusterOptions::default() },
            real_nodes: RealNodes {
                count: 1,
                cpu: "4".to_owned(),
                memory: "16Gi".to_owned(),
                pods: 110,
                settings: simulated::Settings { network: 100, ..settings.clone() },
            },
            pools: vec![SimulatedPool { name: "sim".to_owned(), nodes: 1, pods_per_node: 10, settings }],
            scheduler: Scheduler::ClustersOwn,
            move_on_after: Duration::from_mins(5),
            move_back_after: Duration::from_mins(5),
        };
        let stand = Stand::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let replica = stand.run_here().await.unwrap_or_else(|error| panic!("{error}"));
        let client = stand.cluster().client();
        let bench = Self { stand, client, replica, ground, cloud, emulator, begun };
        bench.allow_secrets();
        bench.secret("alibaba-addon-secret", "testid", "testsecret");
        bench.apply(&pool("eci", bench.provider(json!({}))));
        let nodes = Api::<Node>::all(bench.client.clone());
        until("the pool's node stands", async || nodes.get_opt(NODE).await.unwrap().map(drop).ok_or_else(String::new))
            .await;
        bench.policy("yes", json!({"base": 0, "tiers": [{"pool": "eci"}]}));
        bench.say("the bench stands");
        bench
    }

    /// What was measured, also where the test harness captures output.
    fn say(&self, text: impl AsRef<str>) {
        let _ =
            writeln!(std::io::stderr(), "eci cluster {:6.1}s  {}", self.begun.elapsed().as_secs_f32(), text.as_ref());
    }

    /// The provider of a pool on the emulator.
    fn provider(&self, extra: Value) -> Value {
        let mut eci = json!({"region": "cn-hangzhou", "zones": [{"vSwitchId": "vsw-a"}, {"vSwitchId": "vsw-b"}],
            "securityGroupId": "sg-1", "credentials": {"secretRef": {"name": "alibaba-addon-secret"}},
            "endpoint": self.emulator.address(), "pollEvery": "1s", "rememberShortage": "10s"});
        json_patch::merge(&mut eci, &extra);
        json!({"alibabaEci": eci})
    }

    /// What the chart grants for `credentials={…}`.
    fn allow_secrets(&self) {
        let name = json!({"name": "burstlet-credentials", "namespace": "burstlet-system"});
        let group = "rbac.authorization.k8s.io";
        let names = ["alibaba-addon-secret", "malformed"];
        self.apply(&json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": name,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": ["get"]}]}));
        self.apply(&json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": name,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "burstlet-credentials"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "burstlet"}]}));
    }

    fn secret(&self, name: &str, id: &str, secret: &str) {
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "burstlet-system"},
            "stringData": {"access-key-id": id, "access-key-secret": secret}}));
    }

    fn apply(&self, object: &Value) {
        let output = self.try_apply(object);
        assert!(output.status.success(), "{object}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn try_apply(&self, object: &Value) -> Output {
        let mut command = self.stand.cluster().kubectl_command(["apply", "--filename", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::block_in_place(|| {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        })
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        tokio::task::block_in_place(|| self.stand.cluster().kubectl(arguments).unwrap())
    }

    /// What kubectl prints where it succeeds.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// A pod on the pool's node, past any scheduler.
    fn pod(&self, name: &str, annotations: Value, container: Value) {
        let mut main = json!({"name": "main", "image": "nginx"});
        json_patch::merge(&mut main, &container);
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations},
            "spec": {"nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "tolerations": [{"operator": "Exists"}], "containers": [main]}}));
    }

    /// A policy for what is labelled `burst` with its name.
    fn policy(&self, name: &str, mut spec: Value) {
        spec["selector"] = json!({"matchLabels": {"burst": name}});
        self.apply(&json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": "BurstPolicy",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec}));
    }

    fn deploy(&self, name: &str, replicas: usize, annotations: Value) {
        self.deploy_as(name, replicas, "yes", annotations, json!({}));
    }

    /// Governed by `policy`, with more in its pods' spec. They stop at once: what the cloud charges while a container stops
    /// is not burstlet's to know.
    fn deploy_as(&self, name: &str, replicas: usize, policy: &str, annotations: Value, more: Value) {
        let labels = json!({"app": name, "burst": policy});
        let mut pod = json!({"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "nginx",
                "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}}}]});
        json_patch::merge(&mut pod, &more);
        self.apply(
            &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}}}),
        );
    }

    fn scale(&self, name: &str, replicas: usize) {
        self.said(&["scale", "deployment", name, &format!("--replicas={replicas}")]);
    }

    async fn labelled(&self, app: &str) -> Vec<Pod> {
        self.pods().list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap().items
    }

    async fn until_running(&self, name: &str) -> Pod {
        until(&format!("{name} runs"), async || {
            let pod = self.pods().get(name).await.unwrap();
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            if phase == "Running" { Ok(pod) } else { Err(phase) }
        })
        .await
    }

    async fn until_none(&self, app: &str) {
        until(&format!("no pod of {app} is left"), async || {
            let left = self.labelled(app).await.len();
            if left == 0 { Ok(()) } else { Err(format!("{left} pods")) }
        })
        .await;
    }

    /// What Events of a pod and a reason say.
    async fn events(&self, pod: &str, reason: &str) -> Vec<String> {
        self.told(&format!("involvedObject.name={pod},reason={reason}")).await
    }

    async fn events_of(&self, name: &str) -> Vec<String> {
        self.told(&format!("involvedObject.name={name}")).await
    }

    async fn told(&self, fields: &str) -> Vec<String> {
        let events = Api::<Event>::default_namespaced(self.client.clone());
        let found = events.list(&ListParams::default().fields(fields)).await.unwrap();
        found.into_iter().filter_map(|event| event.message).collect()
    }

    /// How many instances each pod has had, by its UID, and how many of them stand. What found no machine never was one.
    fn audit(&self) -> BTreeMap<String, (u64, u64)> {
        let mut audit = BTreeMap::<String, (u64, u64)>::new();
        for instance in self.cloud_instances() {
            if instance["finished"] != "ScheduleFailed" {
                let entry = audit.entry(instance["tags"][UID].as_str().unwrap().to_owned()).or_default();
                entry.0 += 1;
                entry.1 += u64::from(!["Gone", "Terminating"].contains(&instance["status"].as_str().unwrap()));
            }
        }
        audit
    }

    fn cloud_instances(&self) -> Vec<Value> {
        use burstlet::lab::emulator::Cloud;
        self.cloud.instances().as_array().unwrap().clone()
    }

    fn creations(&self) -> u64 {
        self.ground.calls().get("CreateContainerGroup").map_or(0, |calls| calls.arrived)
    }

    /// A metric of burstlet's.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.replica.metrics().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

fn pool(name: &str, provider: Value) -> Value {
    json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": "VirtualPool", "metadata": {"name": name},
        "spec": {"provider": provider, "nodes": {"max": 1}, "quota": {"pods": 1500},
            "price": {"cpuSecond": "0.000049 CNY", "gibSecond": "0.00000613 CNY"}}})
}

fn stock(instances: u64) -> ZoneStock {
    ZoneStock { instances: Some(instances), addresses: None }
}

/// Asks until the answer is there; else tells what was seen last.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, &mut ask).await
}

async fn within<T>(patience: Duration, what: &str, ask: &mut impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => assert!(Instant::now() < deadline, "{what}: not within {patience:?}; {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_on_eci_is_driven_by_kubectl_and_a_burst_rides_out_all_that_a_cloud_can_do() {
    let bench = Box::pin(Bench::start()).await;
    by_hand::story(&bench).await;
    input::begin(&bench);
    kubectl::story(&bench).await;
    spot::story(&bench).await;
    drain::story(&bench).await;
    managed::story(&bench);
    burst::story(&bench, &burst::Shape { pods: 400, outage: Duration::from_secs(20) }).await;
    input::story(&bench).await;
    let Bench { stand, replica, .. } = bench;
    replica.stop().await.unwrap();
    stand.stop().await.unwrap();
}

/// The long form: 1,000 pods, and ten minutes without the cloud.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour; run it by its name"]
async fn a_thousand_pods_ride_out_ten_minutes_without_the_cloud() {
    let bench = Box::pin(Bench::start()).await;
    burst::story(&bench, &burst::Shape { pods: 1000, outage: Duration::from_mins(10) }).await;
    let Bench { stand, replica, .. } = bench;
    replica.stop().await.unwrap();
    stand.stop().await.unwrap();
}
