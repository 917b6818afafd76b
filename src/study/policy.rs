//! The policies that are compared.

use std::fmt;

use burstlet_engine::{
    policy::Base,
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
