use super::*;

#[test]
fn three_or_more_ordered_tiers_fill_in_their_order() {
    let tiers = json!([{"pool": "spot", "max": "50%"}, {"pool": "eci", "max": 2}, {"real": {}}]);
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": tiers}), 7);
    assert_eq!(
        cluster.shows_pods(1..=7),
        [
            "base p1",
            "burst p2 spot s",
            "burst p3 spot s",
            "burst p4 spot s",
            "burst p5 eci v",
            "burst p6 eci v",
            "real p7 0"
        ],
        "half of seven, rounded down"
    );
}

#[test]
fn percent_split_rounds_up_for_the_base_and_down_for_a_tier() {
    let tiers = json!([{"pool": "eci", "max": "50%"}]);
    let mut cluster = Cluster::with_policy(json!({"base": "50%", "tiers": tiers}), 5);
    assert_eq!(cluster.shows_pods(1..=5), ["base p1", "base p2", "base p3", "burst p4 eci v", "burst p5 eci v"]);
}

#[test]
fn cap_by_cpu_or_memory_sum_holds_for_the_base_and_for_tiers() {
    let tiers = json!([{"pool": "spot", "maxResources": {"memory": "2Mi"}}, {"pool": "eci"}]);
    let spec = json!({"mode": "AfterBase", "baseResources": {"cpu": "250m"}, "tiers": tiers});
    let mut cluster = Cluster::with_policy(spec, 5);
    assert_eq!(
        cluster.shows_pods(1..=5),
        ["base p1", "base p2", "burst p3 spot s", "burst p4 spot s", "burst p5 eci v"],
        "each requests 100m and 1Mi"
    );
}

#[test]
fn a_full_tier_is_waited_for_where_the_policy_does_not_let_pods_pass_it() {
    let tiers = json!([{"pool": "spot", "max": 1, "moveOn": {"when": ["Short"]}}, {"pool": "eci"}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 2);
    assert_eq!(cluster.shows_pods(1..=2), ["burst p1 spot s"]);
    assert_eq!(lines(cluster.watch(5)), ["explain p2: waiting: the base of 0 is full; pool spot has 1 of 1 pods"]);
    assert_eq!(cluster.shows(gone("p1")), ["burst p2 spot s"]);
}

#[test]
fn a_short_tier_is_passed_after_its_time_and_each_one_is_waited_for_in_turn() {
    let tiers = json!([
        {"pool": "spot", "moveOn": {"when": ["Full", "Short"], "after": "30s"}},
        {"pool": "eci", "moveOn": {"when": ["Full", "Short"], "after": "60s"}},
        {"real": {}}
    ]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 2);
    for pool in ["spot", "eci"] {
        cluster.apply(Event::Stock { pool: pool.into(), free: Some(0) });
    }
    assert!(cluster.shows_pods(1..=1).is_empty());
    let decided: Vec<_> = cluster.watch(120).into_iter().filter(|(_, line)| !line.starts_with("explain")).collect();
    assert_eq!(decided, [(90, "real p1 0".to_owned())]);
    cluster.apply(Event::Stock { pool: "eci".into(), free: Some(1) });
    assert!(cluster.shows_pods(2..=2).is_empty());
    let decided: Vec<_> = cluster.watch(120).into_iter().filter(|(_, line)| !line.starts_with("explain")).collect();
    assert_eq!(decided, [(30, "burst p2 eci v".to_owned())], "a later pod waits for itself");
}

#[test]
fn a_short_tier_is_waited_for_where_the_policy_does_not_let_pods_pass_it() {
    let tiers = json!([{"pool": "spot", "max": 9, "moveOn": {"when": ["Full"]}}, {"pool": "eci"}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 1);
    cluster.apply(Event::Stock { pool: "spot".into(), free: Some(0) });
    assert!(cluster.shows_pods(1..=1).is_empty());
    assert_eq!(lines(cluster.watch(600)).len(), 1, "it is told why, and waits");
    assert_eq!(cluster.shows(Event::Stock { pool: "spot".into(), free: Some(1) }), ["burst p1 spot s"]);
}

#[test]
fn a_pod_that_no_virtual_node_could_run_passes_pools_for_real_nodes_at_once() {
    let tiers = json!([{"pool": "eci", "max": 9, "moveOn": {"when": ["Full"]}}, {"real": {}}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 1);
    let lines = cluster.shows(shown(Pod { virtual_obstacle: Some("it mounts a host path".into()), ..pod("p") }));
    assert_eq!(lines, ["real p 0"]);
}

#[test]
fn labels_and_patch_per_tier_and_reverse_order_on_scale_in_come_with_the_placing() {
    let tiers = json!([
        {"pool": "spot", "max": 1, "labels": {"kind": "spot"}, "annotations": {"note": "may go"}},
        {"pool": "eci"}
    ]);
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": tiers}), 3);
    for name in ["p1", "p2", "p3"] {
        cluster.apply(shown(pod(name)));
    }
    let extras: Vec<_> = cluster
        .actions()
        .into_iter()
        .map(|action| if let Action::Place { extras, .. } = action { extras } else { panic!("{action:?}") })
        .collect();
    let costs: Vec<_> = extras.iter().map(|extras| extras.deletion_cost).collect();
    assert_eq!(costs, [None, Some(-100), Some(-200)], "later tiers go first, the base last");
    assert_eq!(extras[1].labels, [("kind".to_owned(), "spot".to_owned())].into());
    assert_eq!(extras[1].annotations, [("note".to_owned(), "may go".to_owned())].into());
    assert!(extras[2].labels.is_empty());
}

#[test]
fn pods_on_real_nodes_beyond_the_base_do_not_fill_it() {
    let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"real": {}}]}), 3);
    assert_eq!(cluster.shows_pods(1..=2), ["base p1", "real p2 0"]);
    cluster.apply(shown(Pod { tier: Some(Tier::Real(0)), ..pod("p2").on("n") }));
    cluster.apply(gone("p1"));
    assert_eq!(cluster.shows_pods(3..=3), ["base p3"], "the hole is the next one's");
}
