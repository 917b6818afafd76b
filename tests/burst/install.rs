//! burstlet as the chart installs it, by the documentation's own commands and the real Helm: a Deployment is annotated, the HPA
//! bursts, a replica is killed, it is upgraded, rolled back, and uninstalled amid a burst. Every process has its own role and no
//! other: nothing is forbidden, and no rule is idle.

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

    /// The HPA takes a Deployment from its base into the pool.
    async fn bursts(&self) {
        let trial = self.trial;
        trial.apply(&deployment("web", None, 3)).await;
        trial.until_ready("web", 3, 0).await;
        let before = self.web();
        self.run("kubectl annotate deployment web burstlet.dev/base=3").await;
        self.run("kubectl rollout restart deployment web").await;
        trial.until("web is made anew", |_| self.web().is_disjoint(&before).then_some(())).await;
        trial.until_ready("web", 3, 0).await;
        autoscale(trial, &json!({"stabilizationWindowSeconds": 600})).await;
        trial.until_ready("web", 3, 17).await;
        trial.say("the HPA has burst");
        let status: Value = serde_json::from_str(&self.run("burstlet status --output json").await).unwrap();
        let web = status["workloads"].as_array().unwrap().iter().find(|line| line["name"] == "web").unwrap();
        assert_eq!((&web["real"], &web["pools"]["sim"]), (&json!(3), &json!(17)), "{status}");
        let status = self.run("burstlet status --output wide").await;
        assert!(status.lines().any(|line| line.contains("web") && line.contains("17")), "{status}");
        let told = self.run("burstlet explain deployment/web").await;
        assert!(told.contains("real 3, sim 17"), "{told}");
        let pod = trial.auditor.history().living("web").next().unwrap().name.clone();
        let explain = "burstlet explain pod/web-1 --output yaml";
        let told = self.terminal.run_as(explain, &explain.replace("web-1", &pod)).await;
        assert!(told.contains("reason:") && told.contains(&pod), "{told}");
        let told = self.run("burstlet release").await;
        assert!(told.starts_with("released 0 pods"), "{told}");
    }

    /// The live page tells of the burst, to those alone who may look.
    async fn shows_its_page(&self) {
        let cluster = self.trial.stand.cluster();
        let kubectl = |words: &[&str]| {
            let output = cluster.kubectl(words.iter().copied()).unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        kubectl(&["create", "serviceaccount", "stranger", "--namespace", NAMESPACE]);
        self.run("kubectl --namespace burstlet-system create serviceaccount viewer").await;
        self.run(
            "kubectl create clusterrolebinding burstlet-viewer --clusterrole burstlet-page --serviceaccount burstlet-system:viewer",
        )
        .await;
        let viewer = self.run("kubectl --namespace burstlet-system create token viewer").await.trim().to_owned();
        let stranger = kubectl(&["create", "token", "stranger", "--namespace", NAMESPACE]);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(cluster.ca_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
        let leader = self.leader().await;
        let page = |pod: &str| format!("https://{}:8445/", self.containers.process(pod).unwrap().1);
        let get = async |pod: &str, token: &str| {
            let answer = client.get(page(pod)).basic_auth("anyone", Some(token)).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(client.get(page(&leader)).send().await.unwrap().status().as_u16(), 401);
        assert_eq!(get(&leader, "made-up").await.0, 401);
        assert_eq!(get(&leader, &stranger).await.0, 403);
        let (status, html) = get(&leader, &viewer).await;
        assert_eq!(status, 200, "{html}");
        for shown in ["default/web", ">17</td>", "takes pods", "burst", "CNY"] {
            assert!(html.contains(shown), "the page does not show {shown}: {html}");
        }
        let pods = self.containers.pods("controller");
        let standby = pods.iter().find(|pod| **pod != leader).unwrap();
        assert_eq!(get(standby, &viewer).await.0, 503, "a standby shows a page of its own");
        self.trial.say("the page is shown");
    }

    /// `burstlet doctor` finds nothing broken.
    async fn is_told_to_be_well(&self) {
        let table = self.run("burstlet doctor").await;
        assert!(table.trim_start().starts_with("STATE") && !table.contains("PROBLEM"), "{table}");
        let told = self.burstlet(&["doctor", "--output", "json"]);
        let findings: Vec<Value> = serde_json::from_str(&told).unwrap();
        for check in [
            "cluster",
            "webhook",
            "burstlet-admission",
            "burstlet-controller",
            "burstlet-scheduler",
            "versions",
            "certificates",
            "roles",
            "credentials",
            "daemonsets",
            "workloads",
        ] {
            let mut found = findings.iter().filter(|finding| finding["check"] == check).peekable();
            assert!(found.peek().is_some(), "{check} was not looked at: {told}");
            assert!(found.all(|finding| finding["state"] == "ok"), "{check}: {told}");
        }
    }

    /// Every metric is one of the documentation's, logs are what was asked for, and pods say why they are where they are.
    async fn tells_of_itself(&self) {
        let documented = std::fs::read_to_string(tool::root().join("docs/metrics.md")).unwrap();
        // The leader places, whichever replica has the pool's lease keeps its nodes: what is told is the parts' sum.
        let mut told = String::new();
        for pod in ["admission", "controller"].iter().flat_map(|part| self.containers.pods(part)) {
            let (_, address) = self.containers.process(&pod).unwrap();
            let metrics = reqwest::get(format!("http://{address}:9090/metrics")).await.unwrap().text().await.unwrap();
            let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
            for name in names {
                assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
            }
            let log = std::fs::read_to_string(self.containers.folder().join(format!("{pod}.log"))).unwrap();
            assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{pod}: {log}");
            told += &metrics;
        }
        let values = |name: &str| -> Vec<u64> {
            told.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok()).collect()
        };
        for (name, least) in [
            ("burstlet_pool_pods{pool=\"sim\"}", 17),
            ("burstlet_kubelet_instances{pool=\"sim\"}", 17),
            ("burstlet_scale_out_seconds_count{tier=\"burst\"}", 17),
            ("burstlet_scale_out_seconds_count{tier=\"base\"}", 3),
            ("burstlet_kubelet_provider_calls_total{call=\"create\",pool=\"sim\"}", 17),
            ("burstlet_api_requests_total{outcome=\"ok\",resource=\"pods\",verb=\"patch\"}", 20),
            ("burstlet_api_requests_total{outcome=\"ok\",resource=\"pods/status\",verb=\"patch\"}", 17),
        ] {
            let sum: u64 = values(name).iter().sum();
            assert!(sum >= least, "{name}: {sum} of {least}: {told}");
        }
        let orphans = values("burstlet_kubelet_orphans{pool=\"sim\"}");
        assert!(!orphans.is_empty() && orphans.iter().all(|count| *count == 0), "{told}");
        // The spare pool's quota is 0.
        self.until("the spare pool tells why it takes no pods", async || {
            let events = self.run("kubectl get events --field-selector reportingComponent=burstlet").await;
            let is_told = events.lines().any(|line| line.contains("virtualpool/spare") && line.contains("Warning"));
            if is_told { Ok(()) } else { Err(events) }
        })
        .await;
    }

    /// Of a Deployment, a StatefulSet and a `CronJob`'s Job, half of two pods stay on real nodes.
    async fn keeps_shares_of_every_kind(&self) {
        let trial = self.trial;
        let share = deployment("share", Some("50%"), 2);
        let (template, selector) = (share["spec"]["template"].clone(), share["spec"]["selector"].clone());
        let named = |name: &str| {
            let mut template = template.clone();
            template["metadata"]["labels"]["app"] = json!(name);
            template
        };
        let mut set = share.clone();
        (set["metadata"]["name"], set["spec"]["template"], set["spec"]["selector"]) =
            (json!("db"), named("db"), selector);
        set["spec"]["selector"]["matchLabels"]["app"] = json!("db");
        set["spec"]["serviceName"] = json!("db");
        let mut nightly = named("nightly");
        nightly["spec"]["restartPolicy"] = json!("Never");
        let cron = json!({
            "metadata": {"name": "nightly", "annotations": {"burstlet.dev/base": "50%"}},
            "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {
                "spec": {"parallelism": 2, "completions": 20, "template": nightly}}},
        });
        trial.apply(&share).await;
        let create = PostParams::default();
        let sets = Api::<StatefulSet>::default_namespaced(trial.client.clone());
        sets.create(&create, &serde_json::from_value(set).unwrap()).await.unwrap();
        let crons = Api::<CronJob>::default_namespaced(trial.client.clone());
        crons.create(&create, &serde_json::from_value(cron).unwrap()).await.unwrap();
        let kubectl = |words: &[&str]| {
            let output = trial.stand.cluster().kubectl(words.iter().copied()).unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        kubectl(&["create", "job", "by-hand", "--from", "cronjob/nightly"]);
        for app in ["share", "db", "nightly"] {
            trial.until_ready(app, 1, 1).await;
        }
        kubectl(&["delete", "deployment/share", "statefulset/db", "job/by-hand", "cronjob/nightly"]);
        for app in ["share", "db", "nightly"] {
            trial.until_ready(app, 0, 0).await;
        }
        trial.say("shares are kept, of every kind");
    }

    /// The leader's process dies; the other takes over, and the pods that run never notice.
    async fn loses_its_leader(&self) {
        let trial = self.trial;
        let before = self.web();
        let leader = self.leader().await;
        assert!(self.containers.pods("controller").contains(&leader), "nobody leads: {leader}");
        let process = |pod: &str| self.containers.process(pod).map(|(id, _)| id);
        let killed = process(&leader);
        self.containers.kill(&leader);
        let begun = Instant::now();
        // The other pod's, or the one that began anew in the same pod.
        self.until("another process leads", async || {
            let now = self.leader().await;
            let is_other =
                self.containers.pods("controller").contains(&now) && (now != leader || process(&now) != killed);
            if is_other { Ok(()) } else { Err(now) }
        })
        .await;
        trial.say(format!("another process leads {:.1?} after the leader was killed", begun.elapsed()));
        trial.apply(&deployment("more", Some("1"), 6)).await;
        trial.until_ready("more", 1, 5).await;
        trial.scale("more", 0).await;
        trial.until_ready("more", 0, 0).await;
        assert_eq!(self.web(), before, "pods changed because a replica was killed");
        self.works(2).await;
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

    /// Both change the configuration and take a pool away and bring it back; both replace every replica.
    async fn is_upgraded_and_rolled_back(&self) {
        let before = self.web();
        for (what, pools) in [("upgrade", 1), ("rollback", 2)] {
            let old: BTreeSet<_> =
                ["admission", "controller"].iter().flat_map(|part| self.containers.pods(part)).collect();
            if what == "upgrade" {
                self.values(false, &json!({"logFormat": "human"}));
                self.run("kubectl apply --server-side --filename helm/burstlet/crds").await;
                // An upgrade brings back what somebody took away in need.
                self.run("kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration burstlet").await;
                self.run(UPGRADE).await;
                assert_eq!(self.named::<MutatingWebhookConfiguration>().await, ["burstlet"]);
            } else {
                self.run("helm rollback burstlet --namespace burstlet-system").await;
            }
            self.until("every replica is a new one", async || {
                let now: BTreeSet<_> =
                    ["admission", "controller"].iter().flat_map(|part| self.containers.pods(part)).collect();
                if now.len() == 4 && now.is_disjoint(&old) { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await;
            self.works(pools).await;
            if what == "upgrade" {
                let pod = &self.containers.pods("controller")[0];
                let log = std::fs::read_to_string(self.containers.folder().join(format!("{pod}.log"))).unwrap();
                assert!(log.contains(" INFO ") && !log.contains('\u{1b}'), "colours without a terminal: {log}");
            }
            assert_eq!(self.web(), before, "pods changed by {what}");
        }
        let restarts = self.containers.restarts();
        assert!(restarts.is_empty(), "processes ended by themselves: {restarts:?}");
    }

    /// A base pod that fits nowhere goes to the pool, and comes home through the Eviction API.
    async fn brings_base_pods_home(&self) {
        let trial = self.trial;
        let sized = |name: &str, base: Option<&str>, replicas: usize, cpu: &str| {
            let mut object = deployment(name, base, replicas);
            object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
            object
        };
        trial.apply(&sized("filler", None, 5, "50")).await;
        trial.until_ready("filler", 5, 0).await;
        trial.apply(&sized("heavy", Some("1"), 1, "30")).await;
        trial.until_ready("heavy", 0, 1).await;
        trial.scale("filler", 0).await;
        trial.until_ready("heavy", 1, 0).await;
        trial.say("a base pod came home");
    }

    async fn uninstalls_amid_a_burst(&self) {
        let trial = self.trial;
        trial.apply(&deployment("crowd", Some("2"), 60)).await;
        trial.until("the crowd bursts", |history| (history.ready("crowd").1 >= 5).then_some(())).await;
        let so_far = judge(&trial.auditor.history());
        assert!(so_far.violations.is_empty(), "{:#?}", so_far.violations);
        // A gated pod that nothing would make anew: the hook lets it go as it is.
        let mut alone = deployment("alone", None, 1)["spec"]["template"]["spec"].clone();
        alone["schedulingGates"] = json!([{"name": "burstlet.dev/placement"}]);
        let alone: Pod = serde_json::from_value(json!({"metadata": {"name": "alone"}, "spec": alone})).unwrap();
        trial.pods().create(&PostParams::default(), &alone).await.unwrap();
        self.run("helm uninstall burstlet --namespace burstlet-system").await;
    }

    /// What users of other virtual kubelets type, once the definitions are there; nobody follows the pools here.
    async fn takes_over_from_others(&self) {
        for command in [
            "kubectl explain virtualpool.spec.provider.alibabaEci",
            "kubectl -n burstlet-system create secret generic alibaba-addon-secret --from-literal=access-key-id=… --from-literal=access-key-secret=…",
            "burstlet pool import tests/clouds/seeds/000-eci-registered-cluster/manifests.yaml --region cn-hangzhou --quota 2000 | kubectl apply -f -",
            "burstlet pool import tests/clouds/seeds/001-eci-many-virtual-nodes/manifests.yaml --quota 12000 | kubectl apply -f -",
            "burstlet pool import tests/clouds/seeds/002-eci-vnodectl/config.yaml | kubectl apply -f -",
            "kubectl -n burstlet-system create secret generic kci-keys --from-literal=KCI_ACCESS_KEY=… --from-literal=KCI_SECRET_KEY=…",
            "burstlet pool import tests/clouds/seeds/003-kci/manifests.yaml | kubectl apply -f -",
            "burstlet pool import tests/clouds/seeds/003-kci-temporary-keys/manifests.yaml | kubectl apply -f -",
            "kubectl -n kube-system create role burstlet-keys --verb=get --resource=configmaps --resource-name=user-temp-aksk",
            "kubectl -n kube-system create rolebinding burstlet-keys --role=burstlet-keys --serviceaccount=burstlet-system:burstlet-controller",
            "burstlet pool import tests/clouds/seeds/004-eci-virtual-kubelet/manifests.yaml | kubectl apply -f -",
        ] {
            self.run(command).await;
        }
    }

    async fn leaves_nothing(&self) {
        let trial = self.trial;
        assert_eq!(self.virtual_nodes().await.len(), 0);
        assert_eq!(trial.alive_in_pool(), 0, "instances are left");
        assert_eq!(self.named::<MutatingWebhookConfiguration>().await, [] as [String; 0]);
        assert_eq!(self.named::<ValidatingWebhookConfiguration>().await, [] as [String; 0]);
        assert_eq!(self.named::<ClusterRole>().await, [] as [String; 0]);
        let leases: Api<Lease> = Api::all(trial.client.clone());
        self.until("no lease is left", async || {
            let leases = leases.list(&ListParams::default()).await.unwrap();
            let ours = leases.iter().map(ResourceExt::name_any);
            let ours: Vec<_> = ours.filter(|name| name.contains("burstlet") || name.contains("sim-")).collect();
            if ours.is_empty() { Ok(()) } else { Err(format!("{ours:?}")) }
        })
        .await;
        trial.until_ready("crowd", 60, 0).await;
        let pods = Api::<Pod>::all(trial.client.clone());
        self.until("no pod waits, is gated or held", async || {
            let pods = pods.list(&ListParams::default()).await.unwrap();
            let is_left = |pod: &&Pod| {
                let spec = pod.spec.as_ref().unwrap();
                let pending = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
                pending
                    || spec.scheduling_gates.is_some()
                    || pod.namespace().as_deref() == Some(NAMESPACE)
                    || !pod.finalizers().is_empty()
            };
            let left: Vec<_> = pods.iter().filter(is_left).map(ResourceExt::name_any).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        let pools = trial.stand.cluster().kubectl(["get", "virtualpools,burstpolicies", "-A", "-o", "name"]).unwrap();
        assert_eq!(String::from_utf8_lossy(&pools.stdout), "");
        trial.say("nothing is left");
    }

    /// Objects of burstlet's.
    async fn named<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let all = Api::<K>::all(self.trial.client.clone()).list(&ListParams::default()).await.unwrap();
        all.iter().map(ResourceExt::name_any).filter(|name| name.contains("burstlet")).collect()
    }
}

/// Rules that the story need not make use of.
const IDLE: [(&str, &str, &str); 2] = [
    // An event that is told again within minutes is patched; whether one is, is chance.
    ("burstlet-controller", "patch", "events.k8s.io/events"),
    // The hook lets gated pods go that stand alone; here the controller, which still runs, does so before it.
    ("burstlet-uninstall", "patch", "/pods"),
];

impl House<'_> {
    /// The rules of every account of burstlet's, as installed; the uninstall hook's live as long as the hook alone.
    async fn rules(&self) -> Vec<(&'static str, Vec<Value>)> {
        let client = &self.trial.client;
        let plain = |rules: Option<Vec<PolicyRule>>| -> Vec<Value> {
            rules.into_iter().flatten().map(|rule| serde_json::to_value(rule).unwrap()).collect()
        };
        let cluster = async |name: &str| plain(Api::<ClusterRole>::all(client.clone()).get(name).await.unwrap().rules);
        let own =
            async |name: &str| plain(Api::<Role>::namespaced(client.clone(), NAMESPACE).get(name).await.unwrap().rules);
        let hook: Value =
            serde_saphyr::from_str(include_str!("../../helm/burstlet/files/uninstall-role.yaml")).unwrap();
        let mut controller = cluster("burstlet-controller").await;
        controller.extend(own("burstlet-credentials").await);
        vec![
            ("burstlet-admission", cluster("burstlet-admission").await),
            ("burstlet-controller", controller),
            ("burstlet-scheduler", own("burstlet-scheduler").await),
            ("burstlet-uninstall", hook["rules"].as_array().unwrap().clone()),
        ]
    }

    /// Nothing that burstlet asked was forbidden, and all that its roles allow it did ask.
    fn roles_are_just_right(&self, rules: &[(&str, Vec<Value>)]) {
        let log = std::fs::read_to_string(self.trial.stand.cluster().audit_log()).unwrap();
        let asked = Asked::read(&log, NAMESPACE);
        // Once the hook is done, Helm takes roles and processes away in whatever order.
        let end = asked.last("burstlet-uninstall");
        assert_ne!(end, "", "the hook asked nothing");
        let forbidden: BTreeSet<_> = asked.forbidden.iter().filter(|(_, at, _)| at.as_str() < end).collect();
        let forbidden: BTreeSet<_> =
            forbidden.iter().map(|(account, _, right)| format!("{account}: {right:?}")).collect();
        let mut idle = Vec::new();
        for (account, rules) in rules {
            for right in rights::allowed(rules) {
                let is_known = IDLE.contains(&(*account, right.verb.as_str(), right.on.as_str()));
                if !asked.uses(account, &right) && !is_known {
                    idle.push(format!("{account}: {} {} {:?}", right.verb, right.on, right.name));
                }
            }
        }
        assert!(
            forbidden.is_empty() && idle.is_empty(),
            "forbidden: {forbidden:#?}; rules that nobody uses: {idle:#?}"
        );
    }
}
