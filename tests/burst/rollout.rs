//! Rolling updates keep the rule for each revision.

use std::time::Instant;

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::trial::{Shape, Trial, deployment};

/// Replaces all pods of a Deployment, and waits until the new revision stands as it should.
async fn roll_out(trial: &Trial, name: &str, version: u32, real: usize, burst: usize) {
    let begun = Instant::now();
    let before = trial.auditor.version();
    let annotations = json!({"version": version.to_string()});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    trial.deployments().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    trial
        .until(&format!("{name} is rolled out, {real} on real nodes, {burst} on virtual ones"), |history| {
            let mut living = history.living(name);
            let is_new = living.all(|life| life.created.version > before);
            let is_all = history.living(name).count() == real + burst;
            (is_new && is_all && history.ready(name) == (real, burst)).then_some(())
        })
        .await;
    trial.say(format!("{name} rolled out to {real} + {burst} in {:.1?}", begun.elapsed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_keeps_the_base_of_each_revision() {
    let trial = Trial::begin("rollout", &Shape::default()).await;
    let replica = trial.stand.run_here().await.unwrap();
    trial.apply(&deployment("number", Some("3"), 12)).await;
    // 30 % of 12 are 3.6: rounded up, 4.
    trial.apply(&deployment("share", Some("30%"), 12)).await;
    trial.until_ready("number", 3, 9).await;
    trial.until_ready("share", 4, 8).await;
    for version in 1..=3 {
        let (number, share) = (roll_out(&trial, "number", version, 3, 9), roll_out(&trial, "share", version, 4, 8));
        tokio::join!(number, share);
    }
    let verdict = trial.settle().await;
    assert_eq!(verdict.most.len(), 8, "four revisions each");
    assert_eq!(verdict.gateless, Vec::<String>::new());
    replica.stop().await.unwrap();
    trial.end(verdict).await;
}
