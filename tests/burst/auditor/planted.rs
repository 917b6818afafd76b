//! Violations planted in made-up sequences of events: the auditor must find each, and nothing else.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Change, Event, History, Verdict, caps, instances, judge, least_ready, passed_on, scale_in};

/// A cluster made of events: one revision `rs`, a real node `real`, a virtual one `virtual`.
struct Script {
    events: Vec<Event>,
    pods: BTreeMap<String, Value>,
    version: u64,
    seen: Instant,
}

impl Script {
    fn new(base: &str, wanted: u64) -> Self {
        let mut script = Self { events: Vec::new(), pods: BTreeMap::new(), version: 0, seen: Instant::now() };
        script.node("real", &json!({}), true);
        script.node("virtual", &json!({"type": "virtual-kubelet"}), true);
        script.wants(base, wanted);
        script
    }

    fn push(&mut self, kind: &str, change: Change, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.events.push(Event::read(kind, change, &object, self.seen).unwrap());
    }

    fn node(&mut self, name: &str, labels: &Value, ready: bool) {
        let status = if ready { "True" } else { "Unknown" };
        let conditions = json!([{"type": "Ready", "status": status}]);
        let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}});
        self.push("nodes", Change::Set, node);
    }

    fn wants(&mut self, base: &str, wanted: u64) {
        let metadata = json!({"uid": "rs", "name": "web", "annotations": {"burstlet.dev/base": base}});
        self.push("replicasets", Change::Set, json!({"metadata": metadata, "spec": {"replicas": wanted}}));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        change(self.pods.get_mut(name).unwrap());
        let pod = self.pods[name].clone();
        self.push("pods", Change::Set, pod);
    }

    fn create(&mut self, name: &str, is_gated: bool) {
        let gates = if is_gated { json!([{"name": "burstlet.dev/placement"}]) } else { json!([]) };
        let owner = json!({"kind": "ReplicaSet", "uid": "rs", "controller": true});
        let metadata =
            json!({"uid": name, "name": name, "labels": {"app": "web"}, "annotations": {}, "ownerReferences": [owner]});
        let pod = json!({"metadata": metadata, "spec": {"schedulingGates": gates}, "status": {"phase": "Pending"}});
        self.pods.insert(name.to_owned(), pod);
        self.change(name, |_| {});
    }

    fn decide(&mut self, name: &str, tier: &str, at: u64) {
        self.change(name, |pod| {
            pod["spec"]["schedulingGates"] = Value::Null;
            let decided = format!("2025-01-01T00:00:{at:02}Z");
            pod["metadata"]["annotations"] = json!({"burstlet.dev/tier": tier, "burstlet.dev/decided-at": decided});
        });
    }

    fn bind(&mut self, name: &str, node: &str) {
        self.change(name, |pod| {
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        });
    }

    fn base(&mut self, name: &str) {
        self.create(name, true);
        self.decide(name, "base", 1);
        self.bind(name, "real");
    }

    fn burst(&mut self, name: &str) {
        self.create(name, true);
        self.decide(name, "burst", 2);
        self.bind(name, "virtual");
    }

    fn terminate(&mut self, name: &str) {
        self.change(name, |pod| pod["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:00:00Z"));
    }

    fn gone(&mut self, name: &str) {
        let pod = self.pods[name].clone();
        self.push("pods", Change::Gone, pod);
    }

    fn history(&self) -> History {
        // As they may arrive over three connections: the judgement goes by version.
        let mut events = self.events.clone();
        events.reverse();
        History::of(&events)
    }

    fn verdict(&self) -> Verdict {
        judge(&self.history())
    }
}

fn finds(script: &Script, words: &str) {
    let verdict = script.verdict();
    assert!(verdict.violations.iter().any(|found| found.contains(words)), "{words:?} not in {verdict:?}");
}

fn finds_nothing(script: &Script) -> Verdict {
    let verdict = script.verdict();
    assert!(verdict.violations.is_empty(), "{verdict:?}");
    verdict
}

#[test]
fn a_base_then_burst_then_a_successor_is_no_violation() {
    let mut script = Script::new("2", 3);
    script.base("a");
    script.base("b");
    script.burst("c");
    script.terminate("a");
    script.base("d");
    script.gone("a");
    let verdict = finds_nothing(&script);
    assert_eq!((verdict.governed, verdict.sent_to_burst), (4, 1));
    assert_eq!(verdict.most.values().next(), Some(&(2, 2)));
}

#[test]
fn a_pod_beyond_the_base_is_found_as_soon_as_it_is_sent() {
    let mut script = Script::new("1", 2);
    script.base("a");
    script.create("b", true);
    script.decide("b", "base", 1);
    finds(&script, "2 pods on real nodes with b");
}

#[test]
fn a_successor_sent_before_its_predecessor_began_to_terminate_is_found() {
    let mut script = Script::new("1", 1);
    script.base("a");
    script.create("b", true);
    script.decide("b", "base", 1);
    script.terminate("a");
    script.bind("b", "real");
    finds(&script, "2 pods on real nodes with b");
}

#[test]
fn a_burst_pod_on_a_real_node_counts_and_is_named() {
    let mut script = Script::new("1", 2);
    script.base("a");
    script.create("b", true);
    script.decide("b", "burst", 2);
    finds_nothing(&script);
    script.bind("b", "real");
    finds(&script, "2 pods on real nodes with b");
    finds(&script, "b of tier burst was bound to real");
}

#[test]
fn a_base_pod_on_a_virtual_node_is_found_and_one_that_moved_on_is_not() {
    let mut script = Script::new("1", 1);
    script.create("a", true);
    script.decide("a", "base", 1);
    let mut short = Script::new("1", 1);
    short.create("a", true);
    short.decide("a", "base", 1);
    short.change("a", |pod| pod["metadata"]["annotations"]["burstlet.dev/tier"] = json!("base-short"));
    script.bind("a", "virtual");
    short.bind("a", "virtual");
    finds(&script, "a of tier base was bound to virtual");
    finds_nothing(&short);
}

#[test]
fn a_burst_while_the_base_has_room_is_found() {
    let mut script = Script::new("2", 2);
    script.base("a");
    script.burst("b");
    finds(&script, "b at");
    finds(&script, "never was full");
}

#[test]
fn a_burst_before_a_base_pods_write_is_right_only_if_that_was_decided_earlier() {
    for (decided, is_right) in [(1, true), (3, false)] {
        let mut script = Script::new("1", 2);
        script.create("a", true);
        script.create("b", true);
        script.decide("b", "burst", 2);
        script.decide("a", "base", decided);
        assert_eq!(script.verdict().violations.is_empty(), is_right);
        assert!(script.verdict().overtaken.is_empty());
    }
}

#[test]
fn a_burst_overtaken_by_a_deletion_is_told_and_a_late_one_is_a_violation() {
    for (late, is_right) in [(Duration::from_secs(1), true), (Duration::from_secs(9), false)] {
        let mut script = Script::new("1", 2);
        script.base("a");
        script.create("b", true);
        script.terminate("a");
        script.seen += late;
        script.decide("b", "burst", 2);
        let verdict = script.verdict();
        assert_eq!(verdict.violations.is_empty(), is_right, "{verdict:?}");
        assert_eq!(verdict.overtaken[0].1, late);
    }
}

#[test]
fn a_gated_pod_deleted_before_its_write_may_have_filled_the_base() {
    let mut script = Script::new("1", 2);
    script.create("a", true);
    script.create("b", true);
    script.gone("a");
    script.decide("b", "burst", 2);
    assert_eq!(finds_nothing(&script).overtaken.len(), 1);
}

#[test]
fn pods_without_a_gate_are_told_apart_and_still_fill_the_base() {
    let mut script = Script::new("1", 3);
    script.create("a", false);
    script.bind("a", "real");
    script.create("b", false);
    script.bind("b", "real");
    script.burst("c");
    assert_eq!(finds_nothing(&script).gateless, ["a", "b"]);
    script.base("d");
    assert_eq!(finds_nothing(&script).most.values().next(), Some(&(1, 1)));
    script.base("e");
    finds(&script, "2 pods on real nodes with e");
}

#[test]
fn a_share_is_taken_of_what_was_wanted_when_the_pod_was_decided() {
    let mut script = Script::new("30%", 10);
    for name in ["a", "b", "c"] {
        script.base(name);
    }
    script.create("d", true);
    // Fewer are wanted now: the base pods there are stay, yet no more may come.
    script.wants("30%", 2);
    finds_nothing(&script);
    script.decide("d", "base", 1);
    finds(&script, "4 pods on real nodes with d");
}

#[test]
fn a_share_judges_bursts_too() {
    let mut script = Script::new("50%", 4);
    script.base("a");
    script.burst("b");
    finds(&script, "never was full");
}

#[test]
fn a_pod_bound_behind_its_gate_is_found() {
    let mut script = Script::new("1", 1);
    script.create("a", true);
    script.bind("a", "real");
    finds(&script, "a while gated was bound");
}

#[test]
fn a_virtual_node_that_lapses_or_goes_is_found() {
    let mut script = Script::new("1", 1);
    script.node("real", &json!({}), false);
    finds_nothing(&script);
    script.node("virtual", &json!({"type": "virtual-kubelet"}), false);
    finds(&script, "virtual node virtual was not Ready");
}

#[test]
fn instances_are_one_a_pod_and_end_with_it() {
    let mut script = Script::new("1", 3);
    script.base("a");
    script.burst("b");
    script.burst("c");
    let made =
        |all: &[(&str, u64, u64)]| all.iter().map(|(uid, made, alive)| ((*uid).to_owned(), (*made, *alive))).collect();
    let history = script.history();
    assert!(instances(&history, &made(&[("a", 1, 1), ("b", 1, 1), ("c", 1, 1)])).is_empty());
    assert_eq!(instances(&history, &made(&[("a", 1, 1), ("b", 2, 1), ("c", 1, 1)])), ["b got 2 instances"]);
    assert_eq!(instances(&history, &made(&[("a", 1, 1), ("b", 1, 1)])), ["c is Running without an instance"]);
    script.terminate("c");
    script.gone("c");
    let left = instances(&script.history(), &made(&[("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("x", 1, 1)]));
    assert_eq!(left, ["c is gone, and its instance is not", "x is gone, and its instance is not"]);
}

#[test]
fn scale_in_takes_burst_first() {
    let mut script = Script::new("2", 4);
    for name in ["a", "b"] {
        script.base(name);
    }
    for name in ["c", "d"] {
        script.burst(name);
    }
    script.wants("2", 1);
    // One batch, in any order: who stays counts.
    script.terminate("a");
    script.terminate("c");
    let mut wrong =
        Script { events: script.events.clone(), pods: script.pods.clone(), version: script.version, seen: script.seen };
    script.terminate("d");
    assert_eq!(scale_in(&script.history(), 0, u64::MAX), (2, 1, Vec::new()));
    wrong.terminate("b");
    let (_, _, violations) = scale_in(&wrong.history(), 0, u64::MAX);
    assert_eq!(violations, ["a of the base went, and d of burst stayed", "b of the base went, and d of burst stayed"]);
}

/// A pod sent to a pool by a decision at this second.
fn sent_to(script: &mut Script, name: &str, pool: &str, at: u64) {
    script.create(name, true);
    script.decide(name, "burst", at);
    script.change(name, |pod| pod["metadata"]["annotations"]["burstlet.dev/pool"] = json!(pool));
}

#[test]
fn a_pool_beyond_its_cap_and_a_later_one_too_early_are_found() {
    let tiers = [("spot", 2), ("demand", 1)];
    let mut script = Script::new("0", 4);
    sent_to(&mut script, "a", "spot", 1);
    sent_to(&mut script, "b", "spot", 1);
    sent_to(&mut script, "c", "demand", 2);
    assert_eq!(caps(&script.history(), "web", &tiers), Vec::<String>::new());
    sent_to(&mut script, "d", "spot", 3);
    assert!(caps(&script.history(), "web", &tiers)[0].contains("spot held 3 of 2 pods"));
    let mut script = Script::new("0", 4);
    sent_to(&mut script, "a", "spot", 1);
    sent_to(&mut script, "c", "demand", 1);
    assert!(caps(&script.history(), "web", &tiers)[0].contains("c was sent to demand while spot held 1 of 2"));
}

#[test]
fn a_pod_that_passes_real_nodes_too_early_is_found() {
    let mut script = Script::new("9", 2);
    for name in ["a", "b"] {
        script.create(name, true);
        script.decide(name, "base", 1);
    }
    script.bind("a", "real");
    script.seen += Duration::from_secs(10);
    script.change("b", |pod| pod["metadata"]["annotations"]["burstlet.dev/tier"] = json!("base-short"));
    let judged = |after, capacity| passed_on(&script.history(), "web", Duration::from_secs(after), capacity);
    assert_eq!(judged(10, 1), (1, Vec::new()));
    assert!(judged(20, 1).1[0].contains("b passed on after 10s, not 20s"));
    assert!(judged(10, 2).1[0].contains("while real nodes held 1 of 2"));
}

#[test]
fn the_fewest_ready_pods_are_those_of_the_worst_moment() {
    let mut script = Script::new("2", 2);
    for name in ["a", "b"] {
        script.create(name, true);
        script.decide(name, "base", 1);
        script.bind(name, "real");
    }
    let since = script.version;
    assert_eq!(least_ready(&script.history(), "web", since), 2);
    script.terminate("a");
    assert_eq!(least_ready(&script.history(), "web", since), 1);
}
