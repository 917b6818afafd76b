//! What placement decides, by example: a module a subject.

#![expect(clippy::panic, clippy::expect_used, reason = "a helper of tests fails by panicking")]

mod capabilities;
mod counting;
mod explanations;
mod fallback;
mod features;
mod lists;
mod modes;
mod moving_back;
mod moving_on;
mod policies;
mod profiles;
mod support;
mod the_base;
mod the_pool;
mod tiers;
mod who_governs;
mod windows_and_budgets;
mod workloads;

use burstlet_engine::{
    model::{MilliCpu, Node, Pod, Stage, Tier},
    placement::{Action, Controller, Event, Kind, Looked, Outcome, PoolFacts, Quota, Revision, Workload},
    policy::{Budget, Exhausted, Price, Spend},
};
use serde_json::json;
use support::{
    COOL_DOWN, Cluster, MOVE_BACK, MOVE_ON, PodWords, at, deployment, gone, marks, namespace, pod, policy, real_node,
    replica_set, virtual_node,
};

/// Shorthand: events are applied by what they show.
fn shown(pod: Pod) -> Event {
    Event::Pod(pod)
}

fn node(node: Node) -> Event {
    Event::Node(node)
}

/// The pool's price is one unit of money a core and hour, whole.
fn priced(pool: &str, currency: &str) -> Event {
    let price = Price {
        cpu_second: format!("0.000277778 {currency}").parse().expect("a price"),
        gib_second: format!("0 {currency}").parse().expect("a price"),
    };
    Event::Pool(PoolFacts {
        name: pool.into(),
        price: Some(price),
        quota: Quota::default(),
        budget: None,
        fallback: None,
    })
}

fn lines(watched: Vec<(u64, String)>) -> Vec<String> {
    watched.into_iter().map(|(_, line)| line).collect()
}
