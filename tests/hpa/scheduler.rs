//! Holds the simulator's kube-scheduler to kube-scheduler's own plugins: the same nodes fit, with the same scores.

use std::{collections::BTreeMap, fs};

use burstlet::scenario::Scenario;
use burstlet_engine::simulator::{Occupant, judge};
use serde_json::{Value, json};

use crate::{generate::Dice, oracle::Oracle};

/// How many random clusters are judged; `SCHEDULER_CLUSTERS` asks for more, `SCHEDULER_SEED` for others.
const CLUSTERS: u64 = 200;

const NAMES: [&str; 3] = ["web", "api", "db"];

#[test]
fn random_clusters_are_judged_as_by_kube_schedulers_own_plugins() {
    let clusters = std::env::var("SCHEDULER_CLUSTERS").map_or(CLUSTERS, |count| count.parse().unwrap());
    let first = std::env::var("SCHEDULER_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut oracle = Oracle::scheduler();
    let (mut fitting, mut refused, mut unlike) = (0, 0, 0);
    for seed in first..first + clusters {
        let case = Case::of(&mut Dice::new(seed));
        let upstream = oracle.play(&case.cluster);
        let ours: BTreeMap<String, i64> =
            case.judged().into_iter().map(|(node, score)| (format!("node-{node:05}"), score)).collect();
        assert_eq!(json!(ours), upstream["scores"], "seed {seed}: {}\n{}", upstream["plugins"], case.told());
        fitting += ours.len();
        refused += case.nodes - ours.len();
        unlike += usize::from(ours.values().max() != ours.values().min());
    }
    let clusters = usize::try_from(clusters).unwrap();
    assert!(fitting > clusters && refused > clusters && unlike > clusters / 4, "{fitting} {refused} {unlike}");
}

/// A cluster, what stands there, and one pod more.
struct Case {
    nodes: usize,
    scenario: Value,
    deployments: Vec<Value>,
    there: Vec<Occupant>,
    pod: (usize, usize),
    /// The same for the oracle.
    cluster: Value,
}

impl Case {
    fn of(dice: &mut Dice) -> Self {
        let groups: Vec<Value> = (0..dice.between(1, 3)).map(|_| group(dice)).collect();
        let nodes = nodes(&groups);
        let workloads = usize::try_from(dice.between(1, 3)).unwrap();
        let deployments: Vec<Value> = (0..workloads).map(|index| deployment(dice, NAMES[index])).collect();
        let occupant = |dice: &mut Dice| Occupant {
            node: u32::try_from(dice.below(nodes.len() as u64)).unwrap(),
            workload: usize::try_from(dice.below(workloads as u64)).unwrap(),
            revision: usize::from(dice.chance(25)),
            is_terminating: dice.chance(15),
        };
        let there: Vec<Occupant> = (0..dice.below(14)).map(|_| occupant(dice)).collect();
        let pod = (usize::try_from(dice.below(workloads as u64)).unwrap(), usize::from(dice.chance(25)));
        let pods = there.iter().enumerate().map(|(index, occupant)| {
            let mut pod = pod_of(&deployments[occupant.workload], occupant.revision, &format!("there-{index}"));
            pod["spec"]["nodeName"] = format!("node-{:05}", occupant.node).into();
            if occupant.is_terminating {
                pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            pod
        });
        let sets = deployments.iter().flat_map(|deployment| [0, 1].map(|revision| set_of(deployment, revision)));
        let cluster = json!({
            "nodes": nodes,
            "pods": pods.collect::<Vec<_>>(),
            "replicaSets": sets.collect::<Vec<_>>(),
            "pod": pod_of(&deployments[pod.0], pod.1, "new"),
        });
        let (first, others) = groups.split_first().unwrap();
        let traffic = |name: &&str| json!({"deployment": name, "traffic": {"file": "traffic.csv"}});
        let scenario = json!({
            "name": "random", "about": "A random cluster.", "manifests": ["all.yaml"], "settle": "1s", "requestCpu": "10ms",
            "workloads": NAMES[..workloads].iter().map(traffic).collect::<Vec<_>>(),
            "realNodes": first, "otherNodes": others,
            "pools": [{"name": "cloud", "nodes": 1, "podsPerNode": 9, "startUp": {"min": "1s", "max": "2s"},
                "price": {"cpuSecond": 0.1, "gibSecond": 0.1, "currency": "CNY"}}],
        });
        Self { nodes: nodes.len(), scenario, deployments, there, pod, cluster }
    }

    fn judged(&self) -> BTreeMap<u32, i64> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let hpa = |deployment: &Value| {
            let name = &deployment["metadata"]["name"];
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
                "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}}})
        };
        let manifests = self.deployments.iter().flat_map(|deployment| [deployment.clone(), hpa(deployment)]);
        write("all.yaml", manifests.map(|object| object.to_string() + "\n---\n").collect());
        write("scenario.yaml", self.scenario.to_string());
        write("traffic.csv", "seconds,requests_per_second\n0,1\n60,1\n".to_owned());
        let scenario = Scenario::open(folder.path().to_str().unwrap());
        let setup = scenario.map_err(|error| error.to_string()).and_then(|scenario| {
            assert_eq!(scenario.left_out(), [""; 0]);
            scenario.setup().map_err(|error| error.to_string())
        });
        let setup = setup.unwrap_or_else(|error| panic!("{error}\n{}", self.told()));
        judge(&setup, &self.there, self.pod.0, self.pod.1)
    }

    fn told(&self) -> String {
        format!("{}\n{}\n{:?}\n{:?}", self.scenario, json!(self.deployments), self.there, self.pod)
    }
}

/// Nodes of one kind.
fn group(dice: &mut Dice) -> Value {
    let mut labels = json!({});
    if dice.chance(60) {
        labels["disk"] = dice.pick(&["ssd", "hdd"]).into();
    }
    if dice.chance(40) {
        labels["cores"] = dice.pick(&["4", "8"]).into();
    }
    let taint = |dice: &mut Dice| {
        let effect = dice.pick(&["NoSchedule", "PreferNoSchedule", "PreferNoSchedule", "NoExecute"]);
        json!({"key": dice.pick(&["team", "gpu"]), "value": dice.pick(&["web", "api"]), "effect": effect})
    };
    let taints: Vec<Value> = (0..dice.pick(&[0, 0, 1, 2])).map(|_| taint(dice)).collect();
    let zones = dice.pick(&[json!([]), json!(["a"]), json!(["a", "b"]), json!(["b", "c", "d"])]);
    json!({
        "count": dice.between(1, 5), "cpu": dice.pick(&["2", "4", "3500m"]), "memory": dice.pick(&["4Gi", "8Gi"]),
        "pods": dice.pick(&[4, 30]), "startUp": {"min": "1s", "max": "2s"}, "labels": labels, "taints": taints, "zones": zones,
    })
}

/// The Node objects of all groups.
fn nodes(groups: &[Value]) -> Vec<Value> {
    let mut nodes = Vec::new();
    for group in groups {
        let zones = group["zones"].as_array().unwrap();
        for number in 0..usize::try_from(group["count"].as_u64().unwrap()).unwrap() {
            let name = format!("node-{:05}", nodes.len());
            let mut labels = group["labels"].clone();
            labels["kubernetes.io/hostname"] = name.as_str().into();
            if !zones.is_empty() {
                labels["topology.kubernetes.io/zone"] = zones[number % zones.len()].clone();
            }
            let offer = json!({"cpu": group["cpu"], "memory": group["memory"], "pods": group["pods"].to_string()});
            nodes.push(json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": group["taints"]},
                "status": {"allocatable": offer, "capacity": offer}}));
        }
    }
    nodes
}

fn deployment(dice: &mut Dice, name: &str) -> Value {
    let labels = json!({"app": name, "tier": dice.pick(&["front", "back"])});
    let mut annotations = json!({});
    if name == NAMES[0] {
        annotations["burstlet.dev/base"] = "2".into();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": annotations},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": labels}, "spec": pod_spec(dice)}},
    })
}

fn pod_spec(dice: &mut Dice) -> Value {
    let mut requests = json!({"cpu": dice.pick(&["100m", "300m", "700m"])});
    if dice.chance(70) {
        requests["memory"] = dice.pick(&["64Mi", "300Mi", "1Gi"]).into();
    }
    let mut spec = json!({"containers": [{"name": "app", "image": "app", "resources": {"requests": requests}}]});
    if dice.chance(15) {
        spec["nodeSelector"] = json!({"disk": "ssd"});
    }
    if dice.chance(40) {
        spec["tolerations"] = (0..dice.between(1, 2)).map(|_| toleration(dice)).collect();
    }
    let mut affinity = json!({});
    let mut node = json!({});
    if dice.chance(20) {
        let terms: Vec<Value> = (0..dice.between(1, 2)).map(|_| node_term(dice)).collect();
        node["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": terms});
    }
    if dice.chance(30) {
        let preference = |dice: &mut Dice| json!({"weight": dice.between(1, 100), "preference": node_term(dice)});
        let terms: Vec<Value> = (0..dice.between(1, 2)).map(|_| preference(dice)).collect();
        node["preferredDuringSchedulingIgnoredDuringExecution"] = terms.into();
    }
    if node != json!({}) {
        affinity["nodeAffinity"] = node;
    }
    let mut apart = json!({});
    if dice.chance(20) {
        apart["requiredDuringSchedulingIgnoredDuringExecution"] = json!([pod_term(dice)]);
    }
    if dice.chance(30) {
        let weighted = |dice: &mut Dice| json!({"weight": dice.between(1, 100), "podAffinityTerm": pod_term(dice)});
        let terms: Vec<Value> = (0..dice.between(1, 2)).map(|_| weighted(dice)).collect();
        apart["preferredDuringSchedulingIgnoredDuringExecution"] = terms.into();
    }
    if apart != json!({}) {
        affinity["podAntiAffinity"] = apart;
    }
    if affinity != json!({}) {
        spec["affinity"] = affinity;
    }
    if dice.chance(45) {
        spec["topologySpreadConstraints"] = (0..dice.between(1, 2)).map(|_| spread(dice)).collect();
    }
    spec
}

fn toleration(dice: &mut Dice) -> Value {
    let mut toleration = json!({"operator": dice.pick(&["Exists", "Equal"]), "key": dice.pick(&["team", "gpu"])});
    if toleration["operator"] == "Equal" {
        toleration["value"] = dice.pick(&["web", "api"]).into();
    } else if dice.chance(20) {
        toleration = json!({"operator": "Exists"});
    }
    if dice.chance(50) {
        toleration["effect"] = dice.pick(&["NoSchedule", "PreferNoSchedule", "NoExecute"]).into();
    }
    toleration
}

fn node_term(dice: &mut Dice) -> Value {
    let requirement = match dice.below(6) {
        0 => json!({"key": "disk", "operator": "NotIn", "values": ["hdd"]}),
        1 => json!({"key": "cores", "operator": "Gt", "values": ["5"]}),
        2 => json!({"key": "cores", "operator": "DoesNotExist"}),
        3 => json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "c"]}),
        4 => json!({"key": "disk", "operator": "Exists"}),
        _ => json!({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}),
    };
    json!({"matchExpressions": [requirement]})
}

fn topology(dice: &mut Dice) -> &'static str {
    dice.pick(&["kubernetes.io/hostname", "topology.kubernetes.io/zone", "disk"])
}

fn selector(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => json!({"matchLabels": {"app": dice.pick(&NAMES)}}),
        1 => json!({"matchLabels": {"tier": "front"}}),
        2 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}),
        _ => json!({}),
    }
}

fn pod_term(dice: &mut Dice) -> Value {
    json!({"topologyKey": topology(dice), "labelSelector": selector(dice)})
}

fn spread(dice: &mut Dice) -> Value {
    let is_hard = dice.chance(50);
    let mut rule = json!({
        "maxSkew": dice.between(1, 3), "topologyKey": topology(dice), "labelSelector": selector(dice),
        "whenUnsatisfiable": if is_hard { "DoNotSchedule" } else { "ScheduleAnyway" },
    });
    if is_hard && dice.chance(20) {
        rule["minDomains"] = dice.between(1, 4).into();
    }
    if dice.chance(30) {
        rule["nodeAffinityPolicy"] = dice.pick(&["Honor", "Ignore"]).into();
    }
    if dice.chance(30) {
        rule["nodeTaintsPolicy"] = dice.pick(&["Honor", "Ignore"]).into();
    }
    if dice.chance(20) {
        rule["matchLabelKeys"] = json!([dice.pick(&["pod-template-hash", "tier"])]);
    }
    rule
}

/// Labels of a revision's pods.
fn labels_of(deployment: &Value, revision: usize) -> Value {
    let mut labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
    // As with real hashes, no two Deployments have the same.
    labels["pod-template-hash"] = set_name(deployment, revision).into();
    labels
}

fn set_name(deployment: &Value, revision: usize) -> String {
    format!("{}-{revision}", deployment["metadata"]["name"].as_str().unwrap())
}

fn set_of(deployment: &Value, revision: usize) -> Value {
    let app = &deployment["metadata"]["name"];
    let selected = json!({"app": app, "pod-template-hash": set_name(deployment, revision)});
    json!({"metadata": {"name": set_name(deployment, revision), "namespace": "default"},
        "spec": {"selector": {"matchLabels": selected}}})
}

fn pod_of(deployment: &Value, revision: usize, name: &str) -> Value {
    let set = set_name(deployment, revision);
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true});
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels_of(deployment, revision),
            "ownerReferences": [owner]},
        "spec": deployment["spec"]["template"]["spec"],
    })
}
