use super::*;

#[test]
fn counting_that_knows_rolling_updates_gives_each_revision_its_base_or_all_one() {
    for (per, last) in [("Revision", "base b1"), ("Workload", "burst b1 eci v")] {
        let spec = json!({"base": 1, "tiers": [{"pool": "eci"}], "count": {"per": per}});
        let mut cluster = Cluster::with_policy(spec, 2);
        cluster.apply(replica_set("web-b", Some("web"), 2));
        cluster.apply(shown(pod("a1").base().on("n")));
        assert_eq!(cluster.shows(shown(pod("b1").of("web-b"))), [last], "{per}");
    }
}

#[test]
fn a_shared_percentage_is_of_what_all_revisions_want_and_its_holes_are_for_all() {
    let spec = json!({"base": "50%", "tiers": [{"pool": "nowhere"}], "count": {"per": "Workload"}});
    let mut cluster = Cluster::with_policy(spec, 2);
    cluster.apply(replica_set("web-b", Some("web"), 2));
    cluster.apply(shown(pod("a1")));
    cluster.apply(shown(pod("b1").of("web-b")));
    cluster.apply(shown(pod("b2").of("web-b")));
    assert_eq!(cluster.decide(), ["base a1", "base b1"], "half of four");
    assert_eq!(cluster.shows(gone("a1")), ["base b2"]);
}

#[test]
fn terminating_pods_count_until_they_are_gone_where_the_policy_says_so() {
    let count = json!({"ignoreTerminating": false});
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci"}], "count": count}), 2);
    cluster.apply(shown(pod("b").base().on("n").deleting()));
    assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
    cluster.apply(gone("b"));
    assert_eq!(cluster.shows_pods(2..=2), ["base p2"]);
}

#[test]
fn pods_that_were_there_before_do_not_count_where_the_policy_says_so() {
    for (ignore, first) in [(false, "burst p1 eci v"), (true, "base p1")] {
        let count = json!({"ignorePrevious": ignore});
        let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci"}], "count": count}), 2);
        cluster.apply(shown(pod("old").unbound().on("n")));
        assert_eq!(cluster.shows_pods(1..=1), [first], "{ignore}");
    }
}

#[test]
fn of_workloads_that_share_a_pool_the_higher_priority_gets_room_first() {
    let tiers = json!([{"pool": "eci"}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 1);
    cluster.apply(node(virtual_node("v", 0)));
    cluster.apply(policy("first", json!({"base": 0, "tiers": tiers, "priority": 10})));
    let Event::Revision(other) = replica_set("z", None, 1) else { panic!("a ReplicaSet") };
    cluster.apply(Event::Revision(Revision { marks: marks([("policy", "first")]), ..other }));
    assert!(cluster.shows_pods(1..=1).is_empty());
    assert!(cluster.shows(shown(pod("vip").of("z").created(1_001))).is_empty());
    assert_eq!(cluster.shows(node(virtual_node("v", 1))), ["burst vip eci v"]);
    assert_eq!(cluster.shows(node(virtual_node("v", 2))), ["burst p1 eci v"]);
}
