//! 300 real and 2 virtual nodes: nothing stays pending, also of 300 pods at once.

use std::time::Instant;

use futures::future::join_all;

use crate::{
    auditor::Delays,
    trial::{Shape, Trial, deployment},
};

const APPS: usize = 20;
const PLAIN: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_three_hundred_nodes_nothing_stays_pending() {
    let shape = Shape { real_nodes: 300, raised_client_limits: true, ..Shape::default() };
    let trial = Trial::begin("scale", &shape).await;
    let replica = trial.stand.run_here().await.unwrap();

    let begun = Instant::now();
    trial.apply(&deployment("big", Some("10"), 200)).await;
    trial.until_ready("big", 10, 190).await;
    trial.say(format!("200 pods of one Deployment ready in {:.1?}", begun.elapsed()));
    let history = trial.auditor.history();
    trial.say(format!("  created to without the gate, {}", Delays::to_opened(&history, "big")));
    trial.say(format!("  created to bound, {}", Delays::to_bound(&history, "big")));

    let names: Vec<_> = (0..APPS).map(|index| format!("app-{index:02}")).collect();
    for name in &names {
        trial.apply(&deployment(name, Some("2"), 0)).await;
    }
    trial.apply(&deployment("plain", None, 0)).await;
    let begun = Instant::now();
    let scaled = names.iter().map(|name| trial.scale(name, 10));
    tokio::join!(join_all(scaled), trial.scale("plain", PLAIN));
    for name in &names {
        trial.until_ready(name, 2, 8).await;
    }
    trial.until_ready("plain", PLAIN, 0).await;
    trial.say(format!("{} governed and {PLAIN} plain pods at once, ready in {:.1?}", 10 * APPS, begun.elapsed()));
    let history = trial.auditor.history();
    trial.say(format!("  governed, created to without the gate, {}", Delays::to_opened(&history, "app-")));
    trial.say(format!("  governed, created to bound, {}", Delays::to_bound(&history, "app-")));
    trial.say(format!("  plain, created to bound, {}", Delays::to_bound(&history, "plain")));

    let verdict = trial.settle().await;
    assert_eq!(verdict.most.len(), 1 + APPS);
    assert_eq!(verdict.gateless, Vec::<String>::new());
    replica.stop().await.unwrap();
    trial.end(verdict).await;
}
