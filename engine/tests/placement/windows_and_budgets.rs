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
    let facts =
        PoolFacts { name: "eci".into(), price: None, quota: Quota::default(), budget: Some(budget), fallback: None };
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

#[test]
fn what_a_policy_spends_and_how_much_of_its_budget_that_is_can_be_looked_at() {
    let spec = json!({"base": 0, "tiers": [{"pool": "eci"}], "budget": {"perHour": "10 pod-minutes"}});
    let mut cluster = Cluster::with_policy(spec, 3);
    let sight = |cluster: &Cluster| cluster.placement().policies_at(cluster.now());
    let [before] = &*sight(&cluster) else { panic!("one policy with a budget is followed") };
    assert_eq!((before.name.as_str(), before.used[0].share), ("shop/rules", 0.0));
    cluster.apply(priced("eci", "CNY"));
    cluster.wait(200);
    cluster.shows_pods(1..=1);
    cluster.shows(shown(pod("p1").burst().on("v").decided(1_200).cpu(1_000)));
    cluster.wait(300);
    let [half] = &*sight(&cluster) else { panic!("the policy is not gone") };
    assert_eq!((half.used[0].period, half.used[0].share), ("hour", 0.5));
    let (hour, today) = half.spent.values().next().expect("money in the pool's currency");
    assert_eq!((hour.to_string(), today.to_string()), ("0.0833334 CNY".to_owned(), "0.0833334 CNY".to_owned()));
    cluster.wait(2_200);
    let [next] = &*sight(&cluster) else { panic!("the policy is not gone") };
    assert!(next.used[0].share < 1.0, "a new hour: {next:?}");
    assert_ne!(next.spent.values().next().map(|(hour, _)| hour), next.spent.values().next().map(|(_, today)| today));
}

#[test]
fn a_budget_of_nothing_is_spent_from_the_start() {
    let spec = json!({"base": 0, "tiers": [{"pool": "eci"}], "budget": {"perHour": "0 pod-minutes"}});
    let mut cluster = Cluster::with_policy(spec, 1);
    assert!(cluster.shows_pods(1..=1).is_empty());
}
