//! What a base would cost, told from the replica curve of another one.
//!
//! How many pods the HPA asks for hardly depends on where they stand. So one simulation tells, for every base, the time
//! that pods would spend beyond it and the nodes that it would need. That is a prediction and no result: delays, lines of
//! requests and the HPA's own delay are left out. It says where to look.

use burstlet_engine::simulator::Setup;

use super::{Figures, policy::pods_per_node};

/// Prices of a study's only workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// A burst pod, a second.
    pod_second: f64,
    /// A real node, a second.
    node_second: f64,
    per_node: u32,
    /// Real nodes that stand whatever the base; `None` where there are just as many as the base needs.
    least_nodes: Option<u32>,
}

impl Prices {
    /// The prices of the setup's first workload in its first pool.
    pub fn of(setup: &Setup) -> Self {
        let day = 86_400_000;
        let per_second = |money: burstlet_engine::simulator::Money| money.rounded() / 86_400.0;
        let pod = setup.workloads.first().zip(setup.pools.first()).map_or(0.0, |(workload, pool)| {
            let (core, gib) = pool.price;
            let price = burstlet_engine::simulator::PerMilli::of_resources(workload.requests, core, gib);
            per_second(price.times(1_000, day)) / 1_000.0
        });
        Self {
            pod_second: pod,
            node_second: per_second(setup.real_nodes.price.times(1_000, day)) / 1_000.0,
            per_node: setup.workloads.first().map_or(1, |workload| pods_per_node(setup, workload)),
            least_nodes: setup.autoscaler.as_ref().map(|_| setup.real_nodes.count),
        }
    }

    /// Whether a base costs anything.
    pub fn has_node_price(&self) -> bool {
        self.node_second > 0.0
    }

    /// What this base would cost over the same curve.
    pub fn predict(&self, figures: &Figures, base: u32) -> f64 {
        self.predict_capped(figures, base, u32::MAX)
    }

    /// What this base would cost over the same curve with so many burst pods at most.
    pub fn predict_capped(&self, figures: &Figures, base: u32, cap: u32) -> f64 {
        let mut cost = 0.0;
        for (pods, seconds) in &figures.held {
            let nodes = match self.least_nodes {
                None => base.div_ceil(self.per_node),
                Some(least) => base.min(*pods).div_ceil(self.per_node).max(least),
            };
            let burst = pods.saturating_sub(base).min(cap);
            cost += seconds * (f64::from(burst) * self.pod_second + f64::from(nodes) * self.node_second);
        }
        cost
    }
}
