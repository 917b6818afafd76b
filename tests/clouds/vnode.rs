//! `burstlet vnode` and `burstlet routes` against the emulated cloud, and a stand-in for the cluster's API.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as At, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use burstlet::lab::emulator::{Cloud, Emulator, alibaba_eci::Eci};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{alibaba_eci_sdk::emulator, trial::prompt, venv};

/// As much of a cluster as the commands look at.
#[derive(Debug, Default)]
struct Cluster {
    /// By kind and name.
    objects: BTreeMap<(&'static str, String), Value>,
    pods: Vec<Value>,
    /// Evictions that a disruption budget still refuses.
    refusals: usize,
}

type Shared = State<Arc<Mutex<Cluster>>>;

fn status(code: StatusCode, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": message, "code": code.as_u16()});
    (code, Json(body)).into_response()
}

fn read(cluster: &Mutex<Cluster>, kind: &'static str, name: String) -> Response {
    match cluster.lock().unwrap().objects.get(&(kind, name)) {
        Some(object) => Json(object.clone()).into_response(),
        None => status(StatusCode::NOT_FOUND, "NotFound"),
    }
}

fn change(cluster: &Mutex<Cluster>, kind: &'static str, name: String, patch: &[u8]) -> Response {
    let mut cluster = cluster.lock().unwrap();
    let mut patch: Value = serde_json::from_slice(patch).unwrap();
    if kind == "secret" {
        // The token controller's work.
        patch["data"] = json!({"token": BASE64_STANDARD.encode("token-of-the-account")});
    } else if !cluster.objects.contains_key(&(kind, name.clone())) {
        return status(StatusCode::NOT_FOUND, "NotFound");
    }
    let object = cluster.objects.entry((kind, name)).or_insert_with(|| json!({}));
    json_patch::merge(object, &patch);
    Json(object.clone()).into_response()
}

fn router(cluster: Arc<Mutex<Cluster>>) -> Router {
    macro_rules! object {
        ($kind:literal) => {
            get(|State(cluster): Shared, At(path): At<Vec<String>>| async move {
                read(&cluster, $kind, path.last().unwrap().clone())
            })
            .patch(|State(cluster): Shared, At(path): At<Vec<String>>, body: Bytes| async move {
                change(&cluster, $kind, path.last().unwrap().clone(), &body)
            })
            .delete(|State(cluster): Shared, At(path): At<Vec<String>>| async move {
                match cluster.lock().unwrap().objects.remove(&($kind, path.last().unwrap().clone())) {
                    Some(object) => Json(object).into_response(),
                    None => status(StatusCode::NOT_FOUND, "NotFound"),
                }
            })
        };
    }
    Router::new()
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/nodes/{name}", object!("node"))
        .route("/api/v1/namespaces/{namespace}/secrets/{name}", object!("secret"))
        .route("/apis/burstlet.dev/v1alpha1/virtualpools/{name}", object!("pool"))
        .route("/api/v1/pods", get(pods))
        .route("/api/v1/namespaces/{namespace}/pods/{name}/eviction", post(evict))
        .with_state(cluster)
}

async fn nodes(State(cluster): Shared, Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let cluster = cluster.lock().unwrap();
    let label = query.get("labelSelector").cloned().unwrap_or_default();
    let all = cluster.objects.iter().filter(|((kind, _), _)| *kind == "node").map(|(_, node)| node.clone());
    let wanted = all.filter(|node| label.is_empty() || !node["metadata"]["labels"][&label].is_null());
    Json(json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": wanted.collect::<Vec<_>>()}))
}

async fn pods(State(cluster): Shared, Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let node = query["fieldSelector"].strip_prefix("spec.nodeName=").unwrap().to_owned();
    let cluster = cluster.lock().unwrap();
    let on_it = cluster.pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.as_str()).cloned();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": on_it.collect::<Vec<_>>()}))
}

async fn evict(State(cluster): Shared, At((_, name)): At<(String, String)>) -> Response {
    let mut cluster = cluster.lock().unwrap();
    if cluster.refusals > 0 {
        cluster.refusals -= 1;
        return status(StatusCode::TOO_MANY_REQUESTS, "it would violate the pod's disruption budget");
    }
    let node =
        cluster.pods.iter().find(|pod| pod["metadata"]["name"] == name.as_str()).unwrap()["spec"]["nodeName"].clone();
    let node = cluster.objects[&("node", node.as_str().unwrap().to_owned())].clone();
    assert_eq!(node["spec"]["unschedulable"], true, "evicted before the node was closed");
    cluster.pods.retain(|pod| pod["metadata"]["name"] != name.as_str());
    Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})).into_response()
}

/// The emulated cloud, the cluster, and a home with their context in it.
struct Trial {
    cluster: Arc<Mutex<Cluster>>,
    cloud: Arc<Eci>,
    emulator: Emulator,
    home: TempDir,
}

impl Trial {
    async fn start() -> Self {
        let (_, cloud, emulator) = emulator(prompt()).await;
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = router(cluster.clone());
        tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
        let home = tempfile::tempdir().unwrap();
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "u", "user": {"token": "token-of-the-admin"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        fs::write(home.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        fs::write(home.path().join("secret"), "testsecret\n").unwrap();
        let trial = Self { cluster, cloud, emulator, home };
        let settings = ["--region-id", "cn-hangzhou", "--access-key-id", "testid", "--vswitch-id", "vsw-a"];
        let address = trial.emulator.address();
        let files = [("--access-key-secret-file", trial.path("secret")), ("--kubeconfig", trial.path("kubeconfig"))];
        let files = files.iter().flat_map(|(flag, path)| [*flag, path.to_str().unwrap()]);
        let rest = ["--security-group-id", "sg-1", "--endpoint", &address];
        let all = ["vnode", "config", "set-context", "default"].into_iter().chain(settings).chain(files).chain(rest);
        let output = trial.run(all).await;
        assert!(output.status.success(), "{}", told(&output));
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        run(self.home.path(), args).await
    }

    /// Standard output of a command that succeeds.
    async fn done(&self, args: &str) -> String {
        let output = self.run(args.split(' ')).await;
        assert!(output.status.success(), "{args}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that is refused.
    async fn refused(&self, args: &str) -> String {
        let output = self.run(args.split(' ')).await;
        assert!(!output.status.success(), "{args}: {}", told(&output));
        told(&output)
    }

    fn put(&self, kind: &'static str, name: &str, object: Value) {
        self.cluster.lock().unwrap().objects.insert((kind, name.to_owned()), object);
    }

    fn node(&self, name: &str, labels: Value) {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let object = json!({"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}});
        self.put("node", name, object);
    }

    fn pod(&self, name: &str, node: &str, owner: &str) {
        let owner = json!([{"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "o"}]);
        let metadata = json!({"name": name, "namespace": "default", "uid": name, "ownerReferences": owner});
        self.cluster
            .lock()
            .unwrap()
            .pods
            .push(json!({"metadata": metadata, "spec": {"nodeName": node, "containers": []}}));
    }

    fn has(&self, kind: &'static str, name: &str) -> bool {
        self.cluster.lock().unwrap().objects.contains_key(&(kind, name.to_owned()))
    }
}

async fn run<'a>(home: &Path, args: impl IntoIterator<Item = &'a str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    command.args(args).env("HOME", home);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn vnode_contexts_are_selected_shown_and_masked() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".vnode");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("config");
    // As a user of vnodectl's has it: open to all, two contexts.
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clouds/seeds/002-eci-vnodectl/config.yaml");
    let text = fs::read_to_string(seed).unwrap();
    let other = "- name: other\n  region-id: cn-beijing\n  access-key-secret: hush-hush\ncurrent-context";
    fs::write(&file, text.replace("current-context", other)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let vnode = async |args: &str| run(home.path(), ["vnode", "config"].into_iter().chain(args.split(' '))).await;

    assert!(vnode("set-context other").await.status.success());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("current-context: other") && written.contains("kind: vnode"), "{written}");
    let contexts = told(&vnode("get-contexts").await);
    assert!(
        contexts
            .lines()
            .any(|line| line.trim_start().starts_with('*') && line.contains("other") && line.contains("cn-beijing")),
        "{contexts}"
    );
    assert!(vnode("use-context default").await.status.success());
    assert!(fs::read_to_string(&file).unwrap().contains("current-context: default"));
    let view = told(&vnode("view").await);
    assert!(view.contains("LTAI****") && view.contains("region-id: cn-beijing"), "{view}");
    assert!(!view.contains("hush-hush") && !view.contains("LTAI0000"), "{view}");
    let refused = told(&vnode("set-context nowhere").await);
    assert!(refused.contains("no context nowhere; known are: default, other"), "{refused}");
    let json = told(&vnode("get-contexts -o json").await);
    assert!(!json.contains("hush-hush"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_node_is_made_awaited_shown_and_deleted() {
    let trial = Trial::start().await;
    let output =
        trial.run("vnode create --cluster-dns 10.96.0.10 --service-account kube-system/vnode".split(' ')).await;
    assert!(output.status.success(), "{}", told(&output));
    let created: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids = created.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids, ["RequestId", "VirtualNodeId"]);
    let id = created["VirtualNodeId"].as_str().unwrap().to_owned();
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{id}: done")), "{}", told(&output));

    let asked = trial.cloud.asked(&id).unwrap();
    assert_eq!(
        (asked["Taint.1.Key"].as_str(), asked["ClusterDNS"].as_str()),
        ("virtual-kubelet.io/provider", "10.96.0.10")
    );
    let given = String::from_utf8(BASE64_STANDARD.decode(&asked["KubeConfig"]).unwrap()).unwrap();
    assert!(given.contains("token-of-the-account") && !given.contains("token-of-the-admin"), "{given}");

    let name = format!("cn-hangzhou.{id}");
    trial.node(&name, json!({"type": "virtual-kubelet"}));
    trial.node("burstlet-eci-0", json!({"burstlet.dev/pool": "eci"}));
    let list = trial.done("vnode list").await;
    assert!(list.lines().any(|line| line.contains(&name) && line.contains("Ready")), "{list}");
    assert!(list.lines().any(|line| line.contains("burstlet-eci-0") && line.contains("pool")), "{list}");
    let described = trial.done(&format!("vnode describe {id}")).await;
    assert!(described.contains("vswitchId: vsw-a") && described.contains(&format!("node: {name}")), "{described}");

    // A pod that runs there would leave its instance behind; one of a DaemonSet has none.
    trial.pod("of-a-daemon-set", &name, "DaemonSet");
    trial.pod("web", &name, "ReplicaSet");
    let refused = trial.refused(&format!("vnode delete {id}")).await;
    assert!(refused.contains("still has 1 pods (default/web)") && refused.contains("--drain"), "{refused}");
    assert!(trial.cloud.asked(&id).is_some() && trial.has("node", &name));
    let object = trial.cluster.lock().unwrap().objects[&("node", name.clone())].clone();
    assert_eq!(object["spec"]["unschedulable"], false, "a node that stays is open again");

    trial.cluster.lock().unwrap().refusals = 2;
    trial.done(&format!("vnode delete {name} --drain")).await;
    assert!(trial.cloud.asked(&id).is_none() && !trial.has("node", &name));
    assert!(trial.refused(&format!("vnode delete {id}")).await.contains("there is no virtual node"));
    assert!(trial.refused("vnode describe vnd-none").await.contains("there is no virtual node vnd-none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pools_node_with_pods_stays_until_it_is_drained() {
    let trial = Trial::start().await;
    let spec =
        json!({"provider": {"simulated": {"endpoint": "http://x:1"}}, "nodes": {"max": 1}, "quota": {"pods": 5}});
    let pool = json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": "VirtualPool",
        "metadata": {"name": "eci", "resourceVersion": "7"}, "spec": spec});
    trial.put("pool", "eci", pool);
    trial.node("burstlet-eci-0", json!({"burstlet.dev/pool": "eci"}));
    let max = || trial.cluster.lock().unwrap().objects[&("pool", "eci".to_owned())]["spec"]["nodes"]["max"].clone();

    let refused = trial.refused("vnode delete burstlet-eci-0").await;
    assert!(refused.contains("is the only node of the pool eci; delete the pool"), "{refused}");
    let created = trial.done("vnode create --pool eci --no-wait").await;
    assert!(created.contains("burstlet-eci-1") && max() == 2, "{created}");
    trial.node("burstlet-eci-1", json!({"burstlet.dev/pool": "eci"}));
    assert!(trial.refused("vnode delete burstlet-eci-0").await.contains("nodes go from the last, burstlet-eci-1"));

    trial.pod("web", "burstlet-eci-1", "ReplicaSet");
    assert!(trial.refused("vnode delete burstlet-eci-1").await.contains("instances would be left behind"));
    assert!(trial.has("node", "burstlet-eci-1") && max() == 2);
    trial.cluster.lock().unwrap().refusals = 1_000;
    let asked = Instant::now();
    let late = trial.refused("vnode delete burstlet-eci-1 --drain --timeout 1s").await;
    assert!(late.contains("disruption budget") && max() == 2, "{late}");
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?} for --timeout 1s", asked.elapsed());
    trial.cluster.lock().unwrap().refusals = 1;
    trial.done("vnode delete burstlet-eci-1 --drain").await;
    assert!(!trial.has("node", "burstlet-eci-1") && trial.has("node", "burstlet-eci-0"));
    assert_eq!(max(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_planned_applied_and_checked_and_others_are_left_alone() {
    let trial = Trial::start().await;
    for (name, network, provider_id) in [
        ("vnode-test001", "10.88.0.0/24", "cn-hangzhou.i-bp1a"),
        ("vnode-test002", "10.88.1.0/24", "cn-hangzhou.i-bp1b"),
    ] {
        let spec = json!({"podCIDR": network, "providerID": provider_id});
        trial.put("node", name, json!({"metadata": {"name": name}, "spec": spec}));
    }
    trial.node("cn-hangzhou.vnd-1", json!({"type": "virtual-kubelet"}));
    let sdk = async |name: &'static str| {
        let address = trial.emulator.address();
        tokio::task::spawn_blocking(move || venv::check("alibaba_eci", &address, name)).await.unwrap();
    };
    // Somebody's own entry, another cluster's, and one of a node of ours that is gone.
    sdk("routes_before").await;

    let plan = trial.done("routes plan --cluster-id prod").await;
    let lines = plan.lines().collect::<Vec<_>>();
    let expected = [
        "- 10.88.9.0/24 by i-gone (burstlet_prod_gone)",
        "+ 10.88.0.0/24 by i-bp1a (burstlet_prod_vnode-test001)",
        "+ 10.88.1.0/24 by i-bp1b (burstlet_prod_vnode-test002)",
        "2 to add, 1 to remove, 0 as they should be",
    ];
    assert_eq!(lines, expected);
    assert!(trial.refused("routes check --cluster-id prod").await.contains("2 to add"));
    trial.done("routes apply --cluster-id prod").await;
    assert!(trial.done("routes check --cluster-id prod").await.contains("as it should be"));
    // A second time there is nothing to do.
    assert_eq!(trial.done("routes apply --cluster-id prod").await, "");
    sdk("routes_after").await;

    let refused = trial.refused("routes plan --cluster-id a_b").await;
    assert!(refused.contains("--cluster-id"), "{refused}");
}
