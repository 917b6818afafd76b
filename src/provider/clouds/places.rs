//! The zones or subnets of a pool, and which of them to try next.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a place that had no machines or addresses is left out.
pub const REMEMBERED: Duration = Duration::from_mins(2);

/// How often a place is tried while all are short.
pub const PROBE_EVERY: Duration = Duration::from_secs(10);

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
    /// When one was last tried although all were short.
    probed: Option<Instant>,
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

    /// The places to try now, best first; those that were short lately are left out. While all are short, one of them
    /// is tried every [`PROBE_EVERY`], and otherwise there is none.
    pub fn candidates(&self) -> Vec<usize> {
        let turn = {
            let mut state = self.state();
            state.turn = state.turn.wrapping_add(1);
            state.turn
        };
        self.beginning_with(turn)
    }

    /// The same, where whatever has this key always begins with the same place: asking again then asks there again.
    pub fn candidates_for(&self, key: &str) -> Vec<usize> {
        let sum = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.beginning_with(sum)
    }

    fn beginning_with(&self, first: usize) -> Vec<usize> {
        let now = Instant::now();
        let mut state = self.state();
        state.short_until.retain(|_, until| *until > now);
        let first = if self.order == Order::Ordered { 0 } else { first % self.count.max(1) };
        let places = (0..self.count).map(|offset| (first + offset) % self.count.max(1));
        let open = places.filter(|place| !state.short_until.contains_key(place)).collect::<Vec<_>>();
        if !open.is_empty() {
            return open;
        }
        // The one whose shortage is longest ago.
        let oldest = state.short_until.iter().min_by_key(|(_, until)| **until).map(|(place, _)| *place);
        if state.probed.is_some_and(|at| now.duration_since(at) < PROBE_EVERY) {
            return Vec::new();
        }
        state.probed = Some(now);
        oldest.into_iter().collect()
    }

    /// Whether `place` is believed to have room.
    pub fn is_open(&self, place: usize) -> bool {
        let now = Instant::now();
        self.state().short_until.get(&place).is_none_or(|until| *until <= now)
    }

    /// Whether any place is believed to have room.
    pub fn has_any(&self) -> bool {
        (0..self.count).any(|place| self.is_open(place))
    }

    /// `place` has neither machines nor addresses now.
    pub fn is_short(&self, place: usize) {
        let now = Instant::now();
        let mut state = self.state();
        state.short_until.insert(place, now + self.remembered);
        // The shortage has just been seen: the next look is due after a while.
        state.probed = Some(now);
    }

    /// The account takes no more, wherever: the same for every place.
    pub fn are_all_short(&self) {
        (0..self.count).for_each(|place| self.is_short(place));
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
    async fn while_all_are_short_one_is_tried_now_and_then() {
        let places = Places::new(2, Order::Ordered);
        places.is_short(0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        places.is_short(1);
        assert!(places.candidates().is_empty() && !places.has_any());
        tokio::time::sleep(PROBE_EVERY).await;
        assert_eq!(places.candidates(), [0]);
        assert!(places.candidates().is_empty());
        places.has_room(0);
        assert_eq!(places.candidates(), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn spreading_by_key_begins_with_the_same_place_again() {
        let places = Places::new(3, Order::Spread);
        assert_eq!(places.candidates_for("a"), places.candidates_for("a"));
        let firsts = (0..100).map(|n| places.candidates_for(&format!("uid-{n}"))[0]);
        assert_eq!(firsts.collect::<std::collections::BTreeSet<_>>().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn spreading_begins_with_another_place_each_time() {
        let places = Places::new(3, Order::Spread);
        assert_eq!(places.candidates(), [1, 2, 0]);
        assert_eq!(places.candidates(), [2, 0, 1]);
        assert!(Places::new(0, Order::Spread).candidates().is_empty());
    }
}
