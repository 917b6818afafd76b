//! How each pool, and the money of each policy, stands at a moment, for those who look on.

use std::collections::BTreeMap;

use crate::{
    model::{NodeName, PoolName, Resources, Timestamp},
    placement::{
        Placement, Quota,
        budget::{Meter, Span, Used, used},
        pools::Obstacle,
    },
    policy::{Budget, Currency, Money, PolicyName, Spend},
};

/// A pool at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSight {
    /// Its name.
    pub name: PoolName,
    /// Its open virtual nodes.
    pub nodes: Vec<NodeSight>,
    /// Pods that are in it or on their way.
    pub pods: u64,
    /// Instances that its provider can still create, where it tells.
    pub stock: Option<u64>,
    /// What those pods request.
    pub requests: Resources,
    /// What it takes at most.
    pub quota: Quota,
    /// What keeps it from taking a small pod now; as a clause after its name.
    pub obstacle: Option<String>,
    /// What its pods cost an hour as they are now, where its price is known.
    pub rate: Option<Money>,
    /// What they have cost in the running hour and day, UTC.
    pub spent: Option<(Money, Money)>,
    /// What may be spent.
    pub budget: Option<Budget>,
    /// Which shares of it are used.
    pub used: Vec<BudgetUse>,
}

/// How much of one limit of a budget is used.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetUse {
    /// `hour` or `day`, UTC.
    pub period: &'static str,
    /// 1 where all of it is used. What ran as the limit was reached goes on, and may exceed it.
    pub share: f64,
}

/// What the pods of a policy spend on virtual nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySight {
    /// Its name.
    pub name: PolicyName,
    /// Spent in the running hour and day, UTC, by currency of the pools' prices.
    pub spent: BTreeMap<Currency, (Money, Money)>,
    /// Which shares of its budget are used; empty where it has none, or no workload follows it now.
    pub used: Vec<BudgetUse>,
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
                requests: self.pools.requests_of(name),
                quota: self.pools.quota_of(name),
                obstacle: obstacle.or(spent).map(|obstacle| obstacle.to_string()),
                rate: price.map(|price| price.of(meter.an_hour())),
                spent: price.map(|price| (price.of(hour), price.of(day))),
                budget: self.pools.budget(name).cloned(),
                used: uses(self.pools.budget(name), |span, limit| {
                    self.accounts.used_of_pool(name, span, limit, &self.pools, now)
                }),
            }
        };
        self.pools.order().map(sight).collect()
    }

    /// Every named policy that has spent something, or has a budget and workloads; by name.
    pub fn policies_at(&self, now: Timestamp) -> Vec<PolicySight> {
        let followed = self.revisions_in_order().into_iter().filter_map(|(_, state)| state.policy.as_deref());
        let followed = followed.filter_map(|policy| Some((policy.name.as_ref()?, policy.budget.as_ref())));
        let budgets: BTreeMap<_, _> = followed.filter(|(_, budget)| budget.is_some()).collect();
        let mut meters: BTreeMap<_, _> =
            self.accounts.of_policies().map(|(name, meters)| (name, Some(meters))).collect();
        for name in budgets.keys() {
            meters.entry(name).or_default();
        }
        let sight = |(name, meters): (&PolicyName, Option<&BTreeMap<PoolName, Meter>>)| PolicySight {
            name: name.clone(),
            spent: self.spent_by_currency(meters.into_iter().flatten(), now),
            used: uses(budgets.get(name).copied().flatten(), |span, limit| {
                used(meters.into_iter().flatten(), span, limit, &self.pools, now)
            }),
        };
        meters.into_iter().map(sight).collect()
    }

    fn spent_by_currency<'a>(
        &self,
        meters: impl Iterator<Item = (&'a PoolName, &'a Meter)>,
        now: Timestamp,
    ) -> BTreeMap<Currency, (Money, Money)> {
        let mut all = BTreeMap::<_, (Money, Money)>::new();
        for (pool, meter) in meters {
            let Some(price) = self.pools.price(pool) else { continue };
            let (hour, day) = meter.at(now).periods();
            let (hour, day) = (price.of(hour), price.of(day));
            let sum = all.get(price.currency()).map(|(sum, today)| (sum.plus(&hour), today.plus(&day)));
            all.insert(price.currency().clone(), sum.unwrap_or((hour, day)));
        }
        all
    }
}

fn uses(budget: Option<&Budget>, used: impl Fn(Span, &Spend) -> Used) -> Vec<BudgetUse> {
    let limits = Span::ALL.into_iter().filter_map(|span| Some((span, span.limit(budget?)?)));
    limits.map(|(span, limit)| BudgetUse { period: span.word(), share: used(span, limit).share() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        placement::{Event, PoolFacts},
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
        assert_eq!((sights.len(), sights[0].stock, sights[0].quota.pods, sights[0].pods), (1, Some(3), Some(7), 0));
        assert_eq!(sights[0].obstacle.as_deref(), Some("has no virtual node that is ready"));
        assert_eq!(sights[0].rate.as_ref().unwrap().nanos(), 0);
    }
}
