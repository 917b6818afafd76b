//! Stabilisation: recommendations are remembered, so that a short dip or peak does not move the target.
//!
//! They are stored before limits apply. A later sync may therefore scale up to an older one.

use std::time::Duration;

use super::moment::Moment;

#[derive(Debug, Clone, Copy)]
struct Recommendation {
    replicas: i32,
    at: Moment,
}

/// The recommendations of one HPA.
#[derive(Debug, Clone, Default)]
pub(super) struct Recommendations(Vec<Recommendation>);

impl Recommendations {
    /// The first sync stores what there is as a recommendation, so that a restart scales nothing down at once.
    pub(super) fn begin(&mut self, replicas: i32, now: Moment) {
        if self.0.is_empty() {
            self.0.push(Recommendation { replicas, at: now });
        }
    }

    /// Without behavior: the highest recommendation of the window.
    pub(super) fn highest(&mut self, replicas: i32, window: Duration, now: Moment) -> i32 {
        let mut highest = replicas;
        let mut past = None;
        for (index, known) in self.0.iter().enumerate() {
            if known.at.is_past(window, now) {
                past = Some(index);
            } else {
                highest = highest.max(known.replicas);
            }
        }
        self.store(past, replicas, now);
        highest
    }

    /// With behavior: `current`, moved no further than every recommendation of a direction's window agrees to.
    pub(super) fn within(&mut self, current: i32, replicas: i32, up: Duration, down: Duration, now: Moment) -> i32 {
        let (mut lowest, mut highest) = (replicas, replicas);
        let mut past = None;
        for (index, known) in self.0.iter().enumerate() {
            let (past_up, past_down) = (known.at.is_past(up, now), known.at.is_past(down, now));
            if !past_up {
                lowest = lowest.min(known.replicas);
            }
            if !past_down {
                highest = highest.max(known.replicas);
            }
            if past_up && past_down {
                past = Some(index);
            }
        }
        self.store(past, replicas, now);
        current.max(lowest).min(highest)
    }

    /// In place of the last one that no window holds, so that they stay few.
    fn store(&mut self, past: Option<usize>, replicas: i32, now: Moment) {
        let recommendation = Recommendation { replicas, at: now };
        match past.and_then(|index| self.0.get_mut(index)) {
            Some(known) => *known = recommendation,
            None => self.0.push(recommendation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(5);
    const NONE: Duration = Duration::ZERO;

    fn at(seconds: i64) -> Moment {
        Moment::from_secs(seconds)
    }

    #[test]
    fn the_replicas_of_the_first_sync_hold_a_scale_down_until_the_window_has_passed() {
        let mut known = Recommendations::default();
        known.begin(5, at(0));
        assert_eq!(known.highest(2, WINDOW, at(0)), 5);
        assert_eq!(known.highest(2, WINDOW, at(299)), 5);
        assert_eq!(known.highest(2, WINDOW, at(300)), 2);
    }

    #[test]
    fn a_window_of_nothing_forgets_the_first_sync_at_once() {
        let mut known = Recommendations::default();
        known.begin(5, at(0));
        assert_eq!(known.highest(2, NONE, at(0)), 2);
    }

    #[test]
    fn an_older_recommendation_may_lift_the_target_above_the_current_one() {
        let mut known = Recommendations::default();
        known.begin(3, at(0));
        assert_eq!(known.highest(9, WINDOW, at(0)), 9);
        assert_eq!(known.highest(4, WINDOW, at(15)), 9);
    }

    #[test]
    fn each_direction_has_a_window_of_its_own() {
        let mut known = Recommendations::default();
        known.begin(4, at(0));
        let minute = Duration::from_mins(1);
        assert_eq!(known.within(4, 8, minute, NONE, at(15)), 4, "4 was recommended within the minute");
        assert_eq!(known.within(4, 8, minute, NONE, at(61)), 8);
        assert_eq!(known.within(8, 2, minute, NONE, at(75)), 2, "nothing holds a scale-down back");
        assert_eq!(known.within(8, 2, NONE, WINDOW, at(90)), 8);
    }

    #[test]
    fn only_what_both_windows_have_passed_is_replaced() {
        let mut known = Recommendations::default();
        known.begin(9, at(0));
        known.within(9, 1, NONE, WINDOW, at(10));
        assert_eq!(known.0.len(), 2, "the longer window still holds the first");
        known.within(9, 1, NONE, WINDOW, at(300));
        assert_eq!(known.0.len(), 2);
        assert_eq!(known.within(9, 1, NONE, WINDOW, at(301)), 1);
    }
}
