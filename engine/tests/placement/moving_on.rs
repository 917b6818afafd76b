use super::*;

fn moved(seconds: u64) -> Vec<(u64, String)> {
    vec![(seconds, "move-on p eci".to_owned())]
}

#[test]
fn a_base_pod_that_fits_nowhere_moves_on_when_its_time_is_up() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.wait(10);
    cluster.apply(shown(pod("p").base().unschedulable().decided(1_000)));
    assert_eq!(cluster.watch(200), moved(MOVE_ON - 10), "counted from the decision; asked once");
}

#[test]
fn a_restart_does_not_begin_its_time_anew() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.wait(MOVE_ON + 1);
    let lines = cluster.shows(shown(pod("p").base().unschedulable().decided(1_000)));
    assert_eq!(lines, ["move-on p eci"]);
}

#[test]
fn a_pod_that_the_scheduler_has_not_judged_does_not_move_on() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(shown(pod("p").base().decided(1_000)));
    assert!(cluster.watch(300).is_empty());
}

#[test]
fn a_pod_that_finds_its_node_in_time_does_not_move_on() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(shown(pod("p").base().unschedulable().decided(1_000)));
    assert!(cluster.watch(MOVE_ON - 1).is_empty());
    cluster.apply(shown(pod("p").base().on("n").decided(1_000)));
    assert!(cluster.watch(100).is_empty());
}

#[test]
fn a_plain_pod_of_the_base_moves_on_from_when_it_was_seen_to_fit_nowhere() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.wait(500);
    cluster.apply(shown(pod("p").unschedulable()));
    assert_eq!(cluster.watch(100), moved(MOVE_ON));
}

#[test]
fn a_pod_that_nobody_governs_does_not_move_on_until_somebody_does() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(deployment("web", None));
    cluster.apply(shown(pod("p").unschedulable()));
    cluster.apply(shown(Pod { revision: None, ..pod("alone").unschedulable() }));
    assert!(cluster.watch(200).is_empty());
    cluster.apply(deployment("web", Some("1")));
    assert_eq!(cluster.watch(1), moved(0));
}

#[test]
fn a_pod_waits_for_a_pool_with_room_to_move_on_to() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(node(virtual_node("v", 0)));
    cluster.apply(shown(pod("p").base().unschedulable().decided(1_000)));
    assert!(cluster.watch(200).is_empty());
    cluster.apply(node(virtual_node("v", 1)));
    assert_eq!(cluster.watch(1), moved(0));
}

#[test]
fn a_refused_move_is_held_and_tried_again() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(shown(pod("p").base().unschedulable().decided(1_000)));
    assert_eq!(cluster.watch(MOVE_ON), moved(MOVE_ON));
    cluster.settle("p", Outcome::Refused);
    assert_eq!(cluster.watch(20), moved(1));
    cluster.settle("p", Outcome::Applied);
    assert!(cluster.watch(20).is_empty());
    cluster.apply(shown(pod("p").short().decided(1_000)));
    cluster.apply(shown(pod("p").short().unschedulable().decided(1_000)));
    assert!(cluster.watch(200).is_empty(), "it has moved on already");
}
