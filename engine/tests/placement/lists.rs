use super::*;

#[test]
fn nothing_is_decided_until_every_kind_is_listed() {
    let mut cluster = Cluster::unlisted();
    let none: [Event; 0] = [];
    cluster.list(Kind::Pod, [shown(pod("p1"))]);
    cluster.list(Kind::Revision, [replica_set("web-a", Some("web"), 1)]);
    cluster.list(Kind::Workload, [deployment("web", Some("1"))]);
    for kind in [Kind::Node, Kind::Policy, Kind::Pool] {
        cluster.list(kind, none.clone());
    }
    assert!(cluster.decide().is_empty());
    cluster.list(Kind::Namespace, none);
    assert_eq!(cluster.decide(), ["base p1"]);
}

#[test]
fn nothing_is_decided_while_pods_are_listed_and_what_the_list_leaves_out_is_gone() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(shown(pod("b1").base().on("n")));
    cluster.apply(Event::Begin(Kind::Pod));
    assert!(cluster.shows(shown(pod("p1"))).is_empty());
    assert_eq!(cluster.shows(Event::Finish(Kind::Pod)), ["base p1"], "b1 was not in the list");
}

#[test]
fn a_pod_that_is_gone_stays_gone_though_its_answer_comes_during_the_list() {
    for outcome in [Outcome::Applied, Outcome::Refused] {
        let mut cluster = Cluster::with_web("1", 2);
        assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
        cluster.apply(Event::Begin(Kind::Pod));
        cluster.settle("p1", outcome);
        cluster.apply(Event::Finish(Kind::Pod));
        assert_eq!(cluster.shows(shown(pod("p2"))), ["base p2"], "{outcome:?}");
        assert!(cluster.watch(5).is_empty());
    }
}

#[test]
fn a_pod_that_is_gone_stays_gone_though_its_node_changes_during_the_list() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(shown(pod("p1").base().on("n")));
    cluster.apply(Event::Begin(Kind::Pod));
    cluster.apply(node(real_node("n")));
    cluster.apply(Event::Finish(Kind::Pod));
    assert_eq!(cluster.shows(shown(pod("p2"))), ["base p2"]);
}

#[test]
fn a_list_that_begins_anew_forgets_what_the_broken_one_named() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(Event::Begin(Kind::Pod));
    cluster.apply(shown(pod("b1").base().on("n")));
    cluster.list(Kind::Pod, [shown(pod("p1"))]);
    assert_eq!(cluster.decide(), ["base p1"]);
}

#[test]
fn a_decision_under_way_counts_over_a_new_list() {
    let mut cluster = Cluster::with_web("1", 2);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
    cluster.list(Kind::Pod, [shown(pod("p1")), shown(pod("p2"))]);
    assert_eq!(cluster.decide(), ["burst p2 eci v"]);
}

#[test]
fn lists_of_the_other_kinds_sweep_too() {
    let mut cluster = Cluster::with_web("0", 2);
    let none: [Event; 0] = [];
    cluster.list(Kind::Node, none.clone());
    assert!(cluster.shows(shown(pod("p1"))).is_empty(), "the virtual node is gone");
    cluster.list(Kind::Workload, none.clone());
    assert_eq!(cluster.decide(), ["release p1"], "the Deployment and its base are gone");
    cluster.list(Kind::Revision, none);
    assert!(cluster.shows(shown(pod("p2"))).is_empty());
    assert!(cluster.placement().census().is_empty());
}
