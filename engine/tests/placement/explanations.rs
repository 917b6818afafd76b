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
