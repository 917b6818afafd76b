//! The policies that come with burstlet, followed by the engine itself: ten pods at once, and where each goes.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use burstlet::{api::document::Document, run::config::Config};
use burstlet_engine::{
    model::{Bytes, MilliCpu, Needs, Node, NodeKind, ObjectName, Pod, PoolName, Resources, Stage, Timestamp},
    placement::{Action, Controller, Event, Kind, Namespace, Placement, Placing, Revision},
    policy::{Marks, Settings},
};
use serde_json::Value;

/// Friday, 2026-01-09, noon in Shanghai.
const WORKING_HOURS: u64 = 1_767_931_200_000;
/// The night after.
const AT_NIGHT: u64 = WORKING_HOURS + 12 * 3_600_000;

fn documents(file: &str) -> Vec<Document> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    all.iter().map(|document| Document::read(document).unwrap()).collect()
}

fn node(name: &str, kind: NodeKind) -> Node {
    let allocatable = Resources { cpu: MilliCpu(100_000), memory: Bytes(1 << 40) };
    let labels = BTreeMap::from([("topology.kubernetes.io/zone".to_owned(), "zone-a".to_owned())]);
    Node { name: name.into(), kind, open: true, allocatable, max_pods: 3000, labels }
}

fn pod(name: &str, stage: Stage) -> Pod {
    Pod {
        uid: name.into(),
        name: ObjectName::new("shop", name),
        revision: Some("web".into()),
        created: Timestamp::from_millis(WORKING_HOURS - 1_000),
        decided: None,
        stage,
        deleting: false,
        tier: None,
        requests: Resources { cpu: MilliCpu(100), memory: Bytes(1 << 20) },
        node_selector: Vec::new(),
        virtual_obstacle: None,
        needs: Needs::default(),
    }
}

/// Where ten gated pods go that a file's policy selects.
fn placed(file: &str, now: u64) -> BTreeMap<String, usize> {
    let now = Timestamp::from_millis(now);
    let settings = Settings { pools: Vec::new(), ..Config::default_settings() };
    let mut placement = Placement::new(settings);
    for kind in Kind::ALL {
        placement.apply(Event::Begin(kind), now);
        placement.apply(Event::Finish(kind), now);
    }
    placement.apply(Event::Node(node("machine", NodeKind::Real)), now);
    for document in documents("pools.yaml").into_iter().chain(documents(file)) {
        match document {
            Document::Pool(name, spec) => {
                let pool = PoolName::from(name.as_str());
                placement.apply(Event::Pool(spec.facts(&name)), now);
                placement.apply(Event::Node(node(&format!("v-{name}"), NodeKind::Virtual(pool.clone()))), now);
                placement.apply(Event::Stock { pool, free: Some(1000) }, now);
            }
            Document::Policy(_, name, spec) => {
                placement.apply(Event::Policy { name: ObjectName::new("shop", &name), spec }, now);
            }
        }
    }
    let labels = BTreeMap::from([("burst".to_owned(), file.trim_end_matches(".yaml").to_owned())]);
    let pods = Marks { labels, annotations: BTreeMap::new() };
    placement.apply(Event::Namespace(Namespace { name: "shop".to_owned(), marks: Marks::default() }), now);
    let (controller, marks) = (Controller::ReplicaSet, Marks::default());
    let name = ObjectName::new("shop", "web");
    placement.apply(
        Event::Revision(Revision {
            id: "web".into(),
            name,
            controller,
            workload: None,
            marks,
            pods,
            wanted: 10,
            generation: 1,
        }),
        now,
    );
    for index in 0..10 {
        placement.apply(Event::Pod(pod(&format!("web-{index}"), Stage::Gated)), now);
    }
    let mut places = BTreeMap::new();
    for action in placement.decide(now.after(Duration::from_secs(1))) {
        if let Action::Place { placing, .. } = action {
            let place = match placing {
                Placing::Base => "base".to_owned(),
                Placing::Burst { pool, .. } => pool.to_string(),
                Placing::Real { .. } => "real".to_owned(),
                Placing::Release => "released".to_owned(),
            };
            *places.entry(place).or_default() += 1;
        }
    }
    places
}

fn places(all: &[(&str, usize)]) -> BTreeMap<String, usize> {
    all.iter().map(|&(place, pods)| (place.to_owned(), pods)).collect()
}

#[test]
fn each_policy_places_ten_pods_as_its_first_line_says() {
    let wanted = [
        ("fixed-base.yaml", places(&[("base", 3), ("eci", 7)])),
        ("percentage.yaml", places(&[("base", 3), ("eci", 7)])),
        ("spot-first.yaml", places(&[("base", 2), ("eci-spot", 5), ("eci", 3)])),
        ("wait-for-the-autoscaler.yaml", places(&[("base", 10)])),
        ("business-hours.yaml", places(&[("base", 5), ("eci", 5)])),
        ("two-clouds.yaml", places(&[("base", 4), ("eci", 5), ("kci", 1)])),
        ("other-cluster.yaml", places(&[("base", 5), ("other", 5)])),
        ("background-workers.yaml", places(&[("base", 10)])),
        ("observe.yaml", places(&[("released", 10)])),
        ("like-ack-resource-policy.yaml", places(&[("base", 2), ("eci", 8)])),
        ("like-huawei-schedule-profile.yaml", places(&[("base", 10)])),
        ("like-kruise-workload-spread.yaml", places(&[("real", 3), ("eci", 7)])),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "yaml"));
    assert_eq!(files.count(), wanted.len() + 1, "each file but pools.yaml has its line here");
    let found = wanted.each_ref().map(|(file, _)| (*file, placed(file, WORKING_HOURS)));
    assert_eq!(found, wanted);
}

#[test]
fn business_hours_end_and_new_pods_go_to_real_nodes() {
    let found = placed("business-hours.yaml", AT_NIGHT);
    assert_eq!(found.get("eci"), None, "{found:?}");
}
