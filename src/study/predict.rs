//! What limits would cost, told from the replica curves of other ones.
//!
//! How many pods the HPAs ask for hardly depends on where they stand. So one simulation tells, for every base and cap, the time
//! that pods would spend in each pool and the nodes that bases would need. That is a prediction and no result: delays, lines of
//! requests and the HPA's own delay are left out. It says where to look.

use std::{cell::RefCell, collections::BTreeMap};

use burstlet_engine::simulator::{Money, PerMilli, Setup};

use super::{Figures, Limits, limits::pools_of, policy::pods_per_node};

/// Prices of a study's workloads.
#[derive(Debug)]
pub struct Prices {
    setup: Setup,
    each: Vec<Own>,
    /// A real node, a second.
    node_second: f64,
    /// Nodes that bases need together.
    nodes: RefCell<BTreeMap<Vec<u32>, u32>>,
}

/// Prices of one workload.
#[derive(Debug)]
struct Own {
    name: String,
    /// A pod in each of its pools, a second.
    pod_seconds: Vec<f64>,
    per_node: u32,
}

impl Prices {
    /// The prices of the setup's workloads.
    pub fn of(setup: &Setup) -> Self {
        let day = 86_400_000;
        let per_second = |money: Money| money.rounded() / 86_400.0;
        let policies = setup.effective_policies();
        let own = |(workload, policy): (&burstlet_engine::simulator::Workload, _)| {
            let pools = Option::as_ref(policy).map(|policy| pools_of(setup, policy)).unwrap_or_default();
            let priced = pools.iter().filter_map(|name| setup.pools.iter().find(|pool| pool.name.as_str() == name));
            let price = |pool: &burstlet_engine::simulator::Pool| {
                let price = PerMilli::of_resources(workload.requests, pool.price.0, pool.price.1);
                per_second(price.times(1_000, day)) / 1_000.0
            };
            Own {
                name: workload.name.to_string(),
                pod_seconds: priced.map(price).collect(),
                per_node: pods_per_node(setup, workload),
            }
        };
        Self {
            each: setup.workloads.iter().zip(&policies).map(own).collect(),
            node_second: per_second(setup.real_nodes.price.times(1_000, day)) / 1_000.0,
            nodes: RefCell::default(),
            setup: setup.clone(),
        }
    }

    /// What these limits would cost over the same curves.
    pub fn predict(&self, figures: &Figures, limits: &[Limits]) -> f64 {
        let (mut cost, mut node_seconds, mut length) = (0.0, 0.0, 0.0_f64);
        for (own, limits) in self.each.iter().zip(limits) {
            let figures = figures.each.get(&own.name).unwrap_or(figures);
            for (pods, seconds) in &figures.held {
                cost += seconds * own.burst(pods.saturating_sub(limits.base), &limits.caps);
                node_seconds += seconds * f64::from(limits.base.min(*pods).div_ceil(own.per_node));
            }
            length = length.max(figures.held.values().fold(0.0, |all, seconds| all + seconds));
        }
        let nodes = if self.setup.autoscaler.is_some() {
            node_seconds.max(length * f64::from(self.setup.real_nodes.count))
        } else {
            length * f64::from(self.nodes_for(limits))
        };
        cost + nodes * self.node_second
    }

    fn nodes_for(&self, limits: &[Limits]) -> u32 {
        let bases: Vec<u32> = limits.iter().map(|limits| limits.base).collect();
        *self.nodes.borrow_mut().entry(bases).or_insert_with_key(|bases| self.setup.nodes_for(bases))
    }
}

impl Own {
    /// What so many burst pods cost a second, which fill the pools in their order.
    fn burst(&self, mut pods: u32, caps: &[u32]) -> f64 {
        let mut cost = 0.0;
        for (pool, price) in self.pod_seconds.iter().enumerate() {
            let here = pods.min(caps.get(pool).copied().unwrap_or(u32::MAX));
            cost += f64::from(here) * price;
            pods -= here;
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn burst_pods_fill_the_pools_in_their_order() {
        let own = Own { name: String::new(), pod_seconds: vec![1.0, 10.0], per_node: 1 };
        assert!((own.burst(5, &[3, 9]) - 23.0).abs() < 1e-9, "three in the first, two in the second");
        assert!((own.burst(5, &[3, 1]) - 13.0).abs() < 1e-9, "one finds no place");
        assert!((own.burst(5, &[]) - 5.0).abs() < 1e-9);
        let setup = Scenario::open("stock-out").unwrap().setup().unwrap();
        assert_eq!(Prices::of(&setup).each[0].pod_seconds.len(), 2);
    }
}
