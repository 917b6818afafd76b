//! The policies that are compared.

use std::fmt;

use burstlet_engine::{
    model::ObjectName,
    policy::{Base, EffectivePolicy, Place, Spec, annotation, spec::Tier},
    simulator::{Autoscaler, Latency, Setup},
};
use std::time::Duration;

/// A policy for a scenario's workloads. Each sizes the real nodes as one would who follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// As the scenario says.
    AsWritten,
    /// All pods on real nodes, of which there are enough for every HPA's maximum. No burstlet.
    AllReal,
    /// All pods on real nodes, which a node autoscaler adds and removes. No burstlet.
    Autoscaler,
    /// No base: all pods in the pools, and no real nodes.
    BurstOnly,
    /// This base, on just as many real nodes as it needs; the rest bursts.
    Base(u32),
    /// This base likewise, and so many pods of a revision at most in the last pool.
    Capped(u32, u32),
}

impl Policy {
    /// The scenario under this policy.
    #[must_use]
    pub fn apply(self, mut setup: Setup) -> Setup {
        match self {
            Self::AsWritten => {}
            Self::AllReal => {
                setup.autoscaler = None;
                setup.real_nodes.count = nodes_for(&setup, most);
                setup.ungovern();
            }
            Self::Autoscaler => {
                let max = nodes_for(&setup, most);
                let least = nodes_for(&setup, |workload| workload.replicas);
                // Without one in the scenario: cluster-autoscaler's defaults, and virtual machines that boot in a minute or two.
                let usual = Autoscaler {
                    max,
                    boot: Latency::of_quantiles(vec![Duration::from_mins(1), Duration::from_mins(2)])
                        .unwrap_or_else(|| Latency::fixed(Duration::from_mins(2))),
                    scan: Duration::from_secs(10),
                    scale_down_after: Duration::from_mins(10),
                    utilization: 50,
                };
                let own = setup.autoscaler.take();
                setup.autoscaler = Some(Autoscaler { max, ..own.unwrap_or(usual) });
                setup.real_nodes.count = least;
                setup.ungovern();
            }
            Self::BurstOnly => {
                (setup.autoscaler, setup.real_nodes.count) = (None, 0);
                set_base(&mut setup, 0);
            }
            Self::Base(base) => {
                set_base(&mut setup, base);
                if setup.autoscaler.is_none() {
                    setup.real_nodes.count = nodes_for(&setup, |_| base);
                }
            }
            Self::Capped(base, cap) => {
                setup = Self::Base(base).apply(setup);
                set_cap(&mut setup, cap);
            }
        }
        setup
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsWritten => f.pad("as written"),
            Self::AllReal => f.pad("all real"),
            Self::Autoscaler => f.pad("node autoscaler"),
            Self::BurstOnly => f.pad("burst only"),
            Self::Base(base) => f.pad(&format!("base {base} + burst")),
            Self::Capped(base, cap) => f.pad(&format!("base {base} + burst of {cap} at most")),
        }
    }
}

fn set_base(setup: &mut Setup, base: u32) {
    for workload in &mut setup.workloads {
        workload.set_base(Base::count(base));
    }
}

/// Caps the last pool that each workload may burst to: in the policies that name tiers, and by a policy of its own where
/// none does.
fn set_cap(setup: &mut Setup, cap: u32) {
    for spec in setup.policies.values_mut() {
        if let Some(tier) = spec.tiers.iter_mut().flatten().rfind(|tier| tier.pool.is_some()) {
            tier.max = Some(cap.into());
        }
    }
    let every: Vec<String> = setup.pools.iter().map(|pool| pool.name.to_string()).collect();
    let policies = setup.effective_policies();
    for (index, policy) in policies.into_iter().enumerate() {
        let Some(policy) = policy.filter(|policy| !is_capped(policy, cap)) else { continue };
        let pool = |place: &Place| match place {
            Place::Pool(pool) => Some(pool.to_string()),
            Place::Real { .. } => None,
        };
        let own: Vec<String> = policy.tiers.iter().filter_map(|tier| pool(&tier.place)).collect();
        let pools = if own.is_empty() { every.clone() } else { own };
        let mut tiers: Vec<Tier> = pools.into_iter().map(|pool| Tier { pool: Some(pool), ..Tier::default() }).collect();
        if let Some(last) = tiers.last_mut() {
            last.max = Some(cap.into());
        }
        let followed = policy.name.map(|name| name.as_str().rsplit('/').next().unwrap_or_default().to_owned());
        let workload = &mut setup.workloads[index];
        let name = format!("tuned-{index}");
        for marks in [&mut workload.pods, &mut workload.marks] {
            marks.annotations.remove(annotation::POOLS);
            marks.annotations.remove(annotation::POLICY);
        }
        workload.marks.annotations.insert(annotation::POLICY.to_owned(), name.clone());
        let spec = Spec { extends: followed, tiers: Some(tiers), ..Spec::default() };
        setup.policies.insert(ObjectName::new(&workload.name.namespace, &name), spec);
    }
}

fn is_capped(policy: &EffectivePolicy, cap: u32) -> bool {
    let last = policy.tiers.iter().rfind(|tier| matches!(tier.place, Place::Pool(_)));
    last.is_some_and(|tier| tier.cap.pods == Some(Base::count(cap)))
}

fn most(workload: &burstlet_engine::simulator::Workload) -> u32 {
    u32::try_from(workload.hpa.max_replicas).unwrap_or_default()
}

/// Real nodes that hold so many pods of each workload, each workload on nodes of its own.
fn nodes_for(setup: &Setup, pods: impl Fn(&burstlet_engine::simulator::Workload) -> u32) -> u32 {
    let nodes = setup.workloads.iter().map(|workload| pods(workload).div_ceil(pods_per_node(setup, workload)));
    nodes.fold(0, u32::saturating_add)
}

/// Pods of a workload that one empty real node holds; at least one, so that nobody asks for endless nodes.
pub(super) fn pods_per_node(setup: &Setup, workload: &burstlet_engine::simulator::Workload) -> u32 {
    let nodes = &setup.real_nodes;
    let held = nodes.allocatable.holds(workload.requests).min(u64::from(nodes.max_pods));
    u32::try_from(held).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_cap_holds_for_the_last_pool_whoever_governs() {
        for scenario in ["stock-out", "shared-pool", "flash-crowd"] {
            let setup = Scenario::open(scenario).unwrap().setup().unwrap();
            let before = setup.effective_policies();
            let after = Policy::Capped(2, 5).apply(setup).effective_policies();
            for (before, after) in before.iter().zip(&after) {
                let (before, after) = (before.as_ref().unwrap(), after.as_ref().unwrap());
                assert!(is_capped(after, 5), "{scenario}: {after:?}");
                assert_eq!(after.base.pods, Some(Base::count(2)), "{scenario}");
                assert_eq!((&after.windows, after.priority), (&before.windows, before.priority), "{scenario}");
            }
        }
    }
}
