//! The virtual kubelet against a real control plane, with the simulated cloud as its provider.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::Request;
use burstlet::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletHandle, KubeletMetrics, NodeTemplate, server},
    lab::cluster::{CertificateRequest, Cluster, ClusterOptions},
    provider::simulated::{Audit, Cloud, CpuTarget, EXIT_CODE, Fault, RUN_FOR, Settings},
    serve::{ClientAuth, Protocols, ServerTls, serve},
};
use k8s_openapi::{
    api::{
        core::v1::{Event, Node, Pod},
        rbac::v1::ClusterRoleBinding,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    client::Body,
};
use prometheus::Registry;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NODE: &str = "burstlet-sim-0";

struct Trial {
    client: Client,
    cloud: Cloud,
    metrics: KubeletMetrics,
    handle: KubeletHandle,
    stop: CancellationToken,
    pods: Api<Pod>,
}

impl Trial {
    /// A kubelet with one virtual node, which is Ready when this returns.
    async fn start(client: Client, cloud: Cloud, port: u16) -> Self {
        let metrics = KubeletMetrics::register(&Registry::new()).unwrap();
        let capacity = Capacity { cpu: Quantity("400".into()), memory: Quantity("800Gi".into()), pods: 5000 };
        let node = NodeTemplate::virtual_node("sim", "simulated", 0, capacity);
        let config = KubeletConfig::new("trial", vec![node], LOCALHOST, port);
        let kubelet = Kubelet::new(client.clone(), config, Arc::new(cloud.clone()), metrics.clone());
        let (handle, stop) = (kubelet.handle(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move { kubelet.run(stopped).await });
        let pods = Api::default_namespaced(client.clone());
        let trial = Self { client, cloud, metrics, handle, stop, pods };
        trial.node_is_ready(Duration::from_secs(20)).await;
        trial
    }

    async fn node_is_ready(&self, within: Duration) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        eventually("the node is ready", within, || async {
            let node = nodes.get_opt(NODE).await.unwrap()?;
            let mut conditions = node.status?.conditions?.into_iter();
            conditions.any(|c| c.type_ == "Ready" && c.status == "True").then_some(())
        })
        .await;
    }

    async fn create(&self, name: &str, annotations: &Value) -> Pod {
        self.pods.create(&PostParams::default(), &pod(name, annotations)).await.unwrap()
    }

    async fn phase(&self, name: &str, phase: &str) -> Pod {
        eventually(&format!("{name} is {phase}"), Duration::from_secs(20), || async {
            let pod = self.pods.get_opt(name).await.unwrap()?;
            (pod.status.as_ref()?.phase.as_deref() == Some(phase)).then_some(pod)
        })
        .await
    }

    async fn gone(&self, name: &str, uid: &str) {
        eventually(&format!("{name} is gone"), Duration::from_secs(20), || async {
            let pod = self.pods.get_opt(name).await.unwrap();
            pod.is_none_or(|p| p.uid().as_deref() != Some(uid)).then_some(())
        })
        .await;
    }

    async fn instances(&self, alive: u64) {
        eventually("instances end", Duration::from_secs(20), || async {
            (self.cloud.audit().values().map(|a| a.alive).sum::<u64>() == alive).then_some(())
        })
        .await;
    }
}

/// Asks until the answer is there.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn pod(name: &str, annotations: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "trial"}, "annotations": annotations},
        "spec": {"nodeName": NODE, "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
                 "automountServiceAccountToken": false,
                 "tolerations": [{"operator": "Exists"}],
                 "containers": [{"name": "main", "image": "none"}]},
    }))
    .unwrap()
}

async fn cluster(metrics_server: bool) -> Cluster {
    let options = ClusterOptions { metrics_server, ..ClusterOptions::default() };
    Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_and_die_with_their_instances() {
    let cluster = cluster(false).await;
    let trial = Trial::start(cluster.client(), Cloud::new(Settings::default()), 10250).await;

    // Twenty pods run, for one status write each.
    for number in 0..20 {
        trial.create(&format!("web-{number}"), &json!({})).await;
    }
    for number in 0..20 {
        let running = trial.phase(&format!("web-{number}"), "Running").await;
        let status = running.status.unwrap();
        let conditions = status.conditions.unwrap();
        assert!(conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
        assert!(status.pod_ip.unwrap().starts_with("10.200."));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(trial.metrics.status_writes(), 20);
    assert_eq!(trial.handle.counts().instances, 20);

    // Graceful deletion: the object goes although its grace is 30 s, because the containers stop at once.
    let asked = Instant::now();
    trial.pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=trial")).await.unwrap();
    trial.instances(0).await;
    eventually("all pods are gone", Duration::from_secs(20), || async {
        trial.pods.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(15));
    assert_eq!(trial.metrics.status_writes(), 20, "a pod on its way out is written to");

    // Run to completion, well and badly, and no second time.
    trial.create("done", &json!({RUN_FOR: "500ms"})).await;
    trial.create("broken", &json!({RUN_FOR: "500ms", EXIT_CODE: "3"})).await;
    trial.phase("done", "Succeeded").await;
    let broken = trial.phase("broken", "Failed").await;
    let containers = broken.status.unwrap().container_statuses.unwrap();
    assert_eq!(containers[0].state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 3);

    // The same name again, at once: the successor keeps its instance.
    let first = trial.create("twin", &json!({})).await.uid().unwrap();
    trial.phase("twin", "Running").await;
    trial.pods.delete("twin", &DeleteParams::default().grace_period(0)).await.unwrap();
    let second = trial.create("twin", &json!({})).await.uid().unwrap();
    trial.phase("twin", "Running").await;
    trial.gone("twin", &first).await;
    eventually("the first instance ends", Duration::from_secs(20), || async {
        (trial.cloud.audit()[&first] == Audit { created: 1, alive: 0 }).then_some(())
    })
    .await;
    assert_eq!(trial.cloud.audit()[&second], Audit { created: 1, alive: 1 });
    assert!(trial.cloud.audit().values().all(|a| a.created == 1));

    debugging_is_refused(&cluster, &trial, "twin").await;
    cluster.stop().await.unwrap();
}

/// `kubectl debug` adds a container to a pod that runs: it ends at once, and says why, as does an event.
async fn debugging_is_refused(cluster: &Cluster, trial: &Trial, pod: &str) {
    let debugged = cluster.kubectl(["debug", pod, "--image", "busybox", "--container", "tools"]).unwrap();
    assert!(debugged.status.success(), "{}", String::from_utf8_lossy(&debugged.stderr));
    let ended = eventually("the container has ended", Duration::from_secs(20), || async {
        let status = trial.pods.get(pod).await.unwrap().status?;
        status.ephemeral_container_statuses?.into_iter().next()?.state?.terminated
    })
    .await;
    assert_eq!(ended.reason.as_deref(), Some("Unsupported"));
    let why = ended.message.unwrap();
    assert!(why.contains("simulated") && why.contains("tools") && why.contains("kubectl exec"), "{why}");
    let events: Api<Event> = Api::default_namespaced(trial.client.clone());
    eventually("an event tells it", Duration::from_secs(20), || async {
        let events = events.list(&ListParams::default()).await.unwrap();
        events.items.into_iter().find(|event| event.reason.as_deref() == Some("EphemeralContainersUnsupported"))
    })
    .await;
    trial.phase(pod, "Running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_and_overcome_and_a_restart_adopts() {
    let cluster = cluster(false).await;
    let cloud = Cloud::new(Settings::default());
    let trial = Trial::start(cluster.client(), cloud.clone(), 10250).await;

    cloud.plan(1, Fault::NoStock);
    cloud.plan(1, Fault::LostAnswer);
    let uid = trial.create("unlucky", &json!({})).await.uid().unwrap();
    trial.phase("unlucky", "Running").await;
    let events: Api<Event> = Api::default_namespaced(trial.client.clone());
    let told = eventually("an event tells", Duration::from_secs(10), || async {
        let events = events.list(&ListParams::default()).await.unwrap();
        events.items.into_iter().find(|e| e.reason.as_deref() == Some("NoStock"))
    })
    .await;
    assert_eq!(told.involved_object.uid, Some(uid));

    // A node that someone deletes is back before the pod garbage collector acts; its pods stay.
    let nodes: Api<Node> = Api::all(trial.client.clone());
    nodes.delete(NODE, &DeleteParams::default()).await.unwrap();
    trial.node_is_ready(Duration::from_secs(20)).await;

    // While no kubelet runs, one pod is removed by force, another is made.
    trial.create("forced", &json!({})).await;
    trial.phase("forced", "Running").await;
    trial.stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    trial.pods.delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    trial.create("late", &json!({})).await;
    let again = Trial::start(trial.client.clone(), cloud.clone(), 10250).await;
    again.phase("late", "Running").await;
    again.instances(2).await;
    again.phase("unlucky", "Running").await;
    assert!(cloud.audit().values().all(|a| a.created == 1), "{:?}", cloud.audit());

    // The provider takes an instance away: its pod fails and gets no other.
    cloud.reclaim(&again.pods.get("late").await.unwrap().uid().unwrap());
    let lost = again.phase("late", "Failed").await;
    assert_eq!(lost.status.unwrap().reason.as_deref(), Some("InstanceLost"));
    cluster.stop().await.unwrap();
}

async fn bind(client: &Client, user: &str, role: &str) {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = serde_json::from_value(json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    }))
    .unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// A client of the kubelet API at `port`: `user` by certificate, or nobody.
fn kubelet_client(cluster: &Cluster, port: u16, user: Option<&str>) -> Client {
    let ca = CertificateDer::from_pem_slice(cluster.ca_pem().as_bytes()).unwrap();
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.root_cert = Some(vec![ca.to_vec()]);
    if let Some(user) = user {
        let files = cluster.issue(&CertificateRequest::client(user, None)).unwrap();
        let path = |path: &std::path::Path| Some(path.to_str().unwrap().to_owned());
        config.auth_info.client_certificate = path(&files.certificate);
        config.auth_info.client_key = path(&files.key);
    }
    Client::try_from(config).unwrap()
}

/// Status and body of `path`.
async fn get(client: &Client, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let response = client.send(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_reach_metrics_server_and_nobody_else() {
    let cluster = cluster(true).await;
    let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let trial = Trial::start(cluster.client(), Cloud::new(Settings::default()), port).await;
    let request = CertificateRequest { addresses: vec![LOCALHOST], ..CertificateRequest::server("kubelet", &[]) };
    let files = cluster.issue(&request).unwrap();
    let tls = ServerTls {
        certificate: files.certificate,
        key: files.key,
        client_ca: Some(cluster.ca().to_owned()),
        client_auth: ClientAuth::Optional,
        protocols: Protocols::Http1,
    };
    let router = server::router(vec![trial.handle.clone()], trial.client.clone());
    tokio::spawn(serve(listener, tls, router, trial.stop.clone()));
    bind(&trial.client, "auditor", "system:kubelet-api-admin").await;

    trial.create("busy", &json!({})).await;
    trial.phase("busy", "Running").await;
    trial.cloud.set_cpu(&CpuTarget::All, 500);

    let node_path = format!("/nodes/{NODE}/metrics/resource");
    let nobody = kubelet_client(&cluster, port, None);
    let stranger = kubelet_client(&cluster, port, Some("stranger"));
    let auditor = kubelet_client(&cluster, port, Some("auditor"));
    for path in ["/metrics/resource", "/stats/summary", "/pods", "/healthz", &node_path] {
        assert_eq!(get(&nobody, path, None).await.0, 401, "{path}");
        assert_eq!(get(&nobody, path, Some("made-up")).await.0, 401, "{path}");
        assert_eq!(get(&stranger, path, None).await.0, 403, "{path}");
        let (status, text) = get(&auditor, path, None).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(path == "/healthz" || text.contains("busy"), "{path}: {text}");
    }

    let millis = eventually("metrics-server tells the pod's CPU", Duration::from_mins(1), || async {
        let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/busy";
        let request = Request::get(path).body(Vec::new()).unwrap();
        let metrics: Value = trial.client.request(request).await.ok()?;
        let cpu = metrics["containers"][0]["usage"]["cpu"].as_str()?.strip_suffix('n')?.parse::<u64>().ok()?;
        Some(cpu / 1_000_000)
    })
    .await;
    assert!((300..=510).contains(&millis), "{millis}");
    cluster.stop().await.unwrap();
}
