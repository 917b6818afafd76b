use super::*;

#[test]
fn a_pod_waits_where_no_pool_has_room_and_is_told_why_once_after_a_second() {
    let mut cluster = Cluster::with_web("0", 3);
    cluster.apply(node(virtual_node("v", 1)));
    cluster.apply(shown(pod("p1").created(1_000)));
    assert_eq!(cluster.shows(shown(pod("p2").created(1_000))), ["burst p1 eci v"]);
    cluster.apply(shown(pod("p3").created(1_001)));
    let why = |pod: &str| format!("explain {pod}: waiting: the base of 0 is full; pool eci is full (1 pods)");
    assert_eq!(cluster.watch(10), [(1, why("p2")), (2, why("p3"))]);
    cluster.apply(shown(pod("p1").burst().on("v").deleting()));
    assert!(cluster.watch(2).is_empty(), "a terminating pod still has its instance");
    assert_eq!(cluster.shows(gone("p1")), ["burst p2 eci v"], "in order");
    assert_eq!(cluster.shows(node(virtual_node("w", 1))), ["burst p3 eci v,w"]);
}

#[test]
fn each_obstacle_is_told_as_it_comes() {
    let mut cluster = Cluster::with_web("0", 1);
    cluster.apply(node(Node { open: false, ..virtual_node("v", 9) }));
    cluster.apply(shown(pod("p1")));
    let why = |why: &str| vec![(1, format!("explain p1: waiting: the base of 0 is full; {why}"))];
    assert_eq!(cluster.watch(2), why("pool eci has no virtual node that is ready"));
    cluster.apply(Event::Stock { pool: "eci".into(), free: Some(0) });
    cluster.apply(node(virtual_node("v", 9)));
    let told: Vec<_> = cluster.watch(2).into_iter().map(|(_, line)| line).collect();
    assert_eq!(told, ["explain p1: waiting: the base of 0 is full; pool eci is out of stock"]);
    assert_eq!(cluster.shows(Event::Stock { pool: "eci".into(), free: Some(1) }), ["burst p1 eci v"]);
    assert!(cluster.shows(shown(pod("p2"))).is_empty(), "the one in stock is taken by p1, which starts");
    assert_eq!(cluster.shows(Event::Stock { pool: "eci".into(), free: None }), ["burst p2 eci v"]);
}

#[test]
fn a_pod_that_no_virtual_node_could_run_waits_and_is_told_so() {
    let mut cluster = Cluster::with_web("0", 1);
    cluster.apply(shown(Pod { virtual_obstacle: Some("it mounts a host path".into()), ..pod("p1") }));
    let told = "explain p1: waiting: the base of 0 is full; it mounts a host path";
    assert_eq!(cluster.watch(3), [(1, told.to_owned())]);
}

#[test]
fn pods_on_a_closed_virtual_node_do_not_fill_the_open_ones() {
    let mut cluster = Cluster::with_web("0", 3);
    cluster.apply(node(Node { open: false, ..virtual_node("v", 2) }));
    cluster.apply(node(virtual_node("w", 1)));
    cluster.apply(shown(pod("p1").burst().on("v")));
    cluster.apply(shown(pod("p2").burst().on("v")));
    assert_eq!(cluster.shows(shown(pod("p3"))), ["burst p3 eci w"]);
    assert!(cluster.shows(shown(pod("p4"))).is_empty(), "w is taken");
    cluster.apply(shown(pod("p3").burst().on("w")));
    assert!(cluster.shows(node(virtual_node("v", 2))).is_empty(), "v is open again, and full");
    assert_eq!(cluster.shows(node(virtual_node("v", 3))), ["burst p4 eci v,w"]);
}

#[test]
fn a_virtual_node_that_is_told_after_its_pods_is_filled_by_them() {
    let mut cluster = Cluster::new();
    cluster.apply(deployment("web", Some("1")));
    cluster.apply(replica_set("web-a", Some("web"), 3));
    cluster.apply(shown(pod("short").short().on("v")));
    cluster.apply(shown(pod("x").burst().on("v")));
    cluster.apply(node(virtual_node("v", 2)));
    assert!(cluster.shows(shown(pod("p1"))).is_empty());
    assert_eq!(cluster.shows(gone("short")), ["base p1"]);
    assert_eq!(cluster.shows(shown(pod("p2"))), ["burst p2 eci v"]);
}

#[test]
fn revisions_take_turns_in_the_order_of_their_ids_when_room_appears() {
    let mut cluster = Cluster::with_web("0", 1);
    cluster.apply(replica_set("web-b", Some("web"), 1));
    cluster.apply(node(virtual_node("v", 0)));
    cluster.apply(shown(pod("b").of("web-b")));
    cluster.apply(shown(pod("a")));
    assert!(cluster.decide().is_empty());
    assert_eq!(cluster.shows(node(virtual_node("v", 1))), ["burst a eci v"]);
    assert_eq!(cluster.shows(node(virtual_node("v", 2))), ["burst b eci v"]);
}
