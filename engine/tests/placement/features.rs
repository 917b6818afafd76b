//! What users compare by, where no other test here is named after it.

use super::*;

#[test]
fn base_count_then_overflow() {
    let mut cluster = Cluster::with_policy(json!({"base": 2, "tiers": [{"pool": "eci"}]}), 4);
    assert_eq!(cluster.shows_pods(1..=4), ["base p1", "base p2", "burst p3 eci v", "burst p4 eci v"]);
}

#[test]
fn wait_for_the_node_autoscaler_first_and_burst_only_what_it_left() {
    let spec = json!({"mode": "WhenFull", "moveOn": {"after": "120s"}, "tiers": [{"pool": "eci"}]});
    let mut cluster = Cluster::with_policy(spec, 2);
    assert_eq!(cluster.shows_pods(1..=2), ["base p1", "base p2"]);
    for name in ["p1", "p2"] {
        cluster.apply(shown(pod(name).base().unschedulable().decided(1_000)));
    }
    assert_eq!(cluster.watch(60), []);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("p1").base().on("n").decided(1_000)));
    assert_eq!(cluster.watch(70), [(60, "move-on p2 eci".to_owned())], "the node that came took one");
}

#[test]
fn reverse_order_on_scale_in_is_told_by_deletion_costs() {
    let tiers = json!([{"pool": "spot", "max": 1}, {"pool": "eci", "max": 1}, {"real": {}}]);
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": tiers}), 4);
    for name in ["p1", "p2", "p3", "p4"] {
        cluster.apply(shown(pod(name)));
    }
    let cost = |action| if let Action::Place { extras, .. } = action { extras.deletion_cost } else { None };
    let costs: Vec<_> = cluster.actions().into_iter().map(cost).collect();
    assert!(costs.is_sorted_by(|before, after| before.unwrap_or(0) > after.unwrap_or(0)), "{costs:?}");
}

#[test]
fn stock_aware_provider_choice() {
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": [{"pool": "spot"}, {"pool": "eci"}]}), 4);
    cluster.apply(Event::Stock { pool: "spot".into(), free: Some(1) });
    assert_eq!(cluster.shows_pods(1..=2), ["burst p1 spot s", "burst p2 eci v"]);
    cluster.apply(Event::Stock { pool: "spot".into(), free: Some(5) });
    assert_eq!(cluster.shows_pods(3..=3), ["burst p3 spot s"]);
}

#[test]
fn enforce_auto_and_off_are_modes_also_by_other_products_marks() {
    let placed = |value: &str| {
        let mut cluster = Cluster::new();
        cluster.apply(node(virtual_node("v", 10)));
        let Event::Revision(set) = replica_set("web-a", None, 1) else { panic!("a ReplicaSet") };
        let labels = [("bursting.cci.io/burst-to-cci".to_owned(), value.to_owned())].into();
        let pods = burstlet_engine::policy::Marks { labels, ..set.pods };
        cluster.apply(Event::Revision(Revision { pods, ..set }));
        cluster.shows_pods(1..=1)
    };
    assert_eq!(placed("enforce"), ["burst p1 eci v"]);
    assert_eq!(placed("auto"), ["base p1"], "real nodes first");
    assert_eq!(placed("off"), ["base p1"]);
}
