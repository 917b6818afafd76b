//! virtual-kubelet's own end-to-end suite against a virtual node of ours: nine tests, as they stand in its Go module, pinned in
//! `suite/go.mod`.
//!
//! It asks for a node at an address that is not a loopback one, so it runs by name alone, in a network of its own:
//!
//! ```sh
//! unshare --net sh -c 'ip link set lo up && ip address add 192.0.2.1/32 dev lo &&
//!     cargo test --test kubelet_suite -- --ignored'
//! ```

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{net::IpAddr, path::Path, process::Command, sync::Arc};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use burstlet::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate, server},
    lab::cluster::{CertificateRequest, Cluster, ClusterOptions},
    provider::simulated::{Cloud, Settings},
    serve::{ClientAuth, Protocols, ServerTls, serve},
};
use k8s_openapi::{
    api::{core::v1::Pod, rbac::v1::ClusterRoleBinding},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    client::Body,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ADDRESS: &str = "192.0.2.1";
const NODE: &str = "burstlet-sim-0";
/// The one at which the suite asks a pod of the node's name for its metrics.
const FRONT_PORT: u16 = 10250;
const TESTS: usize = 9;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own, and minutes to build the suite"]
async fn virtual_kubelets_own_suite_passes() {
    let address: IpAddr = ADDRESS.parse().unwrap();
    let cluster = Cluster::start(ClusterOptions { metrics_server: false, ..ClusterOptions::default() }).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let stop = CancellationToken::new();

    let listener = TcpListener::bind((address, 0)).await.expect("the address is there: see the head of this file");
    let port = listener.local_addr().unwrap().port();
    let capacity = Capacity { cpu: Quantity("400".into()), memory: Quantity("800Gi".into()), pods: 100 };
    let node = NodeTemplate::virtual_node("sim", "simulated", 0, capacity);
    let config = KubeletConfig::new("suite", vec![node], address, port);
    let metrics = KubeletMetrics::register(&prometheus::Registry::new()).unwrap();
    let kubelet = Kubelet::new(cluster.client(), config, Arc::new(Cloud::new(Settings::default())), metrics);
    let router = server::router(vec![kubelet.handle()], cluster.client());
    tokio::spawn(serve(listener, tls(&cluster, address), router, stop.clone()));
    let stopped = stop.clone();
    tokio::spawn(async move { kubelet.run(stopped).await });
    stand_before(&cluster, address, port, &stop).await;

    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubelet_suite/suite");
    let mut command = Command::new("go");
    command.args(["test", "-count=1", "-v", "."]).current_dir(suite);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("NODE", NODE);
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}{error}");
    let passed = said.lines().filter(|line| line.trim_start().starts_with("--- PASS: TestSuite/")).count();
    assert_eq!((passed, output.status.success()), (TESTS, true));
    stop.cancel();
    cluster.stop().await.unwrap();
}

fn tls(cluster: &Cluster, address: IpAddr) -> ServerTls {
    let request = CertificateRequest { addresses: vec![address], ..CertificateRequest::server("kubelet", &[]) };
    let files = cluster.issue(&request).unwrap();
    ServerTls {
        certificate: files.certificate,
        key: files.key,
        client_ca: Some(cluster.ca().to_owned()),
        client_auth: ClientAuth::Optional,
        protocols: Protocols::Http1,
    }
}

/// For metrics the suite goes by `pods/proxy` to a pod of the node's name, which a virtual kubelet in a container would be. The
/// API server shows no certificate there, and our kubelet lets nobody in who is not known: so a proxy that is known stands in
/// between.
async fn stand_before(cluster: &Cluster, address: IpAddr, port: u16, stop: &CancellationToken) {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client());
    let binding = json!({
        "metadata": {"name": "front"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "front"}],
    });
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();

    let ca = CertificateDer::from_pem_slice(cluster.ca_pem().as_bytes()).unwrap();
    let files = cluster.issue(&CertificateRequest::client("front", None)).unwrap();
    let mut config = Config::new(format!("https://{address}:{port}").parse().unwrap());
    config.root_cert = Some(vec![ca.to_vec()]);
    let path = |path: &Path| Some(path.to_str().unwrap().to_owned());
    config.auth_info.client_certificate = path(&files.certificate);
    config.auth_info.client_key = path(&files.key);
    let client = Client::try_from(config).unwrap();
    let router = Router::new().fallback(move |request: Request| forward(client.clone(), request));
    let listener = TcpListener::bind((address, FRONT_PORT)).await.unwrap();
    tokio::spawn(serve(listener, tls(cluster, address), router, stop.clone()));

    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = json!({
        "metadata": {"name": NODE},
        "spec": {"schedulingGates": [{"name": "example.com/never"}], "containers": [{"name": "front", "image": "none"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let status = json!({"status": {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}});
    pods.patch_status(NODE, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
}

async fn forward(client: Client, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let answer = client.send(axum::http::Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    answer.map(axum::body::Body::new).into_response()
}
