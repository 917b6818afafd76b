use super::*;

#[test]
fn a_policy_that_changes_is_followed_from_then_on() {
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci"}]}), 4);
    assert_eq!(cluster.shows_pods(1..=2), ["base p1", "burst p2 eci v"]);
    cluster.apply(policy("rules", json!({"base": 2, "tiers": [{"pool": "spot"}]})));
    assert_eq!(cluster.shows_pods(3..=4), ["base p3", "burst p4 spot s"]);
}

#[test]
fn a_policy_that_makes_no_sense_leaves_the_last_good_one_in_force() {
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci"}]}), 2);
    cluster.apply(policy("rules", json!({"base": "some"})));
    assert_eq!(cluster.shows_pods(1..=2), ["base p1", "burst p2 eci v"]);
    assert_eq!(cluster.placement().policy_faults().len(), 1);
}

#[test]
fn a_policy_that_is_named_but_missing_is_told_once_and_leaves_pods_plain() {
    let mut cluster = Cluster::new();
    let Event::Revision(bare) = replica_set("web-a", None, 1) else { panic!("a ReplicaSet") };
    cluster.apply(Event::Revision(Revision { marks: marks([("policy", "missing")]), ..bare }));
    let lines = cluster.shows_pods(1..=1);
    assert!(lines[0].starts_with("note ") && lines[0].contains("missing"), "{lines:?}");
    assert_eq!(lines[1..], ["release p1"]);
    cluster.apply(deployment("other", None));
    assert_eq!(cluster.shows_pods(2..=2), ["release p2"]);
}

#[test]
fn without_tiers_every_pool_is_meant_in_the_clusters_order() {
    let mut cluster = Cluster::with_policy(json!({"base": 0}), 3);
    cluster.apply(node(virtual_node("v", 1)));
    assert_eq!(cluster.shows_pods(1..=2), ["burst p1 eci v"], "spot is no pool of the cluster yet");
    cluster.apply(Event::Pool(PoolFacts {
        name: "spot".into(),
        price: None,
        quota: Quota::default(),
        budget: None,
        fallback: None,
    }));
    assert_eq!(cluster.decide(), ["burst p2 spot s"]);
}
