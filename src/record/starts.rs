//! How long pods take from bound to Ready, by the kind of node, as it is seen live.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write,
    time::Duration,
};

use burstlet_engine::model::{PoolName, Timestamp};

/// Quantiles that are printed at most; ten parts between the quickest and the slowest.
const MOST: usize = 11;

/// Starts that are kept; a later one takes the place of an earlier one.
const KEPT: usize = 100_000;

/// Where pods start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// Nodes with a kubelet of their own.
    Real,
    /// The virtual nodes of a pool.
    Pool(PoolName),
}

/// One look at a pod.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The pod's UID.
    pub uid: &'a str,
    /// The node that it is bound to.
    pub node: Option<&'a str>,
    /// Whether it is Ready.
    pub is_ready: bool,
}

/// A start that has been seen from its begin to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The node.
    pub node: String,
    /// From bound to Ready.
    pub took: Duration,
}

/// Pods that are watched, until they are gone.
#[derive(Debug, Default)]
pub struct Starts {
    /// When each was bound as seen here; None for those that were bound or Ready when first seen.
    pods: BTreeMap<String, Option<Timestamp>>,
}

impl Starts {
    /// Looks at a pod. Tells of its start when it becomes Ready after it was seen to be bound; a pod that was bound when
    /// it was first seen began at an unknown time and does not count.
    pub fn look(&mut self, now: Timestamp, look: Look) -> Option<Start> {
        let unbound = match self.pods.entry(look.uid.to_owned()) {
            Entry::Vacant(vacant) if look.node.is_some() => {
                vacant.insert(None);
                return None;
            }
            // The epoch stands for a pod that has no node yet.
            Entry::Vacant(vacant) => vacant.insert(Some(Timestamp::default())),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        let (Some(since), Some(node)) = (*unbound, look.node) else { return None };
        let bound = if since == Timestamp::default() { now } else { since };
        *unbound = Some(bound);
        if !look.is_ready {
            return None;
        }
        *unbound = None;
        Some(Start { node: node.to_owned(), took: now.since(bound) })
    }

    /// Forgets a pod that is gone.
    pub fn gone(&mut self, uid: &str) {
        self.pods.remove(uid);
    }
}

/// What a pool's virtual nodes are, as far as the cluster tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// How many nodes.
    pub nodes: u32,
    /// Pods that one of them takes.
    pub pods_per_node: u32,
}

/// Start-up times by the ground that pods started on.
#[derive(Debug, Default)]
pub struct StartUps {
    times: BTreeMap<Ground, Vec<Duration>>,
    count: usize,
}

impl StartUps {
    /// Adds one.
    pub fn add(&mut self, ground: Ground, took: Duration) {
        let times = self.times.entry(ground).or_default();
        if times.len() < KEPT {
            times.push(took);
        } else if let Some(place) = times.get_mut(self.count % KEPT) {
            *place = took;
        }
        self.count += 1;
    }

    /// How many were added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// As a scenario has them: the `pools` and `realNodes` sections with what was measured. What no cluster tells (stock,
    /// prices) is left to its writer.
    pub fn yaml(&self, extents: &BTreeMap<PoolName, Extent>) -> String {
        let mut yaml = String::new();
        let mut pools = self.times.iter().filter_map(|(ground, times)| match ground {
            Ground::Pool(pool) => Some((pool, times)),
            Ground::Real => None,
        });
        if let Some(times) = self.times.get(&Ground::Real) {
            let _ = writeln!(yaml, "realNodes:  # {} starts\n  startUp: {}", times.len(), written(times));
        }
        let mut heading = "pools:  # prices are not known here\n";
        for (pool, times) in &mut pools {
            let Extent { nodes, pods_per_node } = extents.get(pool).copied().unwrap_or_default();
            let _ = write!(
                yaml,
                "{heading}- name: {pool}  # {} starts\n  nodes: {nodes}\n  podsPerNode: {pods_per_node}\n  startUp: {}\n",
                times.len(),
                written(times)
            );
            heading = "";
        }
        yaml
    }
}

/// Evenly spaced quantiles, the nearest rank of each.
fn written(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let count = sorted.len().min(MOST);
    let at = |index: usize| {
        let rank = (index * (sorted.len() - 1) + (count - 1) / 2) / (count - 1).max(1);
        let millis = u64::try_from(sorted[rank].as_millis()).unwrap_or(u64::MAX);
        // Nobody sees a cluster to less than 10 ms.
        humantime::format_duration(Duration::from_millis(millis.saturating_add(5) / 10 * 10)).to_string()
    };
    let between: Vec<_> = (1..count.saturating_sub(1)).map(at).collect();
    let between = if between.is_empty() { String::new() } else { format!(", between: [{}]", between.join(", ")) };
    format!("{{min: {}, max: {}{between}}}", at(0), at(count - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn look<'a>(uid: &'a str, node: Option<&'a str>, is_ready: bool) -> Look<'a> {
        Look { uid, node, is_ready }
    }

    #[test]
    fn a_start_counts_once_from_bound_to_ready() {
        let mut starts = Starts::default();
        assert_eq!(starts.look(at(0), look("a", None, false)), None);
        assert_eq!(starts.look(at(100), look("a", Some("n1"), false)), None);
        assert_eq!(starts.look(at(200), look("a", Some("n1"), false)), None);
        let start = Start { node: "n1".to_owned(), took: Duration::from_millis(1400) };
        assert_eq!(starts.look(at(1500), look("a", Some("n1"), true)), Some(start));
        // Its probe fails and passes again.
        assert_eq!(starts.look(at(2000), look("a", Some("n1"), false)), None);
        assert_eq!(starts.look(at(2500), look("a", Some("n1"), true)), None);
    }

    #[test]
    fn a_pod_whose_begin_nobody_saw_does_not_count() {
        let mut starts = Starts::default();
        assert_eq!(starts.look(at(0), look("a", Some("n1"), false)), None);
        assert_eq!(starts.look(at(900), look("a", Some("n1"), true)), None);
        starts.gone("a");
        assert_eq!(starts.pods.len(), 0);
    }

    #[test]
    fn measured_times_become_sections_of_a_scenario() {
        let mut start_ups = StartUps::default();
        for millis in (1..=100).rev() {
            start_ups.add(Ground::Pool("eci".into()), Duration::from_millis(1000 + millis * 20));
        }
        start_ups.add(Ground::Real, Duration::from_millis(812));
        let extents = BTreeMap::from([("eci".into(), Extent { nodes: 2, pods_per_node: 50 })]);
        insta::assert_snapshot!(start_ups.yaml(&extents), @"
        realNodes:  # 1 starts
          startUp: {min: 810ms, max: 810ms}
        pools:  # prices are not known here
        - name: eci  # 100 starts
          nodes: 2
          podsPerNode: 50
          startUp: {min: 1s 20ms, max: 3s, between: [1s 220ms, 1s 420ms, 1s 620ms, 1s 820ms, 2s 20ms, 2s 200ms, 2s 400ms, 2s 600ms, 2s 800ms]}
        ");
        assert_eq!(StartUps::default().yaml(&extents), "");
    }
}
