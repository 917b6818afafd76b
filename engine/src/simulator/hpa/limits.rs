//! Limits of a change: how far from the current replicas one sync may go.

use super::{
    arithmetic::to_i32,
    moment::Moment,
    policy::{Change, Rules, Select, Step},
};

/// Where the replicas end, and what held them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
}

const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (&str, &str) = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP: (&str, &str) = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

fn limited(replicas: i32, (reason, message): (&'static str, &'static str)) -> Limited {
    Limited { replicas, reason, message }
}

/// The least and the most replicas that the HPA allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) min: i32,
    pub(super) max: i32,
}

/// Without behavior: at most twice the current replicas, or four.
pub(super) fn without_behavior(current: i32, desired: i32, range: Range) -> Limited {
    let fast = to_i32((2.0 * f64::from(current)).max(4.0));
    let (most, why) = if range.max > fast { (fast, UP) } else { (range.max, TOO_MANY) };
    if desired < range.min {
        limited(range.min, TOO_FEW)
    } else if desired > most {
        limited(most, why)
    } else {
        limited(desired, WITHIN)
    }
}

/// One change that the HPA made.
#[derive(Debug, Clone, Copy)]
struct ScaleEvent {
    /// By how many replicas, without a sign.
    change: i32,
    at: Moment,
    /// Its place may be taken. It goes on counting where a longer period still holds it.
    outdated: bool,
}

/// The changes that the HPA made, by direction.
#[derive(Debug, Clone, Default)]
pub(super) struct ScaleEvents {
    up: Vec<ScaleEvent>,
    down: Vec<ScaleEvent>,
}

impl ScaleEvents {
    /// Stores a change. The place of one that the longest period of its own direction has passed is taken, the last such.
    pub(super) fn store(&mut self, rules: &Rules, from: i32, to: i32, now: Moment) {
        let (events, change) = if to > from { (&mut self.up, &rules.up) } else { (&mut self.down, &rules.down) };
        let longest = change.longest_period();
        let mut free = None;
        for event in events.iter_mut() {
            event.outdated |= event.at.is_past(longest, now);
            if event.outdated {
                free = Some(&mut *event);
            }
        }
        let event = ScaleEvent { change: to.wrapping_sub(from).wrapping_abs(), at: now, outdated: false };
        match free {
            Some(outdated) => *outdated = event,
            None => events.push(event),
        }
    }

    /// With behavior: as far as the policies of the direction allow.
    pub(super) fn limit(&self, rules: &Rules, current: i32, desired: i32, range: Range, now: Moment) -> Limited {
        if desired > current {
            let rate = self.furthest_up(&rules.up, current, now).max(current);
            let (most, why) = if range.max > rate { (rate, UP) } else { (range.max, TOO_MANY) };
            if desired > most {
                return limited(most, why);
            }
        } else if desired < current {
            let rate = self.furthest_down(&rules.down, current, now).min(current);
            let (least, why) = if range.min < rate { (rate, DOWN) } else { (range.min, TOO_FEW) };
            if desired < least {
                return limited(least, why);
            }
        }
        limited(desired, WITHIN)
    }

    fn furthest_up(&self, rules: &Change, current: i32, now: Moment) -> i32 {
        let reached = rules.steps.iter().map(|step| {
            let begin = self.replicas_at_begin(step, current, now);
            if step.percent {
                // Rounded up, or one replica would never become two.
                to_i32((f64::from(begin) * (1.0 + f64::from(step.value) / 100.0)).ceil())
            } else {
                begin.wrapping_add(step.value)
            }
        });
        match rules.select {
            Select::Disabled => current,
            Select::Least => reached.min().unwrap_or(i32::MAX),
            Select::Most => reached.max().unwrap_or(i32::MIN),
        }
    }

    fn furthest_down(&self, rules: &Change, current: i32, now: Moment) -> i32 {
        let reached = rules.steps.iter().map(|step| {
            let begin = self.replicas_at_begin(step, current, now);
            if step.percent {
                to_i32(f64::from(begin) * (1.0 - f64::from(step.value) / 100.0))
            } else {
                begin.wrapping_sub(step.value)
            }
        });
        match rules.select {
            Select::Disabled => current,
            Select::Least => reached.max().unwrap_or(i32::MIN),
            Select::Most => reached.min().unwrap_or(i32::MAX),
        }
    }

    /// The replicas when the policy's period began: changes in both directions since then are taken back.
    fn replicas_at_begin(&self, step: &Step, current: i32, now: Moment) -> i32 {
        let since = |events: &[ScaleEvent]| {
            let recent = events.iter().filter(|event| !event.at.is_past(step.period, now));
            recent.fold(0_i32, |sum, event| sum.wrapping_add(event.change))
        };
        current.wrapping_sub(since(&self.up)).wrapping_add(since(&self.down))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WIDE: Range = Range { min: 1, max: 100 };

    fn at(seconds: i64) -> Moment {
        Moment::from_secs(seconds)
    }

    fn pods(value: i32, period: u64) -> Step {
        Step { percent: false, value, period: Duration::from_secs(period) }
    }

    fn percent(value: i32, period: u64) -> Step {
        Step { percent: true, ..pods(value, period) }
    }

    /// The same rules both ways.
    fn rules(select: Select, steps: &[Step]) -> Rules {
        let change = Change { window: None, select, steps: steps.to_vec(), tolerance: None };
        Rules { up: change.clone(), down: change }
    }

    fn limit(rules: &Rules, current: i32, desired: i32) -> (i32, &'static str) {
        let Limited { replicas, reason, .. } = ScaleEvents::default().limit(rules, current, desired, WIDE, at(0));
        (replicas, reason)
    }

    #[test]
    fn without_behavior_it_doubles_or_goes_to_four() {
        for (current, desired, range, replicas, reason) in [
            (1, 50, WIDE, 4, "ScaleUpLimit"),
            (10, 50, WIDE, 20, "ScaleUpLimit"),
            (10, 20, WIDE, 20, "DesiredWithinRange"),
            (10, 50, Range { min: 1, max: 20 }, 20, "TooManyReplicas"),
            (10, 1, Range { min: 3, max: 20 }, 3, "TooFewReplicas"),
            (10, 3, WIDE, 3, "DesiredWithinRange"),
        ] {
            let limited = without_behavior(current, desired, range);
            assert_eq!((limited.replicas, limited.reason), (replicas, reason), "{current} to {desired}");
        }
    }

    #[test]
    fn the_selected_policy_is_the_one_of_the_largest_or_the_smallest_change() {
        let steps = [pods(4, 60), percent(100, 60)];
        for (select, current, up, down) in [
            (Select::Most, 2, 6, 1),
            (Select::Most, 20, 40, 1),
            (Select::Least, 20, 24, 16),
            (Select::Disabled, 20, 20, 20),
        ] {
            let rules = rules(select, &steps);
            assert_eq!(limit(&rules, current, 90).0, up, "{select:?} up from {current}");
            assert_eq!(limit(&rules, current, 1).0, down, "{select:?} down from {current}");
        }
    }

    #[test]
    fn percentages_round_away_from_the_current_replicas() {
        let rules = rules(Select::Most, &[percent(10, 60)]);
        assert_eq!(limit(&rules, 5, 90), (6, "ScaleUpLimit"));
        assert_eq!(limit(&rules, 5, 1), (4, "ScaleDownLimit"));
    }

    #[test]
    fn the_range_limits_behind_the_rate() {
        let rules = rules(Select::Most, &[pods(200, 60)]);
        assert_eq!(limit(&rules, 50, 120), (100, "TooManyReplicas"));
        assert_eq!(limit(&rules, 50, 0), (1, "TooFewReplicas"));
        assert_eq!(limit(&rules, 50, 50), (50, "DesiredWithinRange"));
    }

    #[test]
    fn a_policy_counts_from_the_replicas_at_its_periods_begin_in_both_directions() {
        let rules = rules(Select::Most, &[pods(4, 60)]);
        let mut events = ScaleEvents::default();
        events.store(&rules, 10, 13, at(0));
        let to = |events: &ScaleEvents, current, desired, now| {
            events.limit(&rules, current, desired, WIDE, at(now)).replicas
        };
        assert_eq!(to(&events, 13, 90, 30), 14, "of four pods a minute, three are spent");
        assert_eq!(to(&events, 13, 90, 60), 17, "what is a period old is past");
        events.store(&rules, 13, 11, at(30));
        assert_eq!(to(&events, 11, 90, 45), 14, "two have been taken back");
        assert_eq!(to(&events, 11, 1, 45), 6, "from ten, down by four");
    }

    #[test]
    fn a_limit_that_is_spent_holds_the_current_replicas() {
        let rules = rules(Select::Most, &[pods(2, 60)]);
        let mut events = ScaleEvents::default();
        events.store(&rules, 1, 11, at(0));
        assert_eq!(events.limit(&rules, 11, 20, WIDE, at(15)).replicas, 11);
    }

    #[test]
    fn an_event_that_its_own_direction_has_outlived_gives_its_place_away() {
        let short = Change { window: None, select: Select::Most, steps: vec![pods(5, 10)], tolerance: None };
        let long = Change { steps: vec![pods(5, 600)], ..short.clone() };
        let rules = Rules { up: short, down: long };
        let mut events = ScaleEvents::default();
        events.store(&rules, 10, 13, at(0));
        assert_eq!(
            events.limit(&rules, 13, 1, WIDE, at(20)).replicas,
            5,
            "down from ten: it still counts the other way"
        );
        events.store(&rules, 13, 14, at(20));
        assert_eq!(events.up.len(), 1);
        assert_eq!(events.limit(&rules, 14, 1, WIDE, at(30)).replicas, 8, "down from thirteen: the first is forgotten");
    }

    #[test]
    fn a_policy_beyond_32_bits_overflows_as_upstreams_does() {
        let up = rules(Select::Most, &[pods(i32::MAX, 60)]);
        assert_eq!(limit(&up, 5, 90), (5, "ScaleUpLimit"));
        let up = rules(Select::Most, &[percent(i32::MAX, 60)]);
        assert_eq!(limit(&up, 5, 90), (90, "DesiredWithinRange"));
        let wider = Range { min: 1, max: 1_000 };
        assert_eq!(ScaleEvents::default().limit(&up, 500, 900, wider, at(0)).replicas, 500);
    }
}
