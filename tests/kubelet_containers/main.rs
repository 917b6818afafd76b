//! The processes of a virtual node: the real kubectl with them over both wires, what their pods refer to, and an HPA by what
//! they really use.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::Future,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use burstlet::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate, server},
    lab::cluster::{CertificateRequest, Cluster, ClusterOptions},
    provider::{
        Provider,
        process::{Processes, Settings},
    },
    serve::{ClientAuth, Protocols, ServerTls, serve},
};
use futures::StreamExt;
use k8s_openapi::{
    api::{
        core::v1::{Node, Pod},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Api, Client, Config, api::PostParams, client::Body};
use prometheus::Registry;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

mod certificate;
mod content;
mod hpa;
mod other_cluster;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NODE: &str = "burstlet-lab-0";
const WITHIN: Duration = Duration::from_secs(30);

struct Trial {
    cluster: Cluster,
    client: Client,
    pods: Api<Pod>,
    port: u16,
    /// What runs its pods, where that is this process.
    processes: Option<Processes>,
    stop: CancellationToken,
    folder: TempDir,
}

impl Trial {
    /// A cluster with one virtual node, whose pods are processes.
    async fn start(takes_websockets: bool) -> Self {
        let options = ClusterOptions { metrics_server: false, ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let client = cluster.client();
        Self::on(cluster, client, takes_websockets).await
    }

    /// A virtual node on `cluster`, whose kubelet talks to the API server by `own`.
    async fn on(cluster: Cluster, own: Client, takes_websockets: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(folder.path().join("pods"));
        let processes = Processes::start(Settings { first_back_off: Duration::from_millis(100), ..settings }).unwrap();
        let provider = Arc::new(processes.clone());
        Self { processes: Some(processes), ..Self::over(cluster, own, takes_websockets, provider, folder).await }
    }

    /// A virtual node on `cluster`, whose pods `provider` runs.
    async fn over(
        cluster: Cluster,
        own: Client,
        takes_websockets: bool,
        provider: Arc<dyn Provider>,
        folder: TempDir,
    ) -> Self {
        let client = cluster.client();
        let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let capacity = Capacity { cpu: Quantity("8".into()), memory: Quantity("8Gi".into()), pods: 100 };
        let node = NodeTemplate::virtual_node("lab", provider.name(), 0, capacity);
        let renew = Duration::from_secs(2);
        let config =
            KubeletConfig { takes_websockets, renew, ..KubeletConfig::new("trial", vec![node], LOCALHOST, port) };
        let metrics = KubeletMetrics::register(&Registry::new()).unwrap();
        let kubelet = Kubelet::new(own.clone(), config, provider, metrics);
        let stop = CancellationToken::new();
        let request = CertificateRequest { addresses: vec![LOCALHOST], ..CertificateRequest::server("kubelet", &[]) };
        let files = cluster.issue(&request).unwrap();
        let tls = ServerTls {
            certificate: files.certificate,
            key: files.key,
            client_ca: Some(cluster.ca().to_owned()),
            client_auth: ClientAuth::Optional,
            protocols: Protocols::Http1,
        };
        let router = server::router(vec![kubelet.handle()], own);
        tokio::spawn(serve(listener, tls, router, stop.clone()));
        let stopped = stop.clone();
        tokio::spawn(async move { kubelet.run(stopped).await });
        let pods = Api::default_namespaced(client.clone());
        let trial = Self { cluster, client, pods, port, processes: None, stop, folder };
        let nodes: Api<Node> = Api::all(trial.client.clone());
        eventually("the node declares what it takes", async || {
            let declared = nodes.get_opt(NODE).await.unwrap()?.status?.declared_features.unwrap_or_default();
            (declared.contains(&"ExtendWebSocketsToKubelet".to_owned()) == takes_websockets).then_some(())
        })
        .await;
        trial
    }

    /// A pod of one container, `main`; it is Running when this returns.
    async fn run(&self, name: &str, container: Value) {
        self.create(name, container).await;
        self.phase(name, "Running").await;
    }

    async fn create(&self, name: &str, mut container: Value) {
        container["name"] = json!("main");
        container["image"] = json!("none");
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": NODE, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                     "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
                     "containers": [container]},
        });
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn phase(&self, name: &str, phase: &str) {
        eventually(&format!("{name} is {phase}"), async || {
            let pod = self.pods.get_opt(name).await.unwrap()?;
            (pod.status?.phase.as_deref() == Some(phase)).then_some(())
        })
        .await;
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        tokio::task::block_in_place(|| self.cluster.kubectl(arguments).unwrap())
    }

    /// What kubectl says where it succeeds.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.cluster.kubectl_command(arguments)
    }

    /// The first column of the kubelet's own metrics whose name begins with `name`.
    async fn metric(&self, name: &str) -> u64 {
        let admin = kubelet_client(&self.cluster, self.port, Some(("admin", Some("system:masters"))));
        let (status, text) = get(&admin, "/metrics").await;
        assert_eq!(status, 200, "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        self.cluster.stop().await.unwrap();
        drop(self.processes);
        drop(self.folder);
    }
}

/// Asks until the answer is there.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A client of the kubelet API at `port`: a user, in a group perhaps, by certificate, or nobody.
fn kubelet_client(cluster: &Cluster, port: u16, user: Option<(&str, Option<&str>)>) -> Client {
    let ca = CertificateDer::from_pem_slice(cluster.ca_pem().as_bytes()).unwrap();
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.root_cert = Some(vec![ca.to_vec()]);
    if let Some((user, group)) = user {
        let files = cluster.issue(&CertificateRequest::client(user, group)).unwrap();
        let path = |path: &std::path::Path| Some(path.to_str().unwrap().to_owned());
        config.auth_info.client_certificate = path(&files.certificate);
        config.auth_info.client_key = path(&files.key);
    }
    Client::try_from(config).unwrap()
}

/// Status and body of `path`.
async fn get(client: &Client, path: &str) -> (u16, String) {
    let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

/// Bytes without a pattern that a lost or doubled piece would keep.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_where_the_api_server_speaks_websocket() {
    let trial = Trial::start(true).await;
    everything(&trial).await;
    assert!(trial.metric("burstlet_kubelet_sessions_total{wire=\"websocket\"}").await > 8);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_where_the_api_server_speaks_spdy_alone() {
    let trial = Trial::start(false).await;
    everything(&trial).await;
    assert_eq!(trial.metric("burstlet_kubelet_sessions_total{wire=\"websocket\"}").await, 0);
    assert!(trial.metric("burstlet_kubelet_sessions_total{wire=\"spdy\"}").await > 8);
    trial.end().await;
}

/// Every route, and whether it runs or opens something, for which reading is not enough.
const ROUTES: [(&str, bool); 19] = [
    ("/containerLogs/default/web/main", false),
    ("/exec/default/web/main?command=true&output=1", true),
    ("/exec/default/web/UID/main?command=true&output=1", true),
    ("/attach/default/web/main?output=1", true),
    ("/attach/default/web/UID/main?output=1", true),
    ("/portForward/default/web", true),
    ("/portForward/default/web/UID", true),
    ("/pods", false),
    ("/runningpods", false),
    ("/runningpods/", false),
    ("/metrics", false),
    ("/metrics/resource", false),
    ("/stats/summary", false),
    ("/configz", false),
    ("/healthz", false),
    ("/nodes/burstlet-lab-0/pods", false),
    ("/nodes/burstlet-lab-0/metrics/resource", false),
    ("/nodes/burstlet-lab-0/configz", false),
    ("/no/such/route", false),
];

/// Status of `path`, asked by `method` as a client that wants to upgrade; `None` where the handshake fails.
/// The answer's status, or nothing where the connection is refused.
///
/// An answer's body is not read, so its connection ends; a client that meant to use it once more has been seen to wait
/// for ever, with no connection to the server. It asks again then.
async fn asked(client: &Client, method: &str, path: &str, token: Option<&str>) -> Option<u16> {
    for _ in 0..3 {
        let answer = tokio::time::timeout(WITHIN, ask(client, method, path, token)).await;
        if let Ok(status) = answer {
            return status;
        }
    }
    panic!("{method} {path}: no answer three times, within {WITHIN:?} each");
}

async fn ask(client: &Client, method: &str, path: &str, token: Option<&str>) -> Option<u16> {
    let mut request = axum::http::Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io, SPDY/3.1+portforward.k8s.io"),
    ];
    for (name, value) in upgrade {
        request = request.header(name, value);
    }
    let response = client.send(request.body(Body::empty()).unwrap()).await.ok()?;
    Some(response.status().as_u16())
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Another authority's.
    Foreign,
    Expired,
}

/// An administrator by a certificate that is made here, with the authority's own key.
fn administrator(trial: &Trial, flaw: Flaw) -> Client {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "someone");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    if flaw == Flaw::Expired {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2020, 1, 2));
    }
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "burstlet-lab-ca");
    let signs = match flaw {
        Flaw::Foreign => rcgen::KeyPair::generate().unwrap(),
        Flaw::None | Flaw::Expired => {
            let pem = std::fs::read_to_string(trial.cluster.ca().with_extension("key")).unwrap();
            rcgen::KeyPair::from_pem(&pem).unwrap()
        }
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &rcgen::Issuer::new(authority, signs)).unwrap();
    let write = |name: &str, text: &str| {
        let path = trial.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path.to_str().unwrap().to_owned())
    };
    let ca = CertificateDer::from_pem_slice(trial.cluster.ca_pem().as_bytes()).unwrap();
    let mut config = Config::new(format!("https://127.0.0.1:{}", trial.port).parse().unwrap());
    config.root_cert = Some(vec![ca.to_vec()]);
    config.auth_info.client_certificate = write(&format!("{flaw:?}.crt"), &certificate.pem());
    config.auth_info.client_key = write(&format!("{flaw:?}.key"), &key.serialize_pem());
    Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_who_may_not_and_who_may_read_runs_nothing() {
    let trial = Trial::start(true).await;
    trial.run("web", shell("while :; do sleep 1; done")).await;
    let uid = trial.pods.get("web").await.unwrap().metadata.uid.unwrap();
    let roles: Api<ClusterRole> = Api::all(trial.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(trial.client.clone());
    let read = json!({
        "metadata": {"name": "read-nodes"},
        "rules": [{"apiGroups": [""], "resources": ["nodes/*", "nodes/proxy", "nodes/metrics", "nodes/stats"],
                   "verbs": ["get", "list", "watch"]}],
    });
    roles.create(&PostParams::default(), &serde_json::from_value(read).unwrap()).await.unwrap();
    let binding = json!({
        "metadata": {"name": "read-nodes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "read-nodes"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "reader"}],
    });
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();

    let nobody = kubelet_client(&trial.cluster, trial.port, None);
    let stranger = kubelet_client(&trial.cluster, trial.port, Some(("stranger", None)));
    let reader = kubelet_client(&trial.cluster, trial.port, Some(("reader", None)));
    let [good, foreign, expired] = [Flaw::None, Flaw::Foreign, Flaw::Expired].map(|flaw| administrator(&trial, flaw));
    assert_eq!(asked(&good, "GET", "/healthz", None).await, Some(200));
    for (route, runs) in ROUTES {
        let path = route.replace("UID", &uid);
        for method in ["GET", "POST", "PUT", "HEAD"] {
            let told = format!("{method} {path}");
            assert_eq!(asked(&nobody, method, &path, None).await, Some(401), "{told}");
            assert_eq!(asked(&nobody, method, &path, Some("made-up")).await, Some(401), "{told}");
            assert_eq!(asked(&stranger, method, &path, None).await, Some(403), "{told}");
            assert_eq!(asked(&foreign, method, &path, None).await, None, "{told}");
            assert_eq!(asked(&expired, method, &path, None).await, None, "{told}");
            let status = asked(&reader, method, &path, None).await.unwrap();
            let reads = !runs && matches!(method, "GET" | "HEAD");
            assert_eq!(status != 403, reads, "{told}: {status}");
        }
    }
    assert!(trial.metric("burstlet_kubelet_sessions_total{wire=\"websocket\"}").await == 0);
    trial.end().await;
}

async fn everything(trial: &Trial) {
    trial.run("web", shell("while :; do sleep 1; done")).await;
    logs(trial).await;
    exec(trial);
    exec_on_a_terminal(trial).await;
    attach(trial).await;
    port_forward(trial).await;
    copy(trial);
}

async fn logs(trial: &Trial) {
    let script = "for n in 1 2 3 4 5; do echo line $n; echo error $n >&2; sleep 0.3; done";
    trial.run("writer", shell(script)).await;
    let followed = trial.said(&["logs", "-f", "writer"]);
    let lines: Vec<&str> = followed.lines().filter(|line| line.starts_with("line")).collect();
    assert_eq!(lines, ["line 1", "line 2", "line 3", "line 4", "line 5"]);
    assert_eq!(followed.lines().count(), 10);
    trial.phase("writer", "Succeeded").await;
    assert_eq!(trial.said(&["logs", "writer", "--tail=1"]).lines().count(), 1);
    assert_eq!(trial.said(&["logs", "writer", "--limit-bytes=6"]), "line 1");
    let stamped = trial.said(&["logs", "writer", "--timestamps"]);
    assert!(
        stamped.lines().all(|line| line.split(' ').next().unwrap().parse::<k8s_openapi::jiff::Timestamp>().is_ok())
    );
    assert_eq!(trial.said(&["logs", "writer", "--since=1h", "--tail=3"]).lines().count(), 3);
    assert_eq!(trial.said(&["logs", "writer", "--since-time=2100-01-01T00:00:00Z"]), "");
    let missing = trial.kubectl(&["logs", "writer", "--previous"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("has had no run before this one"), "{missing:?}");
}

fn exec(trial: &Trial) {
    let output = trial.kubectl(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(output.stdout, b"out\n", "{output:?}");
    assert!(output.stderr.starts_with(b"err\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(42));
    let missing = trial.kubectl(&["exec", "web", "--", "no-such-program"]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("no-such-program"));
    let missing = trial.kubectl(&["exec", "web", "-c", "other", "--", "true"]);
    assert!(!missing.status.success());

    let sent = noise(10 << 20);
    let mut command = trial.command(&["exec", "-i", "web", "--", "cat"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let received = fed(child, &sent);
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "10 MB came back harmed");
}

/// What a program answers to `input`.
fn fed(mut child: Child, input: &[u8]) -> Vec<u8> {
    tokio::task::block_in_place(|| {
        let mut stdin = child.stdin.take().unwrap();
        let mut output = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        });
        assert!(child.wait().unwrap().success());
        output
    })
}

async fn exec_on_a_terminal(trial: &Trial) {
    let script = "stty size; read answer; stty size; echo \"heard $answer\"; test -t 0 && exit 7";
    let command = trial.command(&["exec", "-it", "web", "--", "sh", "-c", script]);
    let (mut terminal, slave) = pty_process::open().unwrap();
    terminal.resize(pty_process::Size::new(31, 101)).unwrap();
    let mut child = pty_process::Command::new(command.get_program())
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .spawn(slave)
        .unwrap();
    let mut seen = String::new();
    until(&mut terminal, &mut seen, "31 101").await;
    terminal.resize(pty_process::Size::new(42, 142)).unwrap();
    // The size travels beside the input, and may come after it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    terminal.write_all(b"hello\n").await.unwrap();
    until(&mut terminal, &mut seen, "heard hello").await;
    assert!(seen.contains("42 142"), "{seen}");
    assert_eq!(child.wait().await.unwrap().code(), Some(7), "{seen}");
}

async fn until(terminal: &mut pty_process::Pty, seen: &mut String, text: &str) {
    let mut piece = [0; 1024];
    while !seen.contains(text) {
        let read = tokio::time::timeout(WITHIN, terminal.read(&mut piece)).await;
        let length = read.unwrap_or_else(|_| panic!("no {text:?} in {seen:?}")).unwrap_or(0);
        assert!(length > 0, "no {text:?} in {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

async fn attach(trial: &Trial) {
    let script = "while read line; do echo \"got $line\"; done; echo bye";
    trial.run("talker", json!({"command": ["sh", "-c", script], "stdin": true, "stdinOnce": true})).await;
    let mut command = trial.command(&["attach", "-i", "talker"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let heard = String::from_utf8(fed(child, b"one\ntwo\n")).unwrap();
    assert!(heard.ends_with("got one\ngot two\nbye\n"), "{heard}");
    trial.phase("talker", "Succeeded").await;
}

async fn port_forward(trial: &Trial) {
    let served = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&served);
    let echo = move |body: Bytes| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move { body }
    };
    let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/echo", post(echo));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut command = trial.command(&["port-forward", "web", &format!(":{port}"), "--address=127.0.0.1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::task::block_in_place(|| lines.next().unwrap().unwrap());
    let address: SocketAddr = line.split(' ').nth(2).unwrap().parse().unwrap();
    let drained = std::thread::spawn(move || lines.count());

    // Each request has a connection, and so a pair of streams, of its own.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let requests = futures::stream::iter(0..1000).map(|number: usize| {
        let (client, body) = (client.clone(), noise(number * 37 % 20_000));
        async move {
            let answer = client.post(format!("http://{address}/echo")).body(body.clone()).send().await.unwrap();
            assert_eq!(answer.bytes().await.unwrap(), body, "request {number}");
        }
    });
    requests.buffer_unordered(8).count().await;
    assert_eq!(served.load(Ordering::Relaxed), 1000);
    child.kill().unwrap();
    child.wait().unwrap();
    drained.join().unwrap();
}

fn copy(trial: &Trial) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let sent = noise(3 << 20);
    std::fs::create_dir(path("sent")).unwrap();
    std::fs::write(path("sent/data"), &sent).unwrap();
    std::fs::write(path("sent/small"), "small").unwrap();
    trial.said(&["cp", &path("sent"), "web:there"]);
    assert_eq!(trial.said(&["exec", "web", "--", "cat", "there/small"]), "small");
    trial.said(&["cp", "web:there", &path("back")]);
    assert!(std::fs::read(path("back/data")).unwrap() == sent, "3 MB came back harmed");
    assert_eq!(std::fs::read_to_string(path("back/small")).unwrap(), "small");
}
