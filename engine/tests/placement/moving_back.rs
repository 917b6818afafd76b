use super::*;

/// A base of 2 with one hole, a burst pod `x`, and this real node.
fn with_hole(real: Node) -> Cluster {
    let mut cluster = Cluster::with_web("2", 2);
    cluster.apply(node(real));
    cluster.apply(shown(pod("b").base().on("other")));
    cluster.apply(shown(pod("x").burst().on("v")));
    cluster
}

fn evicted(seconds: u64) -> Vec<(u64, String)> {
    vec![(seconds, "evict x".to_owned())]
}

#[test]
fn a_hole_that_no_new_pod_fills_sends_one_burst_pod_home() {
    let mut cluster = with_hole(real_node("n"));
    // The first tick that sees the hole begins the count.
    assert_eq!(cluster.watch(600), evicted(MOVE_BACK));
}

#[test]
fn a_pod_stays_where_no_real_node_fits() {
    let full = |milli: u64| Node {
        allocatable: burstlet_engine::model::Resources {
            cpu: burstlet_engine::model::MilliCpu(milli),
            ..real_node("n").allocatable
        },
        ..real_node("n")
    };
    for (why, real) in [
        ("cordoned", Node { open: false, ..real_node("n") }),
        ("too little CPU", full(99)),
        ("no pod more", Node { max_pods: 0, ..real_node("n") }),
    ] {
        assert!(with_hole(real).watch(600).is_empty(), "{why}");
    }
    assert_eq!(with_hole(full(100)).watch(600).len(), 1, "just enough");
}

#[test]
fn what_stands_on_a_node_takes_its_room_whoever_it_is() {
    let mut cluster = with_hole(real_node("n"));
    cluster.apply(shown(Pod { revision: None, ..pod("stranger").cpu(901).unbound().on("n") }));
    assert!(cluster.watch(300).is_empty());
    cluster.apply(shown(Pod { revision: None, ..pod("stranger").cpu(901).unbound().on("n").deleting() }));
    assert!(cluster.watch(300).is_empty(), "a terminating pod still takes its room");
    cluster.apply(shown(Pod { revision: None, ..pod("stranger").cpu(901).finished() }));
    assert_eq!(cluster.watch(300), evicted(MOVE_BACK), "a finished one does not");
}

#[test]
fn a_pod_goes_home_only_to_a_node_with_the_labels_that_it_selects() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x").burst().selects("disk", "ssd").on("v")));
    assert!(cluster.watch(300).is_empty());
    let labels = [("disk".to_owned(), "ssd".to_owned())].into();
    cluster.apply(node(Node { labels, ..real_node("n") }));
    assert_eq!(cluster.watch(300), evicted(MOVE_BACK));
}

#[test]
fn a_glitch_of_real_room_moves_nothing() {
    let mut cluster = with_hole(real_node("n"));
    for _ in 0..5 {
        assert!(cluster.watch(MOVE_BACK - 1).is_empty());
        cluster.apply(node(Node { open: false, ..real_node("n") }));
        assert!(cluster.watch(1).is_empty());
        cluster.apply(node(real_node("n")));
    }
}

#[test]
fn a_new_pod_fills_the_hole_before_anything_is_moved() {
    let mut cluster = with_hole(real_node("n"));
    assert!(cluster.watch(MOVE_BACK - 1).is_empty());
    assert_eq!(cluster.shows(shown(pod("p"))), ["base p"]);
    assert!(cluster.watch(300).is_empty());
}

#[test]
fn what_serves_nobody_goes_first_then_the_youngest() {
    let mut cluster = with_hole(real_node("n"));
    cluster.apply(shown(pod("younger").burst().on("v").created(1_001)));
    cluster.apply(shown(pod("unready").burst().on("v").not_ready().created(999)));
    assert_eq!(cluster.watch(MOVE_BACK + 1), [(MOVE_BACK, "evict unready".to_owned())]);
    let mut cluster = with_hole(real_node("n"));
    cluster.apply(shown(pod("younger").burst().on("v").created(1_001)));
    assert_eq!(cluster.watch(MOVE_BACK + 1), [(MOVE_BACK, "evict younger".to_owned())]);
}

#[test]
fn a_base_short_pod_comes_home_too() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x").short().on("v")));
    cluster.apply(shown(pod("burst").burst().on("v")));
    assert_eq!(cluster.watch(MOVE_BACK + 1), evicted(MOVE_BACK));
}

#[test]
fn pods_return_one_at_a_time_with_a_pause() {
    let mut cluster = Cluster::with_web("3", 3);
    cluster.apply(node(real_node("n")));
    for name in ["x1", "x2", "x3"] {
        cluster.apply(shown(pod(name).burst().on("v")));
    }
    assert_eq!(cluster.watch(MOVE_BACK + COOL_DOWN + 1), [(MOVE_BACK, "evict x1".to_owned())], "x1 is on its way");
    come_home(&mut cluster, "x1", "y1");
    let next = cluster.watch(MOVE_BACK + 1);
    assert_eq!(next, [(MOVE_BACK, "evict x2".to_owned())]);
    come_home(&mut cluster, "x2", "y2");
    // Half a second has passed since the eviction of x2.
    assert_eq!(cluster.watch(600), [(COOL_DOWN - 1, "evict x3".to_owned())], "the pause was not over");
}

/// The evicted pod goes and its successor finds a real node.
fn come_home(cluster: &mut Cluster, evicted: &str, successor: &str) {
    cluster.settle(evicted, Outcome::Applied);
    cluster.apply(shown(pod(evicted).burst().on("v").deleting()));
    cluster.apply(gone(evicted));
    let now = cluster.now().as_millis() / 1_000;
    assert_eq!(cluster.shows(shown(pod(successor).created(now))), [format!("base {successor}")]);
    cluster.apply(shown(pod(successor).base().created(now).decided(now)));
    cluster.apply(shown(pod(successor).base().on("n").created(now).decided(now)));
}

/// The evicted pod goes and its successor finds no real node, moves on, and stands on the virtual node.
fn fail_to_come_home(cluster: &mut Cluster, evicted: &str, successor: &str) {
    cluster.settle(evicted, Outcome::Applied);
    cluster.apply(gone(evicted));
    let now = cluster.now().as_millis() / 1_000;
    assert_eq!(cluster.shows(shown(pod(successor).created(now))), [format!("base {successor}")]);
    cluster.apply(shown(pod(successor).base().unschedulable().created(now).decided(now)));
    let lines: Vec<_> = cluster.watch(MOVE_ON).into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, [format!("move-on {successor} eci")]);
    cluster.settle(successor, Outcome::Applied);
    cluster.apply(shown(pod(successor).short().on("v").created(now).decided(now)));
}

/// When the next pod is evicted, which is expected to be this one.
fn next_eviction(cluster: &mut Cluster, evicted: &str) -> u64 {
    let begin = cluster.now();
    for _ in 0..10_000 {
        match cluster.tick().as_slice() {
            [] => {}
            [line] if *line == format!("evict {evicted}") => return cluster.now().since(begin).as_secs(),
            other => panic!("evict {evicted} expected, not {other:?}"),
        }
    }
    panic!("{evicted} is never evicted");
}

#[test]
fn the_pause_doubles_with_each_return_that_fails_and_is_reset_by_one_that_succeeds() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x0").burst().on("v")));
    assert_eq!(next_eviction(&mut cluster, "x0"), MOVE_BACK);
    let mut pauses = Vec::new();
    for number in 0..6 {
        fail_to_come_home(&mut cluster, &format!("x{number}"), &format!("x{}", number + 1));
        pauses.push(MOVE_ON + next_eviction(&mut cluster, &format!("x{}", number + 1)));
    }
    assert_eq!(pauses, [2, 4, 8, 16, 30, 30].map(|times| times * COOL_DOWN), "an hour at most");
    come_home(&mut cluster, "x6", "home");
    cluster.apply(shown(pod("home").base().on("n").deleting()));
    cluster.apply(gone("home"));
    cluster.apply(shown(pod("x7").burst().on("v")));
    assert_eq!(next_eviction(&mut cluster, "x7"), COOL_DOWN, "counted from the eviction of x6");
}

#[test]
fn base_pods_that_move_on_are_no_failed_returns() {
    let mut cluster = Cluster::with_web("5", 5);
    for name in ["x1", "x2", "x3", "x4", "x5"] {
        cluster.apply(shown(pod(name).base().unschedulable().decided(1_000)));
    }
    assert_eq!(cluster.watch(MOVE_ON).len(), 5);
    for name in ["x1", "x2", "x3", "x4", "x5"] {
        cluster.apply(shown(pod(name).short().on("v").decided(1_000)));
    }
    cluster.apply(node(real_node("n")));
    assert_eq!(next_eviction(&mut cluster, "x1"), MOVE_BACK);
    fail_to_come_home(&mut cluster, "x1", "y1");
    assert_eq!(MOVE_ON + next_eviction(&mut cluster, "y1"), 2 * COOL_DOWN, "one has failed, not six");
}

#[test]
fn a_return_to_a_node_that_is_not_known_yet_is_no_success_until_it_is_known_to_be_real() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x0").burst().on("v")));
    assert_eq!(next_eviction(&mut cluster, "x0"), MOVE_BACK);
    fail_to_come_home(&mut cluster, "x0", "x1");
    assert_eq!(MOVE_ON + next_eviction(&mut cluster, "x1"), 2 * COOL_DOWN);
    cluster.settle("x1", Outcome::Applied);
    cluster.apply(gone("x1"));
    // Moved on, and bound to a virtual node of which no watch has told yet.
    cluster.apply(shown(pod("x2").short()));
    cluster.apply(shown(pod("x2").short().on("w")));
    cluster.apply(node(virtual_node("w", 1)));
    assert_eq!(next_eviction(&mut cluster, "x2"), 2 * COOL_DOWN);
}

#[test]
fn a_refused_eviction_is_tried_again_after_the_pause() {
    let mut cluster = with_hole(real_node("n"));
    assert_eq!(cluster.watch(MOVE_BACK + 1), evicted(MOVE_BACK));
    cluster.settle("x", Outcome::Refused);
    // Half a second has passed since.
    assert_eq!(cluster.watch(COOL_DOWN), evicted(COOL_DOWN - 1));
}

#[test]
fn two_revisions_do_not_count_on_the_same_room() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(replica_set("web-b", Some("web"), 1));
    cluster.apply(node(Node { max_pods: 1, ..real_node("n") }));
    cluster.apply(shown(pod("a").burst().on("v")));
    cluster.apply(shown(pod("b").of("web-b").burst().on("v")));
    assert_eq!(cluster.watch(MOVE_BACK + 5), [(MOVE_BACK, "evict a".to_owned())]);
    cluster.settle("a", Outcome::Applied);
    cluster.apply(gone("a"));
    assert_eq!(cluster.shows(shown(pod("a2"))), ["base a2"]);
    cluster.apply(shown(pod("a2").base()));
    assert!(cluster.watch(5).is_empty());
    cluster.apply(shown(pod("a2").base().on("n")));
    assert!(cluster.watch(600).is_empty(), "a2 took the room");
}

#[test]
fn nothing_returns_while_a_base_pod_looks_for_its_node() {
    let mut cluster = Cluster::with_web("2", 3);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("b").base()));
    cluster.apply(shown(pod("x").burst().on("v")));
    assert!(cluster.watch(300).is_empty());
    cluster.apply(shown(Pod { stage: Stage::Finished, ..pod("b").base() }));
    assert_eq!(cluster.watch(300), evicted(MOVE_BACK));
}

#[test]
fn a_larger_base_brings_burst_pods_home() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("b").base().on("n")));
    cluster.apply(shown(pod("x").burst().on("v").created(at(1_000).as_millis() / 1_000)));
    assert!(cluster.watch(300).is_empty());
    cluster.apply(deployment("web", Some("100%")));
    assert_eq!(cluster.watch(300), evicted(MOVE_BACK));
}

#[test]
fn moving_back_when_base_frees_sends_so_many_at_once_and_then_pauses() {
    let move_back = json!({"after": "60s", "atOnce": 2, "coolDown": "120s"});
    let mut cluster = Cluster::with_policy(json!({"base": 3, "tiers": [{"pool": "eci"}], "moveBack": move_back}), 3);
    cluster.apply(node(real_node("n")));
    for name in ["x1", "x2", "x3"] {
        cluster.apply(shown(pod(name).burst().on("v")));
    }
    assert_eq!(lines(cluster.watch(62)), ["evict x1", "evict x2"]);
    assert!(cluster.watch(58).is_empty(), "the third waits for the pause, and for its turn");
}

#[test]
fn a_disruption_budget_that_refuses_is_asked_less_and_less() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x").burst().on("v")));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let tries = cluster.watch(20 * COOL_DOWN);
        pauses.push(tries.first().expect("it is tried").0);
        // A refusal is told at once in life; here the watch went on, and the pause is counted from the try.
        cluster = refused(pauses.len());
    }
    assert_eq!(pauses, [MOVE_BACK, COOL_DOWN, 2 * COOL_DOWN, 4 * COOL_DOWN]);
}

/// A pod to move back that was refused so often; the last refusal is now.
fn refused(times: usize) -> Cluster {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x").burst().on("v")));
    for _ in 0..times {
        while cluster.tick().is_empty() {}
        cluster.settle("x", Outcome::Refused);
    }
    cluster
}

#[test]
fn a_policy_may_leave_pods_where_they_are() {
    let spec = json!({"base": 1, "tiers": [{"pool": "eci"}], "moveBack": {"enabled": false}});
    let mut cluster = Cluster::with_policy(spec, 1);
    cluster.apply(node(real_node("n")));
    cluster.apply(shown(pod("x").burst().on("v")));
    assert!(cluster.watch(600).is_empty());
}

#[test]
fn a_pod_that_a_later_real_tier_could_not_place_moves_on_to_the_next_pool() {
    let tiers = json!([{"pool": "nowhere"}, {"real": {}, "moveOn": {"after": "30s"}}, {"pool": "eci"}]);
    let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 1);
    assert_eq!(cluster.shows_pods(1..=1), ["real p1 0"]);
    let real = Pod { tier: Some(Tier::Real(0)), ..pod("p1").unschedulable().decided(1_000) };
    cluster.apply(shown(real));
    assert_eq!(cluster.watch(60), [(30, "move-on p1 eci".to_owned())]);
}

#[test]
fn base_pods_that_use_a_pool_count_against_its_cap() {
    let tiers = json!([{"pool": "spot", "max": 1}, {"pool": "eci"}]);
    let mut cluster = Cluster::with_policy(json!({"mode": "WhenFull", "tiers": tiers, "moveOn": {"after": "10s"}}), 3);
    for name in ["p1", "p2"] {
        cluster.apply(shown(pod(name).base().unschedulable().decided(1_000)));
    }
    assert_eq!(lines(cluster.watch(20)), ["move-on p1 spot", "move-on p2 eci"]);
}
