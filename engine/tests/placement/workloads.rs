use super::*;

fn controlled(name: &str, controller: Controller, base: &str, wanted: u32) -> Event {
    let Event::Revision(set) = replica_set(name, None, wanted) else { panic!("a ReplicaSet") };
    Event::Revision(Revision { controller, marks: marks([("base", base)]), ..set })
}

#[test]
fn a_stateful_sets_base_is_its_lowest_ordinals_whatever_the_order() {
    let mut cluster = Cluster::new();
    cluster.apply(node(virtual_node("v", 10)));
    cluster.apply(controlled("web-a", Controller::StatefulSet { first: 1 }, "2", 4));
    for ordinal in [4, 3, 2, 1] {
        cluster.apply(shown(pod(&format!("db-{ordinal}")).created(1_000 - ordinal)));
    }
    assert_eq!(cluster.decide(), ["burst db-4 eci v", "burst db-3 eci v", "base db-2", "base db-1"]);
}

#[test]
fn a_waiting_pod_of_a_stateful_set_does_not_hold_up_one_of_its_base() {
    let mut cluster = Cluster::new();
    cluster.apply(controlled("web-a", Controller::StatefulSet { first: 0 }, "1", 2));
    cluster.apply(shown(pod("db-1").created(900)));
    assert_eq!(cluster.shows(shown(pod("db-0").created(950)))[1..], ["base db-0"], "db-1 is told that it waits");
}

#[test]
fn a_stateful_sets_pod_comes_home_only_where_its_ordinal_is_of_the_base() {
    let mut cluster = Cluster::new();
    cluster.apply(node(virtual_node("v", 10)));
    cluster.apply(node(real_node("n")));
    cluster.apply(controlled("web-a", Controller::StatefulSet { first: 0 }, "1", 2));
    cluster.apply(shown(pod("db-1").burst().on("v")));
    assert!(cluster.watch(600).is_empty());
    cluster.apply(shown(pod("db-0").burst().on("v")));
    assert_eq!(lines(cluster.watch(600))[0], "evict db-0");
}

#[test]
fn a_jobs_pods_are_never_moved_back() {
    for (controller, evictions) in [(Controller::Job, 0), (Controller::ReplicaSet, 1)] {
        let mut cluster = Cluster::new();
        cluster.apply(node(virtual_node("v", 10)));
        cluster.apply(node(real_node("n")));
        cluster.apply(controlled("web-a", controller, "1", 1));
        cluster.apply(shown(pod("x").burst().on("v")));
        assert_eq!(cluster.watch(MOVE_BACK + 30).len(), evictions, "{controller:?}");
    }
}
