//! A real control plane on this machine: it starts, is secured, and leaves nothing behind, however it ends.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burstlet::lab::cluster::{
    CertificateRequest, Cluster, ClusterError, ClusterOptions, Component, DedicatedScheduler, Extender,
};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SETTLES_WITHIN: Duration = Duration::from_secs(30);

async fn start(options: ClusterOptions) -> Cluster {
    Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

fn without_metrics() -> ClusterOptions {
    ClusterOptions { metrics_server: false, ..ClusterOptions::default() }
}

/// Asks until the answer is there.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SETTLES_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn alive(process: u32) -> bool {
    Command::new("kill").args(["-0", &process.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

fn assert_gone(processes: &BTreeMap<Component, u32>, folder: &Path) {
    assert!(processes.len() >= 4, "{processes:?}");
    let left: Vec<_> = processes.iter().filter(|(_, process)| alive(**process)).collect();
    assert!(left.is_empty(), "still running: {left:?}");
    assert!(!folder.exists(), "{} is still there", folder.display());
}

fn refused_with(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn pod(name: &str, scheduler: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"schedulerName": scheduler, "containers": [{"name": "main", "image": "none"}]},
    }))
    .unwrap()
}

async fn create_pod(client: &Client, name: &str, scheduler: &str) -> Api<Pod> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod(name, scheduler)).await.unwrap();
    pods
}

/// A node without a kubelet; the node controller leaves it Ready for longer than a test takes.
async fn create_node(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Test", "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let status =
        json!({"status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "conditions": [condition]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn node_of(pods: &Api<Pod>, name: &str) -> Option<String> {
    pods.get(name).await.unwrap().spec?.node_name
}

/// Why a pod is not scheduled.
async fn scheduling_reason(pods: &Api<Pod>, name: &str) -> Option<String> {
    let conditions = pods.get(name).await.unwrap().status?.conditions?;
    conditions.into_iter().find(|condition| condition.type_ == "PodScheduled")?.reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_complete_and_stops_without_a_trace() {
    let cluster = start(ClusterOptions::default()).await;

    let version = cluster.kubectl(["version", "--output=json"]).unwrap();
    let version: Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(version["serverVersion"]["gitVersion"], version["clientVersion"]["gitVersion"]);

    let pods = create_pod(&cluster.client(), "nowhere-to-go", "default-scheduler").await;
    let reason = eventually("the scheduler looks at a pod", || scheduling_reason(&pods, "nowhere-to-go")).await;
    assert_eq!(reason, "Unschedulable");

    for component in cluster.process_ids().into_keys() {
        let metrics = cluster.metrics(component).await.unwrap();
        assert!(metrics.contains("process_cpu_seconds_total"), "{component}");
    }

    let (processes, folder) = (cluster.process_ids(), cluster.folder().to_owned());
    assert!(processes.values().all(|process| alive(*process)) && folder.exists());
    cluster.stop().await.unwrap();
    assert_gone(&processes, &folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_api_is_there_even_without_nodes() {
    let cluster = start(ClusterOptions::default()).await;

    let nodes = cluster.kubectl(["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"]).unwrap();
    let nodes: Value = serde_json::from_slice(&nodes.stdout).unwrap();
    assert_eq!(nodes["kind"], "NodeMetricsList");

    let services: Api<APIService> = Api::all(cluster.client());
    let service = services.get("v1beta1.metrics.k8s.io").await.unwrap();
    let conditions = service.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|c| c.type_ == "Available" && c.status == "True"), "{conditions:?}");
    assert_eq!(service.spec.unwrap().insecure_skip_tls_verify, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_may_what_their_groups_may() {
    let cluster = start(without_metrics()).await;

    let jane = cluster.client_for("jane", None).await.unwrap();
    let error = Api::<Pod>::default_namespaced(jane).list(&ListParams::default()).await.unwrap_err();
    assert!(refused_with(&error, 403), "{error}");

    let node = cluster.client_for("system:node:a", Some("system:nodes")).await.unwrap();
    create_node(&cluster.client(), "b").await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let error = Api::<Node>::all(node).patch("b", &PatchParams::default(), &label).await.unwrap_err();
    assert!(refused_with(&error, 403), "{error}");

    let kubeconfig = cluster.kubeconfig_for("jill", Some("system:masters")).unwrap();
    assert!(cluster.kubectl(["--kubeconfig", &kubeconfig.to_string_lossy(), "get", "ns"]).unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_at_once_share_nothing() {
    let (one, other) = tokio::join!(start(without_metrics()), start(without_metrics()));
    assert_ne!(one.api_url(), other.api_url());

    let namespace = serde_json::from_value(json!({"metadata": {"name": "only-here"}})).unwrap();
    Api::<Namespace>::all(one.client()).create(&PostParams::default(), &namespace).await.unwrap();
    assert!(Api::<Namespace>::all(other.client()).get_opt("only-here").await.unwrap().is_none());

    // The wrong authority: the client refuses the server, and the server refuses the client.
    let server = other.api_url();
    let through = |flags: &[&str]| {
        let output = one.kubectl(["--server", &server, "get", "namespaces"].iter().chain(flags)).unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (success, said) = through(&[]);
    assert!(!success && said.contains("certificate signed by unknown authority"), "{said}");
    let (success, said) = through(&["--certificate-authority", &other.ca().to_string_lossy()]);
    assert!(!success && said.contains("must be logged in"), "{said}");

    let (processes, folder) = (one.process_ids(), one.folder().to_owned());
    one.stop().await.unwrap();
    assert_gone(&processes, &folder);
    assert!(Api::<Namespace>::all(other.client()).get("default").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_dropped_by_a_panic_leaves_nothing() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let cluster = start(without_metrics()).await;
        tell.send((cluster.process_ids(), cluster.folder().to_owned())).unwrap();
        // A dependent component that is paused must go as well.
        cluster.pause(Component::Scheduler).unwrap();
        panic!("on purpose, to see what a failing test leaves behind");
    });
    let (processes, folder) = told.await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    assert_gone(&processes, &folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_components_stop_pause_and_come_back() {
    let cluster = start(without_metrics()).await;
    create_node(&cluster.client(), "a").await;

    cluster.stop_component(Component::Scheduler).await.unwrap();
    let pods = create_pod(&cluster.client(), "waits", "default-scheduler").await;
    let error = cluster.metrics(Component::Scheduler).await.unwrap_err();
    assert!(matches!(error, ClusterError::NotRunning(Component::Scheduler)), "{error}");
    assert!(cluster.stop_component(Component::Scheduler).await.is_err());
    assert_eq!(node_of(&pods, "waits").await, None);
    cluster.start_component(Component::Scheduler).await.unwrap();
    eventually("the scheduler is back", || node_of(&pods, "waits")).await;

    cluster.pause(Component::Scheduler).unwrap();
    let pods = create_pod(&cluster.client(), "waits-too", "default-scheduler").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node_of(&pods, "waits-too").await, None);
    cluster.resume(Component::Scheduler).unwrap();
    eventually("the scheduler goes on", || node_of(&pods, "waits-too")).await;

    // Data, address and clients survive a restart of the API server.
    cluster.stop_component(Component::ApiServer).await.unwrap();
    assert!(pods.get("waits").await.is_err());
    cluster.start_component(Component::ApiServer).await.unwrap();
    assert!(pods.get("waits").await.is_ok());
    assert!(matches!(
        cluster.start_component(Component::MetricsServer).await,
        Err(ClusterError::Absent(Component::MetricsServer))
    ));
}

/// Takes one call over mutual TLS and returns the first line of its request, and whether it came with a certificate.
async fn first_call(cluster: &Cluster, listener: TcpListener) -> String {
    let files = cluster.issue(&CertificateRequest::server("extender", &[])).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cluster.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(files.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(files.key).unwrap(),
        )
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap();
    stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dedicated_scheduler_asks_its_extender_about_its_own_pods_only() {
    let cluster = start(without_metrics()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/scheduler", listener.local_addr().unwrap());
    let dedicated = DedicatedScheduler { scheduler_name: "burstlet".to_owned(), extender: Extender::at(url) };
    cluster.start_dedicated_scheduler(&dedicated).await.unwrap();
    create_node(&cluster.client(), "a").await;

    let pods = create_pod(&cluster.client(), "plain", "default-scheduler").await;
    eventually("the plain pod is bound without a question to the extender", || node_of(&pods, "plain")).await;

    create_pod(&cluster.client(), "governed", "burstlet").await;
    let call = tokio::time::timeout(SETTLES_WITHIN, first_call(&cluster, listener)).await.unwrap();
    assert_eq!(call, "POST /scheduler/filter HTTP/1.1");
    let metrics = cluster.metrics(Component::DedicatedScheduler).await.unwrap();
    assert!(metrics.contains("scheduler_schedule_attempts_total"));
}

/// Set in the process that is to be killed.
const VICTIM: &str = "BURSTLET_TEST_VICTIM";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_killed_process() {
    if std::env::var_os(VICTIM).is_some() {
        let cluster = start(without_metrics()).await;
        cluster.pause(Component::ControllerManager).unwrap();
        let processes: Vec<_> = cluster.process_ids().into_values().collect();
        println!("\nvictim {}", json!({"processes": processes, "folder": cluster.folder()}));
        std::future::pending::<()>().await;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_killed_process", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("victim ").map(str::to_owned));
    let told: Value = serde_json::from_str(&told.expect("the victim's cluster starts")).unwrap();
    let processes: Vec<u32> = serde_json::from_value(told["processes"].clone()).unwrap();
    let folder: PathBuf = serde_json::from_value(told["folder"].clone()).unwrap();
    assert!(processes.len() == 4 && processes.iter().all(|process| alive(*process)));

    victim.kill().unwrap();
    victim.wait().unwrap();

    let all_gone = || async { processes.iter().all(|process| !alive(*process)).then_some(()) };
    eventually("the components exit with their parent", all_gone).await;
    let next = start(without_metrics()).await;
    assert!(!folder.exists(), "the next start sweeps what the dead left");
    next.stop().await.unwrap();
}
