//! How policies and pools stand, for their objects' status.

use std::collections::BTreeMap;

use crate::{
    model::{ObjectName, PodUid, PoolName, Resources},
    placement::{
        Placement,
        budget::{Account, Meter},
        pools::Obstacle,
        revision::RevisionState,
    },
    policy::{EffectivePolicy, Money, Place, fields::FieldFault, graph, resolve::Note},
};

/// How a policy stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyReport {
    /// What makes no sense in it as it is now.
    pub faults: Vec<FieldFault>,
    /// Whether it, or the last of its versions that made sense, is there to be followed.
    pub is_known: bool,
    /// What keeps it from being followed as it was meant.
    pub trouble: Option<Trouble>,
    /// Workloads that follow it.
    pub workloads: usize,
    /// Their live pods on real nodes; of a policy that only observes, those that would be.
    pub real: usize,
    /// Their live pods in pools; of a policy that only observes, those that would be.
    pub burst: usize,
    /// Their pods that wait.
    pub waiting: usize,
    /// Live pods of each place, in the policy's order: `base`, a pool's name, `real`.
    pub places: Vec<(String, usize)>,
}

/// What keeps a policy from being followed as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Another one matches the same pods, and neither is followed for them.
    Conflict(String),
    /// It extends what is not there.
    Extends(String),
    /// A tier names a pool that is not there.
    UnknownPool(String),
}

/// How a pool stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// What makes no sense in it as it is now: the last version that did is followed, if there was one.
    pub faults: Vec<FieldFault>,
    /// Why its fallbacks do not hang together.
    pub fallback_fault: Option<String>,
    /// Open virtual nodes.
    pub nodes: usize,
    /// Pods that take its room.
    pub pods: u64,
    /// What they request.
    pub requests: Resources,
    /// What its provider can still take, where it tells.
    pub free: Option<u64>,
    /// What is wrong with its provider.
    pub provider_fault: Option<String>,
    /// What keeps it from taking one more pod: a word, and for people.
    pub obstacle: Option<(&'static str, String)>,
    /// What its pods have cost in this hour.
    pub hour: Spending,
    /// What its pods have cost on this day.
    pub day: Spending,
}

/// What was spent in a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spending {
    /// Whole minutes of its pods.
    pub pod_minutes: u64,
    /// Their cost, where the pool has a price.
    pub cost: Option<Money>,
}

impl Placement {
    /// How each policy stands, those that make no sense among them.
    pub fn policy_reports(&self) -> BTreeMap<ObjectName, PolicyReport> {
        let known = self.policies.names().map(|name| (name.clone(), self.bare_report(name, true)));
        let mut all: BTreeMap<_, _> = known.collect();
        for (name, faults) in &self.policy_faults {
            let report = all.entry(name.clone()).or_insert_with(|| self.bare_report(name, false));
            report.faults.clone_from(faults);
        }
        let by_text: BTreeMap<String, ObjectName> = all.keys().map(|name| (name.to_string(), name.clone())).collect();
        let mut workloads = BTreeMap::<&ObjectName, std::collections::BTreeSet<&ObjectName>>::new();
        for (_, state) in self.revisions_in_order() {
            for name in state.conflict.iter().flatten() {
                if let Some(report) = all.get_mut(name) {
                    let told = Note::Conflict(state.conflict.clone().unwrap_or_default()).to_string();
                    report.trouble = Some(Trouble::Conflict(told));
                }
            }
            let Some(policy) = &state.policy else { continue };
            let Some(name) = policy.name.as_ref().and_then(|name| by_text.get(&name.to_string())) else { continue };
            if let Some(report) = all.get_mut(name) {
                self.count(state, policy, report);
                workloads.entry(name).or_default().extend(self.workload_name(state));
            }
        }
        for (name, followers) in workloads {
            if let Some(report) = all.get_mut(name) {
                report.workloads = followers.len();
            }
        }
        all
    }

    fn bare_report(&self, name: &ObjectName, is_known: bool) -> PolicyReport {
        PolicyReport { is_known, trouble: self.trouble(name), ..PolicyReport::default() }
    }

    /// What is wrong with it among the others.
    fn trouble(&self, name: &ObjectName) -> Option<Trouble> {
        if let Some(twin) = self.policies.twin(name) {
            let told = format!("its selector is that of {twin}, too; pods that both match follow neither");
            return Some(Trouble::Conflict(told));
        }
        let lineage = match self.policies.lineage(name) {
            Ok(lineage) => lineage,
            Err(error) => return Some(Trouble::Extends(error.to_string())),
        };
        let tiers = lineage.iter().find_map(|(_, fields)| fields.tiers.as_ref())?;
        let pools = tiers.iter().filter_map(|tier| if let Place::Pool(pool) = &tier.place { Some(pool) } else { None });
        let unknown: Vec<_> = pools.filter(|pool| !self.pools.is_known(pool)).map(PoolName::as_str).collect();
        (!unknown.is_empty()).then(|| Trouble::UnknownPool(format!("there is no VirtualPool {}", unknown.join(", "))))
    }

    fn count(&self, state: &RevisionState, policy: &EffectivePolicy, report: &mut PolicyReport) {
        let ledger = &state.ledger;
        report.waiting += ledger.waiting.len();
        report.real += ledger.base.len() - ledger.strayed.len() + ledger.beyond.len();
        report.burst += ledger.burst.len() + ledger.strayed.len();
        let mut add = |place: &str, pods: usize| match report.places.iter_mut().find(|(known, _)| known == place) {
            Some((_, before)) => *before += pods,
            None => report.places.push((place.to_owned(), pods)),
        };
        add("base", ledger.base.len() - ledger.strayed.len());
        let pool_of = |uid: &PodUid| self.pods.get(uid)?.standing.occupancy.as_ref().map(|place| place.pool.clone());
        let mut away = BTreeMap::<PoolName, usize>::new();
        for pool in ledger.burst.iter().chain(&ledger.strayed).filter_map(pool_of) {
            *away.entry(pool).or_default() += 1;
        }
        for tier in &policy.tiers {
            match &tier.place {
                Place::Pool(pool) => add(pool.as_str(), away.remove(pool).unwrap_or(0)),
                Place::Real { .. } => {}
            }
        }
        if policy.tiers.iter().any(|tier| matches!(tier.place, Place::Real { .. })) || !ledger.beyond.is_empty() {
            add("real", ledger.beyond.len());
        }
        for (pool, pods) in away {
            add(pool.as_str(), pods);
        }
    }

    /// How each pool stands that an object or the configuration describes.
    pub fn pool_reports(&self) -> BTreeMap<PoolName, PoolReport> {
        let described = self.pools.order().map(|name| (name.clone(), self.pool_report(name)));
        let mut all: BTreeMap<_, _> = described.collect();
        for (name, faults) in &self.pool_faults {
            let report = all.entry(name.clone()).or_insert_with(|| self.pool_report(name));
            report.faults.clone_from(faults);
        }
        all
    }

    fn pool_report(&self, name: &PoolName) -> PoolReport {
        let mut report = self.pools.report(name);
        let fallbacks: graph::Fallbacks = self.pools.all_fallbacks();
        report.fallback_fault = graph::fallbacks(&fallbacks, name).err().map(|error| error.to_string());
        if report.obstacle.is_none()
            && let Some(spent) = self.accounts.spent_of_pool(name, &self.pools, self.now)
        {
            let obstacle = Obstacle::Spent(spent.0);
            report.obstacle = Some((obstacle.word(), obstacle.to_string()));
        }
        let meter = self.accounts.meter(&Account::Pool, name).map(|meter| meter.at(self.now)).unwrap_or_default();
        (report.hour, report.day) = self.spending(name, &meter);
        report
    }

    fn spending(&self, pool: &PoolName, meter: &Meter) -> (Spending, Spending) {
        let of = |used: crate::policy::Usage| Spending {
            pod_minutes: used.pod_minutes(),
            cost: self.pools.price(pool).map(|price| price.of(used)),
        };
        let (hour, day) = meter.periods();
        (of(hour), of(day))
    }
}
