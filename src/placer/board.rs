//! What the leader sees, for those who look on. Bounded: an hour of moments, the last decisions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use burstlet_engine::{
    model::{ObjectName, Timestamp},
    placement::{Census, Placement, PoolSight, Reason},
};

/// Decisions kept.
const DECISIONS: usize = 50;
/// Time between two moments that are kept.
const MOMENT_MS: u64 = 15_000;
/// Moments kept: an hour.
const MOMENTS: usize = 240;

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// When.
    pub at: Timestamp,
    /// How each governed workload's pods stand.
    pub workloads: BTreeMap<ObjectName, Census>,
    /// How each pool stands.
    pub pools: Vec<PoolSight>,
    /// The last decisions, the latest first.
    pub decisions: VecDeque<Decided>,
    /// The last hour, the latest last; it begins when this replica began to lead.
    pub moments: VecDeque<Moment>,
}

/// A decision about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// The pod.
    pub pod: ObjectName,
    /// The reason in one word.
    pub word: String,
    /// The reason.
    pub reason: String,
}

/// Governed pods at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// On real nodes, or meant for them.
    pub real: usize,
    /// On pools.
    pub cloud: usize,
    /// Behind the gate.
    pub waiting: usize,
}

/// Where the leader writes what it sees. Cheap to clone; all clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Option<Sight>>>);

impl Board {
    /// What there is to see; nothing where this replica does not lead.
    pub fn look(&self) -> Option<Sight> {
        self.sight().clone()
    }

    /// A board that shows this.
    pub fn seen(sight: Sight) -> Self {
        Self(Arc::new(Mutex::new(Some(sight))))
    }

    pub(super) fn decided(&self, at: Timestamp, pod: &ObjectName, reason: &Reason) {
        let decided = Decided { at, pod: pod.clone(), word: reason.word().to_owned(), reason: reason.to_string() };
        let mut sight = self.sight();
        let decisions = &mut sight.get_or_insert_default().decisions;
        decisions.push_front(decided);
        decisions.truncate(DECISIONS);
    }

    pub(super) fn show(&self, placement: &Placement, now: Timestamp) {
        let (workloads, pools) = (placement.census(), placement.pools_at(now));
        let mut moment = Moment { at: now, ..Moment::default() };
        for census in workloads.values() {
            moment.real += census.base - census.strayed + census.beyond;
            moment.cloud += census.burst + census.strayed;
            moment.waiting += census.waiting;
        }
        let mut sight = self.sight();
        let sight = sight.get_or_insert_default();
        (sight.at, sight.workloads, sight.pools) = (now, workloads, pools);
        let last = sight.moments.back().map_or(0, |last| last.at.as_millis());
        if last / MOMENT_MS == now.as_millis() / MOMENT_MS {
            sight.moments.pop_back();
        }
        sight.moments.push_back(moment);
        while sight.moments.len() > MOMENTS {
            sight.moments.pop_front();
        }
    }

    /// This replica leads no more.
    pub(super) fn clear(&self) {
        *self.sight() = None;
    }

    fn sight(&self) -> MutexGuard<'_, Option<Sight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use burstlet_engine::policy::{MoveBack, Settings};

    use super::*;

    #[test]
    fn a_board_keeps_an_hour_and_is_empty_where_nobody_leads() {
        let board = Board::default();
        assert!(board.look().is_none());
        let none = Duration::ZERO;
        let move_back = MoveBack { after: none, at_once: 1, cool_down: none };
        let placement = Placement::new(Settings { pools: Vec::new(), move_on_after: none, move_back });
        for second in 0..8_000 {
            board.show(&placement, Timestamp::from_millis(second * 1_000));
        }
        let sight = board.look().unwrap();
        assert_eq!(sight.moments.len(), MOMENTS);
        assert_eq!(sight.moments.back().unwrap().at, sight.at);
        board.clear();
        assert!(board.look().is_none());
    }
}
