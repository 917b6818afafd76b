//! A base pod is killed 50 times in a row under load: its successor is on a real node each time.

use std::time::Instant;

use burstlet::provider::simulated::CpuTarget;
use kube::api::DeleteParams;

use crate::{
    auditor::{Delays, History, Life},
    trial::{Shape, Trial, deployment},
};

const KILLS: usize = 50;
const REPLICAS: usize = 20;
const BASE: usize = 3;

fn on_real_nodes(history: &History) -> Vec<&Life> {
    let is_home = |life: &&Life| life.bound.as_ref().is_some_and(|(_, node)| history.is_real(node));
    history.living("web").filter(is_home).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_base_pods_successor_is_on_a_real_node_each_time() {
    let trial = Trial::begin("base_kill", &Shape::default()).await;
    let replica = trial.stand.run_here().await.unwrap();
    trial.apply(&deployment("web", Some("3"), REPLICAS)).await;
    trial.until_ready("web", BASE, REPLICAS - BASE).await;
    for cloud in trial.stand.clouds().map(|(_, cloud)| cloud).chain([trial.stand.real_cloud()]) {
        cloud.set_cpu(&CpuTarget::All, 800);
    }
    let mut times = Vec::new();
    for kill in 0..KILLS {
        let history = trial.auditor.history();
        let base = on_real_nodes(&history);
        let victim = base[kill % base.len()];
        let begun = Instant::now();
        // Every third one is killed without grace, as if its node had been lost.
        let parameters = DeleteParams { grace_period_seconds: (kill % 3 == 0).then_some(0), ..DeleteParams::default() };
        trial.pods().delete(&victim.name, &parameters).await.unwrap();
        let successor = trial
            .until("the successor is bound", |history| {
                let ended = history.lives[&victim.uid].ended?.version;
                let mut successors = history.living("web").filter(|life| life.created.version > ended);
                let successor = successors.next()?;
                assert_eq!(successors.count(), 0, "one successor");
                let (_, node) = successor.bound.as_ref()?;
                Some((successor.name.clone(), node.clone(), history.is_real(node)))
            })
            .await;
        times.push(begun.elapsed());
        assert!(successor.2, "kill {kill}: {successor:?}");
        trial.until("the base is whole", |history| (on_real_nodes(history).len() == BASE).then_some(())).await;
    }
    trial.say(format!(
        "{KILLS} kills, each successor on a real node; killed to bound, {}",
        Delays::of(times.into_iter())
    ));
    trial.until_ready("web", BASE, REPLICAS - BASE).await;
    let verdict = trial.settle().await;
    assert_eq!(verdict.sent_to_burst, REPLICAS - BASE, "no successor was ever sent to burst");
    replica.stop().await.unwrap();
    trial.end(verdict).await;
}
