use super::*;

#[test]
fn a_base_by_number_keeps_so_many_and_bursts_the_rest() {
    let mut cluster = Cluster::with_web("2", 4);
    for name in ["p1", "p2", "p3", "p4"] {
        cluster.apply(shown(pod(name)));
    }
    assert_eq!(cluster.decide(), ["base p1", "base p2", "burst p3 eci v", "burst p4 eci v"]);
    assert!(cluster.decide().is_empty(), "what is under way is not decided again");
}

#[test]
fn a_base_by_percentage_rounds_up() {
    let mut cluster = Cluster::with_web("30%", 4);
    for name in ["p1", "p2", "p3", "p4"] {
        cluster.apply(shown(pod(name)));
    }
    assert_eq!(cluster.decide(), ["base p1", "base p2", "burst p3 eci v", "burst p4 eci v"]);
}

#[test]
fn a_namespace_sets_the_default_of_its_workloads() {
    let mut cluster = Cluster::new();
    cluster.apply(node(virtual_node("v", 10)));
    cluster.apply(deployment("web", None));
    cluster.apply(replica_set("web-a", Some("web"), 2));
    cluster.apply(namespace(Some("1")));
    cluster.apply(shown(pod("p1")));
    assert_eq!(cluster.shows(shown(pod("p2"))), ["base p1", "burst p2 eci v"]);
}

#[test]
fn a_workloads_annotation_comes_before_its_namespaces() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(namespace(Some("2")));
    cluster.apply(shown(pod("p1")));
    assert_eq!(cluster.shows(shown(pod("p2"))), ["base p1", "burst p2 eci v"]);
}

#[test]
fn the_copy_on_a_replica_set_counts_only_until_its_deployment_is_known() {
    let copied = |base: &str| {
        let Event::Revision(revision) = replica_set("web-a", Some("web"), 2) else { panic!("a ReplicaSet") };
        Event::Revision(burstlet_engine::placement::Revision { marks: marks([("base", base)]), ..revision })
    };
    let mut cluster = Cluster::new();
    cluster.apply(node(virtual_node("v", 10)));
    cluster.apply(copied("0"));
    assert_eq!(cluster.shows(shown(pod("p1"))), ["burst p1 eci v"]);
    cluster.apply(deployment("web", None));
    assert_eq!(cluster.shows(shown(pod("p2"))), ["release p2"]);
}

#[test]
fn a_fault_leaves_the_workload_as_not_annotated_and_warns_once() {
    let mut cluster = Cluster::with_web("some", 2);
    assert_eq!(
        cluster.shows(shown(pod("p1"))),
        [
            "warn Deployment shop/web: the workload's base is left aside: \"some\" is neither a number of pods nor a percentage; write for example 3 or 30%",
            "release p1"
        ]
    );
    cluster.apply(deployment("web", Some("some")));
    cluster.apply(replica_set("web-a", Some("web"), 3));
    cluster.list(Kind::Workload, [deployment("web", Some("some"))]);
    assert_eq!(cluster.shows(shown(pod("p2"))), ["release p2"], "told once, also over a new list");
    assert_eq!(
        cluster.shows(deployment("web", Some("101%"))),
        [
            "warn Deployment shop/web: the workload's base is left aside: \"101%\" is over 100%; a base cannot be larger than its workload"
        ]
    );
}

#[test]
fn a_fault_on_a_namespace_or_a_bare_replica_set_is_told_on_it() {
    let mut cluster = Cluster::new();
    assert_eq!(
        cluster.shows(namespace(Some("-1"))),
        ["warn Namespace shop: the namespace's base is left aside: \"-1\" is negative; the least base is 0"]
    );
    assert!(cluster.shows(namespace(Some("-1"))).is_empty());
    let Event::Revision(bare) = replica_set("bare", None, 1) else { panic!("a ReplicaSet") };
    let bare = Event::Revision(burstlet_engine::placement::Revision { marks: marks([("base", "x")]), ..bare });
    assert_eq!(
        cluster.shows(bare.clone()),
        [
            "warn ReplicaSet shop/bare: the workload's base is left aside: \"x\" is neither a number of pods nor a percentage; write for example 3 or 30%"
        ]
    );
    assert!(cluster.shows(bare).is_empty());
}

#[test]
fn a_gate_on_a_pod_that_nobody_governs_is_taken_off() {
    let mut cluster = Cluster::new();
    cluster.apply(replica_set("web-a", None, 1));
    cluster.apply(shown(pod("free")));
    cluster.apply(shown(Pod { revision: None, ..pod("stray") }));
    assert_eq!(cluster.decide(), ["release stray", "release free"]);
    cluster.settle("stray", Outcome::Refused);
    assert!(cluster.decide().is_empty());
    assert_eq!(cluster.watch(3), [(1, "release stray".to_owned())]);
}

#[test]
fn a_namespace_that_is_gone_governs_no_more() {
    let mut cluster = Cluster::new();
    cluster.apply(namespace(Some("0")));
    cluster.apply(replica_set("web-a", None, 2));
    assert!(cluster.shows(shown(pod("p1"))).is_empty(), "no pool has room");
    assert_eq!(cluster.shows(Event::NamespaceGone("shop".to_owned())), ["release p1"]);
}

#[test]
fn each_revision_of_a_rolling_update_has_a_base_of_its_own() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(replica_set("web-b", Some("web"), 2));
    cluster.apply(shown(pod("a1").base().on("n")));
    cluster.apply(shown(pod("a2").burst().on("v")));
    cluster.apply(shown(pod("b1").of("web-b")));
    assert_eq!(cluster.shows(shown(pod("b2").of("web-b"))), ["base b1", "burst b2 eci v"]);
}

#[test]
fn plain_pods_count_as_base_where_they_stand_on_real_nodes() {
    let mut cluster = Cluster::with_web("2", 4);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("old").unbound().on("n")));
    cluster.apply(shown(pod("tolerant").unbound().on("v")));
    cluster.apply(shown(pod("unbound").unbound()));
    assert_eq!(cluster.shows(shown(pod("p"))), ["burst p eci v"]);
}
