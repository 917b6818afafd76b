//! What the watches have told so far, recounted from scratch at each question.

use std::collections::{BTreeMap, BTreeSet};

use burstlet_engine::{
    model::{Node, NodeKind, NodeName, Pod, PodUid, RevisionId, Stage, Tier, WorkloadId},
    placement::{Event, Kind, Placing, Revision, Workload},
    policy::Marks,
};

use super::{KINDS, POOLS, is_live, node_of};

/// A base as text that is one: the share in percent, or the number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text {
    Number(usize),
    Percent(usize),
}

impl Text {
    pub(crate) fn of(self, wanted: usize) -> usize {
        match self {
            Self::Number(number) => number,
            // Rounded up.
            Self::Percent(percent) => {
                let share = wanted * percent;
                share / 100 + (share % 100).min(1)
            }
        }
    }
}

/// The base that an object's annotation gives.
pub(crate) fn base_of(marks: &Marks) -> Option<&str> {
    marks.annotations.get("burstlet.dev/base").map(String::as_str)
}

/// The base that governs, if any does.
pub(crate) fn base_text(own: Option<&str>, namespace: Option<&str>) -> Option<Text> {
    let text = own.or(namespace)?;
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().map(Text::Percent),
        None => text.parse().ok().map(Text::Number),
    }
}

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) namespace: Option<String>,
    pub(crate) workloads: BTreeMap<WorkloadId, Workload>,
    pub(crate) revisions: BTreeMap<RevisionId, Revision>,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) pods: BTreeMap<PodUid, Pod>,
    pub(crate) stock: BTreeMap<String, usize>,
    /// Placed by the engine, and neither refused nor shown.
    pub(crate) pending: BTreeMap<PodUid, Placing>,
    complete: BTreeSet<Kind>,
    named: BTreeMap<Kind, BTreeSet<String>>,
}

impl View {
    pub(crate) fn is_synced(&self) -> bool {
        KINDS.iter().all(|kind| self.complete.contains(kind))
    }

    pub(crate) fn take_in(&mut self, event: &Event) {
        let mut name = |kind, key: &str| {
            self.named.entry(kind).or_default().insert(key.to_owned());
        };
        match event.clone() {
            Event::Begin(kind) => {
                self.complete.remove(&kind);
                self.named.insert(kind, BTreeSet::new());
            }
            Event::Finish(kind) => self.finish(kind),
            Event::Namespace(namespace) => self.namespace = base_of(&namespace.marks).map(str::to_owned),
            Event::NamespaceGone(_) => self.namespace = None,
            Event::Workload(workload) => {
                name(Kind::Workload, workload.id.as_str());
                self.workloads.insert(workload.id.clone(), workload);
            }
            Event::WorkloadGone(id) => drop(self.workloads.remove(&id)),
            Event::Revision(revision) => {
                name(Kind::Revision, revision.id.as_str());
                self.revisions.insert(revision.id.clone(), revision);
            }
            Event::RevisionGone(id) => drop(self.revisions.remove(&id)),
            Event::Node(node) => {
                name(Kind::Node, node.name.as_str());
                self.nodes.insert(node.name.clone(), node);
            }
            Event::NodeGone(name) => drop(self.nodes.remove(&name)),
            Event::Pod(pod) => {
                name(Kind::Pod, pod.uid.as_str());
                self.pods.insert(pod.uid.clone(), pod);
            }
            Event::PodGone(uid) => drop(self.pods.remove(&uid)),
            Event::Policy { .. }
            | Event::PolicyGone(_)
            | Event::Pool(_)
            | Event::PoolGone(_)
            | Event::Health { .. } => {}
            Event::Stock { pool, free } => {
                self.stock.remove(pool.as_str());
                self.stock.extend(free.map(|free| (pool.to_string(), usize::try_from(free).unwrap())));
            }
        }
        let pods = &self.pods;
        self.pending.retain(|uid, _| pods.get(uid).is_some_and(|pod| pod.stage == Stage::Gated));
    }

    fn finish(&mut self, kind: Kind) {
        self.complete.insert(kind);
        let named = self.named.remove(&kind).unwrap_or_default();
        match kind {
            Kind::Namespace | Kind::Policy | Kind::Pool => {}
            Kind::Workload => self.workloads.retain(|id, _| named.contains(id.as_str())),
            Kind::Revision => self.revisions.retain(|id, _| named.contains(id.as_str())),
            Kind::Node => self.nodes.retain(|name, _| named.contains(name.as_str())),
            Kind::Pod => self.pods.retain(|uid, _| named.contains(uid.as_str())),
        }
    }

    fn text(&self, revision: &RevisionId) -> Option<Text> {
        let revision = self.revisions.get(revision)?;
        let workload = revision.workload.as_ref().and_then(|id| self.workloads.get(id));
        base_text(base_of(workload.map_or(&revision.marks, |workload| &workload.marks)), self.namespace.as_deref())
    }

    /// The base in pods: a share is one of the wanted or of the live pods, whichever are more.
    pub(crate) fn base(&self, revision: &RevisionId) -> Option<usize> {
        let live = self.pods.values().filter(|pod| pod.revision.as_ref() == Some(revision) && is_live(pod)).count();
        let wanted = self.revisions.get(revision)?.wanted as usize;
        Some(self.text(revision)?.of(wanted.max(live)))
    }

    fn pool_of(&self, pod: &Pod) -> Option<&str> {
        match &self.nodes.get(node_of(pod)?)?.kind {
            NodeKind::Virtual(pool) => Some(pool.as_str()),
            NodeKind::Real => None,
        }
    }

    /// The pods that count as base, as far as told or decided.
    pub(crate) fn held(&self, revision: &RevisionId) -> BTreeSet<PodUid> {
        let counts = |pod: &&Pod| {
            let placed = match (self.pending.get(&pod.uid), &pod.tier) {
                (Some(placing), _) => !matches!(placing, Placing::Burst { .. }),
                (None, Some(tier)) => pod.stage != Stage::Gated && !matches!(tier, Tier::Burst(_)),
                (None, None) => pod.stage != Stage::Gated && self.pool_of(pod).is_none(),
            };
            pod.revision.as_ref() == Some(revision) && is_live(pod) && placed
        };
        self.pods.values().filter(counts).map(|pod| pod.uid.clone()).collect()
    }

    /// The first pool that can take one more pod.
    pub(crate) fn pool_with_room(&self) -> Option<&'static str> {
        POOLS.into_iter().find(|pool| {
            let of_pool = |node: &&Node| node.open && node.kind == NodeKind::Virtual((*pool).into());
            let room = |node: &Node| {
                let on = self.pods.values().filter(|pod| node_of(pod) == Some(&node.name)).count();
                usize::try_from(node.max_pods).unwrap().saturating_sub(on)
            };
            let room: usize = self.nodes.values().filter(of_pool).map(room).sum();
            let burst = |pod: &Pod| match (self.pending.get(&pod.uid), &pod.tier) {
                (Some(Placing::Burst { pool: to, .. }), _) | (None, Some(Tier::Burst(to))) => to.as_str() == *pool,
                _ => false,
            };
            let is_bound = |pod: &Pod| node_of(pod).is_some();
            let unbound = |pod: &Pod| burst(pod) && !is_bound(pod) && pod.stage != Stage::Finished;
            let here = |pod: &Pod| {
                if is_bound(pod) && self.pool_of(pod).is_some() { self.pool_of(pod) == Some(*pool) } else { burst(pod) }
            };
            let is_starting =
                |pod: &&Pod| here(pod) && is_live(pod) && !matches!(pod.stage, Stage::Bound { running: true, .. });
            let starting = self.pods.values().filter(is_starting).count();
            room > self.pods.values().filter(|pod| unbound(pod)).count()
                && self.stock.get(*pool).is_none_or(|stock| starting < *stock)
        })
    }
}
