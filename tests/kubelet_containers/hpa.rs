//! The real HPA, over the real metrics-server, by the CPU that processes really use.

use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};

use super::*;

/// Longest wait: metrics-server reads every 10 s and needs two readings, and the HPA looks every 15 s.
const PATIENCE: Duration = Duration::from_mins(3);

async fn deploy(client: &Client, name: &str, script: &str) {
    let deployment = json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeName": NODE, "tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "none", "command": ["sh", "-c", script],
                                    "resources": {"requests": {"cpu": "20m"}}}],
                },
            },
        },
    });
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
    let hpa = json!({
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{"type": "Resource",
                         "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        },
    });
    let hpas: Api<HorizontalPodAutoscaler> = Api::default_namespaced(client.clone());
    hpas.create(&PostParams::default(), &serde_json::from_value(hpa).unwrap()).await.unwrap();
}

/// Replicas that the HPA wants, and the utilisation that it sees, once it sees one.
async fn judged(client: &Client, name: &str) -> Option<(i32, i32)> {
    let hpas: Api<HorizontalPodAutoscaler> = Api::default_namespaced(client.clone());
    let status = hpas.get(name).await.unwrap().status?;
    let metric = status.current_metrics?.first()?.resource.clone()?;
    Some((status.desired_replicas, metric.current.average_utilization?))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hpa_scales_by_what_processes_really_use() {
    let options = ClusterOptions {
        cpu_initialization: Duration::from_secs(10),
        hpa_sync: Duration::from_secs(5),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    let own = cluster.client();
    let trial = Trial::on(cluster, own, true).await;
    // A loop that asks for a fiftieth of a core and takes what there is, and one that sleeps.
    deploy(&trial.client, "busy", "while :; do :; done").await;
    deploy(&trial.client, "idle", "while :; do sleep 1; done").await;
    let deadline = Instant::now() + PATIENCE;
    let mut seen = (None, None);
    while Instant::now() < deadline {
        seen = (judged(&trial.client, "busy").await, judged(&trial.client, "idle").await);
        if let (Some((busy, _)), Some(_)) = seen
            && busy > 1
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (Some((busy, used)), Some((idle, rested))) = seen else { panic!("the HPA sees no CPU: {seen:?}") };
    assert!(busy > 1 && used > 50, "the busy one is not scaled: {seen:?}");
    assert!(idle == 1 && rested <= 50, "the idle one is: {seen:?}");
    eventually("the new pods run, too", async || {
        let pods = trial.pods.list(&kube::api::ListParams::default().labels("app=busy")).await.unwrap().items;
        let running =
            pods.iter().filter(|pod| pod.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running")));
        (running.count() > 1).then_some(())
    })
    .await;
    trial.end().await;
}
