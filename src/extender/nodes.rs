//! The virtual nodes and their pools' stock, as the extender sees them now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use foldhash::fast::RandomState;

/// Index of virtual nodes and of what their pools can still take. A node that is not in it is real.
///
/// Whoever follows the nodes applies every change here at once; handlers take a [`VirtualNodesView`] a call, so that
/// one answer comes from one state. Changes copy the index where a view is held; there are a few hundred virtual nodes
/// at most.
#[derive(Debug, Default)]
pub struct VirtualNodes(RwLock<Arc<VirtualNodesView>>);

/// The index at one moment.
#[derive(Debug, Clone, Default)]
pub struct VirtualNodesView {
    // Looked up by name only, so its order reaches no answer; one look-up a name and call makes the hash matter.
    nodes: HashMap<Box<[u8]>, VirtualNode, RandomState>,
    first_bytes: FirstBytes,
    stock: BTreeMap<Box<str>, u64>,
}

/// The first bytes of virtual nodes' names. Names of virtual and real nodes most often begin differently, and then
/// this spares the hash.
#[derive(Debug, Clone, Default)]
struct FirstBytes([u64; 4]);

impl FirstBytes {
    fn place(name: &[u8]) -> (usize, u64) {
        let first = name.first().copied().unwrap_or_default();
        (usize::from(first >> 6), 1 << (first & 63))
    }

    fn insert(&mut self, name: &[u8]) {
        let (word, bit) = Self::place(name);
        self.0[word] |= bit;
    }

    fn may_hold(&self, name: &[u8]) -> bool {
        let (word, bit) = Self::place(name);
        self.0[word] & bit != 0
    }
}

/// What the extender knows of one virtual node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualNode {
    /// Its pool.
    pub pool: Arc<str>,
    /// Whether its Ready condition is true.
    pub is_ready: bool,
}

impl VirtualNodes {
    /// The index as it stands.
    pub fn view(&self) -> Arc<VirtualNodesView> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a virtual node, or notes its change.
    pub fn upsert(&self, name: &str, pool: &str, ready: bool) {
        let node = VirtualNode { pool: pool.into(), is_ready: ready };
        // A node's status comes every few seconds and seldom says anything new.
        if self.view().get(name) != Some(&node) {
            self.change(|view| {
                view.first_bytes.insert(name.as_bytes());
                view.nodes.insert(name.as_bytes().into(), node);
            });
        }
    }

    /// Forgets a node that is gone.
    pub fn remove(&self, name: &str) {
        self.change(|view| {
            view.nodes.remove(name.as_bytes());
            view.first_bytes = FirstBytes::default();
            view.nodes.keys().for_each(|name| view.first_bytes.insert(name));
        });
    }

    /// Notes how many more instances a pool takes; `None` where its provider tells no number.
    pub fn set_stock(&self, pool: &str, free: Option<u64>) {
        self.change(|view| {
            match free {
                Some(free) => view.stock.insert(pool.into(), free),
                None => view.stock.remove(pool),
            };
        });
    }

    // No code of ours panics between `write` and the guard's end, and a view is whole after every change.
    fn change(&self, apply: impl FnOnce(&mut VirtualNodesView)) {
        apply(Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)));
    }
}

impl VirtualNodesView {
    /// The virtual node of that name; `None` where the name is a real node's.
    #[inline]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&VirtualNode> {
        let name = name.as_ref();
        if self.first_bytes.may_hold(name) { self.nodes.get(name) } else { None }
    }

    /// Whether the pool is known to take no more now.
    pub fn is_out_of_stock(&self, pool: &str) -> bool {
        self.stock.get(pool) == Some(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_its_state_while_the_index_moves_on() {
        let nodes = VirtualNodes::default();
        nodes.upsert("v-1", "eci", false);
        let before = nodes.view();
        nodes.upsert("v-1", "eci", true);
        nodes.upsert("v-2", "kci", true);
        assert!(!before.get("v-1").unwrap().is_ready);
        assert_eq!(before.get("v-2"), None);
        assert!(nodes.view().get("v-1").unwrap().is_ready);
        assert_eq!([nodes.view().get("v-3"), nodes.view().get("a"), nodes.view().get("")], [None, None, None]);
        nodes.remove("v-2");
        assert_eq!(nodes.view().get("v-2"), None);
        assert!(nodes.view().get("v-1").is_some());
    }

    #[test]
    fn a_pool_is_out_of_stock_only_where_a_zero_was_told() {
        let nodes = VirtualNodes::default();
        let is_out = || nodes.view().is_out_of_stock("eci");
        assert!(!is_out());
        nodes.set_stock("eci", Some(0));
        assert!(is_out());
        nodes.set_stock("eci", Some(1));
        assert!(!is_out());
        nodes.set_stock("eci", Some(0));
        nodes.set_stock("eci", None);
        assert!(!is_out());
    }
}
