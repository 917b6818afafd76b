//! The fold from what is seen of the pods into samples and a summary.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use burstlet_engine::{
    model::{PodUid, PoolName},
    policy::Base,
    simulator::TierUse,
    traffic::Rate,
};

use super::{Place, PodSight, PodState, Pool, Price, Revision, Sample, Summary};

/// Everything that the demo tells, folded from pictures of the workload's pods.
///
/// The first [picture](Tally::observe) is the start: its pods were there before the traffic, so their delays do not count.
/// Between two pictures every pod is taken to be as in the earlier one; a picture at each event of the pod watch makes
/// the figures exact.
#[derive(Debug, Clone)]
pub struct Tally {
    base: Base,
    prices: BTreeMap<PoolName, Price>,
    /// Until here, time and money are accrued.
    until: Duration,
    started: bool,
    wanted: u32,
    most_wanted: u32,
    pods: BTreeMap<PodUid, Life>,
    used: BTreeMap<PoolName, Used>,
    real_time: Duration,
    burst_time: Duration,
    delays: Vec<Duration>,
    /// How many of the delays the samples have told.
    told: usize,
    peak: u32,
    base_exceeded: u32,
}

/// A pod of the latest picture, and what must be remembered of it.
#[derive(Debug, Clone)]
struct Life {
    sight: PodSight,
    created: Duration,
    /// Created after the start and not yet Ready: its delay is still to be counted.
    is_awaited: bool,
    /// The highest base since it was created: its placement may have been decided under any of them.
    base: u32,
}

impl Life {
    fn age_at(&self, now: Duration) -> Duration {
        now.saturating_sub(self.created)
    }
}

/// What one pool's pods have requested, times time.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// Thousandths of a core × nanoseconds.
    cpu: u128,
    /// Bytes × nanoseconds.
    memory: u128,
    /// The pods' time.
    time: Duration,
}

impl Tally {
    /// A tally of one workload with this base, bursting to these pools.
    pub fn new(base: Base, pools: &[Pool]) -> Self {
        Self {
            base,
            prices: pools.iter().map(|pool| (pool.name.clone(), pool.price.clone())).collect(),
            until: Duration::ZERO,
            started: false,
            wanted: 0,
            most_wanted: 0,
            pods: BTreeMap::new(),
            used: BTreeMap::new(),
            real_time: Duration::ZERO,
            burst_time: Duration::ZERO,
            delays: Vec::new(),
            told: 0,
            peak: 0,
            base_exceeded: 0,
        }
    }

    /// Takes a picture: at `now` since the start, the workload should have `wanted` replicas, and `pods` are all its
    /// pods, the terminating ones too. Times that run backwards count as the latest time.
    pub fn observe(&mut self, now: Duration, wanted: u32, pods: impl IntoIterator<Item = PodSight>) {
        self.accrue(now);
        self.wanted = wanted;
        self.most_wanted = self.most_wanted.max(wanted);
        let base = self.base.of(wanted);
        let mut before = std::mem::take(&mut self.pods);
        let mut newly_real = BTreeSet::new();
        for sight in pods {
            let known = before.remove(&sight.uid);
            let was_real = known.as_ref().is_some_and(|life| is_real(&life.sight));
            let mut life = known.unwrap_or_else(|| Life {
                sight: sight.clone(),
                created: self.until,
                is_awaited: self.started,
                base,
            });
            life.base = life.base.max(base);
            if is_real(&sight) && !was_real {
                newly_real.insert(sight.uid.clone());
            }
            if life.is_awaited && sight.state == PodState::Ready {
                life.is_awaited = false;
                self.delays.push(life.age_at(self.until));
            }
            life.sight = sight;
            self.pods.insert(life.sight.uid.clone(), life);
        }
        self.started = true;
        self.peak = self.peak.max(self.count(|sight| sight.state == PodState::Ready));
        self.base_exceeded += self.beyond_base(&newly_real);
    }

    /// The moment `now` as a sample, from the latest picture.
    pub fn sample(&mut self, now: Duration, rate: Rate) -> Sample {
        self.accrue(now);
        let live_in = |place: &Place| self.count(|sight| sight.is_live() && sight.place.as_ref() == Some(place));
        let placed = self.pods.values().filter_map(|life| match &life.sight.place {
            Some(Place::Pool(pool)) => Some(pool),
            _ => None,
        });
        let pools = self.prices.keys().chain(placed).collect::<BTreeSet<_>>();
        let ready_in =
            |place: &Place| self.count(|sight| sight.state == PodState::Ready && sight.place.as_ref() == Some(place));
        let in_pools = |count: &dyn Fn(&Place) -> u32| {
            pools.iter().map(|pool| ((*pool).clone(), count(&Place::Pool((*pool).clone())))).collect()
        };
        let delay = self.delays.get(self.told..).unwrap_or_default().iter().max();
        let sample = Sample {
            t: rounded(now.as_secs_f64(), 3),
            rps: rounded(rate.per_second(), 3),
            wanted: self.wanted,
            ready: self.count(|sight| sight.state == PodState::Ready),
            pending: self.count(|sight| sight.state == PodState::Pending),
            gated: self.count(|sight| sight.state == PodState::Gated),
            real: live_in(&Place::Real),
            pools: in_pools(&live_in),
            ready_real: ready_in(&Place::Real),
            ready_pools: in_pools(&ready_in),
            cost: rounded(self.cost(), 6),
            delay_s: delay.map(|delay| rounded(delay.as_secs_f64(), 3)),
            ..Sample::default()
        };
        self.told = self.delays.len();
        sample
    }

    /// The whole run until the latest picture or sample. A live pod that never became Ready counts with its delay so
    /// far: a scale-out that hangs must not look quick.
    pub fn summary(&self, instances_left: u32) -> Summary {
        let hanging = self.pods.values().filter(|life| life.is_awaited && life.sight.is_live());
        let mut delays = self.delays.clone();
        delays.extend(hanging.map(|life| life.age_at(self.until)));
        delays.sort_unstable();
        let seconds = |percent| percentile(&delays, percent).map(|delay| rounded(delay.as_secs_f64(), 3));
        let placed = (self.real_time + self.burst_time).as_secs_f64();
        Summary {
            peak: self.peak,
            burst_share: if placed > 0.0 { rounded(self.burst_time.as_secs_f64() / placed, 4) } else { 0.0 },
            delay_p50_s: seconds(50),
            delay_p95_s: seconds(95),
            delay_p99_s: seconds(99),
            base: self.base.of(self.most_wanted),
            base_exceeded: self.base_exceeded,
            instances_left,
            cost: rounded(self.cost(), 6),
            tiers: self.tiers(),
            ..Summary::default()
        }
    }

    fn tiers(&self) -> BTreeMap<String, TierUse> {
        let real = TierUse { pod_s: rounded(self.real_time.as_secs_f64(), 3), cost: 0.0 };
        let pool_use = |(pool, used): (&PoolName, &Used)| {
            let pod_s = rounded(used.time.as_secs_f64(), 3);
            (pool.to_string(), TierUse { pod_s, cost: rounded(self.cost_of(pool, used), 6) })
        };
        self.used.iter().map(pool_use).chain([("real".to_owned(), real)]).collect()
    }

    /// Adds the time since the last picture or sample; placed pods count until they finish or are gone, as they are
    /// billed.
    fn accrue(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.until);
        self.until += passed;
        for life in self.pods.values().filter(|life| life.sight.state != PodState::Finished) {
            match &life.sight.place {
                None => {}
                Some(Place::Real) => self.real_time += passed,
                Some(Place::Pool(pool)) => {
                    self.burst_time += passed;
                    let used = self.used.entry(pool.clone()).or_default();
                    used.time += passed;
                    used.cpu += u128::from(life.sight.requests.cpu.0) * passed.as_nanos();
                    used.memory += u128::from(life.sight.requests.memory.0) * passed.as_nanos();
                }
            }
        }
    }

    fn cost(&self) -> f64 {
        // Not `sum`, whose zero is negative.
        self.used.iter().map(|(pool, used)| self.cost_of(pool, used)).fold(0.0, |all, cost| all + cost)
    }

    #[allow(clippy::cast_precision_loss, reason = "money is rounded to 6 places; 53 bits hold far more")]
    fn cost_of(&self, pool: &PoolName, used: &Used) -> f64 {
        let cpu_seconds = used.cpu as f64 / 1e12;
        let gib_seconds = used.memory as f64 / 1e9 / f64::from(1 << 30);
        self.prices
            .get(pool)
            .map_or(0.0, |price| cpu_seconds * price.cpu_second.get() + gib_seconds * price.gib_second.get())
    }

    fn count(&self, is_counted: impl Fn(&PodSight) -> bool) -> u32 {
        let count = self.pods.values().filter(|life| is_counted(&life.sight)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How many of the newly placed pods stand beyond their revision's base.
    fn beyond_base(&self, newly_real: &BTreeSet<PodUid>) -> u32 {
        let mut standing = BTreeMap::<&Revision, u32>::new();
        for life in self.pods.values().filter(|life| is_real(&life.sight) && !newly_real.contains(&life.sight.uid)) {
            *standing.entry(&life.sight.revision).or_default() += 1;
        }
        let mut beyond = 0;
        for life in newly_real.iter().filter_map(|uid| self.pods.get(uid)) {
            let standing = standing.entry(&life.sight.revision).or_default();
            *standing += 1;
            beyond += u32::from(*standing > life.base);
        }
        beyond
    }
}

fn is_real(sight: &PodSight) -> bool {
    sight.is_live() && sight.place == Some(Place::Real)
}

/// Nearest-rank percentile of sorted values.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn rounded(number: f64, places: i32) -> f64 {
    let power = 10_f64.powi(places);
    (number * power).round() / power
}

#[cfg(test)]
mod tests;
