//! What placement decides, by example.

#![expect(clippy::panic, clippy::expect_used, reason = "a helper of tests fails by panicking")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use burstlet_engine::{
    model::{Node, Pod, Stage},
    placement::{Event, Kind, Looked, Outcome, Workload},
};
use serde_json::json;
use support::{
    COOL_DOWN, Cluster, MOVE_BACK, MOVE_ON, PodWords, at, deployment, gone, marks, namespace, pod, policy, real_node,
    replica_set, virtual_node,
};

/// Shorthand: events are applied by what they show.
fn shown(pod: Pod) -> Event {
    Event::Pod(pod)
}

fn node(node: Node) -> Event {
    Event::Node(node)
}

mod who_governs {
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
}

mod the_base {
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
}

mod lists {
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
}

mod the_pool {
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
}

mod moving_on {
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
}

mod moving_back {
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
}
