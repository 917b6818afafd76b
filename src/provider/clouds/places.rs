//! The zones or subnets of a pool, and which of them to try next.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a place that had no machines or addresses is left out.
pub const REMEMBERED: Duration = Duration::from_mins(2);

/// In which order places are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they are written.
    #[default]
    Ordered,
    /// Beginning with another one each time, so that instances spread.
    Spread,
}

/// Places of a pool, by index, and which of them were short lately.
#[derive(Debug)]
pub struct Places {
    count: usize,
    order: Order,
    remembered: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    turn: usize,
    short_until: BTreeMap<usize, Instant>,
}

impl Places {
    /// `count` places that are all believed to have room.
    pub fn new(count: usize, order: Order) -> Self {
        Self { count, order, remembered: REMEMBERED, state: Mutex::default() }
    }

    /// The same, remembering a shortage for `remembered`.
    #[must_use]
    pub fn remembering(self, remembered: Duration) -> Self {
        Self { remembered, ..self }
    }

    /// The places to try now, best first; those that were short lately are left out. Empty while all are short.
    pub fn candidates(&self) -> Vec<usize> {
        let now = Instant::now();
        let mut state = self.state();
        state.short_until.retain(|_, until| *until > now);
        let first = match self.order {
            Order::Ordered => 0,
            Order::Spread => {
                state.turn = state.turn.wrapping_add(1);
                state.turn
            }
        };
        let places = (0..self.count).map(|offset| (first + offset) % self.count.max(1));
        places.filter(|place| !state.short_until.contains_key(place)).collect()
    }

    /// `place` has neither machines nor addresses now.
    pub fn is_short(&self, place: usize) {
        let until = Instant::now() + self.remembered;
        self.state().short_until.insert(place, until);
    }

    /// `place` was seen to have room.
    pub fn has_room(&self, place: usize) {
        self.state().short_until.remove(&place);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_short_place_is_left_out_for_a_while_and_comes_back() {
        let places = Places::new(3, Order::Ordered);
        places.is_short(0);
        assert_eq!(places.candidates(), [1, 2]);
        tokio::time::sleep(REMEMBERED).await;
        assert_eq!(places.candidates(), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn spreading_begins_with_another_place_each_time() {
        let places = Places::new(3, Order::Spread);
        assert_eq!(places.candidates(), [1, 2, 0]);
        assert_eq!(places.candidates(), [2, 0, 1]);
        assert!(Places::new(0, Order::Spread).candidates().is_empty());
    }
}
