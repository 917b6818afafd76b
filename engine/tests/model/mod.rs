//! A cluster with a truth of its own: what the API server holds, who changes it, and what the watches have told.
//!
//! The engine's data types carry the objects; nothing here calls a method of the engine's that counts or decides.

mod judge;
pub(crate) mod ops;
mod rules;
mod view;
pub(crate) mod world;

use std::collections::{BTreeMap, VecDeque};

use burstlet_engine::{
    model::{
        Bytes, MilliCpu, Needs, Node, NodeKind, NodeName, ObjectName, Pod, PodUid, Resources, RevisionId, Stage, Tier,
        Timestamp, WorkloadId,
    },
    placement::{Action, Controller, Event, Kind, Namespace, Outcome, Placing, PoolFacts, Quota, Revision, Workload},
    policy::{Marks, fields::FieldFault},
};
use rules::{PROFILES, RULES, profile};
use view::{Gifts, base_text, text_of};

const KINDS: [Kind; 7] = Kind::ALL;
/// Who tells of what: a watch for each kind, and that of the ECI profile.
const SOURCES: [Option<Kind>; 8] = [
    Some(KINDS[0]),
    Some(KINDS[1]),
    Some(KINDS[2]),
    Some(KINDS[3]),
    Some(KINDS[4]),
    Some(KINDS[5]),
    Some(KINDS[6]),
    None,
];
const WORKLOADS: [&str; 3] = ["web", "api", "job"];
const POOLS: [&str; 2] = ["spot", "eci"];
const POLICIES: [&str; 3] = ["p0", "p1", "p2"];
/// The owner of each revision: two revisions of `web`, one of `api`, a Job of `job`, and a StatefulSet.
const OWNERS: [Option<&str>; 5] = [Some("web"), Some("web"), Some("api"), Some("job"), None];
const NODES: [(&str, Option<usize>, u64); 6] =
    [("n1", None, 4), ("n2", None, 3), ("n3", None, 5), ("v1", Some(0), 3), ("v2", Some(1), 4), ("v3", Some(1), 2)];

/// The API server's objects, and what each watch has still to tell.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) now: u64,
    pub(crate) webhook: bool,
    pub(crate) namespace: Option<String>,
    pub(crate) workloads: BTreeMap<WorkloadId, Workload>,
    pub(crate) revisions: BTreeMap<RevisionId, Revision>,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) pods: BTreeMap<PodUid, Pod>,
    /// By name, and their number among the rules; `None`: what is written makes no sense.
    policies: BTreeMap<&'static str, Option<usize>>,
    /// Of each pool, in pods; `None`: what is written makes no sense.
    quotas: BTreeMap<&'static str, Option<u64>>,
    /// Its number among the profiles.
    profile: usize,
    pub(crate) streams: BTreeMap<Option<Kind>, VecDeque<Event>>,
    current: [Option<RevisionId>; 5],
    serial: u32,
    /// Which generation of its revision made each pod.
    pub(crate) made_by: BTreeMap<PodUid, u64>,
}

/// An annotation from few words: a base, or `policy=` and a policy's name.
fn annotated(text: Option<&str>) -> Marks {
    let annotations = text.map(|text| match text.strip_prefix("policy=") {
        Some(policy) => ("burstlet.dev/policy".to_owned(), policy.to_owned()),
        None => ("burstlet.dev/base".to_owned(), text.to_owned()),
    });
    Marks { labels: BTreeMap::new(), annotations: annotations.into_iter().collect() }
}

/// What a watch tells of a policy.
fn policy(name: &str, rules: Option<usize>) -> Event {
    let name = ObjectName::new("shop", name);
    match rules {
        Some(rules) => Event::Policy { name, spec: Box::new(RULES[rules].spec()) },
        None => Event::PolicyFaulty { name, faults: vec![FieldFault::new("spec.base", "is no base")] },
    }
}

/// What a watch tells of a pool.
fn pool_facts(pool: &str, pods: Option<u64>) -> Event {
    if pods.is_none() {
        let faults = vec![FieldFault::new("spec.quota", "is no quota")];
        return Event::PoolFaulty { name: pool.into(), faults };
    }
    let quota = Quota { pods, ..Quota::default() };
    Event::Pool(PoolFacts { name: pool.into(), price: None, quota, budget: None, fallback: None })
}

/// The ordinal in a name such as `db-2`.
pub(crate) fn ordinal(pod: &Pod) -> usize {
    pod.name.name.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
}

pub(crate) fn is_live(pod: &Pod) -> bool {
    !pod.deleting && pod.stage != Stage::Finished
}

pub(crate) fn node_of(pod: &Pod) -> Option<&NodeName> {
    if let Stage::Bound { node, .. } = &pod.stage { Some(node) } else { None }
}

impl Truth {
    pub(crate) fn new() -> Self {
        let mut truth = Self {
            now: 1_000_000,
            webhook: true,
            namespace: None,
            workloads: BTreeMap::new(),
            revisions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            quotas: BTreeMap::new(),
            profile: 0,
            streams: SOURCES.map(|source| (source, VecDeque::new())).into(),
            current: [const { None }; 5],
            serial: 0,
            made_by: BTreeMap::new(),
        };
        for (name, base) in [("web", Some("50%")), ("api", Some("30%")), ("job", None)] {
            truth.annotate(name, base);
        }
        for index in 0..NODES.len() {
            truth.toggle_node(index);
        }
        truth.list_all();
        truth
    }

    fn emit(&mut self, kind: Kind, event: Event) {
        self.streams.entry(Some(kind)).or_default().push_back(event);
    }

    pub(crate) fn list_all(&mut self) {
        for source in SOURCES {
            self.list(source);
        }
    }

    /// This watch broke: what it had still to tell is lost, and a new list is on its way.
    pub(crate) fn list(&mut self, source: Option<Kind>) {
        let Some(kind) = source else { return self.set_profile(self.profile) };
        let objects: Vec<Event> = match kind {
            Kind::Namespace => {
                vec![Event::Namespace(Namespace {
                    name: "shop".to_owned(),
                    marks: annotated(self.namespace.as_deref()),
                })]
            }
            Kind::Workload => self.workloads.values().cloned().map(Event::Workload).collect(),
            Kind::Revision => self.revisions.values().cloned().map(Event::Revision).collect(),
            Kind::Node => self.nodes.values().cloned().map(Event::Node).collect(),
            Kind::Pod => self.pods.values().cloned().map(Event::Pod).collect(),
            Kind::Policy => self.policies.iter().map(|(name, rules)| policy(name, *rules)).collect(),
            Kind::Pool => self.quotas.iter().map(|(pool, pods)| pool_facts(pool, *pods)).collect(),
        };
        let stream = self.streams.entry(source).or_default();
        stream.clear();
        stream.push_back(Event::Begin(kind));
        stream.extend(objects);
        stream.push_back(Event::Finish(kind));
    }

    /// Writes a policy, or deletes it.
    pub(crate) fn set_policy(&mut self, name: &'static str, rules: Option<usize>) {
        let event = if let Some(rules) = rules {
            self.policies.insert(name, Some(rules));
            policy(name, Some(rules))
        } else {
            self.policies.remove(name);
            Event::PolicyGone(ObjectName::new("shop", name))
        };
        self.emit(Kind::Policy, event);
    }

    /// What is written of a policy makes no sense any more: an event tells it, or a list.
    pub(crate) fn spoil_policy(&mut self, name: &'static str, with_list: bool) {
        self.policies.insert(name, None);
        if with_list {
            self.list(Some(Kind::Policy));
        } else {
            self.emit(Kind::Policy, policy(name, None));
        }
    }

    /// Gives a pool a quota, or takes its object away.
    pub(crate) fn set_quota(&mut self, pool: &'static str, pods: Option<u64>) {
        let event = if let Some(pods) = pods {
            self.quotas.insert(pool, Some(pods));
            pool_facts(pool, Some(pods))
        } else {
            self.quotas.remove(pool);
            Event::PoolGone(pool.into())
        };
        self.emit(Kind::Pool, event);
    }

    pub(crate) fn spoil_pool(&mut self, pool: &'static str, with_list: bool) {
        self.quotas.insert(pool, None);
        if with_list {
            self.list(Some(Kind::Pool));
        } else {
            self.emit(Kind::Pool, pool_facts(pool, None));
        }
    }

    /// Only the newest is told.
    pub(crate) fn set_profile(&mut self, number: usize) {
        self.profile = number;
        self.streams.insert(None, [Event::Profile(profile(PROFILES[number]))].into());
    }

    pub(crate) fn annotate(&mut self, name: &str, base: Option<&str>) {
        let (id, name) = (WorkloadId::from(name), ObjectName::new("shop", name));
        let workload = Workload { id: id.clone(), kind: "Deployment".into(), name, marks: annotated(base) };
        self.workloads.insert(id, workload.clone());
        self.emit(Kind::Workload, Event::Workload(workload));
    }

    /// Deletes a workload, and what it controls.
    pub(crate) fn delete_workload(&mut self, name: &str) {
        let id = WorkloadId::from(name);
        if self.workloads.remove(&id).is_some() {
            self.emit(Kind::Workload, Event::WorkloadGone(id));
        }
        for index in (0..OWNERS.len()).filter(|index| OWNERS[*index] == Some(name)) {
            self.retire(index);
        }
    }

    /// Another namespace of the same name, which says nothing.
    pub(crate) fn remake_namespace(&mut self) {
        self.emit(Kind::Namespace, Event::NamespaceGone("shop".to_owned()));
        self.annotate_namespace(None);
    }

    pub(crate) fn annotate_namespace(&mut self, base: Option<&str>) {
        self.namespace = base.map(str::to_owned);
        self.emit(
            Kind::Namespace,
            Event::Namespace(Namespace { name: "shop".to_owned(), marks: annotated(self.namespace.as_deref()) }),
        );
    }

    /// Sets the wanted replicas; a ReplicaSet that was deleted is made anew, and so is its workload.
    pub(crate) fn scale(&mut self, index: usize, wanted: u32) {
        if let Some(owner) = OWNERS[index].filter(|owner| !self.workloads.contains_key(*owner)) {
            self.annotate(owner, None);
        }
        let id = self.current[index].clone().unwrap_or_else(|| {
            self.serial += 1;
            format!("r{index}-{}", self.serial).into()
        });
        self.current[index] = Some(id.clone());
        let name = ObjectName::new("shop", id.as_str());
        let workload = OWNERS[index].map(WorkloadId::from);
        let app = OWNERS[index].unwrap_or("db");
        let generation = self.revisions.get(&id).map_or(1, |known| known.generation + 1);
        let revision = Revision {
            id: id.clone(),
            name,
            generation,
            controller: match index {
                3 => Controller::Job,
                4 => Controller::StatefulSet { first: 0 },
                _ => Controller::ReplicaSet,
            },
            workload,
            marks: annotated((index == 4).then_some("2")),
            pods: Marks { labels: [("app".to_owned(), app.to_owned())].into(), annotations: BTreeMap::new() },
            wanted,
        };
        self.revisions.insert(id, revision.clone());
        self.emit(Kind::Revision, Event::Revision(revision));
    }

    /// Deletes a ReplicaSet with its pods.
    pub(crate) fn retire(&mut self, index: usize) {
        let Some(id) = self.current[index].take() else { return };
        self.revisions.remove(&id);
        self.emit(Kind::Revision, Event::RevisionGone(id.clone()));
        let pods: Vec<_> = self.pods.values().filter(|pod| pod.revision.as_ref() == Some(&id)).cloned().collect();
        for pod in pods {
            self.delete(&pod.uid);
        }
    }

    /// Adds the node, or removes it with its pods.
    pub(crate) fn toggle_node(&mut self, index: usize) {
        let (name, pool, max_pods) = NODES[index % NODES.len()];
        let name = NodeName::from(name);
        if self.nodes.remove(&name).is_some() {
            self.emit(Kind::Node, Event::NodeGone(name.clone()));
            let pods: Vec<_> = self.pods.values().filter(|pod| node_of(pod) == Some(&name)).cloned().collect();
            for pod in pods {
                self.remove(&pod.uid);
            }
            return;
        }
        let kind = pool.map_or(NodeKind::Real, |pool| NodeKind::Virtual(POOLS[pool].into()));
        let allocatable = Resources { cpu: MilliCpu(1_000), memory: Bytes(1_000) };
        let labels = BTreeMap::new();
        self.set_node(Node { name, kind, open: true, allocatable, max_pods, labels });
    }

    pub(crate) fn cordon(&mut self, index: usize) {
        let name = NODES[index % NODES.len()].0;
        if let Some(node) = self.nodes.get(name).cloned() {
            self.set_node(Node { open: !node.open, ..node });
        }
    }

    fn set_node(&mut self, node: Node) {
        self.nodes.insert(node.name.clone(), node.clone());
        self.emit(Kind::Node, Event::Node(node));
    }

    fn set(&mut self, pod: Pod) {
        self.pods.insert(pod.uid.clone(), pod.clone());
        self.emit(Kind::Pod, Event::Pod(pod));
    }

    fn remove(&mut self, uid: &PodUid) {
        if self.pods.remove(uid).is_some() {
            self.emit(Kind::Pod, Event::PodGone(uid.clone()));
        }
    }

    /// A pod on no node is gone at once; another one has to be stopped first.
    fn delete(&mut self, uid: &PodUid) {
        match self.pods.get(uid).cloned() {
            Some(pod) if node_of(&pod).is_some() => self.set(Pod { deleting: true, ..pod }),
            Some(_) => self.remove(uid),
            None => {}
        }
    }

    fn nth_pod(&self, number: usize) -> Option<Pod> {
        self.pods.values().nth(number % self.pods.len().max(1)).cloned()
    }

    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(pod) = self.nth_pod(number) {
            self.delete(&pod.uid);
        }
    }

    pub(crate) fn finish(&mut self, number: usize) {
        if let Some(pod) = self.nth_pod(number).filter(|pod| node_of(pod).is_some()) {
            self.set(Pod { stage: Stage::Finished, ..pod });
        }
    }

    /// Turns a running pod's readiness.
    pub(crate) fn flip(&mut self, number: usize) {
        if let Some(pod) = self.nth_pod(number)
            && let Stage::Bound { node, running: true, ready } = pod.stage.clone()
        {
            self.set(Pod { stage: Stage::Bound { node, running: true, ready: !ready }, ..pod });
        }
    }

    /// The ReplicaSet controller: creates what lacks, deletes what is too many, the cheapest to lose first.
    pub(crate) fn control(&mut self) {
        for revision in self.revisions.clone().into_values() {
            let of = |pod: &&Pod| pod.revision.as_ref() == Some(&revision.id) && is_live(pod);
            let mut live: Vec<_> = self.pods.values().filter(of).cloned().collect();
            live.sort_by_key(|pod| {
                let (bound, running, ready) = match pod.stage {
                    Stage::Bound { running, ready, .. } => (true, running, ready),
                    _ => (false, false, false),
                };
                (bound, running, ready, !matches!(pod.tier, Some(Tier::Burst(_))), std::cmp::Reverse(pod.created))
            });
            let wanted = revision.wanted as usize;
            if matches!(revision.controller, Controller::StatefulSet { .. }) {
                for pod in live.iter().filter(|pod| ordinal(pod) >= wanted) {
                    self.delete(&pod.uid);
                }
                for number in 0..wanted {
                    let name = format!("{}-{number}", revision.id);
                    if !self.pods.values().any(|pod| *pod.name.name == *name) {
                        self.create(&revision, Some(&name));
                    }
                }
                continue;
            }
            for pod in live.iter().take(live.len().saturating_sub(wanted)) {
                self.delete(&pod.uid);
            }
            for _ in live.len()..wanted {
                self.create(&revision, None);
            }
        }
    }

    fn create(&mut self, revision: &Revision, name: Option<&str>) {
        self.serial += 1;
        let workload = revision.workload.as_ref().and_then(|id| self.workloads.get(id));
        let own = text_of(workload.map_or(&revision.marks, |workload| &workload.marks));
        let is_policy = own.as_deref().is_some_and(|own| own.starts_with("policy="));
        let is_given = Gifts::of(PROFILES[self.profile], &revision.pods) != Gifts::default();
        let is_governed = is_given || is_policy || base_text(own.as_deref(), self.namespace.as_deref()).is_some();
        let stage = if is_governed && self.webhook { Stage::Gated } else { Stage::Unbound { unschedulable: false } };
        let uid = format!("p{:04}", self.serial);
        self.made_by.insert(uid.as_str().into(), revision.generation);
        let cpu = if revision.workload.as_ref().is_some_and(|id| id.as_str() == "job") { 400 } else { 200 };
        self.set(Pod {
            name: ObjectName::new("shop", name.unwrap_or(&uid)),
            uid: uid.into(),
            revision: Some(revision.id.clone()),
            // As the API server has it: in whole seconds.
            created: Timestamp::from_millis(self.now / 1_000 * 1_000),
            decided: None,
            stage,
            deleting: false,
            tier: None,
            requests: Resources { cpu: MilliCpu(cpu), memory: Bytes(100) },
            node_selector: Vec::new(),
            virtual_obstacle: None,
            needs: Needs::default(),
        });
    }

    /// kube-scheduler: binds what fits, and says of the rest that nothing does.
    pub(crate) fn schedule(&mut self) {
        let unbound = |pod: &&Pod| matches!(pod.stage, Stage::Unbound { .. });
        for pod in self.pods.values().filter(unbound).cloned().collect::<Vec<_>>() {
            let stage = match self.node_for(&pod) {
                Some(node) => Stage::Bound { node, running: false, ready: false },
                None => Stage::Unbound { unschedulable: true },
            };
            if stage != pod.stage {
                self.set(Pod { stage, ..pod });
            }
        }
    }

    fn node_for(&self, pod: &Pod) -> Option<NodeName> {
        let real = || self.nodes.values().find(|node| node.kind == NodeKind::Real && self.has_room(node, pod));
        let of_pool = |pool| {
            let kind = NodeKind::Virtual(pool);
            self.nodes.values().find(|node| node.kind == kind && self.has_room(node, pod))
        };
        let node = match pod.tier.clone() {
            None | Some(Tier::Base | Tier::Real(_)) => real(),
            Some(Tier::BaseShort(pool)) => real().or_else(|| of_pool(pool)),
            Some(Tier::Burst(pool)) => of_pool(pool),
        };
        node.map(|node| node.name.clone())
    }

    pub(crate) fn has_room(&self, node: &Node, pod: &Pod) -> bool {
        let (mut count, mut cpu) = (0, 0);
        for other in self.pods.values().filter(|other| node_of(other) == Some(&node.name)) {
            count += 1;
            cpu += other.requests.cpu.0;
        }
        let fits = node.kind != NodeKind::Real || cpu + pod.requests.cpu.0 <= node.allocatable.cpu.0;
        node.open && count < node.max_pods && fits
    }

    /// The kubelets: what is bound runs, what is terminating is gone.
    pub(crate) fn run(&mut self) {
        for pod in self.pods.values().cloned().collect::<Vec<_>>() {
            match pod.stage.clone() {
                _ if pod.deleting => self.remove(&pod.uid),
                Stage::Bound { node, running: false, .. } => {
                    self.set(Pod { stage: Stage::Bound { node, running: true, ready: true }, ..pod });
                }
                _ => {}
            }
        }
    }

    /// The API server takes or refuses a write.
    pub(crate) fn write(&mut self, action: &Action, decided: u64) -> Outcome {
        let Some(pod) = action.pod().and_then(|uid| self.pods.get(uid)).filter(|pod| !pod.deleting).cloned() else {
            return Outcome::Refused;
        };
        match action {
            Action::Place { placing, .. } if pod.stage == Stage::Gated => {
                let tier = match placing {
                    Placing::Base => Some(Tier::Base),
                    Placing::Burst { pool, .. } => Some(Tier::Burst(pool.clone())),
                    Placing::Real { number, .. } => Some(Tier::Real(*number)),
                    Placing::Release => None,
                };
                let decided = Some(Timestamp::from_millis(decided));
                self.set(Pod { stage: Stage::Unbound { unschedulable: false }, tier, decided, ..pod });
            }
            Action::MoveOn { tier, .. } if matches!(pod.stage, Stage::Unbound { .. }) => {
                self.set(Pod { tier: Some(tier.clone()), ..pod });
            }
            Action::Evict { .. } => self.delete(&pod.uid),
            _ => return Outcome::Refused,
        }
        Outcome::Applied
    }
}
