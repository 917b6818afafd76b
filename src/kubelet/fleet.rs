//! How many virtual nodes stand for a pool, and which of them goes: the decision alone.
//!
//! **The rule.** There are as many open nodes as the pool's pods fill, and one more, so that a burst finds room while the
//! next node is made; where all are full, as many again. A node too many for [`SHRINK_AFTER`] is drained: the one with
//! the fewest pods, one at a time, never the first, which every burst pod is pinned to beside the others. A node goes when
//! neither pod nor instance is left on it. Nodes cost nothing at the provider, so coming is quick and going is slow.

use std::{collections::BTreeMap, time::Duration};

/// How long fewer nodes must have been enough before one is drained.
pub(crate) const SHRINK_AFTER: Duration = Duration::from_mins(2);

/// Number of a virtual node within its pool, from 0: the end of its name.
pub(crate) type NodeIndex = u32;

/// What a pool may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Fewest nodes, 1 or more.
    pub(crate) least: u32,
    /// Most nodes.
    pub(crate) most: u32,
    /// Most pods of a node.
    pub(crate) pods_per_node: u32,
}

/// Whether a node takes pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Use {
    /// It takes pods.
    #[default]
    Open,
    /// Somebody else has cordoned it: it takes none until they say so, and is not ours to empty.
    Cordoned,
    /// It is on its way out: cordoned and emptied.
    Drains,
}

/// A node that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Pods bound to it that have, or will have, an instance.
    pub(crate) pods: u32,
    /// Instances that run for it, orphans included.
    pub(crate) instances: u32,
    /// Whether it takes pods.
    pub(crate) is: Use,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make this node.
    Make(NodeIndex),
    /// Take this one, which drains, back into use.
    Reopen(NodeIndex),
    /// Cordon this one and evict what stands on it.
    Drain(NodeIndex),
    /// Delete this one: nothing is left on it.
    Remove(NodeIndex),
}

/// How many open nodes the pool shall have.
pub(crate) fn wanted(bounds: Bounds, nodes: &BTreeMap<NodeIndex, Standing>) -> u32 {
    let Bounds { least, most, pods_per_node } = bounds;
    let pods = nodes.values().fold(0_u32, |sum, node| sum.saturating_add(node.pods));
    let filled = pods.div_ceil(pods_per_node.max(1)).saturating_add(1);
    let open = open(nodes);
    let count = u32::try_from(open.clone().count()).unwrap_or(u32::MAX);
    let is_full = open.fold(0_u32, |sum, (_, node)| sum.saturating_add(pods_per_node.saturating_sub(node.pods))) == 0;
    let doubled = if is_full { count.saturating_mul(2) } else { 0 };
    filled.max(doubled).max(least).min(most).max(1)
}

/// Whether more nodes are open than the pool shall have.
pub(crate) fn is_surplus(bounds: Bounds, nodes: &BTreeMap<NodeIndex, Standing>) -> bool {
    open(nodes).count() > wanted(bounds, nodes) as usize
}

/// What to do now, where fewer nodes have been enough for `surplus`.
pub(crate) fn steps(bounds: Bounds, nodes: &BTreeMap<NodeIndex, Standing>, surplus: Duration) -> Vec<Step> {
    let wanted = wanted(bounds, nodes);
    let allowed = |index: NodeIndex| index < bounds.most.max(1);
    let mut count = u32::try_from(open(nodes).filter(|(index, _)| allowed(*index)).count()).unwrap_or(u32::MAX);
    let mut steps = Vec::new();
    // Those that stand already come first: their pods need no eviction then.
    for (index, _) in nodes.iter().filter(|(index, node)| node.is == Use::Drains && allowed(**index)) {
        if count < wanted {
            steps.push(Step::Reopen(*index));
            count += 1;
        }
    }
    for index in (0..bounds.most.max(1)).filter(|index| !nodes.contains_key(index)) {
        if count >= wanted {
            break;
        }
        steps.push(Step::Make(index));
        count += 1;
    }
    // Beyond a maximum that was lowered, nothing stays.
    let stay = nodes.iter().filter(|(_, node)| node.is != Use::Drains);
    steps.extend(stay.filter(|(index, _)| !allowed(**index)).map(|(index, _)| Step::Drain(*index)));
    let at_rest = !nodes.values().any(|node| node.is == Use::Drains);
    if steps.is_empty() && at_rest && count > wanted && surplus >= SHRINK_AFTER {
        let least =
            open(nodes).filter(|(index, _)| *index != 0).min_by_key(|(index, node)| (node.pods, u32::MAX - index));
        steps.extend(least.map(|(index, _)| Step::Drain(index)));
    }
    let is_empty = |node: &Standing| node.is == Use::Drains && node.pods == 0 && node.instances == 0;
    let emptied = nodes.iter().filter(|(_, node)| is_empty(node)).map(|(index, _)| Step::Remove(*index));
    let emptied: Vec<_> =
        emptied.filter(|step| !matches!(step, Step::Remove(i) if steps.contains(&Step::Reopen(*i)))).collect();
    steps.extend(emptied);
    steps
}

/// Most pods that each open node shows, where the pool has room for `left` more in all (`None`: nobody tells). A node's
/// own pods always count, so that what is shown does not move while pods come.
pub(crate) fn shown(
    bounds: Bounds,
    nodes: &BTreeMap<NodeIndex, Standing>,
    left: Option<u64>,
) -> BTreeMap<NodeIndex, u32> {
    let mut left = left;
    let show = |(index, node): (NodeIndex, Standing)| {
        let free = u64::from(bounds.pods_per_node.saturating_sub(node.pods));
        let free = left.map_or(free, |left| left.min(free));
        left = left.map(|left| left - free);
        (index, node.pods.saturating_add(u32::try_from(free).unwrap_or(u32::MAX)))
    };
    open(nodes).map(show).collect()
}

fn open(nodes: &BTreeMap<NodeIndex, Standing>) -> impl Iterator<Item = (NodeIndex, Standing)> + Clone {
    nodes.iter().filter(|(_, node)| node.is == Use::Open).map(|(index, node)| (*index, *node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { least: 1, most: 4, pods_per_node: 10 };

    fn nodes(pods: &[u32]) -> BTreeMap<NodeIndex, Standing> {
        let standing = |pods| Standing { pods, instances: pods, is: Use::Open };
        (0..).zip(pods.iter().copied().map(standing)).collect()
    }

    fn apply(nodes: &mut BTreeMap<NodeIndex, Standing>, step: Step) {
        match step {
            Step::Make(index) => assert_eq!(nodes.insert(index, Standing::default()), None, "made twice"),
            Step::Reopen(index) => nodes.get_mut(&index).unwrap().is = Use::Open,
            Step::Drain(index) => nodes.get_mut(&index).unwrap().is = Use::Drains,
            Step::Remove(index) => drop(nodes.remove(&index).unwrap()),
        }
    }

    #[test]
    fn a_pool_at_rest_keeps_its_first_node() {
        assert_eq!(steps(BOUNDS, &nodes(&[]), Duration::ZERO), [Step::Make(0)]);
        assert_eq!(steps(BOUNDS, &nodes(&[0]), SHRINK_AFTER), []);
    }

    #[test]
    fn one_node_more_than_pods_fill_stands_ready() {
        assert_eq!(steps(BOUNDS, &nodes(&[1]), Duration::ZERO), [Step::Make(1)]);
        assert_eq!(steps(BOUNDS, &nodes(&[10, 0]), Duration::ZERO), []);
        assert_eq!(steps(BOUNDS, &nodes(&[10, 1]), Duration::ZERO), [Step::Make(2)]);
    }

    #[test]
    fn full_nodes_are_doubled_up_to_the_maximum() {
        assert_eq!(steps(BOUNDS, &nodes(&[10, 10]), Duration::ZERO), [Step::Make(2), Step::Make(3)]);
        assert_eq!(wanted(BOUNDS, &nodes(&[10, 10, 10, 10])), 4);
        assert_eq!(steps(BOUNDS, &nodes(&[10, 10, 10, 10]), Duration::ZERO), []);
    }

    #[test]
    fn the_emptiest_node_is_drained_after_a_while_and_one_at_a_time() {
        let mut nodes = nodes(&[3, 2, 1, 1]);
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER.checked_sub(Duration::from_secs(1)).unwrap()), []);
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER), [Step::Drain(3)]);
        apply(&mut nodes, Step::Drain(3));
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER), [], "a second while the first drains");
        nodes.insert(3, Standing { pods: 0, instances: 1, is: Use::Drains });
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER), [], "its instance is not gone yet");
        nodes.insert(3, Standing { pods: 0, instances: 0, is: Use::Drains });
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER), [Step::Remove(3)]);
    }

    #[test]
    fn the_first_node_stays_though_it_is_the_emptiest() {
        assert_eq!(steps(BOUNDS, &nodes(&[0, 3, 3]), SHRINK_AFTER), [Step::Drain(2)]);
    }

    #[test]
    fn a_node_that_drains_is_taken_back_before_a_new_one_is_made() {
        let mut nodes = nodes(&[10, 10, 5]);
        nodes.get_mut(&2).unwrap().is = Use::Drains;
        assert_eq!(steps(BOUNDS, &nodes, Duration::ZERO), [Step::Reopen(2), Step::Make(3)]);
    }

    #[test]
    fn a_node_that_somebody_has_cordoned_is_no_room_and_is_left_to_them() {
        let mut nodes = nodes(&[0, 0]);
        nodes.get_mut(&0).unwrap().is = Use::Cordoned;
        nodes.get_mut(&1).unwrap().is = Use::Cordoned;
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER), [Step::Make(2)]);
        nodes.insert(2, Standing::default());
        assert_eq!(steps(BOUNDS, &nodes, SHRINK_AFTER), []);
        assert_eq!(shown(BOUNDS, &nodes, Some(3)), BTreeMap::from([(2, 3)]));
        assert_eq!(steps(Bounds { most: 1, ..BOUNDS }, &nodes, Duration::ZERO), [Step::Drain(1), Step::Drain(2)]);
    }

    #[test]
    fn nodes_beyond_a_lowered_maximum_go() {
        let bounds = Bounds { most: 1, ..BOUNDS };
        assert_eq!(steps(bounds, &nodes(&[10, 3]), Duration::ZERO), [Step::Drain(1)]);
    }

    #[test]
    fn what_is_left_is_shown_once_whatever_comes() {
        let total = |left, pods: &[u32]| shown(BOUNDS, &nodes(pods), left).into_values().collect::<Vec<_>>();
        assert_eq!(total(None, &[4, 0]), [10, 10]);
        assert_eq!(total(Some(8), &[4, 0]), [10, 2]);
        // Two pods more, and two fewer to come: the same.
        assert_eq!(total(Some(6), &[6, 0]), [10, 2]);
        assert_eq!(total(Some(0), &[6, 1]), [6, 1]);
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        let uses = prop_oneof![Just(Use::Open), Just(Use::Cordoned), Just(Use::Drains)];
        (0_u32..15, uses, 0_u32..3).prop_map(|(pods, is, more)| {
            let pods = pods.saturating_sub(4);
            Standing { pods, instances: (pods + more).saturating_sub(1), is }
        })
    }

    proptest! {
        #[test]
        fn no_step_costs_a_pod_or_leaves_the_bounds(
            least in 1_u32..3,
            beyond in 0_u32..5,
            before in proptest::collection::btree_map(0_u32..8, any_standing(), 0..8),
            surplus in 0_u64..600,
        ) {
            let bounds = Bounds { least, most: least + beyond, pods_per_node: 10 };
            let mut nodes = before.clone();
            let taken = steps(bounds, &nodes, Duration::from_secs(surplus));
            for step in &taken {
                match step {
                    Step::Remove(index) => {
                        let node = before[index];
                        prop_assert!(node.is == Use::Drains && node.pods == 0 && node.instances == 0);
                    }
                    Step::Drain(index) => {
                        let is = before[index].is;
                        prop_assert!(*index != 0 && (is == Use::Open || is == Use::Cordoned && *index >= bounds.most));
                    }
                    Step::Make(index) | Step::Reopen(index) => prop_assert!(*index < bounds.most),
                }
                apply(&mut nodes, *step);
            }
            let within = |nodes: &BTreeMap<u32, Standing>| open(nodes).filter(|(index, _)| *index < bounds.most).count();
            let count = u32::try_from(within(&nodes)).unwrap();
            let wanted = wanted(bounds, &before);
            let is_theirs = |index: &u32| before.get(index).is_some_and(|node| node.is == Use::Cordoned);
            let can = u32::try_from((0..bounds.most).filter(|index| !is_theirs(index)).count()).unwrap();
            prop_assert!(count >= wanted.min(can), "{count} of {wanted} after {taken:?}");
            prop_assert!(count <= bounds.most);
            prop_assert!(open(&nodes).all(|(index, _)| index < bounds.most));
            let drained = taken.iter().filter(|step| matches!(step, Step::Drain(i) if *i < bounds.most)).count();
            prop_assert!(drained <= 1, "{taken:?}");
            // Whatever was started comes to rest, in finitely many looks.
            for _ in 0..3 {
                for step in steps(bounds, &nodes, Duration::ZERO) {
                    apply(&mut nodes, step);
                }
            }
            prop_assert_eq!(steps(bounds, &nodes, Duration::ZERO), []);
        }

        #[test]
        fn never_more_is_shown_than_is_left(
            left in 0_u64..60,
            nodes in proptest::collection::btree_map(0_u32..6, any_standing(), 0..6),
        ) {
            let shown = shown(BOUNDS, &nodes, Some(left));
            let free: u64 = shown.iter().map(|(index, most)| u64::from(most - nodes[index].pods)).sum();
            prop_assert!(free <= left);
        }
    }
}
