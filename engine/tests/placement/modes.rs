use super::*;

#[test]
fn overflow_when_real_nodes_are_short_waits_as_a_plain_pod_for_the_node_autoscaler() {
    let spec = json!({"mode": "WhenFull", "moveOn": {"after": "90s"}, "tiers": [{"pool": "eci"}]});
    let mut cluster = Cluster::with_policy(spec, 2);
    assert_eq!(cluster.shows_pods(1..=2), ["base p1", "base p2"], "real nodes first, plain from the start");
    cluster.apply(shown(pod("p1").base().on("n")));
    cluster.apply(shown(pod("p2").base().unschedulable().decided(1_000)));
    assert_eq!(cluster.watch(100), [(90, "move-on p2 eci".to_owned())]);
}

#[test]
fn when_full_may_wait_behind_the_gate_where_no_scheduler_sees_it() {
    let spec = json!({
        "mode": "WhenFull", "moveOn": {"after": "60s", "waiting": "Gated"}, "tiers": [{"pool": "eci"}]
    });
    let mut cluster = Cluster::with_policy(spec, 3);
    cluster.apply(node(Node { max_pods: 1, ..real_node("n") }));
    assert_eq!(cluster.shows_pods(1..=2), ["base p1"], "there is room for one");
    let told = "explain p2: waiting: no real node has room";
    assert_eq!(cluster.watch(59), [(1, told.to_owned())]);
    assert_eq!(cluster.watch(2), [(1, "burst p2 eci v".to_owned())]);
    cluster.apply(node(Node { max_pods: 2, ..real_node("n") }));
    cluster.apply(shown(pod("p1").base().on("n")));
    assert_eq!(cluster.shows_pods(3..=3), ["base p3"]);
}

#[test]
fn always_has_no_base_and_never_has_no_burst() {
    let mut cluster = Cluster::with_policy(json!({"mode": "Always", "tiers": [{"pool": "eci"}]}), 1);
    assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
    let mut cluster = Cluster::with_policy(json!({"mode": "Never", "base": 1}), 3);
    assert_eq!(cluster.shows_pods(1..=2), ["base p1", "base p2"]);
    cluster.apply(shown(pod("p1").base().unschedulable().decided(1_000)));
    assert!(cluster.watch(600).is_empty(), "and none moves on");
}

#[test]
fn observe_writes_nothing_and_tells_what_would_have_burst_and_its_cost() {
    let spec = json!({"mode": "Observe", "base": 1, "tiers": [{"pool": "eci", "max": 2}]});
    let mut cluster = Cluster::with_policy(spec, 4);
    cluster.apply(priced("eci", "CNY"));
    for name in ["p1", "p2", "p3", "p4"] {
        cluster.apply(shown(pod(name).unbound().on("n").cpu(1_000)));
    }
    assert!(cluster.decide().is_empty());
    assert!(cluster.watch(1_800).is_empty());
    assert!(cluster.shows(gone("p3")).is_empty());
    assert!(cluster.watch(1_800).is_empty());
    let observed = cluster.placement().observations();
    let web = &observed[&burstlet_engine::model::ObjectName::new("shop", "web")];
    let eci = &web[&burstlet_engine::model::PoolName::from("eci")];
    assert_eq!((eci.pods, eci.pod_minutes), (3, 120), "p2 for an hour, p3 and then p4 for half of one");
    assert_eq!(eci.cost.as_ref().expect("a price").to_string(), "2.0000016 CNY");
    let explained = cluster.placement().explain(&"p2".into()).expect("recorded");
    assert_eq!(explained.summary, "the base of 1 is full; pool eci has room");
    assert_eq!(serde_json::to_value(&explained).expect("serialises")["mode"], "Observe");
}

#[test]
fn what_is_only_observed_takes_no_room_from_others() {
    let mut cluster = Cluster::with_policy(json!({"mode": "Observe", "base": 0, "tiers": [{"pool": "eci"}]}), 1);
    cluster.apply(node(virtual_node("v", 1)));
    cluster.apply(shown(pod("watched").unbound().on("n")));
    cluster.apply(replica_set("other", None, 1));
    let Event::Revision(other) = replica_set("other", None, 1) else { panic!("a ReplicaSet") };
    cluster.apply(Event::Revision(Revision { marks: marks([("base", "0")]), ..other }));
    assert_eq!(cluster.shows(shown(pod("p").of("other"))), ["burst p eci v"]);
}

#[test]
fn a_gate_is_taken_off_where_the_policy_only_observes() {
    let mut cluster = Cluster::with_policy(json!({"mode": "Observe", "base": 0}), 1);
    assert_eq!(cluster.shows_pods(1..=1), ["release p1"]);
}
