//! The real HPA and metrics-server scale 3 → 20 → 3 under load.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use burstlet::provider::simulated::CpuTarget;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::{
    auditor::{Delays, scale_in},
    trial::{Shape, Trial, deployment},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hpa_scales_from_the_base_into_the_pool_and_back() {
    let trial = Trial::begin("hpa", &Shape { metrics_server: true, ..Shape::default() }).await;
    let replica = trial.stand.run_here().await.unwrap();
    trial.apply(&deployment("web", Some("3"), 3)).await;
    trial.until_ready("web", 3, 0).await;
    let gently =
        json!({"stabilizationWindowSeconds": 15, "policies": [{"type": "Pods", "value": 6, "periodSeconds": 5}]});
    autoscale(&trial, &gently).await;

    // CPU that all pods together use, in thousandths of a core: 20 pods at 60 % of 200m take 2,400.
    let demand = AtomicU64::new(2400);
    let out = Instant::now();
    let story = async {
        trial.until_ready("web", 3, 17).await;
        trial.say(format!("20 ready, 17 of them burst, {:.1?} after the load began", out.elapsed()));
        let (before, back) = (trial.auditor.version(), Instant::now());
        demand.store(60, Ordering::Relaxed);
        trial.until_ready("web", 3, 0).await;
        trial.until("the pool is empty", |_| (trial.alive_in_pool() == 0).then_some(())).await;
        trial.say(format!("back to the base, pool empty, {:.1?} after the load ended", back.elapsed()));
        before
    };
    let before = tokio::select! {
        () = load(&trial, &demand) => unreachable!("the load never ends by itself"),
        before = story => before,
    };
    let history = trial.auditor.history();
    let (burst, base, violations) = scale_in(&history, before, trial.auditor.version());
    trial.say(format!("scale-in took {burst} burst pods and {base} base pods"));
    assert!(violations.is_empty(), "{violations:?}");
    assert_eq!((burst, base), (17, 0));
    trial.say(format!("created to bound, {}", Delays::to_bound(&history, "web")));
    let hpas: Api<HorizontalPodAutoscaler> = Api::default_namespaced(trial.client.clone());
    hpas.delete("web", &DeleteParams::default()).await.unwrap();
    let verdict = trial.settle().await;
    assert_eq!(verdict.gateless, Vec::<String>::new());
    replica.stop().await.unwrap();
    trial.end(verdict).await;
}

/// An HPA that takes `web` from 3 to 20 pods at 60 % of their CPU.
pub async fn autoscale(trial: &Trial, scale_down: &Value) {
    let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3, "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 20, "periodSeconds": 5}]},
                "scaleDown": scale_down,
            },
        },
    }))
    .unwrap();
    let hpas: Api<HorizontalPodAutoscaler> = Api::default_namespaced(trial.client.clone());
    hpas.create(&PostParams::default(), &hpa).await.unwrap();
}

/// Pods share the CPU that all of them together use, in thousandths of a core.
pub async fn load(trial: &Trial, demand: &AtomicU64) {
    loop {
        let (real, burst) = trial.auditor.history().ready("web");
        let each = (demand.load(Ordering::Relaxed) / (real + burst).max(1) as u64).clamp(1, 1000);
        for cloud in trial.stand.clouds().map(|(_, cloud)| cloud).chain([trial.stand.real_cloud()]) {
            cloud.set_cpu(&CpuTarget::All, each);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
