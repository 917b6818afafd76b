//! burstlet as the chart installs it, by the documentation's own commands and the real Helm: a Deployment is annotated, the HPA
//! bursts, a replica is killed, it is upgraded, rolled back, and uninstalled amid a burst. Every process has its own role and no
//! other: nothing is forbidden, and no rule is idle.

mod end;
mod life;
mod roles;
mod told;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use burstlet::lab::cluster::CertificateRequest;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::StatefulSet,
    batch::v1::CronJob,
    coordination::v1::Lease,
    core::v1::{Node, Pod, Secret},
    rbac::v1::{ClusterRole, PolicyRule, Role},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    auditor::judge,
    containers::{Containers, Ground},
    docs::Terminal,
    hpa::{autoscale, load},
    rights::{self, Asked},
    tool,
    trial::{PATIENCE, Shape, Trial, deployment},
};

const NAMESPACE: &str = "burstlet-system";
const UPGRADE: &str = "helm upgrade burstlet helm/burstlet --namespace burstlet-system --values values.yaml";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burstlet_is_installed_upgraded_rolled_back_and_uninstalled_amid_a_burst() {
    let shape = Shape { metrics_server: true, installs: false, pods_per_virtual_node: 20, ..Shape::default() };
    let trial = Trial::begin("install", &shape).await;
    let house = House::new(&trial).await;
    house.values(true, &json!({}));
    house.run("helm install burstlet helm/burstlet --namespace burstlet-system --values values.yaml").await;
    house.works(2).await;

    story(&trial, &house).await;
    let rules = house.rules().await;
    house.uninstalls_amid_a_burst().await;
    house.leaves_nothing().await;
    house.roles_are_just_right(&rules);
    house.takes_over_from_others().await;
    house.run("kubectl delete crd burstpolicies.burstlet.dev virtualpools.burstlet.dev").await;
    house.terminal.ran_all_of_installation();
    drop(house);
    trial.stand.stop().await.unwrap();
}

/// Everything up to the last burst.
async fn story(trial: &Trial, house: &House<'_>) {
    let demand = AtomicU64::new(2400);
    tokio::select! {
        () = load(trial, &demand) => unreachable!("the load never ends by itself"),
        () = async {
            house.bursts().await;
            house.shows_its_page().await;
            house.is_told_to_be_well().await;
            house.tells_of_itself().await;
            house.keeps_shares_of_every_kind().await;
            house.loses_its_leader().await;
            house.is_upgraded_and_rolled_back().await;
            house.brings_base_pods_home().await;
        } => {}
    }
}

/// A cluster with burstlet installed by Helm.
struct House<'a> {
    trial: &'a Trial,
    containers: Containers,
    terminal: Terminal,
    kubeconfig: PathBuf,
}

impl<'a> House<'a> {
    /// What an administrator lays out before: the namespace, a kubelet certificate that this cluster trusts, and a cloud's keys.
    async fn new(trial: &'a Trial) -> Self {
        let cluster = trial.stand.cluster();
        let create = PostParams::default();
        let terminal = Terminal::new(Some(cluster.kubeconfig()));
        terminal.run("kubectl create namespace burstlet-system").await;
        terminal
            .run("kubectl --namespace burstlet-system create secret generic cloud-keys --from-literal=ak=… --from-literal=sk=…")
            .await;
        let [high, low, ..] = std::process::id().to_be_bytes()[2..] else { unreachable!() };
        let network = [127, 64 + high % 128, low];
        let request = CertificateRequest {
            addresses: Containers::addresses(network),
            ..CertificateRequest::server("burstlet-kubelet", &[])
        };
        let issued = cluster.issue(&request).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        let serving = json!({"metadata": {"name": "kubelet-serving"}, "type": "kubernetes.io/tls", "stringData": {
            "tls.crt": text(&issued.certificate), "tls.key": text(&issued.key), "ca.crt": cluster.ca_pem()}});
        let api = Api::<Secret>::namespaced(trial.client.clone(), NAMESPACE);
        api.create(&create, &serde_json::from_value(serving).unwrap()).await.unwrap();
        let containers = Containers::begin(Ground {
            client: trial.client.clone(),
            namespace: NAMESPACE.to_owned(),
            url: cluster.api_url(),
            ca: cluster.ca().to_owned(),
            folder: cluster.folder().join("containers"),
            cloud: trial.stand.real_cloud().clone(),
            network,
        });
        Self { trial, containers: containers.await, terminal, kubeconfig: cluster.kubeconfig().to_owned() }
    }

    /// Writes the values file: with the spare pool, whose keys come from a Secret, at first alone.
    fn values(&self, is_first: bool, more: &Value) {
        let trial = self.trial;
        let pool = json!({
            "name": "sim", "provider": {"simulated": {"endpoint": trial.stand.endpoint("sim").unwrap()}},
            "nodes": {"max": 2, "podsPerNode": 20}, "quota": {"pods": 40},
            "price": {"cpuSecond": "0.000049 CNY", "gibSecond": "0.00000613 CNY"},
        });
        let spare = json!({
            "name": "spare", "quota": {"pods": 0},
            "provider": {"kingsoftKci": {
                "region": "cn-beijing-6", "endpoint": "http://127.0.0.1:9", "subnetIds": ["s"], "securityGroupIds": ["g"],
                "credentials": {"secretRef": {"name": "cloud-keys"}},
            }},
        });
        let mut values = json!({
            "clusterId": "trial",
            "placement": {"moveOn": {"after": "5s"}, "moveBack": {"after": "5s", "coolDown": "5s"}},
            "pools": [pool, spare],
            "policies": [{"name": "house-rules", "moveOn": {"when": ["Full", "Short"], "after": "5s"}}],
            "credentials": ["cloud-keys"],
            "tls": {"secrets": {"kubelet": "kubelet-serving"}},
        });
        for (key, value) in more.as_object().unwrap() {
            values[key] = value.clone();
        }
        if !is_first {
            values["pools"].as_array_mut().unwrap().truncate(1);
        }
        self.terminal.has("values.yaml", values.to_string().as_bytes());
    }

    /// Runs a command of the documentation.
    async fn run(&self, command: &str) -> String {
        let begun = Instant::now();
        let said = self.terminal.run(command).await;
        if command.starts_with("helm") {
            self.trial.say(format!("{command}: {:.1?}", begun.elapsed()));
        }
        said
    }

    /// Runs burstlet as an administrator does at a terminal.
    fn burstlet(&self, arguments: &[&str]) -> String {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_burstlet"));
        let output = command.args(arguments).arg("--kubeconfig").arg(&self.kubeconfig).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "burstlet {arguments:?}: {told}{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks until it is so.
    async fn until(&self, what: &str, mut ask: impl AsyncFnMut() -> Result<(), String>) {
        let begun = Instant::now();
        while let Err(so) = ask().await {
            assert!(begun.elapsed() < PATIENCE, "{what}: {so}; see {}", self.containers.folder().display());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until every part runs, is ready, and pools have so many virtual nodes that are Ready.
    async fn works(&self, pools: usize) {
        self.until("burstlet works", async || {
            for part in ["admission", "controller", "scheduler"] {
                let pods = self.containers.pods(part);
                if pods.len() != 2 {
                    return Err(format!("{part}: {pods:?}"));
                }
                for pod in pods.iter().filter(|_| part != "scheduler") {
                    let (_, address) = self.containers.process(pod).ok_or("it ended")?;
                    let answer = reqwest::get(format!("http://{address}:9090/readyz")).await;
                    let answer = answer.map_err(|error| format!("{pod}: {error}"))?;
                    if !answer.status().is_success() {
                        return Err(format!("{pod}: {}", answer.status()));
                    }
                }
            }
            let nodes = self.virtual_nodes().await;
            let is_ready = |node: &Node| {
                let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
                conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
            };
            let named: BTreeSet<_> = nodes.iter().map(|node| node.labels()["burstlet.dev/pool"].clone()).collect();
            let is_all = named.len() == pools && nodes.iter().all(is_ready);
            if is_all { Ok(()) } else { Err(format!("virtual nodes {named:?}")) }
        })
        .await;
        self.trial.say("burstlet works");
    }

    async fn virtual_nodes(&self) -> Vec<Node> {
        let of_pools = ListParams::default().labels("burstlet.dev/pool");
        Api::<Node>::all(self.trial.client.clone()).list(&of_pools).await.unwrap().items
    }

    /// The pod that holds the lease; a name that begins no pod's where nobody does.
    async fn leader(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.trial.client.clone(), NAMESPACE);
        let lease = leases.get_opt("burstlet").await.unwrap();
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        let pods = self.containers.pods("controller");
        let process = |pod: &&String| {
            let process = self.containers.process(pod).map(|(id, _)| id);
            process.is_some_and(|id| holder.starts_with(&format!("{pod}-{id}-")))
        };
        pods.iter().find(process).cloned().unwrap_or(holder)
    }

    /// Pods of `web` that live, by UID.
    fn web(&self) -> BTreeSet<String> {
        let history = self.trial.auditor.history();
        history.living("web").map(|life| life.uid.clone()).collect()
    }
}
