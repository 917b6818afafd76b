//! A cluster in few words: pods, ReplicaSets and nodes as the tests speak of them, and actions as one line each.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::{
    model::{
        Bytes, MilliCpu, Needs, Node, NodeKind, ObjectName, Pod, PodUid, Resources, RevisionId, Stage, Tier, Timestamp,
        WorkloadId,
    },
    placement::{
        Action, Annotated, Controller, Event, Kind, Namespace, Outcome, Placement, Placing, Revision, Workload,
    },
    policy::{Marks, MoveBack, Settings, Spec},
};
use serde_json::Value;

pub(crate) const MOVE_ON: u64 = 90;
pub(crate) const MOVE_BACK: u64 = 60;
pub(crate) const COOL_DOWN: u64 = 120;

/// A placement and the clock that it is told.
pub(crate) struct Cluster {
    placement: Placement,
    now: Timestamp,
}

impl Cluster {
    /// Everything listed, nothing there; one pool, `eci`; the clock stands at 1,000 s.
    pub(crate) fn new() -> Self {
        let mut cluster = Self::unlisted();
        for kind in Kind::ALL {
            cluster.list(kind, []);
        }
        cluster
    }

    /// As with a Deployment `web`, where the ReplicaSet's watch may be behind the pods'.
    pub(crate) fn looking(base: &str, wanted: u32) -> Self {
        let placement = Placement::new(settings()).looking();
        let mut cluster = Self { placement, now: at(1_000) };
        for kind in Kind::ALL {
            cluster.list(kind, []);
        }
        cluster.apply(deployment("web", Some(base)));
        cluster.apply(replica_set("web-a", Some("web"), wanted));
        cluster.apply(Event::Node(virtual_node("v", 10)));
        cluster
    }

    /// Everything listed but the profile, which is awaited.
    pub(crate) fn awaiting_profile() -> Self {
        let mut cluster = Self { placement: Placement::new(settings()).awaiting_profile(), now: at(1_000) };
        for kind in Kind::ALL {
            cluster.list(kind, []);
        }
        cluster
    }

    pub(crate) fn unlisted() -> Self {
        Self { placement: Placement::new(settings()), now: at(1_000) }
    }

    /// A Deployment `web` with this base, its ReplicaSet `web-a`, and a virtual node `v` for 10 pods.
    pub(crate) fn with_web(base: &str, wanted: u32) -> Self {
        let mut cluster = Self::new();
        cluster.apply(deployment("web", Some(base)));
        cluster.apply(replica_set("web-a", Some("web"), wanted));
        cluster.apply(Event::Node(virtual_node("v", 10)));
        cluster
    }

    /// A Deployment `web` that follows this policy, its ReplicaSet `web-a`, and virtual nodes of pools `eci` and `spot`
    /// for 10 pods each.
    pub(crate) fn with_policy(spec: Value, wanted: u32) -> Self {
        let mut cluster = Self::new();
        cluster.apply(policy("rules", spec));
        let annotated = marks([("policy", "rules")]);
        let Event::Workload(web) = deployment("web", None) else { panic!("a Deployment") };
        cluster.apply(Event::Workload(Workload { marks: annotated, ..web }));
        cluster.apply(replica_set("web-a", Some("web"), wanted));
        cluster.apply(Event::Node(virtual_node("v", 10)));
        cluster.apply(Event::Node(Node { kind: NodeKind::Virtual("spot".into()), ..virtual_node("s", 10) }));
        cluster
    }

    /// Gated pods `p1` and so on, created now, and what is decided of them.
    pub(crate) fn shows_pods(&mut self, pods: std::ops::RangeInclusive<u32>) -> Vec<String> {
        let created = self.now.as_millis() / 1_000;
        for number in pods {
            self.apply(Event::Pod(pod(&format!("p{number}")).created(created)));
        }
        self.decide()
    }

    pub(crate) fn apply(&mut self, event: Event) {
        self.placement.apply(event, self.now);
    }

    pub(crate) fn list(&mut self, kind: Kind, objects: impl IntoIterator<Item = Event>) {
        self.apply(Event::Begin(kind));
        for object in objects {
            self.apply(object);
        }
        self.apply(Event::Finish(kind));
    }

    /// What is decided now.
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        self.placement.decide(self.now)
    }

    /// What is decided now, a line each.
    pub(crate) fn decide(&mut self) -> Vec<String> {
        self.actions().iter().map(line).collect()
    }

    pub(crate) fn shows(&mut self, event: Event) -> Vec<String> {
        self.apply(event);
        self.decide()
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Decides every half second for so long; each line with the seconds that had passed.
    pub(crate) fn watch(&mut self, seconds: u64) -> Vec<(u64, String)> {
        let begin = self.now;
        let mut lines = Vec::new();
        for _ in 0..seconds * 2 {
            let decided = self.tick();
            let passed = self.now.since(begin).as_secs();
            lines.extend(decided.into_iter().map(|line| (passed, line)));
        }
        lines
    }

    /// What is decided half a second later.
    pub(crate) fn tick(&mut self) -> Vec<String> {
        self.now = self.now.after(Duration::from_millis(500));
        self.decide()
    }

    pub(crate) fn settle(&mut self, pod: &str, outcome: Outcome) {
        self.placement.settle(&PodUid::from(pod), outcome, self.now);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }
}

/// The cluster's defaults: one pool, `eci`.
pub(crate) fn settings() -> Settings {
    let (after, cool_down) = (Duration::from_secs(MOVE_BACK), Duration::from_secs(COOL_DOWN));
    let move_back = MoveBack { after, at_once: 1, cool_down };
    Settings { pools: vec!["eci".into()], move_on_after: Duration::from_secs(MOVE_ON), move_back }
}

/// A policy of the namespace `shop`.
pub(crate) fn policy(name: &str, spec: Value) -> Event {
    let spec: Spec = serde_json::from_value(spec).expect("a policy");
    Event::Policy { name: ObjectName::new("shop", name), spec: Box::new(spec) }
}

/// Annotations of burstlet's, by what follows the slash.
pub(crate) fn marks<'a>(annotations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Marks {
    let annotations = annotations.into_iter();
    let annotations = annotations.map(|(key, value)| (format!("burstlet.dev/{key}"), value.to_owned())).collect();
    Marks { labels: BTreeMap::new(), annotations }
}

/// An action as one line: what, which pod, where to.
fn line(action: &Action) -> String {
    match action {
        Action::Place { pod, placing: Placing::Base, .. } => format!("base {}", pod.uid),
        Action::Place { pod, placing: Placing::Burst { pool, nodes }, .. } => {
            let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            format!("burst {} {pool} {}", pod.uid, nodes.join(","))
        }
        Action::Place { pod, placing: Placing::Real { number, .. }, .. } => format!("real {} {number}", pod.uid),
        Action::Place { pod, placing: Placing::Release, .. } => format!("release {}", pod.uid),
        Action::MoveOn { pod, pool, .. } => format!("move-on {} {pool}", pod.uid),
        Action::Evict { pod, .. } => format!("evict {}", pod.uid),
        Action::Explain { pod, reason } => format!("explain {}: {reason}", pod.uid),
        Action::Warn { object: Annotated::Namespace(name), fault } => format!("warn Namespace {name}: {fault}"),
        Action::Warn { object: Annotated::Workload { kind, name, .. }, fault } => {
            format!("warn {kind} {name}: {fault}")
        }
        Action::Look { revision, arrivals, .. } => format!("look at {revision} after {arrivals}"),
        Action::Note { note, .. } => format!("note {note}"),
    }
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

pub(crate) fn namespace(base: Option<&str>) -> Event {
    Event::Namespace(Namespace { name: "shop".to_owned(), marks: marks(base.map(|base| ("base", base))) })
}

pub(crate) fn deployment(name: &str, base: Option<&str>) -> Event {
    let (id, marks) = (WorkloadId::from(name), marks(base.map(|base| ("base", base))));
    Event::Workload(Workload { id, kind: "Deployment".into(), name: ObjectName::new("shop", name), marks })
}

pub(crate) fn replica_set(name: &str, deployment: Option<&str>, wanted: u32) -> Event {
    let workload = deployment.map(WorkloadId::from);
    let (id, name) = (RevisionId::from(name), ObjectName::new("shop", name));
    Event::Revision(Revision {
        id,
        name,
        controller: Controller::ReplicaSet,
        workload,
        marks: Marks::default(),
        pods: Marks::default(),
        wanted,
        generation: 0,
    })
}

/// A real node with 1 CPU and 1 GiB for 10 pods.
pub(crate) fn real_node(name: &str) -> Node {
    let allocatable = Resources { cpu: MilliCpu(1_000), memory: Bytes(1 << 30) };
    Node { name: name.into(), kind: NodeKind::Real, open: true, allocatable, max_pods: 10, labels: BTreeMap::new() }
}

pub(crate) fn virtual_node(name: &str, max_pods: u64) -> Node {
    Node { kind: NodeKind::Virtual("eci".into()), max_pods, ..real_node(name) }
}

/// A gated pod of `web-a` that requests a tenth of a CPU; its UID is its name.
pub(crate) fn pod(name: &str) -> Pod {
    Pod {
        uid: name.into(),
        name: ObjectName::new("shop", name),
        revision: Some("web-a".into()),
        created: at(1_000),
        decided: None,
        stage: Stage::Gated,
        deleting: false,
        tier: None,
        requests: Resources { cpu: MilliCpu(100), memory: Bytes(1 << 20) },
        node_selector: Vec::new(),
        virtual_obstacle: None,
        needs: Needs::default(),
    }
}

pub(crate) trait PodWords {
    fn of(self, revision: &str) -> Pod;
    fn created(self, seconds: u64) -> Pod;
    fn decided(self, seconds: u64) -> Pod;
    fn base(self) -> Pod;
    fn short(self) -> Pod;
    fn burst(self) -> Pod;
    fn unbound(self) -> Pod;
    fn unschedulable(self) -> Pod;
    fn on(self, node: &str) -> Pod;
    fn not_ready(self) -> Pod;
    fn deleting(self) -> Pod;
    fn finished(self) -> Pod;
    fn cpu(self, milli: u64) -> Pod;
    fn selects(self, key: &str, value: &str) -> Pod;
}

impl PodWords for Pod {
    fn of(self, revision: &str) -> Pod {
        Pod { revision: Some(revision.into()), ..self }
    }

    fn created(self, seconds: u64) -> Pod {
        Pod { created: at(seconds), ..self }
    }

    fn decided(self, seconds: u64) -> Pod {
        Pod { decided: Some(at(seconds)), ..self }
    }

    fn base(self) -> Pod {
        Pod { tier: Some(Tier::Base), ..self.unbound() }
    }

    fn short(self) -> Pod {
        Pod { tier: Some(Tier::BaseShort("eci".into())), ..self.unbound() }
    }

    fn burst(self) -> Pod {
        Pod { tier: Some(Tier::Burst("eci".into())), ..self.unbound() }
    }

    fn unbound(self) -> Pod {
        Pod { stage: Stage::Unbound { unschedulable: false }, ..self }
    }

    fn unschedulable(self) -> Pod {
        Pod { stage: Stage::Unbound { unschedulable: true }, ..self }
    }

    fn on(self, node: &str) -> Pod {
        Pod { stage: Stage::Bound { node: node.into(), running: true, ready: true }, ..self }
    }

    fn not_ready(self) -> Pod {
        let Stage::Bound { node, running, .. } = self.stage else { panic!("only a bound pod may be not ready") };
        Pod { stage: Stage::Bound { node, running, ready: false }, ..self }
    }

    fn deleting(self) -> Pod {
        Pod { deleting: true, ..self }
    }

    fn finished(self) -> Pod {
        Pod { stage: Stage::Finished, ..self }
    }

    fn cpu(self, milli: u64) -> Pod {
        Pod { requests: Resources { cpu: MilliCpu(milli), ..self.requests }, ..self }
    }

    fn selects(self, key: &str, value: &str) -> Pod {
        Pod { node_selector: vec![(key.into(), value.into())], ..self }
    }
}

pub(crate) fn gone(pod: &str) -> Event {
    Event::PodGone(pod.into())
}
