//! Room in the pools.

use std::collections::BTreeMap;

use crate::model::{Node, NodeName, PoolName};

/// Every pool that is configured, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Pools {
    order: Vec<PoolName>,
    pools: BTreeMap<PoolName, Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Open virtual nodes and how many pods each takes.
    open: BTreeMap<NodeName, u64>,
    /// Pods by the node that they stand on, open or not, until they are gone.
    standing: BTreeMap<NodeName, u64>,
    /// Pods that are placed here and on no node yet.
    unbound: u64,
    /// Those of them that do not run yet: the stock may not know of them.
    starting: u64,
    /// What the provider last said it can still take.
    stock: Option<u64>,
}

/// How a pod takes up room in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) pool: PoolName,
    pub(super) node: Option<NodeName>,
    pub(super) starting: bool,
}

impl Pools {
    pub(super) fn new(order: Vec<PoolName>) -> Self {
        let pools = order.iter().map(|name| (name.clone(), Pool::default())).collect();
        Self { order, pools }
    }

    pub(super) fn enter(&mut self, occupancy: &Occupancy) {
        if let Some(pool) = self.pools.get_mut(&occupancy.pool) {
            match &occupancy.node {
                Some(node) => *pool.standing.entry(node.clone()).or_default() += 1,
                None => pool.unbound += 1,
            }
            pool.starting += u64::from(occupancy.starting);
        }
    }

    pub(super) fn leave(&mut self, occupancy: &Occupancy) {
        if let Some(pool) = self.pools.get_mut(&occupancy.pool) {
            match &occupancy.node {
                Some(node) => pool.leave(node),
                None => pool.unbound -= 1,
            }
            pool.starting -= u64::from(occupancy.starting);
        }
    }

    /// Sets the pool's virtual nodes, of which the open ones count.
    pub(super) fn set_nodes<'a>(&mut self, name: &PoolName, nodes: impl Iterator<Item = &'a Node>) {
        if let Some(pool) = self.pools.get_mut(name) {
            let open = nodes.filter(|node| node.open);
            pool.open = open.map(|node| (node.name.clone(), node.max_pods)).collect();
        }
    }

    pub(super) fn set_stock(&mut self, name: &PoolName, stock: Option<u64>) {
        if let Some(pool) = self.pools.get_mut(name) {
            pool.stock = stock;
        }
    }

    /// The first pool with room, or what is wrong with each.
    pub(super) fn choose(&self) -> Result<&PoolName, Box<str>> {
        let mut obstacles = Vec::new();
        for name in &self.order {
            match self.pools.get(name).map_or(Some(Obstacle::NoNode), Pool::obstacle) {
                None => return Ok(name),
                Some(obstacle) => obstacles.push(obstacle.told_of(name)),
            }
        }
        if obstacles.is_empty() {
            obstacles.push("no pool is configured".to_owned());
        }
        Err(obstacles.join("; ").into())
    }

    /// The pool's open virtual nodes.
    pub(super) fn open_nodes(&self, name: &PoolName) -> Vec<NodeName> {
        self.pools.get(name).map(|pool| pool.open.keys().cloned().collect()).unwrap_or_default()
    }
}

enum Obstacle {
    NoNode,
    Full { capacity: u64 },
    NoStock,
}

impl Obstacle {
    fn told_of(&self, pool: &PoolName) -> String {
        match self {
            Self::NoNode => format!("pool {pool} has no virtual node that is ready"),
            Self::Full { capacity } => format!("pool {pool} is full ({capacity} pods)"),
            Self::NoStock => format!("pool {pool} is out of stock"),
        }
    }
}

impl Pool {
    fn leave(&mut self, node: &NodeName) {
        if let Some(pods) = self.standing.get_mut(node) {
            *pods -= 1;
            if *pods == 0 {
                self.standing.remove(node);
            }
        }
    }

    /// How many more pods its open nodes take: what stands on a closed one takes no room of theirs.
    fn room(&self) -> u64 {
        let free = self
            .open
            .iter()
            .map(|(node, max)| max.saturating_sub(self.standing.get(node).copied().unwrap_or_default()));
        free.fold(0, u64::saturating_add).saturating_sub(self.unbound)
    }

    fn obstacle(&self) -> Option<Obstacle> {
        if self.open.is_empty() {
            Some(Obstacle::NoNode)
        } else if self.room() == 0 {
            Some(Obstacle::Full { capacity: self.open.values().fold(0, |sum, max| sum.saturating_add(*max)) })
        } else if self.stock.is_some_and(|stock| self.starting >= stock) {
            Some(Obstacle::NoStock)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{NodeKind, Resources};

    fn node(name: &str, pool: &str, open: bool, max_pods: u64) -> Node {
        Node {
            name: name.into(),
            kind: NodeKind::Virtual(pool.into()),
            open,
            allocatable: Resources::default(),
            max_pods,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn the_first_pool_with_room_takes_the_pod() {
        let mut pools = Pools::new(vec!["spot".into(), "plain".into()]);
        pools.set_nodes(&"spot".into(), [node("s", "spot", true, 1)].iter());
        pools.set_nodes(&"plain".into(), [node("p", "plain", true, 5)].iter());
        assert_eq!(pools.choose(), Ok(&"spot".into()));
        pools.enter(&Occupancy { pool: "spot".into(), node: None, starting: true });
        assert_eq!(pools.choose(), Ok(&"plain".into()));
    }

    #[test]
    fn every_obstacle_is_named() {
        let mut pools = Pools::new(vec!["full".into(), "bare".into(), "short".into()]);
        pools.set_nodes(&"full".into(), [node("f", "full", true, 0)].iter());
        pools.set_nodes(&"bare".into(), [node("b", "bare", false, 9)].iter());
        pools.set_nodes(&"short".into(), [node("s", "short", true, 9)].iter());
        pools.set_stock(&"short".into(), Some(0));
        assert_eq!(
            pools.choose().unwrap_err().as_ref(),
            "pool full is full (0 pods); pool bare has no virtual node that is ready; pool short is out of stock"
        );
        assert_eq!(Pools::new(vec![]).choose().unwrap_err().as_ref(), "no pool is configured");
    }

    #[test]
    fn pods_that_do_not_run_yet_count_against_the_stock() {
        let mut pools = Pools::new(vec!["p".into()]);
        pools.set_nodes(&"p".into(), [node("n", "p", true, 9)].iter());
        pools.set_stock(&"p".into(), Some(1));
        let starting = Occupancy { pool: "p".into(), node: None, starting: true };
        pools.enter(&starting);
        assert!(pools.choose().is_err());
        pools.leave(&starting);
        pools.enter(&Occupancy { pool: "p".into(), node: None, starting: false });
        assert!(pools.choose().is_ok());
    }
}
