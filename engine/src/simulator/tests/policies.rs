//! Runs under policies: the same resolution and the same engine as in a cluster.

use super::*;
use crate::{
    model::{Capabilities, Need, NeedSet},
    placement::{PoolFacts, Quota},
    policy::{self, Base, Money, Spec},
};

/// The crowd's workload, labelled and without an annotation.
fn labelled(name: &str, most: i32) -> Workload {
    let labels = BTreeMap::from([("app".to_owned(), name.to_owned())]);
    let pods = Marks { labels, ..Marks::default() };
    Workload { name: ObjectName::new("shop", name), pods, ..workload(None, most, CROWD) }
}

fn spec(text: &str) -> Spec {
    serde_json::from_str(text).unwrap()
}

/// A policy for the workload of this name.
fn policy_for(setup: &mut Setup, name: &str, text: &str) {
    let spec = Spec {
        selector: Some(serde_json::from_value(serde_json::json!({"matchLabels": {"app": name}})).unwrap()),
        ..spec(text)
    };
    setup.policies.insert(ObjectName::new("shop", name), spec);
}

/// One workload, all of whose rules come from a policy by its selector.
fn under(text: &str) -> Setup {
    let mut setup = setup(labelled("web", 20));
    policy_for(&mut setup, "web", text);
    setup
}

fn most(played: &Played, of: impl Fn(&Sample) -> u32) -> u32 {
    played.samples.iter().map(of).max().unwrap()
}

fn facts(quota: Quota) -> PoolFacts {
    let price = |text: &str| text.parse::<Money>().unwrap();
    let price = policy::Price { cpu_second: price("0.000049 CNY"), gib_second: price("0.00000613 CNY") };
    PoolFacts { name: "cloud".into(), price: Some(price), quota, budget: None, fallback: None }
}

#[test]
fn a_policy_by_selector_does_what_the_annotation_does() {
    let by_policy = played(&under(r#"{"base": 3}"#));
    let by_annotation = played(&crowd());
    assert_eq!(by_policy.summary, by_annotation.summary);
    assert_eq!(by_policy.samples, by_annotation.samples);
}

#[test]
fn the_workloads_annotation_comes_before_the_policy_and_the_policy_before_the_namespace() {
    let base = |setup: &Setup| played(setup).summary.base;
    let mut setup = under(r#"{"base": 3}"#);
    setup.namespaces.insert("shop".to_owned(), with_base("9"));
    assert_eq!(base(&setup), 3);
    setup.workloads[0].marks = with_base("5");
    assert_eq!(base(&setup), 5);
    setup.workloads[0].marks = Marks::default();
    setup.policies.clear();
    assert_eq!(base(&setup), 9);
    setup.ungovern();
    assert_eq!((base(&setup), setup.effective_policies()), (0, vec![None]));
}

#[test]
fn a_base_that_is_set_comes_before_whatever_mode_the_policy_has() {
    let mut setup = under(r#"{"mode": "Always"}"#);
    assert_eq!(most(&played(&setup), |sample| sample.real), 0);
    setup.workloads[0].set_base(Base::count(6));
    let played = played(&setup);
    assert_eq!((played.summary.base, most(&played, |sample| sample.real)), (6, 6));
}

#[test]
fn a_tiers_cap_sends_the_rest_to_the_next_and_shares_are_of_what_is_wanted() {
    let mut setup = under(r#"{"base": "25%", "tiers": [{"pool": "cloud", "max": "50%"}, {"pool": "dear"}]}"#);
    setup.pools.push(pool("dear"));
    let played = played(&setup);
    let at = &played.samples[300];
    assert_eq!((at.real, at.pools["cloud"], at.pools["dear"]), (5, 10, 5));
    assert_eq!((played.summary.base, played.summary.base_exceeded), (5, 0));
}

#[test]
fn a_later_tier_of_real_nodes_takes_what_the_pool_may_not_and_is_no_breach_of_the_base() {
    let tiers = |labels: &str| {
        format!(r#"{{"base": 3, "tiers": [{{"pool": "cloud", "max": 5}}, {{"real": {{"nodeSelector": {labels}}}}}]}}"#)
    };
    let on_real = |setup: &Setup| {
        let played = played(setup);
        assert_eq!(played.summary.base_exceeded, 0);
        (played.samples[300].real, played.samples[300].pools["cloud"])
    };
    assert_eq!(on_real(&under(&tiers("{}"))), (15, 5));
    let mut setup = under(&tiers(r#"{"disk": "ssd"}"#));
    assert_eq!(on_real(&setup), (3, 5), "no node has the label");
    setup.real_nodes.labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    assert_eq!(on_real(&setup), (15, 5));
}

#[test]
fn of_two_that_share_a_pool_the_higher_priority_takes_what_comes_free() {
    let mut setup = setup(labelled("web", 30));
    setup.workloads[0].traffic = Traffic::from_csv("seconds,requests_per_second\n0,12\n60,180\n600,180\n").unwrap();
    let mut other = labelled("api", 30);
    other.traffic = setup.workloads[0].traffic.clone();
    setup.workloads.push(other);
    setup.pools[0].facts = Some(facts(Quota { pods: Some(20), ..Quota::default() }));
    let pods_of_web = |priority: i32| {
        let mut setup = setup.clone();
        policy_for(&mut setup, "web", &format!(r#"{{"base": 2, "priority": {priority}}}"#));
        policy_for(&mut setup, "api", r#"{"base": 2}"#);
        let outcome = run(&setup).unwrap();
        let at = |ix: usize| outcome.workloads[ix].samples[500].pools["cloud"];
        assert_eq!(at(0) + at(1), 20, "the quota is the pool's, over all workloads");
        at(0)
    };
    let (first, last) = (pods_of_web(10), pods_of_web(-10));
    assert!(first >= 2 * last, "{first} {last}");
}

#[test]
fn nothing_bursts_outside_of_the_windows() {
    // 2026-01-05 is a Monday; the traffic begins at 19:55 in Shanghai.
    let mut setup = under(r#"{"base": 3, "windows": ["Mon 08:00-20:00 Asia/Shanghai"]}"#);
    setup.starts_at = Timestamp::from_millis(1_767_614_100_000);
    let played = played(&setup);
    assert_eq!((played.samples[250].real, played.samples[250].pools["cloud"]), (3, 17), "until 20:00");
    setup.starts_at = setup.starts_at.after(Duration::from_mins(5));
    let late = super::played(&setup);
    assert_eq!((late.samples[250].real, late.samples[250].pools["cloud"]), (20, 0));
    assert_eq!((late.summary.base, late.summary.base_exceeded), (3, 0), "the bound does not hold there");
}

#[test]
fn a_spent_budget_lets_no_more_pods_burst_until_the_next_hour() {
    let mut setup = under(r#"{"base": 3, "budget": {"perHour": "25 pod-minutes"}}"#);
    setup.starts_at = Timestamp::from_millis(1_767_614_100_000);
    // What is taken back once the budget is spent does not return.
    setup.pools[0].reclaim.waves = vec![(Duration::from_secs(290), 1_000_000)];
    let wait = played(&setup);
    assert_eq!((wait.samples[280].pools["cloud"], wait.samples[298].pools["cloud"]), (17, 0));
    assert_eq!(wait.samples[298].gated, 17);
    assert_eq!(wait.samples[330].pools["cloud"], 17, "20:00, a new hour");
    let unbounded = played(&under(r#"{"base": 3, "budget": {"perHour": "4000 pod-minutes"}}"#));
    assert_eq!(unbounded.samples[298].pools["cloud"], 17);
}

#[test]
fn a_policy_that_observes_changes_nothing_and_tells_what_it_would_have() {
    let mut setup = under(r#"{"mode": "Observe", "base": 3}"#);
    setup.pools[0].facts = Some(facts(Quota::default()));
    let observed = played(&setup);
    setup.ungovern();
    let free = played(&setup);
    assert_eq!(observed.samples, free.samples);
    assert_eq!((observed.summary.base, observed.summary.tiers["cloud"].pod_s), (0, 0.0));
    let would = observed.summary.observed["cloud"];
    let done = played(&under(r#"{"base": 3}"#)).summary.tiers["cloud"];
    assert!((would.pod_s - done.pod_s).abs() < done.pod_s * 0.1, "{would:?} {done:?}");
    assert!((would.cost - done.cost).abs() < done.cost * 0.1, "{would:?} {done:?}");
    assert_eq!(free.summary.observed, BTreeMap::new());
}

#[test]
fn revisions_that_share_one_base_keep_to_it_together() {
    let mut setup = under(r#"{"base": 6, "count": {"per": "Workload"}}"#);
    setup.workloads[0].updates = vec![Duration::from_mins(5)];
    let played = played(&setup);
    assert_eq!(played.summary.base_exceeded, 0);
    assert_eq!(most(&played, |sample| sample.real), 6);
}

#[test]
fn pods_pass_a_pool_whose_provider_lacks_what_they_need() {
    let mut setup = under(r#"{"base": 3, "tiers": [{"pool": "cloud"}, {"pool": "dear"}]}"#);
    setup.pools.push(pool("dear"));
    let init = NeedSet::of(&[Need::InitContainers]);
    setup.workloads[0].needs = Needs { kinds: init, ..Needs::default() };
    setup.pools[0].capabilities = Some(Capabilities { kinds: NeedSet::default(), ..Capabilities::all("Bare Cloud") });
    let played = played(&setup);
    assert_eq!(most(&played, |sample| sample.pools["cloud"]), 0);
    assert!(most(&played, |sample| sample.pools["dear"]) > 0);
}

#[test]
fn what_a_pool_is_short_of_goes_to_the_one_that_it_falls_back_to() {
    let mut setup = under(r#"{"base": 3, "tiers": [{"pool": "cloud"}]}"#);
    setup.pools.push(pool("dear"));
    setup.pools[0].stock = vec![(Duration::ZERO, Some(5))];
    setup.pools[1].facts = Some(PoolFacts { name: "dear".into(), ..facts(Quota::default()) });
    let in_both = |setup: &Setup| {
        let played = played(setup);
        (played.samples[300].pools["cloud"], played.samples[300].pools["dear"])
    };
    setup.pools[0].facts = Some(facts(Quota::default()));
    assert_eq!(in_both(&setup), (5, 0));
    setup.pools[0].facts = Some(PoolFacts { fallback: Some("dear".into()), ..facts(Quota::default()) });
    assert_eq!(in_both(&setup), (5, 12));
}
