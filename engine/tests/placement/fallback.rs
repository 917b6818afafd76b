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
