//! The policies that are compared.

use std::fmt;

use burstlet_engine::{
    policy::Base,
    simulator::{Autoscaler, Latency, Setup},
};
use std::time::Duration;

use super::limits::{Limits, set_caps};

/// A policy for a scenario's workloads. Each sizes the real nodes as one would who follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// These limits of each workload, on just as many real nodes as their bases need together.
    Limited(Vec<Limits>),
}

impl Policy {
    /// The scenario under this policy.
    #[must_use]
    pub fn apply(&self, mut setup: Setup) -> Setup {
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
                setup.other_nodes.clear();
                set_base(&mut setup, 0);
            }
            Self::Base(base) => {
                let each = vec![Limits::base(*base); setup.workloads.len()];
                setup = Self::Limited(each).apply(setup);
            }
            Self::Limited(each) => {
                for (index, limits) in each.iter().enumerate() {
                    setup.workloads[index].set_base(Base::count(limits.base));
                    set_caps(&mut setup, index, &limits.caps);
                }
                if setup.autoscaler.is_none() {
                    let bases: Vec<u32> = each.iter().map(|limits| limits.base).collect();
                    setup.real_nodes.count = setup.nodes_for(&bases);
                }
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
            Self::Limited(each) => {
                let each: Vec<String> = each.iter().map(ToString::to_string).collect();
                f.pad(&each.join("; "))
            }
        }
    }
}

fn set_base(setup: &mut Setup, base: u32) {
    for workload in &mut setup.workloads {
        workload.set_base(Base::count(base));
    }
}

fn most(workload: &burstlet_engine::simulator::Workload) -> u32 {
    u32::try_from(workload.hpa.max_replicas).unwrap_or_default()
}

/// Real nodes that hold so many pods of each workload.
fn nodes_for(setup: &Setup, pods: impl Fn(&burstlet_engine::simulator::Workload) -> u32) -> u32 {
    setup.nodes_for(&setup.workloads.iter().map(pods).collect::<Vec<_>>())
}

/// Pods of a workload that one empty real node holds; at least one, so that nobody asks for endless nodes.
pub(super) fn pods_per_node(setup: &Setup, workload: &burstlet_engine::simulator::Workload) -> u32 {
    workload.held_by(&setup.real_nodes).max(1)
}

#[cfg(test)]
mod tests {
    use burstlet_engine::{
        model::Resources,
        policy::{EffectivePolicy, Place},
    };

    use super::*;
    use crate::{scenario::Scenario, study::pools_of};

    #[test]
    fn caps_hold_for_every_pool_whoever_governs_and_the_rest_of_the_policy_stays() {
        for scenario in ["stock-out", "shared-pool", "flash-crowd"] {
            let setup = Scenario::open(scenario).unwrap().setup().unwrap();
            let before = setup.effective_policies();
            let limits = |policy: &Option<EffectivePolicy>| {
                let pools = pools_of(&setup, policy.as_ref().unwrap()).len();
                Limits { base: 2, caps: (5..).take(pools).collect() }
            };
            let each: Vec<Limits> = before.iter().map(limits).collect();
            let after = Policy::Limited(each.clone()).apply(setup.clone()).effective_policies();
            for ((before, after), limits) in before.iter().zip(&after).zip(&each) {
                let (before, after) = (before.as_ref().unwrap(), after.as_ref().unwrap());
                let pools = after.tiers.iter().filter(|tier| matches!(tier.place, Place::Pool(_)));
                let caps: Vec<_> = pools.map(|tier| tier.cap.pods.unwrap()).collect();
                assert_eq!(caps, limits.caps.iter().map(|cap| Base::count(*cap)).collect::<Vec<_>>(), "{scenario}");
                assert_eq!(after.base.pods, Some(Base::count(2)), "{scenario}");
                assert_eq!((&after.windows, after.priority), (&before.windows, before.priority), "{scenario}");
                let ways = |policy: &EffectivePolicy| policy.tiers.iter().map(|tier| tier.move_on).collect::<Vec<_>>();
                assert!(before.tiers.is_empty() || ways(before) == ways(after), "{scenario}");
            }
        }
    }

    #[test]
    fn bases_share_the_nodes_that_they_leave_room_on() {
        let mut setup = Scenario::open("shared-pool").unwrap().setup().unwrap();
        setup.workloads[0].requests = Resources { cpu: setup.real_nodes.allocatable.cpu, ..Resources::default() };
        setup.workloads[0].requests.cpu.0 = setup.workloads[0].requests.cpu.0 * 2 / 3;
        setup.workloads[1].requests.cpu.0 = setup.real_nodes.allocatable.cpu.0 / 4;
        setup.workloads[1].requests.memory = setup.workloads[0].requests.memory;
        assert_eq!([&[3, 0], &[0, 4], &[3, 3], &[3, 4]].map(|pods| setup.nodes_for(pods)), [3, 1, 3, 4]);
    }
}
