//! Which pods a ReplicaSet deletes first.

use std::{cmp::Reverse, time::Duration};

use crate::model::Timestamp;

/// A pod's place in the order of deletion, as upstream's `ActivePodsWithRanks` has it; the least goes first.
///
/// Unassigned before assigned, pending before running, not Ready before Ready, cheap before dear
/// (`pod-deletion-cost`), crowded nodes before empty ones, and of pods Ready (or created) for about as long, to the
/// power of two, any: by a number that is rolled for the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_assigned: bool,
    is_running: bool,
    is_ready: bool,
    cost: i32,
    crowd: Reverse<u32>,
    ready_for: u32,
    created_for: u32,
    roll: u32,
}

/// What the order looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) is_assigned: bool,
    pub(super) is_running: bool,
    pub(super) ready_since: Option<Timestamp>,
    pub(super) cost: i32,
    /// Pods of the same workload on the same node.
    pub(super) crowd: u32,
    pub(super) created: Timestamp,
    pub(super) roll: u32,
}

impl Candidate {
    pub(super) fn rank(&self, now: Timestamp) -> Rank {
        Rank {
            is_assigned: self.is_assigned,
            is_running: self.is_running,
            is_ready: self.ready_since.is_some(),
            cost: self.cost,
            crowd: Reverse(self.crowd),
            ready_for: self.ready_since.map_or(0, |since| magnitude(now.since(since))),
            created_for: magnitude(now.since(self.created)),
            roll: self.roll,
        }
    }
}

/// The power of two of an age, so that a moment's difference decides among young pods only. The youngest go first.
fn magnitude(age: Duration) -> u32 {
    u64::try_from(age.as_nanos()).unwrap_or(u64::MAX).checked_ilog2().map_or(0, |power| power + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }

    fn ready(cost: i32, crowd: u32, since: u64) -> Candidate {
        let since = Timestamp::from_millis(since);
        Candidate {
            is_assigned: true,
            is_running: true,
            ready_since: Some(since),
            cost,
            crowd,
            created: since,
            roll: 5,
        }
    }

    #[test]
    fn each_rule_decides_before_the_next() {
        let unready = Candidate { ready_since: None, ..ready(100, 0, 0) };
        let pending = Candidate { is_running: false, ..unready };
        let unassigned = Candidate { is_assigned: false, ..pending };
        let order = [
            unassigned,
            pending,
            unready,
            ready(-100, 1, 0),
            ready(0, 5, 0),
            ready(0, 1, 990_000),
            Candidate { roll: 4, ..ready(0, 1, 600_000) },
            ready(0, 1, 599_000),
            ready(0, 1, 0),
        ];
        let ranks: Vec<_> = order.iter().map(|candidate| candidate.rank(now())).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:#?}");
    }

    #[test]
    fn pods_of_about_the_same_age_are_equal() {
        assert_eq!(ready(0, 1, 600_000).rank(now()), ready(0, 1, 500_000).rank(now()));
    }
}
