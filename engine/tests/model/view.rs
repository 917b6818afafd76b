//! What the watches have told so far, recounted from scratch at each question.

use std::collections::{BTreeMap, BTreeSet};

use burstlet_engine::{
    model::{Node, NodeKind, NodeName, Pod, PodUid, RevisionId, Stage, Tier, WorkloadId},
    placement::{Controller, Event, Kind, Placing, Revision, Workload},
    policy::Marks,
};

use super::{
    KINDS, is_live, node_of, ordinal,
    rules::{Gift, Given, PROFILES, RULES, Rules, profile},
};

/// A base as text that is one: the share in percent, or the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    Number(usize),
    Percent(usize),
}

impl Text {
    /// As a cap: rounded down.
    pub(crate) fn down(self, wanted: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => wanted * percent / 100,
        }
    }

    pub(crate) fn up(self, wanted: usize) -> usize {
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

/// What an object's annotation says: a base, or `policy=` and a policy's name.
pub(crate) fn text_of(marks: &Marks) -> Option<String> {
    let annotation = |key: &str| marks.annotations.get(key);
    let policy = annotation("burstlet.dev/policy").map(|name| format!("policy={name}"));
    policy.or_else(|| annotation("burstlet.dev/base").cloned())
}

/// The base that governs, if any does.
pub(crate) fn base_text(own: Option<&str>, namespace: Option<&str>) -> Option<Text> {
    let text = own.or(namespace)?;
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().map(Text::Percent),
        None => text.parse().ok().map(Text::Number),
    }
}

/// What a profile gives to pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gifts {
    policy: Option<&'static str>,
    is_eci: bool,
}

impl Gifts {
    pub(crate) fn of(profile: &[Gift], pods: &Marks) -> Self {
        let app = pods.labels.get("app").map(String::as_str);
        let given = || profile.iter().filter(|gift| gift.app.is_none() || gift.app == app).map(|gift| gift.given);
        let policy = |given| if let Given::Policy(name) = given { Some(name) } else { None };
        Self { policy: given().find_map(policy), is_eci: given().any(|given| given == Given::Eci) }
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
    policies: BTreeMap<String, Rules>,
    quotas: BTreeMap<String, usize>,
    pub(crate) faults: BTreeSet<String>,
    profile: Option<&'static [Gift]>,
    /// Placed by the engine, and neither refused nor shown.
    pub(crate) pending: BTreeMap<PodUid, Placing>,
    /// Sent to use a pool, too.
    pub(crate) moving: BTreeSet<PodUid>,
    /// Refused at least once, so that they may be held.
    pub(crate) refused: BTreeSet<PodUid>,
    complete: BTreeSet<Kind>,
    named: BTreeMap<Kind, BTreeSet<String>>,
}

impl View {
    pub(crate) fn is_synced(&self) -> bool {
        KINDS.iter().all(|kind| self.complete.contains(kind)) && self.profile.is_some()
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
            Event::Namespace(namespace) => self.namespace = text_of(&namespace.marks),
            Event::NamespaceGone(_) => self.namespace = None,
            Event::Workload(workload) => {
                name(Kind::Workload, workload.id.as_str());
                self.workloads.insert(workload.id.clone(), workload);
            }
            Event::WorkloadGone(id) => drop(self.workloads.remove(&id)),
            Event::Revision(mut revision) => {
                name(Kind::Revision, revision.id.as_str());
                if let Some(newer) = self.revisions.get(&revision.id).filter(|old| old.generation > revision.generation)
                {
                    (revision.wanted, revision.generation) = (newer.wanted, newer.generation);
                }
                self.revisions.insert(revision.id.clone(), revision);
            }
            Event::Looked { revision, found, .. } => {
                if let (Some(known), Some(found)) = (self.revisions.get_mut(&revision), found)
                    && found.generation > known.generation
                {
                    (known.wanted, known.generation) = (found.wanted, found.generation);
                }
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
            Event::Policy { name: policy, spec } => {
                name(Kind::Policy, &policy.name);
                let rules = RULES.iter().find(|rules| rules.spec() == *spec).expect("one of the rules");
                self.policies.insert(policy.name.to_string(), *rules);
            }
            Event::PolicyFaulty { name: policy, .. } => name(Kind::Policy, &policy.name),
            Event::PolicyGone(policy) => drop(self.policies.remove(&*policy.name)),
            Event::Pool(facts) => {
                name(Kind::Pool, facts.name.as_str());
                let pods = facts.quota.pods.expect("a quota in pods");
                self.quotas.insert(facts.name.to_string(), usize::try_from(pods).unwrap());
            }
            Event::PoolFaulty { name: pool, .. } => name(Kind::Pool, pool.as_str()),
            Event::PoolGone(pool) => drop(self.quotas.remove(pool.as_str())),
            Event::Capabilities { .. } => {}
            Event::Profile(told) => {
                let known = PROFILES.iter().find(|gifts| profile(gifts) == told);
                self.profile = Some(known.expect("one of the profiles"));
            }
            Event::Health { pool, fault } => {
                self.faults.remove(pool.as_str());
                self.faults.extend(fault.map(|_| pool.to_string()));
            }
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
            Kind::Namespace => {}
            Kind::Policy => self.policies.retain(|policy, _| named.contains(policy)),
            Kind::Pool => self.quotas.retain(|pool, _| named.contains(pool)),
            Kind::Workload => self.workloads.retain(|id, _| named.contains(id.as_str())),
            Kind::Revision => self.revisions.retain(|id, _| named.contains(id.as_str())),
            Kind::Node => self.nodes.retain(|name, _| named.contains(name.as_str())),
            Kind::Pod => self.pods.retain(|uid, _| named.contains(uid.as_str())),
        }
    }

    /// What governs the revision, as far as told.
    pub(crate) fn rules(&self, revision: &RevisionId) -> Option<Rules> {
        self.governed(revision).map(|(_, rules)| rules)
    }

    /// The policy that the revision follows, if any, and what governs it, as far as told.
    pub(crate) fn governed(&self, revision: &RevisionId) -> Option<(Option<String>, Rules)> {
        let revision = self.revisions.get(revision)?;
        let workload = revision.workload.as_ref().and_then(|id| self.workloads.get(id));
        let own = text_of(workload.map_or(&revision.marks, |workload| &workload.marks));
        let own_policy = own.as_deref().and_then(|own| own.strip_prefix("policy="));
        // What nobody understands is not followed, whatever else is said.
        let own_base = match own.as_deref() {
            Some(text) if own_policy.is_none() => Some(base_text(Some(text), None)?),
            _ => None,
        };
        let gifts = Gifts::of(self.profile.unwrap_or_default(), &revision.pods);
        let policy = match gifts.policy.or(own_policy) {
            Some(name) => Some((name.to_owned(), *self.policies.get(name)?)),
            None => None,
        };
        let is_free = policy.is_none() && own_base.is_none() && !gifts.is_eci;
        let of_namespace = base_text(None, self.namespace.as_deref());
        let of_namespace = if is_free { Some(of_namespace?) } else { of_namespace };
        let (name, mut rules) = match policy {
            Some((name, rules)) => (Some(name), rules),
            None => (None, Rules::based(of_namespace.unwrap_or(Text::Number(0)))),
        };
        if let Some(base) = own_base {
            rules.base = base;
        }
        if gifts.is_eci {
            rules.mode = "Always";
        }
        Some((name, rules))
    }

    pub(crate) fn is_stateful(&self, revision: &RevisionId) -> bool {
        let controller = self.revisions.get(revision).map(|revision| revision.controller);
        matches!(controller, Some(Controller::StatefulSet { .. }))
    }

    /// The revisions that share the revision's base, itself among them.
    fn group(&self, revision: &RevisionId) -> BTreeSet<RevisionId> {
        let workload = self.revisions.get(revision).and_then(|revision| revision.workload.clone());
        let is_shared = self.rules(revision).is_some_and(|rules| rules.is_shared) && workload.is_some();
        let siblings = self.revisions.values().filter(|other| is_shared && other.workload == workload);
        siblings.map(|other| other.id.clone()).chain([revision.clone()]).collect()
    }

    fn wanted(&self, revision: &RevisionId) -> usize {
        let group = self.group(revision);
        let is_of = |pod: &&Pod| pod.revision.as_ref().is_some_and(|of| group.contains(of)) && is_live(pod);
        let live = self.pods.values().filter(is_of).count();
        let wanted = group.iter().filter_map(|id| self.revisions.get(id)).map(|revision| revision.wanted as usize);
        live.max(wanted.sum())
    }

    /// The base in pods: a share is one of the wanted or of the live pods, whichever are more.
    pub(crate) fn base(&self, revision: &RevisionId) -> Option<usize> {
        Some(self.rules(revision)?.base(self.wanted(revision)))
    }

    /// Whether the pod may be one of the base.
    pub(crate) fn base_has_room(&self, revision: &RevisionId, pod: &Pod) -> bool {
        let base = self.base(revision).unwrap_or(0);
        if self.is_stateful(revision) { ordinal(pod) < base } else { self.held(revision).len() < base }
    }

    /// Pods of the revision's group that count against a pool's cap: those that surely do, and those that might.
    pub(crate) fn used(&self, revision: &RevisionId, pool: &str) -> (usize, usize) {
        let group = self.group(revision);
        let is_of = |pod: &&Pod| pod.revision.as_ref().is_some_and(|of| group.contains(of));
        let here = |pod: &&Pod| match (self.pending.get(&pod.uid), &pod.tier) {
            (Some(Placing::Burst { pool: to, .. }), _) => to.as_str() == pool,
            _ => self.pool_of(pod) == Some(pool),
        };
        let mine = |pod: &&Pod| match &pod.tier {
            Some(Tier::Burst(to)) => to.as_str() == pool,
            _ => false,
        };
        let short = |pod: &&Pod| matches!(&pod.tier, Some(Tier::BaseShort(to)) if to.as_str() == pool);
        let of = || self.pods.values().filter(is_of).filter(|pod| pod.stage != Stage::Finished);
        let is_ours = |pod: &&Pod| pod.tier.is_some() || self.pending.contains_key(&pod.uid);
        let surely = of().filter(|pod| is_live(pod)).filter(is_ours).filter(here).count();
        let perhaps = of().filter(|pod| here(pod) || mine(pod) || short(pod) || self.moving.contains(&pod.uid)).count();
        (surely, perhaps)
    }

    /// How many of the revision's group a tier of so many takes.
    pub(crate) fn cap(&self, revision: &RevisionId, max: Text) -> usize {
        max.down(self.wanted(revision))
    }

    pub(crate) fn pool_of(&self, pod: &Pod) -> Option<&str> {
        match &self.nodes.get(node_of(pod)?)?.kind {
            NodeKind::Virtual(pool) => Some(pool.as_str()),
            NodeKind::Real => None,
        }
    }

    /// The pods that count as base, as far as told or decided.
    pub(crate) fn held(&self, revision: &RevisionId) -> BTreeSet<PodUid> {
        let Some(rules) = self.rules(revision).or(Some(Rules::based(Text::Number(0)))) else { return BTreeSet::new() };
        let group = self.group(revision);
        let counts = |pod: &&Pod| {
            let placed = match (self.pending.get(&pod.uid), &pod.tier) {
                (Some(placing), _) => matches!(placing, Placing::Base | Placing::Release),
                (None, Some(tier)) => pod.stage != Stage::Gated && !matches!(tier, Tier::Burst(_) | Tier::Real(_)),
                (None, None) => pod.stage != Stage::Gated && self.pool_of(pod).is_none(),
            };
            let is_sent = matches!(self.pending.get(&pod.uid), Some(Placing::Base)) || self.moving.contains(&pod.uid);
            let is_previous = pod.tier.is_none() && !is_sent;
            let is_there = is_live(pod) || rules.counts_terminating && pod.deleting && pod.stage != Stage::Finished;
            let counts = !(is_previous && rules.ignores_previous) && is_there;
            pod.revision.as_ref().is_some_and(|of| group.contains(of)) && counts && placed
        };
        self.pods.values().filter(counts).map(|pod| pod.uid.clone()).collect()
    }

    /// Whether the pool can take one more pod.
    pub(crate) fn has_room(&self, pool: &str) -> bool {
        if self.faults.contains(pool) {
            return false;
        }
        let of_pool = |node: &&Node| node.open && node.kind == NodeKind::Virtual(pool.into());
        let room = |node: &Node| {
            let on = self.pods.values().filter(|pod| node_of(pod) == Some(&node.name)).count();
            usize::try_from(node.max_pods).unwrap().saturating_sub(on)
        };
        let room: usize = self.nodes.values().filter(of_pool).map(room).sum();
        let burst = |pod: &Pod| match (self.pending.get(&pod.uid), &pod.tier) {
            (Some(Placing::Burst { pool: to, .. }), _) | (None, Some(Tier::Burst(to))) => to.as_str() == pool,
            _ => false,
        };
        let is_bound = |pod: &Pod| node_of(pod).is_some();
        let unbound = |pod: &Pod| burst(pod) && !is_bound(pod) && pod.stage != Stage::Finished;
        let here = |pod: &Pod| {
            if is_bound(pod) && self.pool_of(pod).is_some() { self.pool_of(pod) == Some(pool) } else { burst(pod) }
        };
        let is_starting =
            |pod: &&Pod| here(pod) && is_live(pod) && !matches!(pod.stage, Stage::Bound { running: true, .. });
        let starting = self.pods.values().filter(is_starting).count();
        let all = self.pods.values().filter(|pod| here(pod) && pod.stage != Stage::Finished).count();
        room > self.pods.values().filter(|pod| unbound(pod)).count()
            && self.stock.get(pool).is_none_or(|stock| starting < *stock)
            && self.quotas.get(pool).is_none_or(|quota| all < *quota)
    }
}
