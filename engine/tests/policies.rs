//! What placement makes of whole policies, by example.

#![expect(clippy::panic, clippy::expect_used, reason = "a helper of tests fails by panicking")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use burstlet_engine::{
    model::{MilliCpu, Node, Pod, Tier},
    placement::{Action, Controller, Event, Outcome, PoolFacts, Quota, Revision},
    policy::{Budget, Exhausted, Price, Spend},
};
use serde_json::json;
use support::{
    COOL_DOWN, Cluster, MOVE_BACK, PodWords, deployment, gone, marks, pod, policy, real_node, replica_set, virtual_node,
};

fn shown(pod: Pod) -> Event {
    Event::Pod(pod)
}

fn node(node: Node) -> Event {
    Event::Node(node)
}

/// The pool's price is one unit of money a core and hour, whole.
fn priced(pool: &str, currency: &str) -> Event {
    let price = Price {
        cpu_second: format!("0.000277778 {currency}").parse().expect("a price"),
        gib_second: format!("0 {currency}").parse().expect("a price"),
    };
    Event::Pool(PoolFacts {
        name: pool.into(),
        price: Some(price),
        quota: Quota::default(),
        budget: None,
        fallback: None,
    })
}

fn lines(watched: Vec<(u64, String)>) -> Vec<String> {
    watched.into_iter().map(|(_, line)| line).collect()
}

mod fallback {
    use super::*;

    /// A policy whose tiers are these, in a cluster where `spot` falls back to `eci`, and `eci` to `kci`.
    fn falling_back(spec: serde_json::Value) -> Cluster {
        let mut cluster = Cluster::with_policy(spec, 9);
        let kind = burstlet_engine::model::NodeKind::Virtual("kci".into());
        cluster.apply(node(Node { kind, ..virtual_node("k", 2) }));
        for (pool, fallback) in [("spot", Some("eci")), ("eci", Some("kci")), ("kci", None)] {
            cluster.apply(facts(pool, Quota::default(), fallback));
        }
        cluster
    }

    fn facts(pool: &str, quota: Quota, fallback: Option<&str>) -> Event {
        let fallback = fallback.map(Into::into);
        Event::Pool(PoolFacts { name: pool.into(), price: None, quota, budget: None, fallback })
    }

    fn stock(pool: &str, free: Option<u64>) -> Event {
        Event::Stock { pool: pool.into(), free }
    }

    fn explained(cluster: &Cluster, pod: &str) -> Vec<String> {
        let told = cluster.placement().explain(&pod.into()).expect("a decision");
        told.steps.into_iter().map(|step| step.why).collect()
    }

    #[test]
    fn a_pools_fallbacks_take_its_pods_in_turn_while_it_is_short() {
        let mut cluster = falling_back(json!({"base": 0, "tiers": [{"pool": "spot"}]}));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 spot s"]);
        cluster.apply(stock("spot", Some(0)));
        assert_eq!(cluster.shows_pods(2..=2), ["burst p2 eci v"], "out of stock");
        let why = ["the base of 0 is full", "pool spot is out of stock", "pool eci (fallback of spot) has room"];
        assert_eq!(explained(&cluster, "p2"), why);
        let fault = Some("no answer".into());
        cluster.apply(Event::Health { pool: "eci".into(), fault });
        assert_eq!(cluster.shows_pods(3..=5), ["burst p3 kci k", "burst p4 kci k"], "at fault; kci is full at two");
        cluster.apply(stock("spot", None));
        assert_eq!(cluster.decide(), ["burst p5 spot s"], "back in stock");
    }

    #[test]
    fn a_spent_quota_or_budget_leads_to_the_fallback() {
        let mut cluster = falling_back(json!({"base": 0, "tiers": [{"pool": "eci"}]}));
        cluster.apply(facts("eci", Quota { pods: Some(1), ..Quota::default() }, Some("kci")));
        assert_eq!(cluster.shows_pods(1..=2), ["burst p1 eci v", "burst p2 kci k"]);
        let mut cluster = falling_back(json!({"base": 0, "tiers": [{"pool": "eci"}]}));
        let budget = Budget { per_hour: Some(Spend::PodMinutes(1)), per_day: None, exhausted: Exhausted::Wait };
        let (name, fallback) = ("eci".into(), Some("kci".into()));
        cluster.apply(Event::Pool(PoolFacts {
            name,
            price: None,
            quota: Quota::default(),
            budget: Some(budget),
            fallback,
        }));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        assert!(cluster.shows(shown(pod("p1").burst().on("v").decided(1_000))).is_empty());
        cluster.wait(61);
        assert_eq!(cluster.shows_pods(2..=2), ["burst p2 kci k"]);
    }

    #[test]
    fn a_tiers_cap_holds_for_the_pool_and_its_fallbacks_together() {
        let tiers = json!([{"pool": "spot", "max": 2}, {"real": {}}]);
        let mut cluster = falling_back(json!({"base": 0, "tiers": tiers}));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 spot s"]);
        cluster.apply(stock("spot", Some(0)));
        assert_eq!(cluster.shows_pods(2..=3), ["burst p2 eci v", "real p3 0"]);
        assert_eq!(explained(&cluster, "p3")[1], "pool spot has 2 of 2 pods");
    }

    #[test]
    fn a_full_tier_leads_on_to_the_next_and_to_no_fallback() {
        let tiers = json!([{"pool": "spot", "max": 1}, {"real": {}}]);
        let mut cluster = falling_back(json!({"base": 0, "tiers": tiers}));
        assert_eq!(cluster.shows_pods(1..=2), ["burst p1 spot s", "real p2 0"]);
    }

    #[test]
    fn fallbacks_are_asked_where_pods_would_wait_for_the_pool_and_tiers_keep_their_numbers() {
        let tiers = json!([{"pool": "spot", "moveOn": {"when": ["Full"]}, "max": 9}, {"real": {}}]);
        let mut cluster = falling_back(json!({"base": 0, "tiers": tiers}));
        cluster.apply(stock("spot", Some(0)));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        for pool in ["eci", "kci"] {
            cluster.apply(stock(pool, Some(0)));
        }
        assert_eq!(cluster.shows_pods(2..=2), Vec::<String>::new(), "all three short: it waits for the first");
        let tiers = json!([{"pool": "spot", "moveOn": {"after": "30s"}}, {"real": {}}]);
        cluster.apply(policy("rules", json!({"base": 0, "tiers": tiers})));
        let watched = cluster.watch(40);
        let (at, line) = watched.iter().find(|(_, line)| line.starts_with("real")).expect("a place");
        assert_eq!((*at, line.as_str()), (30, "real p2 0"));
        assert_eq!(explained(&cluster, "p2").len(), 5, "base, three pools, real nodes");
        assert_eq!(cluster.placement().explain(&"p2".into()).expect("told").steps[4].place, "tier 2 (real nodes)");
    }

    #[test]
    fn a_pool_that_the_policy_names_itself_stands_where_it_names_it() {
        let tiers = json!([{"pool": "spot"}, {"real": {}}, {"pool": "eci"}]);
        let mut cluster = falling_back(json!({"base": 0, "tiers": tiers}));
        cluster.apply(stock("spot", Some(0)));
        assert_eq!(cluster.shows_pods(1..=1), ["real p1 0"]);
    }

    #[test]
    fn a_circle_of_fallbacks_ends_where_it_comes_back() {
        let mut cluster = falling_back(json!({"base": 0, "tiers": [{"pool": "spot"}]}));
        cluster.apply(facts("kci", Quota::default(), Some("spot")));
        for pool in ["spot", "eci", "kci"] {
            cluster.apply(stock(pool, Some(0)));
        }
        assert_eq!(cluster.shows_pods(1..=1), Vec::<String>::new());
        cluster.apply(stock("kci", Some(1)));
        assert_eq!(cluster.decide(), ["burst p1 kci k"]);
    }
}

mod tiers {
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
}

mod modes {
    use super::*;

    #[test]
    fn overflow_when_real_nodes_are_short_waits_as_a_plain_pod_for_the_node_autoscaler() {
        let spec = json!({"mode": "WhenFull", "moveOn": {"after": "90s"}, "tiers": [{"pool": "eci"}]});
        let mut cluster = Cluster::with_policy(spec, 2);
        assert_eq!(cluster.shows_pods(1..=2), ["base p1", "base p2"], "real nodes first, plain from the start");
        cluster.apply(shown(pod("p1").base().on("n")));
        cluster.apply(shown(pod("p2").base().unschedulable().decided(1_000)));
        assert_eq!(cluster.watch(100), [(90, "move-on p2 eci".to_owned())]);
    }

    #[test]
    fn when_full_may_wait_behind_the_gate_where_no_scheduler_sees_it() {
        let spec = json!({
            "mode": "WhenFull", "moveOn": {"after": "60s", "waiting": "Gated"}, "tiers": [{"pool": "eci"}]
        });
        let mut cluster = Cluster::with_policy(spec, 3);
        cluster.apply(node(Node { max_pods: 1, ..real_node("n") }));
        assert_eq!(cluster.shows_pods(1..=2), ["base p1"], "there is room for one");
        let told = "explain p2: waiting: no real node has room";
        assert_eq!(cluster.watch(59), [(1, told.to_owned())]);
        assert_eq!(cluster.watch(2), [(1, "burst p2 eci v".to_owned())]);
        cluster.apply(node(Node { max_pods: 2, ..real_node("n") }));
        cluster.apply(shown(pod("p1").base().on("n")));
        assert_eq!(cluster.shows_pods(3..=3), ["base p3"]);
    }

    #[test]
    fn always_has_no_base_and_never_has_no_burst() {
        let mut cluster = Cluster::with_policy(json!({"mode": "Always", "tiers": [{"pool": "eci"}]}), 1);
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        let mut cluster = Cluster::with_policy(json!({"mode": "Never", "base": 1}), 3);
        assert_eq!(cluster.shows_pods(1..=2), ["base p1", "base p2"]);
        cluster.apply(shown(pod("p1").base().unschedulable().decided(1_000)));
        assert!(cluster.watch(600).is_empty(), "and none moves on");
    }

    #[test]
    fn observe_writes_nothing_and_tells_what_would_have_burst_and_its_cost() {
        let spec = json!({"mode": "Observe", "base": 1, "tiers": [{"pool": "eci", "max": 2}]});
        let mut cluster = Cluster::with_policy(spec, 4);
        cluster.apply(priced("eci", "CNY"));
        for name in ["p1", "p2", "p3", "p4"] {
            cluster.apply(shown(pod(name).unbound().on("n").cpu(1_000)));
        }
        assert!(cluster.decide().is_empty());
        assert!(cluster.watch(1_800).is_empty());
        assert!(cluster.shows(gone("p3")).is_empty());
        assert!(cluster.watch(1_800).is_empty());
        let observed = cluster.placement().observations();
        let web = &observed[&burstlet_engine::model::ObjectName::new("shop", "web")];
        let eci = &web[&burstlet_engine::model::PoolName::from("eci")];
        assert_eq!((eci.pods, eci.pod_minutes), (3, 120), "p2 for an hour, p3 and then p4 for half of one");
        assert_eq!(eci.cost.as_ref().expect("a price").to_string(), "2.0000016 CNY");
        let explained = cluster.placement().explain(&"p2".into()).expect("recorded");
        assert_eq!(explained.summary, "the base of 1 is full; pool eci has room");
        assert_eq!(serde_json::to_value(&explained).expect("serialises")["mode"], "Observe");
    }

    #[test]
    fn what_is_only_observed_takes_no_room_from_others() {
        let mut cluster = Cluster::with_policy(json!({"mode": "Observe", "base": 0, "tiers": [{"pool": "eci"}]}), 1);
        cluster.apply(node(virtual_node("v", 1)));
        cluster.apply(shown(pod("watched").unbound().on("n")));
        cluster.apply(replica_set("other", None, 1));
        let Event::Revision(other) = replica_set("other", None, 1) else { panic!("a ReplicaSet") };
        cluster.apply(Event::Revision(Revision { marks: marks([("base", "0")]), ..other }));
        assert_eq!(cluster.shows(shown(pod("p").of("other"))), ["burst p eci v"]);
    }

    #[test]
    fn a_gate_is_taken_off_where_the_policy_only_observes() {
        let mut cluster = Cluster::with_policy(json!({"mode": "Observe", "base": 0}), 1);
        assert_eq!(cluster.shows_pods(1..=1), ["release p1"]);
    }
}

/// What users compare by, where no other test here is named after it.
mod features {
    use super::*;

    #[test]
    fn base_count_then_overflow() {
        let mut cluster = Cluster::with_policy(json!({"base": 2, "tiers": [{"pool": "eci"}]}), 4);
        assert_eq!(cluster.shows_pods(1..=4), ["base p1", "base p2", "burst p3 eci v", "burst p4 eci v"]);
    }

    #[test]
    fn wait_for_the_node_autoscaler_first_and_burst_only_what_it_left() {
        let spec = json!({"mode": "WhenFull", "moveOn": {"after": "120s"}, "tiers": [{"pool": "eci"}]});
        let mut cluster = Cluster::with_policy(spec, 2);
        assert_eq!(cluster.shows_pods(1..=2), ["base p1", "base p2"]);
        for name in ["p1", "p2"] {
            cluster.apply(shown(pod(name).base().unschedulable().decided(1_000)));
        }
        assert_eq!(cluster.watch(60), []);
        cluster.apply(node(real_node("n")));
        cluster.apply(shown(pod("p1").base().on("n").decided(1_000)));
        assert_eq!(cluster.watch(70), [(60, "move-on p2 eci".to_owned())], "the node that came took one");
    }

    #[test]
    fn reverse_order_on_scale_in_is_told_by_deletion_costs() {
        let tiers = json!([{"pool": "spot", "max": 1}, {"pool": "eci", "max": 1}, {"real": {}}]);
        let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": tiers}), 4);
        for name in ["p1", "p2", "p3", "p4"] {
            cluster.apply(shown(pod(name)));
        }
        let cost = |action| if let Action::Place { extras, .. } = action { extras.deletion_cost } else { None };
        let costs: Vec<_> = cluster.actions().into_iter().map(cost).collect();
        assert!(costs.is_sorted_by(|before, after| before.unwrap_or(0) > after.unwrap_or(0)), "{costs:?}");
    }

    #[test]
    fn stock_aware_provider_choice() {
        let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": [{"pool": "spot"}, {"pool": "eci"}]}), 4);
        cluster.apply(Event::Stock { pool: "spot".into(), free: Some(1) });
        assert_eq!(cluster.shows_pods(1..=2), ["burst p1 spot s", "burst p2 eci v"]);
        cluster.apply(Event::Stock { pool: "spot".into(), free: Some(5) });
        assert_eq!(cluster.shows_pods(3..=3), ["burst p3 spot s"]);
    }

    #[test]
    fn enforce_auto_and_off_are_modes_also_by_other_products_marks() {
        let placed = |value: &str| {
            let mut cluster = Cluster::new();
            cluster.apply(node(virtual_node("v", 10)));
            let Event::Revision(set) = replica_set("web-a", None, 1) else { panic!("a ReplicaSet") };
            let labels = [("bursting.cci.io/burst-to-cci".to_owned(), value.to_owned())].into();
            let pods = burstlet_engine::policy::Marks { labels, ..set.pods };
            cluster.apply(Event::Revision(Revision { pods, ..set }));
            cluster.shows_pods(1..=1)
        };
        assert_eq!(placed("enforce"), ["burst p1 eci v"]);
        assert_eq!(placed("auto"), ["base p1"], "real nodes first");
        assert_eq!(placed("off"), ["base p1"]);
    }
}

mod profiles {
    use burstlet_engine::policy::profile::Profile;

    use super::*;

    #[test]
    fn a_profile_governs_whom_its_labels_select_from_when_it_comes_until_it_goes() {
        let mut cluster = Cluster::new();
        cluster.apply(node(virtual_node("v", 10)));
        cluster.apply(support::namespace(None));
        cluster.apply(replica_set("web-a", None, 1));
        assert_eq!(cluster.shows_pods(1..=1), ["release p1"]);
        let selectors = r#"[{"name": "all", "effect": {"labels": {"alibabacloud.com/eci": "true"}}}]"#;
        cluster.apply(Event::Profile(Profile::read(selectors).expect("a profile")));
        assert_eq!(cluster.shows_pods(2..=2), ["burst p2 eci v"]);
        cluster.apply(Event::Profile(Profile::default()));
        assert_eq!(cluster.shows_pods(3..=3), ["release p3"]);
    }

    #[test]
    fn where_a_profile_is_awaited_nothing_is_decided_before_its_first_word() {
        let mut cluster = Cluster::awaiting_profile();
        cluster.apply(node(virtual_node("v", 10)));
        cluster.apply(support::namespace(None));
        cluster.apply(replica_set("web-a", None, 1));
        assert_eq!(cluster.shows_pods(1..=1), [""; 0]);
        let selectors = r#"[{"name": "all", "effect": {"labels": {"alibabacloud.com/eci": "true"}}}]"#;
        cluster.apply(Event::Profile(Profile::read(selectors).expect("a profile")));
        assert_eq!(cluster.shows_pods(2..=2), ["burst p1 eci v", "burst p2 eci v"]);
    }
}

mod windows_and_budgets {
    use super::*;

    #[test]
    fn outside_of_every_window_nothing_new_bursts_and_what_runs_stays() {
        // The clock stands at 00:16:40 on Thursday, 1970-01-01.
        let spec = json!({"base": 1, "tiers": [{"pool": "eci"}], "windows": ["Thu 00:00-00:20 UTC"]});
        let mut cluster = Cluster::with_policy(spec, 4);
        cluster.apply(node(real_node("n")));
        assert_eq!(cluster.shows_pods(1..=2), ["base p1", "burst p2 eci v"]);
        cluster.apply(shown(pod("p1").base().on("n")));
        cluster.apply(shown(pod("p2").burst().on("v")));
        assert!(cluster.watch(200).is_empty());
        assert_eq!(cluster.shows_pods(3..=4), ["base p3", "base p4"]);
        assert!(cluster.watch(200).is_empty());
    }

    #[test]
    fn spend_caps_in_pod_minutes_make_pods_wait_until_the_next_hour() {
        let spec = json!({"base": 0, "tiers": [{"pool": "eci"}], "budget": {"perHour": "10 pod-minutes"}});
        let mut cluster = Cluster::with_policy(spec, 3);
        cluster.wait(200);
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        assert!(cluster.shows(shown(pod("p1").burst().on("v").decided(1_200))).is_empty());
        cluster.wait(600);
        assert!(cluster.shows_pods(2..=2).is_empty());
        let told = "explain p2: waiting: the base of 0 is full; the budget of this hour is spent (10 pod-minutes)";
        assert_eq!(lines(cluster.watch(2))[0], told);
        let decided: Vec<_> = cluster.watch(1_900).into_iter().filter(|(_, line)| line.starts_with("burst")).collect();
        assert_eq!(decided, [(1_798, "burst p2 eci v".to_owned())], "at one o'clock");
    }

    #[test]
    fn spend_caps_in_money_send_the_rest_to_real_nodes_where_the_policy_says_so() {
        let budget = json!({"perDay": "0.5 CNY", "exhausted": "Real"});
        let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": [{"pool": "eci"}], "budget": budget}), 3);
        cluster.apply(priced("eci", "CNY"));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        assert!(cluster.shows(shown(pod("p1").burst().on("v").decided(1_000).cpu(1_000))).is_empty());
        cluster.wait(1_799);
        assert_eq!(cluster.shows_pods(2..=2), ["burst p2 eci v"]);
        cluster.wait(1);
        assert_eq!(cluster.shows_pods(3..=3), ["base p3"], "half an hour of a core");
    }

    #[test]
    fn a_budget_survives_a_restart_as_far_as_pods_tell() {
        let spec = json!({"base": 0, "tiers": [{"pool": "eci"}], "budget": {"perHour": "10 pod-minutes"}});
        let mut cluster = Cluster::with_policy(spec, 2);
        cluster.wait(800);
        // Seen for the first time, ten minutes after its decision.
        cluster.apply(shown(pod("old").burst().on("v").decided(1_200)));
        assert!(cluster.shows_pods(1..=1).is_empty());
    }

    #[test]
    fn a_pool_without_a_price_in_the_budgets_currency_takes_nothing() {
        let budget = json!({"perDay": "5 USD"});
        let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": [{"pool": "eci"}], "budget": budget}), 1);
        cluster.apply(priced("eci", "CNY"));
        assert!(cluster.shows_pods(1..=1).is_empty());
        cluster.apply(priced("eci", "USD"));
        assert_eq!(cluster.decide(), ["burst p1 eci v"]);
    }

    #[test]
    fn a_pools_own_budget_counts_all_workloads_and_passes_the_rest_to_the_next_pool() {
        let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": [{"pool": "eci"}, {"pool": "spot"}]}), 3);
        let budget = Budget { per_hour: Some(Spend::PodMinutes(10)), per_day: None, exhausted: Exhausted::Wait };
        let facts = PoolFacts {
            name: "eci".into(),
            price: None,
            quota: Quota::default(),
            budget: Some(budget),
            fallback: None,
        };
        cluster.apply(Event::Pool(facts));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        assert!(cluster.shows(shown(pod("p1").burst().on("v").decided(1_000))).is_empty());
        cluster.wait(590);
        assert_eq!(cluster.shows_pods(2..=2), ["burst p2 eci v"]);
        cluster.wait(10);
        assert_eq!(cluster.shows_pods(3..=3), ["burst p3 spot s"], "ten minutes of one pod are spent");
    }

    #[test]
    fn a_quota_and_a_fault_of_a_pool_hold_pods_back_as_they_come_and_go() {
        let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": [{"pool": "eci"}]}), 3);
        let quota = |cpu| Quota { cpu: Some(MilliCpu(cpu)), ..Quota::default() };
        let facts = |cpu| {
            Event::Pool(PoolFacts { name: "eci".into(), price: None, quota: quota(cpu), budget: None, fallback: None })
        };
        cluster.apply(facts(150));
        assert_eq!(cluster.shows_pods(1..=2), ["burst p1 eci v"]);
        assert_eq!(cluster.shows(facts(200)), ["burst p2 eci v"]);
        cluster.apply(facts(1_000));
        cluster.apply(Event::Health { pool: "eci".into(), fault: Some("its API refuses the key".into()) });
        assert!(cluster.shows_pods(3..=3).is_empty());
        assert_eq!(cluster.shows(Event::Health { pool: "eci".into(), fault: None }), ["burst p3 eci v"]);
    }
}

mod counting {
    use super::*;

    #[test]
    fn counting_that_knows_rolling_updates_gives_each_revision_its_base_or_all_one() {
        for (per, last) in [("Revision", "base b1"), ("Workload", "burst b1 eci v")] {
            let spec = json!({"base": 1, "tiers": [{"pool": "eci"}], "count": {"per": per}});
            let mut cluster = Cluster::with_policy(spec, 2);
            cluster.apply(replica_set("web-b", Some("web"), 2));
            cluster.apply(shown(pod("a1").base().on("n")));
            assert_eq!(cluster.shows(shown(pod("b1").of("web-b"))), [last], "{per}");
        }
    }

    #[test]
    fn a_shared_percentage_is_of_what_all_revisions_want_and_its_holes_are_for_all() {
        let spec = json!({"base": "50%", "tiers": [{"pool": "nowhere"}], "count": {"per": "Workload"}});
        let mut cluster = Cluster::with_policy(spec, 2);
        cluster.apply(replica_set("web-b", Some("web"), 2));
        cluster.apply(shown(pod("a1")));
        cluster.apply(shown(pod("b1").of("web-b")));
        cluster.apply(shown(pod("b2").of("web-b")));
        assert_eq!(cluster.decide(), ["base a1", "base b1"], "half of four");
        assert_eq!(cluster.shows(gone("a1")), ["base b2"]);
    }

    #[test]
    fn terminating_pods_count_until_they_are_gone_where_the_policy_says_so() {
        let count = json!({"ignoreTerminating": false});
        let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci"}], "count": count}), 2);
        cluster.apply(shown(pod("b").base().on("n").deleting()));
        assert_eq!(cluster.shows_pods(1..=1), ["burst p1 eci v"]);
        cluster.apply(gone("b"));
        assert_eq!(cluster.shows_pods(2..=2), ["base p2"]);
    }

    #[test]
    fn pods_that_were_there_before_do_not_count_where_the_policy_says_so() {
        for (ignore, first) in [(false, "burst p1 eci v"), (true, "base p1")] {
            let count = json!({"ignorePrevious": ignore});
            let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci"}], "count": count}), 2);
            cluster.apply(shown(pod("old").unbound().on("n")));
            assert_eq!(cluster.shows_pods(1..=1), [first], "{ignore}");
        }
    }

    #[test]
    fn of_workloads_that_share_a_pool_the_higher_priority_gets_room_first() {
        let tiers = json!([{"pool": "eci"}]);
        let mut cluster = Cluster::with_policy(json!({"base": 0, "tiers": tiers}), 1);
        cluster.apply(node(virtual_node("v", 0)));
        cluster.apply(policy("first", json!({"base": 0, "tiers": tiers, "priority": 10})));
        let Event::Revision(other) = replica_set("z", None, 1) else { panic!("a ReplicaSet") };
        cluster.apply(Event::Revision(Revision { marks: marks([("policy", "first")]), ..other }));
        assert!(cluster.shows_pods(1..=1).is_empty());
        assert!(cluster.shows(shown(pod("vip").of("z").created(1_001))).is_empty());
        assert_eq!(cluster.shows(node(virtual_node("v", 1))), ["burst vip eci v"]);
        assert_eq!(cluster.shows(node(virtual_node("v", 2))), ["burst p1 eci v"]);
    }
}

mod workloads {
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
}

mod moving {
    use super::*;

    #[test]
    fn moving_back_when_base_frees_sends_so_many_at_once_and_then_pauses() {
        let move_back = json!({"after": "60s", "atOnce": 2, "coolDown": "120s"});
        let mut cluster =
            Cluster::with_policy(json!({"base": 3, "tiers": [{"pool": "eci"}], "moveBack": move_back}), 3);
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
        let mut cluster =
            Cluster::with_policy(json!({"mode": "WhenFull", "tiers": tiers, "moveOn": {"after": "10s"}}), 3);
        for name in ["p1", "p2"] {
            cluster.apply(shown(pod(name).base().unschedulable().decided(1_000)));
        }
        assert_eq!(lines(cluster.watch(20)), ["move-on p1 spot", "move-on p2 eci"]);
    }
}

mod explanations {
    use super::*;

    #[test]
    fn why_did_this_pod_go_there_is_answered_place_by_place() {
        let tiers = json!([{"pool": "spot", "max": 1}, {"pool": "eci"}, {"real": {}}]);
        let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": tiers}), 3);
        assert_eq!(cluster.shows_pods(1..=3).len(), 3);
        let explained = cluster.placement().explain(&"p3".into()).expect("recorded");
        let answers: Vec<_> =
            explained.steps.iter().map(|step| (step.place.as_str(), step.took, step.why.as_str())).collect();
        assert_eq!(
            answers,
            [
                ("base", false, "the base of 1 is full"),
                ("pool spot", false, "pool spot has 1 of 1 pods"),
                ("pool eci", true, "pool eci has room")
            ]
        );
        assert_eq!(explained.policy.as_deref(), Some("shop/rules"));
    }

    #[test]
    fn a_waiting_pod_is_explained_and_so_is_its_workload() {
        let mut cluster = Cluster::with_policy(json!({"base": 1, "tiers": [{"pool": "eci", "max": 1}]}), 3);
        assert_eq!(cluster.shows_pods(1..=3), ["base p1", "burst p2 eci v"]);
        let explained = cluster.placement().explain(&"p3".into()).expect("recorded");
        assert_eq!(explained.summary, "the base of 1 is full; pool eci has 1 of 1 pods");
        let web = burstlet_engine::model::ObjectName::new("shop", "web");
        let all = cluster.placement().explain_workload(&web);
        let places: Vec<_> = all[0].places.iter().map(|place| (place.place.as_str(), place.pods)).collect();
        assert_eq!((places, all[0].waiting), (vec![("base", 1), ("pool eci", 1)], 1));
        assert_eq!(all[0].next.as_ref().expect("it waits").len(), 2);
        assert!(cluster.placement().explain(&"nobody".into()).is_none());
    }
}

mod policies {
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
}
