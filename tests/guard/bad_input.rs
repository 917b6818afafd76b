//! Annotations, bodies and files that make no sense: told plainly, and nothing else happens.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use axum::http::Request;
use burstlet::lab::{
    cluster::CertificateRequest,
    stand::{Replica, Scheduler},
};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client, Config, ResourceExt,
    api::ListParams,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::support::{
    Bench, Wanted, annotation, eventually_else, is_gated, is_virtual, line, node, options, sample, tier,
};

const BURSTLET: &str = env!("CARGO_BIN_EXE_burstlet");
const MINUTE: Duration = Duration::from_mins(1);
const MIB: usize = 1024 * 1024;
/// What the process may use while huge bodies come in: 64 calls a listener of at most 8 MiB would be far more.
const MOST_RSS_MIB: u64 = 160;

#[tokio::test(flavor = "multi_thread")]
async fn bad_annotations_and_bodies_are_told_of_and_do_no_harm() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    let log = bench.stand.cluster().folder().join("burstlet.log");
    let replica = bench.stand.run_process(BURSTLET.as_ref(), &log).await.unwrap();
    bench.stand.point_services(&[replica.ports()]);
    annotations(&bench, &replica).await;
    bodies(&bench, &replica).await;
    bench.stop().await;
}

/// What kubectl says on standard error.
fn apply(bench: &Bench, namespace: &str, object: &Value) -> String {
    let mut command = bench.stand.cluster().kubectl_command(["apply", "--namespace", namespace, "--filename", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

struct Fault {
    kind: &'static str,
    name: &'static str,
    /// What the admission warning and the Event say.
    says: &'static str,
    /// As the metric has it.
    word: &'static str,
}

async fn annotations(bench: &Bench, replica: &Replica) {
    bench.namespace("bad", &json!({})).await;
    let fault = |kind, name, says, word| Fault { kind, name, says, word };
    let faults = [
        fault("Deployment", "many", "\"many\" is neither a number of pods nor a percentage", "malformed"),
        fault("Deployment", "negative", "\"-1\" is negative", "negative"),
        fault("Deployment", "over", "\"150%\" is over 100%", "over-100-percent"),
        fault("ReplicaSet", "bare", "\"1.5\" is neither a number of pods nor a percentage", "malformed"),
        fault("DaemonSet", "agent", "a DaemonSet does not scale", "does-not-scale"),
        fault("StatefulSet", "db", "\"some\" is neither a number of pods nor a percentage", "malformed"),
        fault("Pod", "single", "a Pod does not scale", "does-not-scale"),
        fault("CronJob", "nightly", "\"-2\" is negative", "negative"),
    ];
    let bases = ["many", "-1", "150%", "1.5", "1", "some", "1", "-2"];
    for (fault, base) in faults.iter().zip(bases) {
        let told = apply(bench, "bad", &object(fault, base));
        println!("kubectl apply: {}", told.trim());
        assert!(told.starts_with("Warning:") && told.contains(fault.says), "{told}");
        assert!(told.contains(&format!("{} {}", fault.kind, fault.name)), "{told}");
    }
    // Two each of three Deployments and a ReplicaSet, one of the StatefulSet, the pod, one a real node.
    let all = 3 * 2 + 2 + 1 + 1 + 4;
    eventually_else("all pods run as if not annotated", MINUTE, || async {
        let pods = bench.pods("bad").await;
        let lines = || format!("{}: {:#?}", pods.len(), pods.iter().map(line).collect::<Vec<_>>());
        // A DaemonSet's pods tolerate no virtual node here, so they come to the real ones only.
        if pods.len() == all && pods.iter().all(|pod| node(pod).is_some()) { Ok(()) } else { Err(lines()) }
    })
    .await;
    for pod in bench.pods("bad").await {
        let is_plain = !is_gated(&pod) && tier(&pod).is_none() && !node(&pod).is_some_and(is_virtual);
        assert!(is_plain && annotation(&pod, "burstlet.dev/reason").is_none(), "{}", line(&pod));
    }
    for fault in &faults {
        told_and_counted(bench, replica, fault).await;
    }
    println!("{} faults: each a Warning event and a metric that name the object", faults.len());
    for fault in &faults {
        let mend = if matches!(fault.kind, "Deployment" | "ReplicaSet") {
            "burstlet.dev/base=1"
        } else {
            "burstlet.dev/base-"
        };
        let kind = fault.kind.to_lowercase();
        let mended = ["annotate", "--namespace", "bad", &kind, fault.name, mend, "--overwrite"];
        assert!(bench.stand.cluster().kubectl(mended).unwrap().status.success());
    }
    eventually_else("no fault is shown once all are mended", MINUTE, || async {
        let metrics = replica.metrics().await.unwrap();
        let left: Vec<_> = metrics.lines().filter(|line| line.starts_with("burstlet_annotation_faults{")).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
    .await;
    println!("mended: the metric shows no fault any more");
}

fn object(fault: &Fault, base: &str) -> Value {
    let mut object = Wanted::new(fault.name, Some(base), 2).object(fault.kind);
    let pod = object["spec"]["template"]["spec"].clone();
    match fault.kind {
        "DaemonSet" => drop(object["spec"].as_object_mut().unwrap().remove("replicas")),
        "StatefulSet" => {
            object["spec"]["replicas"] = json!(1);
            object["spec"]["serviceName"] = json!("none");
        }
        "Pod" => {
            object["apiVersion"] = json!("v1");
            object["spec"] = pod;
        }
        "CronJob" => {
            object["apiVersion"] = json!("batch/v1");
            let mut pod = pod;
            pod["restartPolicy"] = json!("Never");
            object["spec"] = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}});
        }
        _ => {}
    }
    object
}

async fn told_and_counted(bench: &Bench, replica: &Replica, fault: &Fault) {
    let events = Api::<Event>::namespaced(bench.client.clone(), "bad");
    let Fault { kind, name, says, word } = fault;
    eventually_else(&format!("a Warning event on the {kind}"), MINUTE, || async {
        let all = events.list(&ListParams::default()).await.unwrap();
        let about = all.iter().filter(|event| {
            let object = &event.involved_object;
            (object.kind.as_deref(), object.name.as_deref()) == (Some(*kind), Some(*name))
        });
        let mut ours = about.filter(|event| event.reason.as_deref() == Some("InvalidBase"));
        let is_told = ours.any(|event| {
            event.type_.as_deref() == Some("Warning")
                && event.message.as_deref().is_some_and(|text| text.contains(says))
        });
        if is_told { Ok(()) } else { Err(format!("{:?}", all.iter().map(ResourceExt::name_any).collect::<Vec<_>>())) }
    })
    .await;
    let labels = [("kind", *kind), ("namespace", "bad"), ("name", *name), ("fault", *word)];
    let labels = labels.map(|(label, value)| format!("{label}=\"{value}\""));
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    eventually_else(&format!("the metric of the {kind}"), MINUTE, || async {
        let metrics = replica.metrics().await.unwrap();
        let shown = sample(&metrics, "burstlet_annotation_faults{", &labels);
        if (shown - 1.0).abs() < f64::EPSILON { Ok(()) } else { Err(format!("{shown}")) }
    })
    .await;
}

/// A client with a certificate that the listener knows.
async fn client(bench: &Bench, port: u16) -> Client {
    let cluster = bench.stand.cluster();
    let files = cluster.issue(&CertificateRequest::client("tester", None)).unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": cluster.ca()}}],
        "users": [{"name": "it", "user": {"client-certificate": files.certificate, "client-key": files.key}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Status and text of the answer, if there was one.
async fn post(client: &Client, path: &str, body: Vec<u8>) -> Option<(u16, String)> {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body)).unwrap();
    let response = client.send(request).await.ok()?;
    let status = response.status().as_u16();
    let text = axum::body::to_bytes(axum::body::Body::new(response.into_body()), MIB).await.ok()?;
    Some((status, String::from_utf8_lossy(&text).into_owned()))
}

fn rss_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

async fn bodies(bench: &Bench, replica: &Replica) {
    let process = replica.process_id().unwrap();
    let (admission, extender) = (replica.ports().admission.port(), replica.ports().extender.port());
    let paths = [
        (admission, "/mutate-pods"),
        (admission, "/warn"),
        (extender, "/filter"),
        (extender, "/prioritize"),
        (extender, "/preempt"),
        (extender, "/bind"),
    ];
    let before = rss_mib(process);
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    let malformed: [&[u8]; 7] =
        [b"", b"null", b"{", b"[]", b"\xff\xfe\x00", br#"{"kind":"AdmissionReview","Pod":7,"NodeNames":"x"}"#, &deep];
    for (port, path) in paths {
        let client = client(bench, port).await;
        for body in malformed {
            let (status, reason) = post(&client, path, body.to_vec()).await.expect("an answer");
            assert!((400..500).contains(&status), "{path}: {status} {reason}");
            assert!(!reason.is_empty() && reason.len() < 1000, "{path}: {reason}");
        }
    }
    println!("{} malformed bodies on {} paths: each 4xx with its reason", malformed.len(), paths.len());
    let mut most = before;
    for (port, path) in paths {
        let client = client(bench, port).await;
        let huge = (0..8).map(|_| post(&client, path, vec![b' '; 20 * MIB]));
        for answer in futures::future::join_all(huge).await {
            let (status, reason) = answer.expect("an answer");
            assert_eq!(status, 413, "{path}: {reason}");
        }
        most = most.max(rss_mib(process));
    }
    println!("48 bodies of 20 MB: each 413; RSS {before} MiB before, {most} MiB at most");
    assert!(most < MOST_RSS_MIB, "{most} MiB");
    let answer = reqwest::get(format!("http://{}/healthz", replica.ports().telemetry)).await.unwrap();
    assert!(answer.status().is_success());
}

/// Runs `burstlet run` until it ends by itself.
fn run(arguments: &[&str]) -> Output {
    let mut child = Command::new(BURSTLET)
        .arg("run")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("KUBECONFIG")
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    panic!("still running after 10 s; said: {}", String::from_utf8_lossy(&output.stderr));
}

/// That it ended with one line that says all of this.
fn refused(arguments: &[&str], says: &[&str]) {
    let output = run(arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    println!("burstlet run: {}", told.trim_end());
    assert!(!output.status.success(), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("burstlet: ") && says.iter().all(|part| told.contains(part)), "{told}");
}

struct Folder(PathBuf);

impl Folder {
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> Folder {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    Folder(path)
}

/// Of a cluster that is not there.
const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
    clusters: [{name: it, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: [{name: it, user: {}}]\n\
    contexts: [{name: it, context: {cluster: it, user: it}}]\n";

#[test]
fn files_that_make_no_sense_are_refused_in_one_line() {
    let folder = folder("files");
    let kubeconfig = folder.write("kubeconfig", KUBECONFIG);
    let config = |name: &str, text: &str| folder.write(name, text);
    let unknown = config("unknown.yaml", "clusterId: lab\nplacement:\n  moveOn: {afterwards: 90s}\n");
    refused(&["--config", &unknown, "--kubeconfig", &kubeconfig], &["unknown.yaml", "afterwards", "line 3", "column"]);
    let duration = config("duration.yaml", "clusterId: lab\nplacement: {moveOn: {after: soon}}\n");
    refused(&["--config", &duration, "--kubeconfig", &kubeconfig], &["duration.yaml", "line 2", "column"]);
    let broken = config("broken.yaml", "clusterId: lab\npools: ]\n");
    refused(&["--config", &broken, "--kubeconfig", &kubeconfig], &["broken.yaml", "line 2"]);
    refused(&["--config", "/nowhere/burstlet.yaml"], &["/nowhere/burstlet.yaml", "No such file"]);
    let pool =
        |name: &str| format!("- {{name: {name}, provider: {{simulated: {{endpoint: 'http://127.0.0.1:9'}}}}}}\n");
    for (file, names, fault) in [
        ("upper.yaml", ["Eci", "b"], "no pool name"),
        ("dash.yaml", ["-eci", "b"], "no pool name"),
        ("twice.yaml", ["eci", "eci"], "named twice"),
    ] {
        let pools = config(file, &format!("clusterId: lab\npools:\n{}{}", pool(names[0]), pool(names[1])));
        refused(&["--config", &pools, "--kubeconfig", &kubeconfig], &[fault, names[0]]);
    }
    let least = config("least.yaml", "clusterId: lab\n");
    refused(&["--config", &least, "--kubeconfig", &kubeconfig], &["section", "admission"]);
    refused(&["--config", &least, "--kubeconfig", "/nowhere/kubeconfig"], &["/nowhere/kubeconfig"]);
    let garbage = config("garbage", "{{{");
    refused(&["--config", &least, "--kubeconfig", &garbage], &["garbage"]);
    let directory = folder.0.to_str().unwrap();
    refused(&["--config", &least, "--kubeconfig", directory], &[directory]);
}

#[test]
fn a_port_in_use_is_refused_in_one_line() {
    let folder = folder("ports");
    let kubeconfig = folder.write("kubeconfig", KUBECONFIG);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let telemetry = folder.write("telemetry.yaml", &format!("clusterId: lab\ntelemetry: {{listen: '{address}'}}\n"));
    let placer = ["--components", "placer"];
    refused(
        &[&["--config", &telemetry, "--kubeconfig", &kubeconfig], &placer[..]].concat(),
        &[&address, "telemetry.listen"],
    );
    let tls = "tls: {certificate: a.crt, key: a.key}";
    let admission =
        folder.write("admission.yaml", &format!("clusterId: lab\nadmission: {{listen: '{address}', {tls}}}\n"));
    let alone = ["--components", "admission"];
    refused(&[&["--config", &admission, "--kubeconfig", &kubeconfig], &alone[..]].concat(), &[&address]);
    let absent = folder.write("absent.yaml", &format!("clusterId: lab\nadmission: {{listen: '127.0.0.1:0', {tls}}}\n"));
    refused(&[&["--config", &absent, "--kubeconfig", &kubeconfig], &alone[..]].concat(), &["certificate", "a.crt"]);
}
