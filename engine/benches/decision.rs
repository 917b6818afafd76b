//! The engine's time a pod: a gated pod is told, and decided, among 30,000 pods of 1,000 workloads.
//!
//! Pods come at 100 a second, so that one decision in fifty is a tick and looks at what only time changes. Each is
//! answered, shown as bound and running, and an older one of its workload is deleted: the cluster stays as large.

#![expect(clippy::panic, reason = "a benchmark that measures something else must not print a figure")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use burstlet_engine::{
    model::{
        Bytes, MilliCpu, Needs, Node, NodeKind, ObjectName, Pod, Resources, RevisionId, Stage, Tier, Timestamp,
        WorkloadId,
    },
    placement::{Action, Controller, Event, Kind, Outcome, Placement, Placing, Revision, Workload},
    policy::{Marks, MoveBack, Settings},
};

const WORKLOADS: usize = 1_000;
const PODS: usize = 30_000;
const DECISIONS: usize = 50_000;
const REACH: Duration = Duration::from_micros(10);
/// Of 30 replicas, 20 are base.
const BASE: usize = 20;

struct Cluster {
    placement: Placement,
    now: Timestamp,
    serial: usize,
    /// The oldest pods first, by workload.
    pods: Vec<Vec<Pod>>,
}

fn main() {
    for (what, share) in [("a number", "20"), ("a percentage", "66%")] {
        let mut cluster = Cluster::listed(share);
        let mut times: Vec<_> = (0..DECISIONS).map(|number| cluster.replace(number * 7 % WORKLOADS)).collect();
        times.sort_unstable();
        let micros = |part: usize| times[times.len() * part / 1_000].as_secs_f64() * 1e6;
        println!(
            "decision, base as {what}: {PODS} pods, {WORKLOADS} workloads, {DECISIONS} decisions: p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs (reach: p99 ≤ {} µs)",
            micros(500),
            micros(990),
            micros(999),
            REACH.as_micros(),
        );
    }
}

impl Cluster {
    fn listed(base: &str) -> Self {
        let move_back = MoveBack { after: Duration::from_mins(10), at_once: 1, cool_down: Duration::from_mins(1) };
        let settings = Settings { pools: vec!["eci".into()], move_on_after: Duration::from_secs(90), move_back };
        let placement = Placement::new(settings);
        let pods = vec![Vec::new(); WORKLOADS];
        let mut cluster = Self { placement, now: Timestamp::from_millis(1_000_000), serial: 0, pods };
        let workloads = 0..WORKLOADS;
        for kind in [Kind::Namespace, Kind::Policy, Kind::Pool] {
            cluster.list(kind, []);
        }
        cluster.list(Kind::Workload, workloads.clone().map(|number| workload(number, base)));
        cluster.list(Kind::Revision, workloads.map(revision));
        let real = (0..1_000).map(|number| node(format!("n{number:04}"), NodeKind::Real, 110));
        let virtual_nodes = (0..10).map(|number| node(format!("v{number}"), NodeKind::Virtual("eci".into()), 3_000));
        cluster.list(Kind::Node, real.chain(virtual_nodes));
        let mut listed = Vec::new();
        for number in 0..PODS {
            let (workload, place) = (number % WORKLOADS, number / WORKLOADS);
            let tier = if place < BASE { Tier::Base } else { Tier::Burst("eci".into()) };
            let pod = bound(Pod { tier: Some(tier), ..cluster.gated(workload) }, number);
            cluster.pods[workload].push(pod.clone());
            listed.push(Event::Pod(pod));
        }
        cluster.list(Kind::Pod, listed);
        cluster.placement.decide(cluster.now);
        cluster
    }

    fn list(&mut self, kind: Kind, objects: impl IntoIterator<Item = Event>) {
        self.placement.apply(Event::Begin(kind), self.now);
        for object in objects {
            self.placement.apply(object, self.now);
        }
        self.placement.apply(Event::Finish(kind), self.now);
    }

    fn gated(&mut self, workload: usize) -> Pod {
        self.serial += 1;
        let name = format!("web-{workload:04}-{:07}", self.serial);
        Pod {
            uid: format!("6f2c8a1e-9d4b-4c3f-8e57-{:012x}", self.serial).into(),
            name: ObjectName::new("shop", &name),
            revision: Some(revision_id(workload)),
            created: self.now,
            decided: None,
            stage: Stage::Gated,
            deleting: false,
            tier: None,
            requests: Resources { cpu: MilliCpu(250), memory: Bytes(512 << 20) },
            node_selector: Vec::new(),
            virtual_obstacle: None,
            needs: Needs::default(),
        }
    }

    /// An old pod of the workload goes, and a new one comes. Answers what telling and deciding the new one took.
    fn replace(&mut self, workload: usize) -> Duration {
        let place = self.serial % self.pods[workload].len();
        let old = self.pods[workload].remove(place);
        self.placement.apply(Event::PodGone(old.uid), self.now);
        self.placement.decide(self.now);

        self.now = self.now.after(Duration::from_millis(10));
        let pod = self.gated(workload);
        let event = Event::Pod(pod.clone());
        let begin = Instant::now();
        self.placement.apply(event, self.now);
        let actions = self.placement.decide(self.now);
        let taken = begin.elapsed();

        let placed = |action: &Action| match action {
            Action::Place { pod: of, placing, .. } if of.uid == pod.uid => Some(placing.clone()),
            _ => None,
        };
        let placing: Placing = actions.iter().find_map(placed).unwrap_or_else(|| panic!("not decided: {actions:?}"));
        self.placement.settle(&pod.uid, Outcome::Applied, self.now);
        let pod = bound(Pod { tier: placing.tier(), ..pod }, self.serial);
        self.placement.apply(Event::Pod(pod.clone()), self.now);
        self.placement.decide(self.now);
        self.pods[workload].push(pod);
        taken
    }
}

fn bound(pod: Pod, number: usize) -> Pod {
    let node = match pod.tier {
        Some(Tier::Burst(_)) => format!("v{}", number % 10),
        _ => format!("n{:04}", number % 1_000),
    };
    Pod { stage: Stage::Bound { node: node.into(), running: true, ready: true }, ..pod }
}

fn revision_id(number: usize) -> RevisionId {
    format!("0d9e7b52-1f3a-4e8c-b6d1-{number:012x}").into()
}

fn workload(number: usize, base: &str) -> Event {
    let name = ObjectName::new("shop", &format!("web-{number:04}"));
    let id = WorkloadId::from(format!("w{number}"));
    Event::Workload(Workload { id, kind: "Deployment".into(), name, marks: based(base) })
}

fn based(base: &str) -> Marks {
    Marks { labels: BTreeMap::new(), annotations: [("burstlet.dev/base".to_owned(), base.to_owned())].into() }
}

fn revision(number: usize) -> Event {
    let name = ObjectName::new("shop", &format!("web-{number:04}-a"));
    let workload = Some(WorkloadId::from(format!("w{number}")));
    Event::Revision(Revision {
        id: revision_id(number),
        name,
        controller: Controller::ReplicaSet,
        workload,
        marks: Marks::default(),
        pods: Marks::default(),
        wanted: 30,
        generation: 1,
    })
}

fn node(name: String, kind: NodeKind, max_pods: u64) -> Event {
    let allocatable = Resources { cpu: MilliCpu(32_000), memory: Bytes(128 << 30) };
    Event::Node(Node { name: name.into(), kind, open: true, allocatable, max_pods, labels: BTreeMap::new() })
}
