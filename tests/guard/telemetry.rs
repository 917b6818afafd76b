//! Health and metrics, and a process that runs a part of the components only.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use burstlet::lab::stand::{RealNodes, Replica, Scheduler, StandOptions};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{Api, api::ListParams};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Bench, Wanted, eventually, is_gated, options, sample};

const BURSTLET: &str = env!("CARGO_BIN_EXE_burstlet");

async fn get(replica: &Replica, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}{path}", replica.ports().telemetry)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_answer_and_a_subset_of_components_runs_alone() {
    let options = options(Scheduler::ClustersOwn);
    let real_nodes = RealNodes { count: 1, ..options.real_nodes.clone() };
    let bench = Bench::start(StandOptions { real_nodes, ..options }).await;
    admission_alone(&bench).await;
    whole_process(&bench).await;
    bench.stop().await;
}

/// Gates pods, and does nothing else: no lease, no virtual node, no decision.
async fn admission_alone(bench: &Bench) {
    let log = bench.stand.cluster().folder().join("admission.log");
    // A whole replica first, for its configuration: it stays where it was written.
    let mut whole = bench.stand.run_process(BURSTLET.as_ref(), &log).await.unwrap();
    whole.kill();
    let leases = Api::<Lease>::namespaced(bench.client.clone(), "burstlet-system");
    leases.delete_collection(&kube::api::DeleteParams::default(), &ListParams::default()).await.unwrap();
    let nodes = Api::<Node>::all(bench.client.clone());
    nodes
        .delete_collection(&kube::api::DeleteParams::default(), &ListParams::default().labels("type=virtual-kubelet"))
        .await
        .unwrap();

    let telemetry = whole.ports().telemetry;
    let config = bench.stand.cluster().folder().join(format!("burstlet-{}.yaml", telemetry.port()));
    let kubeconfig = bench.stand.cluster().kubeconfig_for("burstlet", None).unwrap();
    let mut child = Command::new(BURSTLET)
        .args(["run", "--components", "admission", "--config"])
        .arg(config)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .stdout(Stdio::null())
        .stderr(std::fs::File::options().append(true).open(&log).unwrap())
        .spawn()
        .unwrap();
    bench.stand.point_services(&[whole.ports()]);
    eventually("the process is ready", || async {
        let answer = reqwest::get(format!("http://{telemetry}/readyz")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    bench.namespace("gated", &json!({})).await;
    bench.deploy("gated", &Wanted::new("web", Some("1"), 2)).await;
    let gated = || async { (bench.pods("gated").await.iter().filter(|pod| is_gated(pod)).count() == 2).then_some(()) };
    eventually("the pods are gated", gated).await;
    sleep(Duration::from_secs(3)).await;
    assert!(bench.pods("gated").await.iter().all(is_gated), "decided without a placer");
    let held = leases.list(&ListParams::default()).await.unwrap();
    assert!(held.items.is_empty(), "held without a need: {held:?}");
    let nodes = nodes.list(&ListParams::default().labels("type=virtual-kubelet")).await.unwrap();
    assert!(nodes.items.is_empty(), "virtual nodes without a kubelet");
    let metrics = reqwest::get(format!("http://{telemetry}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("burstlet_admission") && !metrics.contains("burstlet_decisions_total"), "{metrics}");
    // A stop that is asked for is no failure.
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
    println!("--components admission: gates pods; no lease, no virtual node; ends with {status} when asked to");
}

async fn whole_process(bench: &Bench) {
    let log = bench.stand.cluster().folder().join("whole.log");
    let replica = bench.stand.run_process(BURSTLET.as_ref(), &log).await.unwrap();
    bench.stand.point_services(&[replica.ports()]);
    bench.runs("gated", 1, 1).await;
    assert_eq!(get(&replica, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(&replica, "/readyz").await, (200, "ok".to_owned()));
    assert_eq!(get(&replica, "/elsewhere").await.0, 404);
    eventually("the pods are counted", || async {
        let (status, metrics) = get(&replica, "/metrics").await;
        assert_eq!(status, 200);
        let pods = |tier: &str| sample(&metrics, "burstlet_workload_pods", &["namespace=\"gated\"", tier]);
        let standing = (pods("\"base\""), pods("\"burst\""), pods("\"waiting\""));
        (standing == (1.0, 1.0, 0.0)).then_some(())
    })
    .await;
    println!("/healthz, /readyz and /metrics answer; pods that waited gated were placed by the next leader");
}
