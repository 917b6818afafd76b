//! Room in the pools, their prices and their health.

use std::{collections::BTreeMap, fmt};

use crate::{
    model::{Capabilities, Lack, Needs, Node, NodeName, PoolName, Resources},
    placement::{
        cap::Sum,
        event::{PoolFacts, Quota},
        report::PoolReport,
        sight::NodeSight,
        slots::Slots,
    },
    policy::{Budget, Price},
};

/// Every pool that was ever named, and the order in which they are tried where a policy names none: the
/// configuration's first, then those that objects describe, by name.
#[derive(Debug, Default)]
pub(super) struct Pools {
    configured: Vec<PoolName>,
    pools: BTreeMap<PoolName, Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    facts: Option<PoolFacts>,
    /// What its provider has, once that is told.
    capabilities: Option<Capabilities>,
    /// What is wrong with its provider.
    fault: Option<Box<str>>,
    /// Its virtual nodes, and the pods on them.
    slots: Slots,
    /// Pods that are placed here and on no node yet.
    unbound: u64,
    /// Those of them that do not run yet: the stock may not know of them.
    starting: u64,
    /// All of them.
    all: Sum,
    /// Those that would be here if their policies did more than observe.
    imagined: Sum,
    /// What the provider last said it can still take.
    stock: Option<u64>,
}

/// How a pod takes up room in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) pool: PoolName,
    pub(super) node: Option<NodeName>,
    pub(super) starting: bool,
    pub(super) requests: Resources,
    /// It would be there if its policy did more than observe: it takes room from others like it only.
    pub(super) imagined: bool,
}

impl Pools {
    pub(super) fn new(configured: Vec<PoolName>) -> Self {
        Self { configured, pools: BTreeMap::new() }
    }

    /// The pools in the cluster's order.
    pub(super) fn order(&self) -> impl Iterator<Item = &PoolName> {
        let described = self.pools.iter().filter(|(_, pool)| pool.facts.is_some()).map(|(name, _)| name);
        self.configured.iter().chain(described.filter(|name| !self.configured.contains(name)))
    }

    fn pool(&mut self, name: &PoolName) -> &mut Pool {
        self.pools.entry(name.clone()).or_default()
    }

    pub(super) fn enter(&mut self, occupancy: &Occupancy) {
        let pool = self.pool(&occupancy.pool);
        if occupancy.imagined {
            pool.imagined += Sum::one(occupancy.requests);
            return;
        }
        match &occupancy.node {
            Some(node) => pool.slots.enter(node),
            None => pool.unbound += 1,
        }
        pool.starting += u64::from(occupancy.starting);
        pool.all += Sum::one(occupancy.requests);
    }

    pub(super) fn leave(&mut self, occupancy: &Occupancy) {
        let pool = self.pool(&occupancy.pool);
        if occupancy.imagined {
            pool.imagined -= Sum::one(occupancy.requests);
            return;
        }
        match &occupancy.node {
            Some(node) => pool.slots.leave(node),
            None => pool.unbound -= 1,
        }
        pool.starting -= u64::from(occupancy.starting);
        pool.all -= Sum::one(occupancy.requests);
    }

    /// Sets the pool's virtual nodes, of which the open ones count.
    pub(super) fn set_nodes<'a>(&mut self, name: &PoolName, nodes: impl Iterator<Item = &'a Node>) {
        let open = nodes.filter(|node| node.open);
        let open = open.map(|node| (node.name.clone(), node.max_pods)).collect();
        self.pool(name).slots.set_open(open);
    }

    pub(super) fn set_stock(&mut self, name: &PoolName, stock: Option<u64>) {
        self.pool(name).stock = stock;
    }

    pub(super) fn set_fault(&mut self, name: &PoolName, fault: Option<Box<str>>) {
        self.pool(name).fault = fault;
    }

    pub(super) fn set_capabilities(&mut self, name: &PoolName, capabilities: Capabilities) {
        self.pool(name).capabilities = Some(capabilities);
    }

    /// What the pool's provider lacks of what a pod needs.
    pub(super) fn lack(&self, name: &PoolName, needs: &Needs) -> Option<Lack> {
        self.pools.get(name)?.capabilities.as_ref()?.lack(needs)
    }

    /// The pools that stand for this one while it is short, in order. A step to what is not there, or back, ends it.
    pub(super) fn fallbacks(&self, name: &PoolName) -> Vec<PoolName> {
        let mut steps = vec![name];
        while let Some(next) = steps.last().and_then(|last| self.fallback(last)) {
            if steps.contains(&next) || !self.is_known(next) {
                break;
            }
            steps.push(next);
        }
        steps.into_iter().skip(1).cloned().collect()
    }

    fn fallback(&self, name: &PoolName) -> Option<&PoolName> {
        self.pools.get(name)?.facts.as_ref()?.fallback.as_ref()
    }

    /// Whether the configuration or an object describes it.
    pub(super) fn is_known(&self, name: &PoolName) -> bool {
        self.configured.contains(name) || self.pools.get(name).is_some_and(|pool| pool.facts.is_some())
    }

    /// Sets what the pool's object says; answers whether the order of pools, or what they fall back to, is another now.
    pub(super) fn set_facts(&mut self, name: &PoolName, facts: Option<PoolFacts>) -> bool {
        let pool = self.pool(name);
        let was_known = pool.facts.is_some();
        let is_known = facts.is_some();
        let fallback = |facts: Option<&PoolFacts>| facts.and_then(|facts| facts.fallback.clone());
        let falls_otherwise = fallback(pool.facts.as_ref()) != fallback(facts.as_ref());
        pool.facts = facts;
        falls_otherwise || was_known != is_known
    }

    /// What the pool charges, if that is known.
    pub(super) fn price(&self, name: &PoolName) -> Option<&Price> {
        self.pools.get(name)?.facts.as_ref()?.price.as_ref()
    }

    /// What may be spent in the pool, over all workloads.
    pub(super) fn budget(&self, name: &PoolName) -> Option<&Budget> {
        self.pools.get(name)?.facts.as_ref()?.budget.as_ref()
    }

    /// What each pool that is described falls back to.
    pub(super) fn all_fallbacks(&self) -> BTreeMap<PoolName, Option<PoolName>> {
        let described = self.pools.iter().filter_map(|(name, pool)| Some((name, pool.facts.as_ref()?)));
        let described = described.map(|(name, facts)| (name.clone(), facts.fallback.clone()));
        self.configured.iter().map(|name| (name.clone(), None)).chain(described).collect()
    }

    /// How the pool stands, but for what is spent.
    pub(super) fn report(&self, name: &PoolName) -> PoolReport {
        let obstacle = self.obstacle(name, Resources::default(), false);
        let obstacle = obstacle.map(|obstacle| (obstacle.word(), obstacle.to_string()));
        let Some(pool) = self.pools.get(name) else { return PoolReport { obstacle, ..PoolReport::default() } };
        PoolReport {
            nodes: pool.slots.open().len(),
            pods: pool.all.pods,
            requests: pool.all.requests,
            free: pool.stock,
            provider_fault: pool.fault.as_ref().map(ToString::to_string),
            obstacle,
            ..PoolReport::default()
        }
    }

    /// What keeps the pool from taking one more pod now; of pods that are `imagined`, those like it count, too.
    pub(super) fn obstacle(&self, name: &PoolName, requests: Resources, imagined: bool) -> Option<Obstacle> {
        self.pools.get(name).map_or(Some(Obstacle::NoNode), |pool| pool.obstacle(requests, imagined))
    }

    /// The pool's open virtual nodes, with the pods on them.
    pub(super) fn nodes_of(&self, name: &PoolName) -> Vec<NodeSight> {
        let Some(pool) = self.pools.get(name) else { return Vec::new() };
        let sight =
            |(node, most): (&NodeName, &u64)| NodeSight { name: node.clone(), pods: pool.slots.on(node), most: *most };
        pool.slots.open().iter().map(sight).collect()
    }

    /// Pods that are in the pool or on their way.
    pub(super) fn pods_of(&self, name: &PoolName) -> u64 {
        self.pools.get(name).map_or(0, |pool| pool.all.pods)
    }

    /// What the pool's provider last said it can still take.
    pub(super) fn stock_of(&self, name: &PoolName) -> Option<u64> {
        self.pools.get(name)?.stock
    }

    /// What all pods that are in the pool or on their way request.
    pub(super) fn requests_of(&self, name: &PoolName) -> Resources {
        self.pools.get(name).map_or_else(Resources::default, |pool| pool.all.requests)
    }

    /// What the pool takes at most.
    pub(super) fn quota_of(&self, name: &PoolName) -> Quota {
        self.pools.get(name).and_then(|pool| pool.facts.as_ref()).map(|facts| facts.quota).unwrap_or_default()
    }

    /// The pool's open virtual nodes.
    pub(super) fn open_nodes(&self, name: &PoolName) -> Vec<NodeName> {
        self.pools.get(name).map(|pool| pool.slots.open().keys().cloned().collect()).unwrap_or_default()
    }
}

/// What keeps a pool from taking a pod now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    NoNode,
    Fault(Box<str>),
    Full {
        capacity: u64,
    },
    Quota(&'static str),
    /// Its own budget allows no more.
    Spent(Box<str>),
    NoStock,
}

impl Obstacle {
    /// It in one word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::NoNode => "NoNode",
            Self::Fault(_) => "ProviderFault",
            Self::Full { .. } => "Full",
            Self::Quota(_) => "QuotaUsedUp",
            Self::Spent(_) => "BudgetSpent",
            Self::NoStock => "OutOfStock",
        }
    }
}

impl fmt::Display for Obstacle {
    /// As a clause after the pool's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode => f.write_str("has no virtual node that is ready"),
            Self::Fault(fault) => write!(f, "is at fault ({fault})"),
            Self::Full { capacity } => write!(f, "is full ({capacity} pods)"),
            Self::Quota(what) => write!(f, "has no {what} left of its quota"),
            Self::Spent(spent) => write!(f, "takes no more: {spent}"),
            Self::NoStock => f.write_str("is out of stock"),
        }
    }
}

impl Pool {
    /// How many more pods its open nodes take.
    fn room(&self) -> u64 {
        self.slots.free().saturating_sub(self.unbound)
    }

    fn obstacle(&self, requests: Resources, imagined: bool) -> Option<Obstacle> {
        let beside = if imagined { self.imagined } else { Sum::default() };
        // Where burstlet may only look, it has no virtual nodes, nor perhaps the provider's keys: a pool that is described
        // counts as if it had.
        let needs_no_node = imagined && self.slots.open().is_empty() && self.facts.is_some();
        if let Some(fault) = self.fault.as_ref().filter(|_| !needs_no_node)
            && !planted!(FaultIgnored)
        {
            return Some(Obstacle::Fault(fault.clone()));
        }
        if self.slots.open().is_empty() && !needs_no_node {
            return Some(Obstacle::NoNode);
        }
        let starting = if planted!(StockIgnored) { 0 } else { self.starting };
        if self.stock.is_some_and(|stock| starting + beside.pods >= stock) {
            return Some(Obstacle::NoStock);
        }
        if let Some(lacking) = self.over_quota(self.all + beside + Sum::one(requests)) {
            return Some(Obstacle::Quota(lacking));
        }
        // Last, for nodes show no more room than stock and quota leave: those are the better reasons.
        if !needs_no_node && self.room() <= beside.pods && !planted!(PoolRoomIgnored) {
            return Some(Obstacle::Full { capacity: self.slots.capacity() });
        }
        None
    }

    fn over_quota(&self, then: Sum) -> Option<&'static str> {
        let quota = self.facts.as_ref().filter(|_| !planted!(QuotaIgnored))?.quota;
        if quota.pods.is_some_and(|pods| then.pods > pods) {
            Some("pod")
        } else if quota.cpu.is_some_and(|cpu| then.requests.cpu > cpu) {
            Some("CPU")
        } else if quota.memory.is_some_and(|memory| then.requests.memory > memory) {
            Some("memory")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        model::{Bytes, MilliCpu, NodeKind},
        placement::event::Quota,
    };

    fn node(name: &str, pool: &str, open: bool, max_pods: u64) -> Node {
        Node {
            name: name.into(),
            kind: NodeKind::Virtual(pool.into()),
            open,
            allocatable: Resources::default(),
            max_pods,
            labels: BTreeMap::new(),
        }
    }

    fn told(pools: &Pools, pool: &str) -> Option<String> {
        pools.obstacle(&pool.into(), EACH, false).map(|obstacle| obstacle.to_string())
    }

    fn standing(pool: &str, starting: bool) -> Occupancy {
        Occupancy { pool: pool.into(), node: None, starting, requests: EACH, imagined: false }
    }

    const EACH: Resources = Resources { cpu: MilliCpu(500), memory: Bytes(100) };

    #[test]
    fn every_obstacle_is_named() {
        let mut pools = Pools::default();
        pools.set_nodes(&"full".into(), [node("f", "full", true, 0)].iter());
        pools.set_nodes(&"bare".into(), [node("b", "bare", false, 9)].iter());
        pools.set_nodes(&"short".into(), [node("s", "short", true, 9)].iter());
        pools.set_stock(&"short".into(), Some(0));
        pools.set_nodes(&"ill".into(), [node("i", "ill", true, 9)].iter());
        pools.set_nodes(&"spent".into(), [node("e", "spent", true, 0)].iter());
        pools.set_stock(&"spent".into(), Some(0));
        pools.set_fault(&"ill".into(), Some("no answer for a minute".into()));
        let told = |pool: &str| told(&pools, pool).unwrap();
        assert_eq!(told("full"), "is full (0 pods)");
        assert_eq!(told("bare"), "has no virtual node that is ready");
        assert_eq!(told("unknown"), "has no virtual node that is ready");
        assert_eq!(told("short"), "is out of stock");
        assert_eq!(told("spent"), "is out of stock", "its node shows no room because of it");
        assert_eq!(told("ill"), "is at fault (no answer for a minute)");
    }

    #[test]
    fn a_quota_is_taken_by_all_pods_of_the_pool_and_may_change() {
        let mut pools = Pools::default();
        pools.set_nodes(&"p".into(), [node("n", "p", true, 9)].iter());
        let quota = |pods, cpu| {
            let quota = Quota { pods, cpu, memory: None };
            Some(PoolFacts { name: "p".into(), price: None, quota, budget: None, fallback: None })
        };
        pools.enter(&standing("p", false));
        assert!(pools.set_facts(&"p".into(), quota(Some(1), None)), "a new pool in the order");
        assert_eq!(told(&pools, "p").unwrap(), "has no pod left of its quota");
        assert!(!pools.set_facts(&"p".into(), quota(None, Some(MilliCpu(999)))));
        assert_eq!(told(&pools, "p").unwrap(), "has no CPU left of its quota");
        pools.set_facts(&"p".into(), quota(Some(2), Some(MilliCpu(1_000))));
        assert_eq!(told(&pools, "p"), None);
    }

    #[test]
    fn pods_that_do_not_run_yet_count_against_the_stock() {
        let mut pools = Pools::default();
        pools.set_nodes(&"p".into(), [node("n", "p", true, 9)].iter());
        pools.set_stock(&"p".into(), Some(1));
        pools.enter(&standing("p", true));
        assert!(told(&pools, "p").is_some());
        pools.leave(&standing("p", true));
        pools.enter(&standing("p", false));
        assert!(told(&pools, "p").is_none());
    }

    #[test]
    fn what_is_imagined_takes_room_from_its_like_only() {
        let mut pools = Pools::default();
        pools.set_nodes(&"p".into(), [node("n", "p", true, 1)].iter());
        pools.enter(&Occupancy { imagined: true, ..standing("p", false) });
        assert!(pools.obstacle(&"p".into(), EACH, false).is_none());
        assert!(pools.obstacle(&"p".into(), EACH, true).is_some());
    }

    #[test]
    fn a_described_pool_is_imagined_with_nodes_and_within_its_quota() {
        let mut pools = Pools::default();
        let quota = Quota { pods: Some(1), ..Quota::default() };
        pools.set_facts(
            &"p".into(),
            Some(PoolFacts { name: "p".into(), price: None, quota, budget: None, fallback: None }),
        );
        assert_eq!(pools.obstacle(&"p".into(), EACH, false), Some(Obstacle::NoNode));
        pools.set_fault(&"p".into(), Some("no key".into()));
        assert_eq!(pools.obstacle(&"p".into(), EACH, true), None);
        pools.enter(&Occupancy { imagined: true, ..standing("p", false) });
        assert_eq!(pools.obstacle(&"p".into(), EACH, true), Some(Obstacle::Quota("pod")), "and within its quota");
    }

    #[test]
    fn configured_pools_come_before_those_that_objects_describe() {
        let mut pools = Pools::new(vec!["spot".into(), "plain".into()]);
        for name in ["z", "a", "plain"] {
            pools.set_facts(
                &name.into(),
                Some(PoolFacts {
                    name: name.into(),
                    price: None,
                    quota: Quota::default(),
                    budget: None,
                    fallback: None,
                }),
            );
        }
        pools.set_stock(&"seen".into(), None);
        let order: Vec<_> = pools.order().map(PoolName::as_str).collect();
        assert_eq!(order, ["spot", "plain", "a", "z"]);
    }
}
