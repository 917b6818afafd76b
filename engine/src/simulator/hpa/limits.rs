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
