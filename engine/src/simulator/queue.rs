//! What is to come, in order of time; what falls on the same millisecond comes in the order in which it was planned.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::model::Timestamp;

/// Events to come.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Timestamp, u64, Planned<T>)>>,
    planned: u64,
}

/// An event, which takes no part in the order.
#[derive(Debug)]
struct Planned<T>(T);

impl<T> PartialEq for Planned<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    /// Plans an event for this moment.
    pub(super) fn plan(&mut self, at: Timestamp, event: T) {
        self.heap.push(Reverse((at, self.planned, Planned(event))));
        self.planned += 1;
    }

    /// When the next event comes.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event, if it comes at `at` or before.
    pub(super) fn take_until(&mut self, at: Timestamp) -> Option<T> {
        if self.next_at()? > at {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, Planned(event)))| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_together_comes_in_the_order_of_planning() {
        let mut queue = Queue::new();
        let at = Timestamp::from_millis;
        for (millis, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b'), (5, 'e')] {
            queue.plan(at(millis), event);
        }
        assert_eq!(queue.next_at(), Some(at(1)));
        let early: String = std::iter::from_fn(|| queue.take_until(at(4))).collect();
        let late: String = std::iter::from_fn(|| queue.take_until(at(5))).collect();
        assert_eq!((early.as_str(), late.as_str()), ("ab", "cde"));
    }
}
