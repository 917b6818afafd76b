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
