//! A Deployment's replicas over its revisions, as upstream's deployment controller sets them.

/// A ReplicaSet as the controller sees it; they stand in the order of their age, the newest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Its `spec.replicas`.
    pub(super) desired: u32,
    /// Its Ready pods.
    pub(super) available: u32,
}

/// What the Deployment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) wanted: u32,
    /// Pods beyond the wanted ones.
    pub(super) surge: u32,
    /// Pods that may lack.
    pub(super) unavailable: u32,
}

impl Goal {
    /// At least one way forward must be open: with both bounds at zero, one pod may lack.
    pub(super) fn new(wanted: u32, surge: u32, unavailable: u32) -> Self {
        Self { wanted, surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable } }
    }
}

/// The sizes after `wanted` has changed during a rolling update: the difference is spread in proportion, so that a risk
/// stays as large as it was. `before` is what was wanted when the sizes were set.
pub(super) fn scale(sizes: &[Size], goal: Goal, before: u32, before_surge: u32) -> Vec<u32> {
    let mut desired: Vec<u32> = sizes.iter().map(|size| size.desired).collect();
    let active: Vec<usize> = (0..sizes.len()).filter(|index| desired[*index] > 0).collect();
    let newest = sizes.len().saturating_sub(1);
    if let [] | [_] = active.as_slice() {
        if let Some(size) = desired.get_mut(active.first().copied().unwrap_or(newest)) {
            *size = goal.wanted;
        }
        return desired;
    }
    let all: i64 = desired.iter().map(|size| i64::from(*size)).sum();
    let to_add = i64::from(goal.wanted + goal.surge) - all;
    // Growing: the newest of equals first. Shrinking: the oldest.
    let mut order = active;
    order.sort_by_key(|index| {
        let age = if to_add > 0 { newest - index } else { *index };
        (std::cmp::Reverse(desired[*index]), age)
    });
    let mut left = to_add;
    for index in &order {
        let size = i64::from(desired[*index]);
        let fraction =
            rounded(size * i64::from(goal.wanted + goal.surge), i64::from((before + before_surge).max(1))) - size;
        let part = if to_add > 0 { fraction.clamp(0, left) } else { fraction.clamp(left, 0) };
        left -= part;
        desired[*index] = u32::try_from(size + part).unwrap_or_default();
    }
    if let Some(largest) = order.first() {
        desired[*largest] = u32::try_from(i64::from(desired[*largest]) + left).unwrap_or_default();
    }
    desired
}

/// The sizes one step further in a rolling update; the same where nothing may move yet.
pub(super) fn step(sizes: &[Size], goal: Goal) -> Vec<u32> {
    let mut desired: Vec<u32> = sizes.iter().map(|size| size.desired).collect();
    let Some((newest, old)) = sizes.split_last() else { return desired };
    let all: u32 = desired.iter().sum();
    if newest.desired != goal.wanted {
        let room = (goal.wanted + goal.surge).saturating_sub(all);
        let grown = newest.desired + room.min(goal.wanted.saturating_sub(newest.desired));
        let set = if newest.desired > goal.wanted { goal.wanted } else { grown };
        if set != newest.desired {
            desired[old.len()] = set;
            return desired;
        }
    }
    let least = goal.wanted.saturating_sub(goal.unavailable);
    let new_unavailable = newest.desired.saturating_sub(newest.available);
    let mut may_go = all.saturating_sub(least).saturating_sub(new_unavailable);
    // Old pods that serve nobody go first; then as many as leave enough that serve.
    for (size, old) in desired.iter_mut().zip(old) {
        let gone = old.desired.saturating_sub(old.available).min(may_go);
        *size -= gone;
        may_go -= gone;
    }
    let available: u32 = sizes.iter().map(|size| size.available).sum();
    let mut spare = available.saturating_sub(least);
    for (size, _) in desired.iter_mut().zip(old) {
        let gone = (*size).min(spare);
        *size -= gone;
        spare -= gone;
    }
    desired
}

/// A quotient, halves away from zero.
fn rounded(dividend: i64, divisor: i64) -> i64 {
    (2 * dividend + divisor) / (2 * divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(desired: u32, available: u32) -> Size {
        Size { desired, available }
    }

    #[test]
    fn a_lone_revision_follows_what_is_wanted() {
        assert_eq!(scale(&[size(3, 3)], Goal::new(7, 2, 1), 3, 1), [7]);
        assert_eq!(scale(&[size(0, 0), size(0, 0)], Goal::new(7, 2, 1), 3, 1), [0, 7]);
    }

    #[test]
    fn a_rolling_update_surges_then_takes_old_pods_as_new_ones_serve() {
        let goal = Goal::new(10, 3, 2);
        assert_eq!(step(&[size(10, 10), size(0, 0)], goal), [10, 3], "the surge first");
        assert_eq!(step(&[size(10, 10), size(3, 0)], goal), [8, 3], "and what may lack");
        assert_eq!(step(&[size(8, 8), size(3, 0)], goal), [8, 5]);
        assert_eq!(step(&[size(8, 8), size(5, 0)], goal), [8, 5], "until new pods serve");
        assert_eq!(step(&[size(8, 8), size(5, 4)], goal), [4, 5]);
        assert_eq!(step(&[size(0, 0), size(10, 10)], goal), [0, 10]);
    }

    #[test]
    fn old_pods_that_do_not_serve_go_first() {
        assert_eq!(step(&[size(10, 4), size(3, 0)], Goal::new(10, 3, 2)), [8, 3]);
    }

    #[test]
    fn scaling_amid_an_update_is_in_proportion() {
        // Upstream's own example: 5 and 5 of 10 with a surge of 3 become 20.
        let goal = Goal::new(20, 6, 5);
        let grown = scale(&[size(8, 8), size(5, 0)], goal, 10, 3);
        assert_eq!(grown, [16, 10]);
        let shrunk = scale(&[size(16, 8), size(10, 0)], Goal::new(10, 3, 2), 20, 6);
        assert_eq!(shrunk, [8, 5]);
    }

    #[test]
    fn an_update_that_may_neither_grow_nor_lack_may_lack_one() {
        assert_eq!(step(&[size(4, 4), size(0, 0)], Goal::new(4, 0, 0)), [3, 0]);
    }
}
