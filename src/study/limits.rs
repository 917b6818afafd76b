//! What a workload is held to: its base, and how many pods each pool takes.

use std::fmt;

use burstlet_engine::{
    model::ObjectName,
    policy::{
        Base, EffectivePolicy, MoveOn, Place, Spec, TierRule, Waiting, annotation,
        spec::{self, Reason, ResourceAmounts, Tier},
    },
    simulator::Setup,
};

/// The limits of one workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Pods of a revision that belong on real nodes.
    pub base: u32,
    /// Most pods of a revision in each of its pools, in their order; none where they are left as they are.
    pub caps: Vec<u32>,
}

impl Limits {
    /// A base, and caps as they are.
    pub fn base(base: u32) -> Self {
        Self { base, caps: Vec::new() }
    }

    /// Most pods of a revision that they allow.
    pub fn pods(&self) -> u32 {
        self.caps.iter().fold(self.base, |all, cap| all.saturating_add(*cap))
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caps: Vec<String> = self.caps.iter().map(ToString::to_string).collect();
        match caps.as_slice() {
            [] => f.pad(&format!("base {}", self.base)),
            [cap] => f.pad(&format!("base {} with a cap of {cap}", self.base)),
            caps => f.pad(&format!("base {} with caps of {}", self.base, caps.join(" and "))),
        }
    }
}

/// The pools that a workload bursts to, in their order: those of its policy's tiers, or else all.
pub fn pools_of(setup: &Setup, policy: &EffectivePolicy) -> Vec<String> {
    // A pool's fallback takes from its tier's cap.
    let own = policy.tiers.iter().filter(|tier| tier.falls_back_from.is_none());
    let named: Vec<String> = own.filter_map(pool).collect();
    let all = || setup.pools.iter().map(|pool| pool.name.to_string()).collect();
    if named.is_empty() { all() } else { named }
}

/// Caps the pools of one workload, by a policy of its own that follows the one that it has.
pub(super) fn set_caps(setup: &mut Setup, workload: usize, caps: &[u32]) {
    let Some(policy) = setup.effective_policies().into_iter().nth(workload).flatten().filter(|_| !caps.is_empty())
    else {
        return;
    };
    let mut tiers: Vec<Tier> = policy.tiers.iter().filter(|tier| tier.falls_back_from.is_none()).map(written).collect();
    if tiers.iter().all(|tier| tier.pool.is_none()) {
        let pools = pools_of(setup, &policy).into_iter();
        tiers.splice(0..0, pools.map(|pool| Tier { pool: Some(pool), ..Tier::default() }));
    }
    for (tier, cap) in tiers.iter_mut().filter(|tier| tier.pool.is_some()).zip(caps) {
        tier.max = Some((*cap).into());
    }
    let followed = policy.name.map(|name| name.as_str().rsplit('/').next().unwrap_or_default().to_owned());
    let name = format!("tuned-{workload}");
    let workload = &mut setup.workloads[workload];
    for marks in [&mut workload.pods, &mut workload.marks] {
        marks.annotations.remove(annotation::POOLS);
        marks.annotations.remove(annotation::POLICY);
    }
    workload.marks.annotations.insert(annotation::POLICY.to_owned(), name.clone());
    let spec = Spec { extends: followed, tiers: Some(tiers), ..Spec::default() };
    setup.policies.insert(ObjectName::new(&workload.name.namespace, &name), spec);
}

fn pool(tier: &TierRule) -> Option<String> {
    match &tier.place {
        Place::Pool(pool) => Some(pool.to_string()),
        Place::Real { .. } => None,
    }
}

/// A tier as a policy writes it.
fn written(rule: &TierRule) -> Tier {
    let TierRule { place, cap, move_on, labels, annotations, .. } = rule;
    let (pool, real) = match place {
        Place::Pool(pool) => (Some(pool.to_string()), None),
        Place::Real { node_selector } => (None, Some(spec::Real { node_selector: node_selector.clone() })),
    };
    let cpu = cap.cpu.map(|cpu| format!("{}m", cpu.0));
    let memory = cap.memory.map(|memory| memory.0.to_string());
    Tier {
        pool,
        real,
        max: cap.pods.map(|base: Base| base.to_string().as_str().into()),
        max_resources: (cpu.is_some() || memory.is_some()).then_some(ResourceAmounts { cpu, memory }),
        move_on: Some(passed(*move_on)),
        labels: labels.clone(),
        annotations: annotations.clone(),
    }
}

fn passed(MoveOn { full, short, after, waiting }: MoveOn) -> spec::MoveOn {
    let when = [(full, Reason::Full), (short, Reason::Short)];
    spec::MoveOn {
        when: Some(when.into_iter().filter(|(is_set, _)| *is_set).map(|(_, reason)| reason).collect()),
        after: Some(humantime::format_duration(after).to_string()),
        waiting: Some(waiting).filter(|waiting| *waiting != Waiting::Plain),
    }
}
