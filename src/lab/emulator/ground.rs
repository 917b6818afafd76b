//! What every emulated cloud stands on.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::{Bill, Clock, Settings, ThrottleRate, faults::Mishap};
use crate::provider::{
    clouds::limits::{Bucket, Rate},
    simulated::dice::Dice,
};

/// How often an action was called, and how that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// Calls that arrived, each delivery counted.
    pub arrived: u64,
    /// Calls that were refused (a status of 400 or more).
    pub refused: u64,
    /// Answers that were lost on purpose.
    pub lost: u64,
    /// Requests that arrived twice on purpose.
    pub twice: u64,
}

/// What every emulated cloud stands on: settings, clock, chance, throttles, bill and counts.
#[derive(Debug)]
pub struct Ground {
    /// Time.
    pub clock: Clock,
    /// The bill.
    pub bill: Bill,
    settings: Mutex<Settings>,
    dice: Mutex<Dice>,
    buckets: Mutex<BTreeMap<String, (ThrottleRate, Bucket)>>,
    calls: Mutex<BTreeMap<String, Calls>>,
}

impl Ground {
    /// Ground of an empty cloud that behaves by `settings`.
    pub fn new(settings: Settings) -> Self {
        Self {
            clock: Clock::default(),
            bill: Bill::default(),
            dice: Mutex::new(Dice::new(settings.seed)),
            settings: Mutex::new(settings),
            buckets: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    /// How the cloud behaves now.
    pub fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    /// Changes how the cloud behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = lock(&self.settings);
        let seed = settings.seed;
        change(&mut settings);
        if settings.seed != seed {
            *lock(&self.dice) = Dice::new(settings.seed);
        }
    }

    /// The time of day that requests are judged by: this machine's, and the skew.
    pub fn judged_time(&self) -> jiff::Timestamp {
        let skew = jiff::SignedDuration::from_secs(lock(&self.settings).clock_skew_seconds);
        let wall = self.clock.wall();
        wall.saturating_add(skew).unwrap_or(wall)
    }

    /// Takes a token of `action`'s throttle, whose documented rate is `documented`; otherwise how long to wait.
    pub fn throttle(&self, action: &str, documented: ThrottleRate) -> Result<(), Duration> {
        let rate = {
            let settings = lock(&self.settings);
            if !settings.throttle {
                return Ok(());
            }
            settings.throttle_rates.get(action).copied().unwrap_or(documented)
        };
        let mut buckets = lock(&self.buckets);
        let entry = buckets.entry(action.to_owned()).or_insert_with(|| (rate, bucket(rate)));
        if entry.0 != rate {
            *entry = (rate, bucket(rate));
        }
        entry.1.try_take()
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&self, per_mille: u16) -> bool {
        lock(&self.dice).chance(per_mille)
    }

    /// A start-up time, drawn anew.
    pub fn start_up(&self) -> Duration {
        let range = lock(&self.settings).start_up;
        lock(&self.dice).between(range.min, range.max)
    }

    /// How often each action was called so far.
    pub fn calls(&self) -> BTreeMap<String, Calls> {
        lock(&self.calls).clone()
    }

    pub(super) fn latency(&self) -> Duration {
        let range = lock(&self.settings).latency;
        lock(&self.dice).between(range.min, range.max)
    }

    pub(super) fn mishap(&self, action: &str) -> Mishap {
        let rates = lock(&self.settings).faults_of(action);
        Mishap::draw(rates, &mut lock(&self.dice))
    }

    pub(super) fn is_out(&self) -> bool {
        lock(&self.settings).outage
    }

    pub(super) fn count(&self, action: &str, count: impl FnOnce(&mut Calls)) {
        count(lock(&self.calls).entry(action.to_owned()).or_default());
    }
}

fn bucket(rate: ThrottleRate) -> Bucket {
    Bucket::new(Rate::new(rate.burst, rate.per_second))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
