use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::policy::{Base, Cap, Mode, MoveBack, Spec};

/// What was written in a cluster, and who asks.
#[derive(Default)]
struct World {
    policies: Option<Policies>,
    pod: Marks,
    workload: Marks,
    namespace: Marks,
}

fn marks(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Marks {
    let owned = |all: &[(&str, &str)]| all.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    Marks { labels: owned(labels), annotations: owned(annotations) }
}

fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        pools: vec!["eci".into()],
        move_on_after: seconds(90),
        move_back: MoveBack { after: seconds(20), at_once: 1, cool_down: seconds(20) },
    }
}

impl World {
    fn policy(mut self, namespace: &str, name: &str, spec: Value) -> Self {
        let policies = self.policies.get_or_insert_with(|| Policies::new("burstlet-system"));
        policies.set(ObjectName::new(namespace, name), &serde_json::from_value(spec).unwrap()).unwrap();
        self
    }

    fn resolve(&self) -> Resolution {
        let none = Policies::new("burstlet-system");
        let asked =
            Asked { namespace: "shop", pod: &self.pod, workload: &self.workload, namespace_marks: &self.namespace };
        self.policies.as_ref().unwrap_or(&none).resolve(&asked, &settings())
    }

    fn governed(&self) -> Governed {
        let found = self.resolve();
        assert_eq!(found.notes, []);
        found.governed.unwrap()
    }

    fn origin(&self, field: &str) -> String {
        self.governed().origins[field].to_string()
    }

    fn note(&self) -> String {
        let found = self.resolve();
        assert_eq!((found.governed.is_none(), found.notes.len()), (true, 1), "{:?}", found.notes);
        found.notes[0].to_string()
    }
}

#[test]
fn a_pod_of_which_nobody_says_anything_is_not_governed() {
    let found = World::default().resolve();
    assert_eq!((found.governed, found.notes), (None, vec![]));
    let world = World { workload: marks(&[], &[("burstlet.dev/pools", "eci")]), ..World::default() };
    assert_eq!(world.resolve().governed, None, "the order of pools alone governs nobody");
}

#[test]
fn each_source_gives_way_to_the_one_before() {
    let all = |world: World| {
        world
            .policy("shop", "web", json!({"selector": {"matchLabels": {"app": "web"}}, "mode": "AfterBase", "base": 2}))
            .policy("shop", "named", json!({"mode": "WhenFull", "base": 3}))
            .policy("burstlet-system", "default", json!({"selector": {}, "mode": "Observe", "base": 5}))
    };
    let app = marks(&[("app", "web")], &[]);
    let mut world = all(World { namespace: marks(&[], &[("burstlet.dev/base", "4")]), ..World::default() });
    let told = |world: &World| {
        let Governed { policy, origins } = world.governed();
        (policy.base.pods.unwrap().to_string(), origins["base"].to_string(), origins["mode"].to_string())
    };
    let default = "BurstPolicy burstlet-system/default, the cluster's default".to_owned();
    assert_eq!(
        told(&world),
        ("4".to_owned(), "annotation burstlet.dev/base on the namespace".to_owned(), default.clone())
    );
    world.namespace = Marks::default();
    assert_eq!(told(&world), ("5".to_owned(), default.clone(), default));
    world.pod = app;
    let selected = "BurstPolicy shop/web, by its selector".to_owned();
    assert_eq!(told(&world), ("2".to_owned(), selected.clone(), selected));
    world.workload = marks(&[], &[("burstlet.dev/policy", "named")]);
    let named = "BurstPolicy shop/named, named by the workload".to_owned();
    assert_eq!(told(&world), ("3".to_owned(), named.clone(), named.clone()));
    world.workload.annotations.insert("burstlet.dev/base".to_owned(), "1".to_owned());
    assert_eq!(told(&world), ("1".to_owned(), "annotation burstlet.dev/base on the workload".to_owned(), named));
    world.pod.annotations.insert("burstlet.dev/mode".to_owned(), "Never".to_owned());
    assert_eq!(told(&world).2, "annotation burstlet.dev/mode on the pod");
    assert_eq!(world.governed().policy.mode, Mode::Never);
}

#[test]
fn fields_left_out_come_from_the_policy_that_is_extended() {
    let world = World { pod: marks(&[("app", "web")], &[]), ..World::default() }
        .policy("burstlet-system", "house", json!({"base": "50%", "moveOn": {"after": "2m"}, "budget": {"perDay": "9 CNY"}}))
        .policy(
            "shop",
            "web",
            json!({"selector": {"matchLabels": {"app": "web"}}, "extends": "house", "tiers": [{"pool": "eci"}, {"real": {}}]}),
        );
    let Governed { policy, .. } = world.governed();
    assert_eq!(policy.name.unwrap().as_str(), "shop/web");
    assert_eq!(policy.mode, Mode::AfterBase);
    assert_eq!(policy.base.pods.unwrap().to_string(), "50%");
    assert_eq!(policy.tiers[1].move_on.after, Duration::from_mins(2));
    assert_eq!(world.origin("budget.perDay"), "BurstPolicy burstlet-system/house, extended by shop/web");
    assert_eq!(world.origin("moveBack.after"), "burstlet's configuration");
    assert_eq!(world.origin("count.per"), "built in");
}

#[test]
fn two_policies_that_match_are_a_conflict_by_name_and_neither_is_followed() {
    let select = json!({"selector": {"matchLabels": {"app": "web"}}, "base": 2});
    let mut world = World { pod: marks(&[("app", "web")], &[]), ..World::default() }
        .policy("shop", "a", select.clone())
        .policy("shop", "b", select);
    assert_eq!(
        world.note(),
        "shop/a and shop/b all match by their selectors, and none of them is followed; name one with burstlet.dev/policy, or narrow the selectors"
    );
    world.namespace = marks(&[], &[("burstlet.dev/base", "7")]);
    let found = world.resolve();
    assert_eq!(found.governed.unwrap().policy.base, Cap::pods(Base::count(7)), "the namespace's default holds");
    assert_eq!(found.notes.len(), 1, "and the conflict is told");
    world.workload = marks(&[], &[("burstlet.dev/policy", "b")]);
    assert_eq!(world.origin("base"), "BurstPolicy shop/b, named by the workload");
}

#[test]
fn what_names_no_policy_leaves_the_pod_plain_and_says_so() {
    let world = World {
        workload: marks(&[], &[("burstlet.dev/policy", "gone"), ("burstlet.dev/base", "3")]),
        ..World::default()
    };
    assert!(
        world
            .note()
            .starts_with("burstlet.dev/policy on the workload names gone, but there is no such BurstPolicy in shop")
    );
    let world = World { pod: marks(&[("app", "web")], &[]), ..World::default() }.policy(
        "shop",
        "web",
        json!({"selector": {"matchLabels": {"app": "web"}}, "extends": "gone", "base": 1}),
    );
    assert!(world.note().starts_with("shop/web → gone: there is no BurstPolicy gone"));
}

#[test]
fn an_annotation_that_makes_no_sense_leaves_the_pod_plain() {
    let world = World {
        workload: marks(&[], &[("burstlet.dev/base", "many")]),
        namespace: marks(&[], &[("burstlet.dev/base", "5")]),
        ..World::default()
    };
    assert!(world.note().starts_with("on the workload: burstlet.dev/base: \"many\" is neither"));
    let world = World { pod: marks(&[], &[("burstlet.dev/mode", "Sometimes")]), ..World::default() };
    assert_eq!(
        world.note(),
        "on the pod: burstlet.dev/mode: \"Sometimes\" is no mode; allowed are Observe, AfterBase, WhenFull, Always, Never"
    );
}

#[test]
fn a_fault_on_the_namespace_does_no_harm_to_who_has_a_word_of_their_own() {
    let namespace = marks(&[], &[("burstlet.dev/base", "many")]);
    let world = World { workload: marks(&[], &[("burstlet.dev/base", "3")]), namespace, ..World::default() };
    let found = world.resolve();
    assert_eq!((found.governed.unwrap().policy.base, found.notes.len()), (Cap::pods(Base::count(3)), 1));
}

#[test]
fn a_mark_of_another_product_counts_after_burstlets_own() {
    let eci = ("alibabacloud.com/eci", "true");
    let world =
        World { pod: marks(&[eci], &[]), workload: marks(&[], &[("burstlet.dev/base", "3")]), ..World::default() };
    let Governed { policy, origins } = world.governed();
    assert_eq!((policy.mode, policy.base), (Mode::Always, Cap::pods(Base::count(0))), "the pod's word is nearer");
    assert_eq!(origins["mode"].to_string(), "alibabacloud.com/eci, label on the pod");
    let world = World { pod: marks(&[eci], &[("burstlet.dev/mode", "Never")]), ..World::default() };
    assert_eq!(world.governed().policy.mode, Mode::Never);
    let world = World {
        namespace: marks(&[eci], &[]),
        workload: marks(&[], &[("burstlet.dev/base", "3")]),
        ..World::default()
    };
    assert_eq!(
        world.governed().policy.mode,
        Mode::AfterBase,
        "the workload's base is nearer than the namespace's mark"
    );
    let world = World { namespace: marks(&[eci], &[]), ..World::default() };
    assert_eq!(world.governed().policy.mode, Mode::Always);
}

#[test]
fn a_mode_that_needs_a_base_is_no_policy_without_one() {
    let world = World { workload: marks(&[], &[("burstlet.dev/mode", "AfterBase")]), ..World::default() };
    assert!(world.note().starts_with("mode AfterBase needs a base"));
}

#[test]
fn amounts_of_two_currencies_from_two_policies_are_no_budget() {
    let world = World { workload: marks(&[], &[("burstlet.dev/policy", "web")]), ..World::default() }
        .policy("burstlet-system", "house", json!({"budget": {"perDay": "9 CNY"}}))
        .policy("shop", "web", json!({"extends": "house", "base": 1, "budget": {"perHour": "1 USD"}}));
    assert!(world.note().starts_with("the budget mixes currencies, USD and CNY"), "{}", world.note());
}

#[test]
fn a_policy_that_makes_no_sense_leaves_the_last_good_one_in_force() {
    let mut policies = Policies::new("burstlet-system");
    let name = ObjectName::new("shop", "web");
    let spec = |value: Value| serde_json::from_value::<Spec>(value).unwrap();
    policies.set(name.clone(), &spec(json!({"base": 3}))).unwrap();
    assert_eq!(policies.set(name.clone(), &spec(json!({"base": "x"}))).unwrap_err()[0].path, "spec.base");
    let circle = policies.set(name.clone(), &spec(json!({"base": 4, "extends": "web"}))).unwrap_err();
    assert_eq!(circle[0].to_string(), "spec.extends: shop/web → shop/web is a circle; take one step out of it");
    assert_eq!(policies.lineage(&name).unwrap()[0].1.base, Some(Base::count(3)));
}

#[test]
fn the_clusters_default_fills_in_but_governs_only_whom_it_selects() {
    let default = json!({"moveOn": {"after": "5m"}});
    let mut world = World::default().policy("burstlet-system", "default", default);
    assert_eq!(world.resolve().governed, None);
    world.workload = marks(&[], &[("burstlet.dev/base", "3")]);
    assert_eq!(world.governed().policy.move_on.after, Duration::from_mins(5));
}
