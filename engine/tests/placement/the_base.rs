use super::*;

#[test]
fn oldest_pods_are_base_first_then_by_name() {
    let mut cluster = Cluster::with_web("2", 3);
    cluster.apply(shown(pod("a").created(999)));
    cluster.apply(shown(pod("c").created(998)));
    cluster.apply(shown(pod("b").created(998)));
    assert_eq!(cluster.decide(), ["base b", "base c", "burst a eci v"]);
}

#[test]
fn a_hole_is_filled_by_the_next_pod() {
    let mut cluster = Cluster::with_web("2", 3);
    cluster.apply(shown(pod("b1").base().on("n")));
    cluster.apply(shown(pod("b2").base().on("n")));
    cluster.apply(shown(pod("x").burst().on("v")));
    assert_eq!(cluster.shows(shown(pod("p1"))), ["burst p1 eci v"]);
    cluster.apply(shown(pod("b2").base().on("n").deleting()));
    assert_eq!(cluster.shows(shown(pod("p2"))), ["base p2"], "a terminating pod leaves a hole");
    cluster.apply(shown(pod("b1").base().finished()));
    assert_eq!(cluster.shows(shown(pod("p3"))), ["base p3"], "and so does a finished one");
    assert_eq!(cluster.shows(shown(pod("p4"))), ["burst p4 eci v"]);
}

#[test]
fn a_base_pod_counts_from_its_decision_whatever_the_watch_shows_meanwhile() {
    let mut cluster = Cluster::with_web("1", 3);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
    cluster.apply(shown(pod("p1")));
    assert_eq!(cluster.shows(shown(pod("p2"))), ["burst p2 eci v"], "the watch lags");
    cluster.settle("p1", Outcome::Applied);
    cluster.apply(shown(pod("p1")));
    assert_eq!(cluster.shows(shown(pod("p3"))), ["burst p3 eci v"], "the watch still lags");
}

#[test]
fn a_base_short_pod_is_one_of_the_base_also_on_a_virtual_node() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(shown(pod("short").short().on("v")));
    assert_eq!(cluster.shows(shown(pod("p"))), ["burst p eci v"]);
}

#[test]
fn a_refused_placing_is_held_and_tried_again_later_each_time() {
    let mut cluster = Cluster::with_web("1", 2);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        cluster.settle("p1", Outcome::Refused);
        let tries = cluster.watch(70);
        assert_eq!(tries.len(), 1, "{tries:?}");
        pauses.push(tries[0].0);
        assert_eq!(tries[0].1, "base p1");
        cluster.wait(1);
    }
    // The pauses are counted from the answers, not from the tries.
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_pod_that_is_held_does_not_keep_the_next_one_from_the_base() {
    let mut cluster = Cluster::with_web("1", 2);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
    cluster.settle("p1", Outcome::Refused);
    assert_eq!(cluster.shows(shown(pod("p2"))), ["base p2"]);
    assert_eq!(cluster.watch(2), [(1, "burst p1 eci v".to_owned())]);
}

/// Scaled from 12 to 2 and to 20, the ReplicaSet is still known as one of 12: nothing tells by the pods' number.
#[test]
fn a_share_is_of_what_is_wanted_when_a_pod_was_seen_however_late_the_watch_is() {
    let mut cluster = Cluster::looking("30%", 12);
    for number in 1..=4 {
        cluster.apply(shown(pod(&format!("p{number}")).base().on("n")));
    }
    assert_eq!(cluster.shows(shown(pod("p5"))), ["look at web-a after 5"], "4 of 12 would be full");
    assert_eq!(cluster.shows(shown(pod("p6"))), [""; 0], "one look at a time");
    let answer = |arrivals, wanted| {
        let found = Some(Looked { wanted, generation: 3 });
        Event::Looked { revision: "web-a".into(), arrivals, found }
    };
    assert_eq!(cluster.shows(answer(5, 20)), ["base p5", "look at web-a after 6"], "p6 came after the first look");
    assert_eq!(cluster.shows(replica_set("web-a", Some("web"), 2)), [""; 0], "the watch is still behind");
    assert_eq!(cluster.shows(answer(6, 20)), ["base p6"]);
    assert_eq!(cluster.shows(shown(pod("p7"))), ["look at web-a after 7"]);
    assert_eq!(cluster.shows(answer(7, 20)), ["burst p7 eci v"], "6 of 20 are full");
}

/// Else each answer would ask anew until the last one has come: thousands of calls while one is slow.
#[test]
fn of_those_that_share_a_base_who_was_looked_at_is_not_asked_again_while_another_is_awaited() {
    let mut cluster = Cluster::looking("1", 4);
    cluster.apply(policy("rules", json!({"base": "50%", "count": {"per": "Workload"}})));
    let Event::Workload(web) = deployment("web", None) else { panic!("a Deployment") };
    cluster.apply(Event::Workload(Workload { marks: marks([("policy", "rules")]), ..web }));
    cluster.apply(replica_set("web-b", Some("web"), 2));
    let looks = ["look at web-a after 1", "look at web-b after 1"];
    assert_eq!(cluster.shows(shown(pod("p1"))), looks);
    let answer = |revision: &str, wanted| {
        let found = Some(Looked { wanted, generation: 3 });
        Event::Looked { revision: revision.into(), arrivals: 1, found }
    };
    assert_eq!(cluster.shows(answer("web-a", 4)), [""; 0], "web-b's answer is awaited");
    assert_eq!(cluster.shows(answer("web-b", 2)), ["base p1"]);
}

#[test]
fn a_look_without_an_answer_is_waited_for_five_seconds() {
    let mut cluster = Cluster::looking("50%", 2);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["look at web-a after 1"]);
    assert_eq!(cluster.watch(6), [(5, "base p1".to_owned())]);
}

#[test]
fn a_number_needs_no_look() {
    let mut cluster = Cluster::looking("1", 2);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
}

#[test]
fn a_share_waits_for_the_replica_set_to_be_told_but_five_seconds_at_most() {
    let mut cluster = Cluster::with_web("50%", 2);
    cluster.apply(shown(pod("p1").base().on("n")));
    cluster.apply(shown(pod("p2").burst().on("v")));
    cluster.apply(shown(pod("p3")));
    assert!(cluster.shows(shown(pod("p4"))).is_empty(), "four live, two wanted: the ReplicaSet's watch lags");
    assert_eq!(cluster.shows(replica_set("web-a", Some("web"), 4)), ["base p3", "burst p4 eci v"]);

    let mut cluster = Cluster::with_web("50%", 0);
    cluster.apply(shown(pod("p1")));
    cluster.apply(shown(pod("p2")));
    let decided = cluster.watch(6);
    assert_eq!(decided, [(5, "base p1".to_owned()), (5, "burst p2 eci v".to_owned())]);
}

#[test]
fn a_number_waits_for_no_replica_count() {
    let mut cluster = Cluster::with_web("1", 0);
    assert_eq!(cluster.shows(shown(pod("p1"))), ["base p1"]);
}

#[test]
fn pods_wait_for_a_replica_set_that_is_told_after_them() {
    let mut cluster = Cluster::new();
    cluster.apply(deployment("web", Some("1")));
    assert!(cluster.shows(shown(pod("p1"))).is_empty());
    assert_eq!(cluster.shows(replica_set("web-a", Some("web"), 1)), ["base p1"]);
}

#[test]
fn nothing_is_left_of_what_is_deleted() {
    let mut cluster = Cluster::with_web("1", 2);
    cluster.apply(shown(pod("p1").base().on("n")));
    cluster.apply(shown(pod("p2").burst().on("v")));
    cluster.apply(gone("p1"));
    cluster.apply(Event::RevisionGone("web-a".into()));
    cluster.apply(gone("p2"));
    cluster.apply(Event::WorkloadGone("web".into()));
    assert!(cluster.placement().census().is_empty());
    cluster.apply(deployment("web", Some("1")));
    cluster.apply(replica_set("web-a", Some("web"), 2));
    let census = cluster.placement().census();
    assert!(census.values().all(|census| *census == burstlet_engine::placement::Census::default()), "{census:?}");
    cluster.apply(node(virtual_node("v", 1)));
    cluster.apply(shown(pod("p3")));
    assert_eq!(cluster.shows(shown(pod("p4"))), ["base p3", "burst p4 eci v"], "base and pool are free again");
}

#[test]
fn pods_of_a_replica_set_that_is_gone_wait_for_their_own_end() {
    let mut cluster = Cluster::with_web("1", 1);
    cluster.apply(Event::RevisionGone("web-a".into()));
    assert!(cluster.shows(shown(pod("p1"))).is_empty());
    assert_eq!(cluster.shows(shown(Pod { revision: None, ..pod("p1") })), ["release p1"], "orphaned on purpose");
}
