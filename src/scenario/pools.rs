//! What a scenario's `pools` add to the VirtualPools of its manifests: how their providers behave.

use std::num::NonZeroU32;

use burstlet_engine::{
    model::PoolName,
    placement::{PoolFacts, Quota},
    policy::{
        self, Money,
        check::{KnownPool, KnownPools},
    },
};
use serde::Deserialize;

use super::{
    Pool, Price, Reclaim, StartUp, StockOut, Throttle, UnitPrice,
    manifests::{Found, Manifests},
};
use crate::api::pool::PoolSpec;

/// An entry of `pools`. What a VirtualPool of the manifests says may be left out, or must be said alike.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Behaviour {
    pub(super) name: PoolName,
    #[serde(default)]
    nodes: Option<NonZeroU32>,
    #[serde(default)]
    pods_per_node: Option<NonZeroU32>,
    pub(super) start_up: StartUp,
    #[serde(default)]
    stock: Option<u32>,
    #[serde(default)]
    price: Option<Price>,
    #[serde(default)]
    quota: Option<u32>,
    #[serde(default)]
    throttle: Option<Throttle>,
    #[serde(default)]
    pub(super) stock_outs: Vec<StockOut>,
    #[serde(default)]
    reclaim: Reclaim,
}

/// A field of the scenario's file, and what is wrong with it.
type Fault = (String, String);

/// All pools: each entry brought together with its VirtualPool.
pub(super) fn settle(written: Vec<Behaviour>, manifests: &Manifests) -> Result<Vec<Pool>, Fault> {
    for (name, found) in &manifests.pools {
        if !written.iter().any(|behaviour| behaviour.name == *name) {
            let fault = format!(
                "says nothing of {} ({}); write how its instances start, for example {{name: {name}, startUp: \
                 {{min: 2s, max: 8s}}}}",
                found.title, found.at
            );
            return Err(("pools".to_owned(), fault));
        }
    }
    let pools = written.into_iter().enumerate().map(|(index, behaviour)| {
        let field = format!("pools[{index}]");
        let object = manifests.pools.get(&behaviour.name);
        behaviour.settle(&field, object)
    });
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    one_currency(&pools)?;
    Ok(pools)
}

fn one_currency(pools: &[Pool]) -> Result<(), Fault> {
    let Some(first) = pools.first().map(|pool| &pool.price.currency) else { return Ok(()) };
    match pools.iter().enumerate().find(|(_, pool)| pool.price.currency != *first) {
        None => Ok(()),
        Some((index, pool)) => {
            let fault = format!("{}, but the first pool's is {first}; all must be the same", pool.price.currency);
            Err((format!("pools[{index}].price.currency"), fault))
        }
    }
}

/// What policies may name.
pub(super) fn known(pools: &[Pool]) -> KnownPools {
    let of = |pool: &Pool| {
        let known = pool.object.as_ref().map(|object| object.known());
        let own = || KnownPool { currency: pool.price.currency.to_string().parse().ok(), ..KnownPool::default() };
        (pool.name.clone(), known.unwrap_or_else(own))
    };
    pools.iter().map(of).collect()
}

impl Behaviour {
    fn settle(self, field: &str, object: Option<&Found<PoolSpec>>) -> Result<Pool, Fault> {
        let nodes = object.map(|found| found.object.nodes.clone().unwrap_or_default());
        let count = |of: &dyn Fn(&crate::api::pool::Nodes) -> Option<u32>, usual| {
            nodes.as_ref().and_then(|nodes| NonZeroU32::new(of(nodes).unwrap_or(usual)))
        };
        let said = |name| (format!("{field}.{name}"), object);
        let quota = object.and_then(|found| found.object.quota.as_ref()?.pods);
        agree(said("quota"), self.quota.as_ref().filter(|_| quota.is_some()), quota.as_ref())?;
        let price = object.and_then(|found| price_of(&found.object));
        Ok(Pool {
            nodes: either(said("nodes"), self.nodes, count(&|nodes| nodes.max, 1))?,
            pods_per_node: either(said("podsPerNode"), self.pods_per_node, count(&|nodes| nodes.pods_per_node, 3_000))?,
            price: either(said("price"), self.price, price)?,
            name: self.name,
            start_up: self.start_up,
            stock: self.stock,
            quota: self.quota,
            throttle: self.throttle,
            stock_outs: self.stock_outs,
            reclaim: self.reclaim,
            object: object.map(|found| Box::new(found.object.clone())),
        })
    }
}

/// What one of the two says; both must say the same.
fn either<T: PartialEq + std::fmt::Display>(
    (field, object): (String, Option<&Found<PoolSpec>>),
    own: Option<T>,
    objects: Option<T>,
) -> Result<T, Fault> {
    agree((field.clone(), object), own.as_ref(), objects.as_ref())?;
    own.or(objects).ok_or_else(|| {
        let fault = match object {
            Some(found) => format!("missing; {} ({}) does not say it either", found.title, found.at),
            None => "missing; write it, or name the manifest of its VirtualPool".to_owned(),
        };
        (field, fault)
    })
}

fn agree<T: PartialEq + std::fmt::Display>(
    (field, object): (String, Option<&Found<PoolSpec>>),
    own: Option<&T>,
    objects: Option<&T>,
) -> Result<(), Fault> {
    match (own, objects, object) {
        (Some(own), Some(objects), Some(found)) if own != objects => {
            let fault = format!(
                "{own}, but {} ({}) says {objects}; leave it out here, or write the same",
                found.title, found.at
            );
            Err((field, fault))
        }
        _ => Ok(()),
    }
}

/// The price of a VirtualPool. One that makes no sense is refused when the pool is judged.
fn price_of(spec: &PoolSpec) -> Option<Price> {
    let price = spec.price.as_ref()?;
    let (cpu, gib) = (price.cpu_second.parse::<Money>().ok()?, price.gib_second.parse::<Money>().ok()?);
    Some(Price {
        cpu_second: unit_price(&cpu)?,
        gib_second: unit_price(&gib)?,
        currency: cpu.currency().to_string().try_into().ok()?,
    })
}

/// An amount of money has nine decimals at most, and a number holds as many of them as prices need.
fn unit_price(money: &Money) -> Option<UnitPrice> {
    let text = money.to_string();
    text.split(' ').next()?.parse::<f64>().ok()?.try_into().ok()
}

impl Pool {
    /// What burstlet's placement hears of it: what its object says, or else its price alone.
    pub(super) fn facts(&self) -> PoolFacts {
        if let Some(object) = &self.object {
            return object.facts(self.name.as_str());
        }
        let money = |price: UnitPrice| format!("{:.9} {}", price.get(), self.price.currency).parse::<Money>().ok();
        let price = money(self.price.cpu_second).zip(money(self.price.gib_second));
        let price = price.map(|(cpu_second, gib_second)| policy::Price { cpu_second, gib_second });
        PoolFacts { name: self.name.clone(), price, quota: Quota::default(), budget: None, fallback: None }
    }
}
