//! Policies that only observe: the same verdicts, kept to itself, and what they would have cost.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    model::{ObjectName, PoolName},
    placement::{Placement, budget::Meter},
    policy::Money,
};

/// What a workload would have used of a pool since its policy was first seen to observe (by this leader: a new one
/// counts the pods that are there from their creation, and knows nothing of those that were gone).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// Pods that would have burst there.
    pub pods: u64,
    /// Their minutes, in whole ones.
    pub pod_minutes: u64,
    /// What they would have cost at the pool's present price, if that is known.
    pub cost: Option<Money>,
}

impl Placement {
    /// What would have burst, by workload and pool.
    pub fn observations(&self) -> BTreeMap<ObjectName, BTreeMap<PoolName, Observation>> {
        let mut all = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (workload, pool, meter) in self.accounts.observed() {
            let observation = self.observation(pool, *meter);
            all.entry(workload.clone()).or_default().insert(pool.clone(), observation);
        }
        all
    }

    fn observation(&self, pool: &PoolName, meter: Meter) -> Observation {
        let used = meter.at(self.now).total;
        let cost = self.pools.price(pool).map(|price| price.of(used));
        Observation { pods: meter.pods, pod_minutes: used.pod_minutes(), cost }
    }
}
