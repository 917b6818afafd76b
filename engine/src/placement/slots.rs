//! A pool's virtual nodes and the pods that stand on them; how many more they take is kept, not counted anew for each pod.

use std::collections::BTreeMap;

use crate::model::NodeName;

#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Open nodes and how many pods each takes.
    open: BTreeMap<NodeName, u64>,
    /// Pods by the node that they stand on, open or not, until they are gone.
    standing: BTreeMap<NodeName, u64>,
    /// What is left on open nodes: what stands on a closed one takes no room of theirs.
    free: u128,
}

impl Slots {
    /// The nodes that are open from now on.
    pub(super) fn set_open(&mut self, open: BTreeMap<NodeName, u64>) {
        self.open = open;
        let left = self.open.iter().map(|(node, most)| most.saturating_sub(self.on(node)));
        self.free = left.map(u128::from).sum();
    }

    pub(super) fn enter(&mut self, node: &NodeName) {
        let on = self.standing.entry(node.clone()).or_default();
        if self.open.get(node).is_some_and(|most| *on < *most) {
            self.free -= 1;
        }
        *on += 1;
    }

    pub(super) fn leave(&mut self, node: &NodeName) {
        let Some(on) = self.standing.get_mut(node) else { return };
        if self.open.get(node).is_some_and(|most| *on <= *most) {
            self.free += 1;
        }
        *on -= 1;
        if *on == 0 {
            self.standing.remove(node);
        }
    }

    /// Pods on the node.
    pub(super) fn on(&self, node: &NodeName) -> u64 {
        self.standing.get(node).copied().unwrap_or_default()
    }

    /// How many more pods the open nodes take.
    pub(super) fn free(&self) -> u64 {
        u64::try_from(self.free).unwrap_or(u64::MAX)
    }

    /// How many pods they take in all.
    pub(super) fn capacity(&self) -> u64 {
        self.open.values().fold(0, |sum, most| sum.saturating_add(*most))
    }

    /// The open nodes and how many pods each takes.
    pub(super) fn open(&self) -> &BTreeMap<NodeName, u64> {
        &self.open
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Open(BTreeMap<NodeName, u64>),
        Enter(NodeName),
        Leave(NodeName),
    }

    fn node() -> impl Strategy<Value = NodeName> {
        (0..4).prop_map(|number| NodeName::from(format!("n{number}").as_str()))
    }

    fn step() -> impl Strategy<Value = Step> {
        let most = prop_oneof![0..4_u64, Just(u64::MAX)];
        prop_oneof![
            1 => prop::collection::btree_map(node(), most, 0..4).prop_map(Step::Open),
            4 => node().prop_map(Step::Enter),
            3 => node().prop_map(Step::Leave),
        ]
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_a_count_would_find(steps in vec(step(), 0..80)) {
            let mut slots = Slots::default();
            for step in steps {
                match step {
                    Step::Open(open) => slots.set_open(open),
                    Step::Enter(node) => slots.enter(&node),
                    Step::Leave(node) => slots.leave(&node),
                }
                let left = slots.open().iter().map(|(node, most)| most.saturating_sub(slots.on(node)));
                prop_assert_eq!(slots.free(), left.fold(0, u64::saturating_add));
            }
        }
    }
}
