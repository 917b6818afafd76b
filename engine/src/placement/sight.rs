//! How each pool stands at a moment, for those who look on.

use crate::{
    model::{NodeName, PoolName, Resources, Timestamp},
    placement::{Placement, pools::Obstacle},
    policy::{Budget, Money},
};

/// A pool at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSight {
    /// Its name.
    pub name: PoolName,
    /// Its open virtual nodes.
    pub nodes: Vec<NodeSight>,
    /// Pods that are in it or on their way.
    pub pods: u64,
    /// Instances that its provider can still create, where it tells.
    pub stock: Option<u64>,
    /// Pods that it takes at most, where its quota says.
    pub quota: Option<u64>,
    /// What keeps it from taking a small pod now; as a clause after its name.
    pub obstacle: Option<String>,
    /// What its pods cost an hour as they are now, where its price is known.
    pub rate: Option<Money>,
    /// What they have cost in the running hour and day, UTC.
    pub spent: Option<(Money, Money)>,
    /// What may be spent.
    pub budget: Option<Budget>,
}

/// An open virtual node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSight {
    /// Its name.
    pub name: NodeName,
    /// Pods on it.
    pub pods: u64,
    /// Pods that it takes at most.
    pub most: u64,
}

impl Placement {
    /// Every pool that is known, by name.
    pub fn pools_at(&self, now: Timestamp) -> Vec<PoolSight> {
        let sight = |name: &PoolName| {
            let price = self.pools.price(name);
            let meter = self.accounts.of_pool(name).map(|meter| meter.at(now));
            let obstacle = self.pools.obstacle(name, Resources::default(), false);
            let spent = self.accounts.spent_of_pool(name, &self.pools, now).map(|spent| Obstacle::Spent(spent.0));
            let meter = meter.unwrap_or_default();
            let (hour, day) = meter.periods();
            PoolSight {
                name: name.clone(),
                nodes: self.pools.nodes_of(name),
                pods: self.pools.pods_of(name),
                stock: self.pools.stock_of(name),
                quota: self.pools.quota_of(name),
                obstacle: obstacle.or(spent).map(|obstacle| obstacle.to_string()),
                rate: price.map(|price| price.of(meter.an_hour())),
                spent: price.map(|price| (price.of(hour), price.of(day))),
                budget: self.pools.budget(name).cloned(),
            }
        };
        self.pools.order().map(sight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        placement::{Event, PoolFacts, Quota},
        policy::{MoveBack, Price, Settings},
    };

    #[test]
    fn a_pool_without_nodes_says_so_and_costs_nothing() {
        let none = std::time::Duration::ZERO;
        let move_back = MoveBack { after: none, at_once: 1, cool_down: none };
        let mut placement = Placement::new(Settings { pools: Vec::new(), move_on_after: none, move_back });
        let price = Price { cpu_second: "0.001 CNY".parse().unwrap(), gib_second: "0.0001 CNY".parse().unwrap() };
        let facts = PoolFacts {
            name: "eci".into(),
            price: Some(price),
            quota: Quota { pods: Some(7), ..Quota::default() },
            budget: None,
            fallback: None,
        };
        placement.apply(Event::Pool(facts), Timestamp::from_millis(1));
        placement.apply(Event::Stock { pool: "eci".into(), free: Some(3) }, Timestamp::from_millis(2));
        let sights = placement.pools_at(Timestamp::from_millis(3));
        assert_eq!((sights.len(), sights[0].stock, sights[0].quota, sights[0].pods), (1, Some(3), Some(7), 0));
        assert_eq!(sights[0].obstacle.as_deref(), Some("has no virtual node that is ready"));
        assert_eq!(sights[0].rate.as_ref().unwrap().nanos(), 0);
    }
}
