//! What pools' providers lack, seen before a pod is placed.

use crate::support::{Cluster, MOVE_ON, PodWords, pod};
use burstlet_engine::{
    model::{Bytes, Capabilities, MilliCpu, Need, NeedSet, Needs, Pod, Resources},
    placement::Event,
};
use proptest::prelude::*;
use serde_json::json;

const INIT: Needs = Needs { kinds: NeedSet::of(&[Need::InitContainers]), containers: 1, size: nothing() };
const BARE: Capabilities =
    Capabilities { provider: "Bare Cloud", kinds: NeedSet::of(&[]), containers: Some(2), largest: None };

const fn nothing() -> Resources {
    Resources { cpu: MilliCpu(0), memory: Bytes(0) }
}

fn told(pool: &str, capabilities: Capabilities) -> Event {
    Event::Capabilities { pool: pool.into(), capabilities }
}

fn with(needs: Needs, name: &str) -> Event {
    Event::Pod(Pod { needs, ..pod(name) })
}

#[test]
fn a_pod_goes_to_the_pool_that_has_what_it_needs() {
    let tiers = json!([{"pool": "eci", "max": 9, "moveOn": {"when": ["Full"]}}, {"pool": "spot"}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 2);
    cluster.apply(told("eci", BARE));
    assert_eq!(cluster.shows(with(INIT, "p1")), ["burst p1 spot s"], "at once: the first will never have it");
    assert_eq!(cluster.shows(with(Needs::default(), "p2")), ["burst p2 eci v"]);
}

#[test]
fn a_pod_that_no_pool_can_run_goes_to_real_nodes_where_its_policy_names_them() {
    let tiers = json!([{"pool": "eci", "max": 9, "moveOn": {"when": ["Full"]}}, {"real": {}}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 1);
    cluster.apply(told("eci", BARE));
    assert_eq!(cluster.shows(with(INIT, "p1")), ["real p1 0"]);
}

#[test]
fn else_it_waits_and_is_told_the_field_and_the_provider() {
    let mut cluster = Cluster::with_web("0", 1);
    cluster.apply(told("eci", BARE));
    cluster.apply(with(INIT, "p1"));
    let clause = "pool eci cannot take it: Bare Cloud does not do initContainers";
    let line = format!("explain p1: waiting: the base of 0 is full; {clause}");
    assert_eq!(cluster.watch(3), [(1, line)]);
    let explained = cluster.placement().explain(&"p1".into()).expect("it was asked for");
    assert_eq!(explained.steps[1].why, clause);
    // A provider that comes to have it takes the pod, without anything else happening.
    assert_eq!(cluster.shows(told("eci", Capabilities::all("Rich Cloud"))), ["burst p1 eci v"]);
}

#[test]
fn a_base_pod_that_fits_nowhere_is_not_opened_to_a_pool_that_cannot_run_it() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(told("eci", BARE));
    cluster.apply(Event::Pod(Pod { needs: INIT, ..pod("p1").base().decided(1_000).unschedulable() }));
    cluster.wait(MOVE_ON + 1);
    assert!(cluster.watch(5).is_empty());
    cluster.apply(told("eci", Capabilities::all("Rich Cloud")));
    assert_eq!(cluster.watch(2), [(0, "move-on p1 eci".to_owned())]);
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    (any::<u32>(), prop::option::of(1..4_u16), prop::option::of(0..3_000_u64)).prop_map(|(kinds, containers, cpu)| {
        let largest = cpu.map(|cpu| Resources { cpu: MilliCpu(cpu), memory: Bytes(u64::MAX) });
        Capabilities { provider: "Some Cloud", kinds: some(kinds), containers, largest }
    })
}

fn needs() -> impl Strategy<Value = Needs> {
    // Few at a time, or hardly any pool would do.
    let kinds = prop::collection::vec(prop::sample::select(Need::ALL.to_vec()), 0..3);
    (kinds, 1..5_u16, 0..4_000_u64).prop_map(|(kinds, containers, cpu)| {
        let size = Resources { cpu: MilliCpu(cpu), memory: Bytes(1) };
        Needs { kinds: NeedSet::of(&kinds), containers, size }
    })
}

fn some(bits: u32) -> NeedSet {
    let chosen = Need::ALL.into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
    chosen.fold(NeedSet::default(), |set, (_, need)| set.with(need))
}

/// Counted anew, without the code that is tested.
fn runs(capabilities: &Capabilities, needs: &Needs) -> bool {
    Need::ALL.into_iter().all(|need| !needs.kinds.has(need) || capabilities.kinds.has(need))
        && capabilities.containers.is_none_or(|most| needs.containers <= most)
        && capabilities.largest.is_none_or(|most| needs.size.cpu <= most.cpu && needs.size.memory <= most.memory)
}

proptest! {
    #[test]
    fn no_pod_is_ever_sent_to_a_pool_that_lacks_what_it_needs(
        pools in [capabilities(), capabilities()],
        pods in prop::collection::vec(needs(), 1..8),
    ) {
        let tiers = json!([{"pool": "eci", "max": 9, "moveOn": {"when": ["Full"]}}, {"pool": "spot"}]);
        for (number, needs) in pods.iter().enumerate() {
            let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 9);
            cluster.apply(told("eci", pools[0]));
            cluster.apply(told("spot", pools[1]));
            let lines = cluster.shows(with(*needs, &format!("p{number}")));
            let expected = match pools.each_ref().map(|pool| runs(pool, needs)) {
                [true, _] => vec![format!("burst p{number} eci v")],
                [false, true] => vec![format!("burst p{number} spot s")],
                [false, false] => Vec::new(),
            };
            prop_assert_eq!(lines, expected);
        }
    }
}
