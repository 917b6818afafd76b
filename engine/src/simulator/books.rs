//! What is counted of one workload: how its pods stand now, and time and money since the start.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::{PoolName, Timestamp},
    simulator::{
        money::{Money, PerMilli},
        outcome::{Sample, Summary, TierUse},
        pod::{Place, Pod, PoolId, Step},
    },
};

/// How a pod counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    standing: Option<Standing>,
    place: Option<Place>,
    /// Whether it takes up its place: from bound until gone.
    occupies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Gated,
    Pending,
    Ready,
}

impl View {
    pub(super) fn of(pod: &Pod) -> Self {
        let standing = pod.is_live().then_some(match pod.step {
            Step::Gated => Standing::Gated,
            Step::Ready => Standing::Ready,
            Step::Queued { .. } | Step::Bound | Step::Running | Step::Gone => Standing::Pending,
        });
        let occupies = pod.node.is_some() && pod.step != Step::Gone;
        Self { standing, place: pod.place().filter(|_| occupies), occupies }
    }
}

/// Pods of one place.
#[derive(Debug, Clone, Copy, Default)]
struct Tier {
    live: u32,
    ready: u32,
    /// Terminating pods too.
    occupying: u32,
    /// Pods × milliseconds that were occupied.
    pod_millis: u128,
    /// What a pod costs there a millisecond.
    price: PerMilli,
}

/// The books of one workload.
#[derive(Debug)]
pub(super) struct Books {
    until: Timestamp,
    pub(super) wanted: u32,
    /// The base in pods now; `None` where it has none.
    pub(super) base: Option<u32>,
    gated: u32,
    pending: u32,
    pub(super) ready: u32,
    real: Tier,
    pools: Vec<Tier>,
    has_begun: bool,
    delays: Vec<Duration>,
    /// How many of the delays the samples have told.
    told: usize,
    peak: u32,
    highest_base: u32,
    pub(super) base_exceeded: u32,
    /// Pods × milliseconds that the base lacked.
    base_short: u128,
    pub(super) created: u32,
    pub(super) evictions: u32,
    pub(super) reclaims: u32,
    pub(super) refusals: u32,
}

impl Books {
    pub(super) fn new(prices: Vec<PerMilli>) -> Self {
        Self {
            until: Timestamp::default(),
            wanted: 0,
            base: None,
            gated: 0,
            pending: 0,
            ready: 0,
            real: Tier::default(),
            pools: prices.into_iter().map(|price| Tier { price, ..Tier::default() }).collect(),
            has_begun: false,
            delays: Vec::new(),
            told: 0,
            peak: 0,
            highest_base: 0,
            base_exceeded: 0,
            base_short: 0,
            created: 0,
            evictions: 0,
            reclaims: 0,
            refusals: 0,
        }
    }

    /// Adds the time until `now`.
    pub(super) fn accrue(&mut self, now: Timestamp) {
        let millis = now.as_millis().saturating_sub(self.until.as_millis());
        if millis == 0 {
            return;
        }
        self.until = now;
        let millis = u128::from(millis);
        for tier in [&mut self.real].into_iter().chain(&mut self.pools) {
            tier.pod_millis += u128::from(tier.occupying) * millis;
        }
        let meant = self.base.unwrap_or_default().min(self.wanted);
        self.base_short += u128::from(meant.saturating_sub(self.real.live)) * millis;
    }

    /// Forgets what came before the start, and keeps how pods stand.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.accrue(now);
        for tier in [&mut self.real].into_iter().chain(&mut self.pools) {
            tier.pod_millis = 0;
        }
        (self.base_short, self.created, self.evictions) = (0, 0, 0);
        (self.reclaims, self.refusals, self.base_exceeded) = (0, 0, 0);
        (self.has_begun, self.peak) = (true, self.ready);
        self.highest_base = self.base.unwrap_or_default();
    }

    /// Sets what is wanted and the base that follows from it.
    pub(super) fn want(&mut self, wanted: u32, base: Option<u32>, now: Timestamp) {
        self.accrue(now);
        (self.wanted, self.base) = (wanted, base);
        self.highest_base = self.highest_base.max(base.unwrap_or_default());
    }

    /// A pod counts differently from now on.
    pub(super) fn change(&mut self, before: View, after: View, now: Timestamp) {
        if before == after {
            return;
        }
        self.accrue(now);
        self.count(before, |count| *count -= 1);
        self.count(after, |count| *count += 1);
        self.peak = self.peak.max(self.ready);
    }

    fn count(&mut self, view: View, change: impl Fn(&mut u32)) {
        match view.standing {
            Some(Standing::Gated) => change(&mut self.gated),
            Some(Standing::Pending) => change(&mut self.pending),
            Some(Standing::Ready) => change(&mut self.ready),
            None => {}
        }
        let tier = match view.place {
            Some(Place::Real) => Some(&mut self.real),
            Some(Place::Pool(PoolId(index))) => self.pools.get_mut(index),
            None => None,
        };
        if let Some(tier) = tier {
            if view.standing.is_some() {
                change(&mut tier.live);
            }
            if view.standing == Some(Standing::Ready) {
                change(&mut tier.ready);
            }
            if view.occupies {
                change(&mut tier.occupying);
            }
        }
    }

    /// A pod has become Ready this long after its creation.
    pub(super) fn became_ready(&mut self, delay: Duration) {
        self.delays.push(delay);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Burst pods that are placed, the terminating ones too.
    pub(super) fn has_burst(&self) -> bool {
        self.pools.iter().any(|tier| tier.live > 0)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.gated > 0
    }

    pub(super) fn live(&self) -> u32 {
        self.gated + self.pending + self.ready
    }

    /// Time of pods on real nodes, in pods × milliseconds.
    pub(super) fn real_millis(&self) -> u128 {
        self.real.pod_millis
    }

    pub(super) fn pool_cost(&self) -> Money {
        self.pools.iter().fold(Money::default(), |all, tier| all + tier.cost())
    }

    /// The moment as a sample, less what others know.
    pub(super) fn sample(&mut self, names: &[PoolName]) -> Sample {
        let delay = self.delays.get(self.told..).unwrap_or_default().iter().max();
        let delay_s = delay.map(|delay| seconds(*delay));
        self.told = self.delays.len();
        let by_pool = |count: fn(&Tier) -> u32| names.iter().cloned().zip(self.pools.iter().map(count)).collect();
        Sample {
            wanted: self.wanted,
            ready: self.ready,
            pending: self.pending,
            gated: self.gated,
            real: self.real.live,
            pools: by_pool(|tier| tier.live),
            ready_real: self.real.ready,
            ready_pools: by_pool(|tier| tier.ready),
            delay_s,
            ..Sample::default()
        }
    }

    /// The whole run, less what others know. `hanging` are the delays so far of pods that never became Ready: a
    /// scale-out that hangs must not look quick.
    pub(super) fn summary(&self, names: &[PoolName], hanging: Vec<Duration>, node_cost: Money) -> Summary {
        let mut delays = self.delays.clone();
        delays.extend(hanging);
        delays.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (delays.len() * percent).div_ceil(100).max(1);
            delays.get(rank - 1).map(|delay| seconds(*delay))
        };
        let burst: u128 = self.pools.iter().map(|tier| tier.pod_millis).sum();
        let placed = burst + self.real.pod_millis;
        let real = TierUse { pod_s: pod_seconds(self.real.pod_millis), cost: node_cost.rounded() };
        let pools = names.iter().zip(&self.pools).map(|(name, tier)| {
            (name.to_string(), TierUse { pod_s: pod_seconds(tier.pod_millis), cost: tier.cost().rounded() })
        });
        Summary {
            workload: None,
            peak: self.peak,
            burst_share: ten_thousandths(burst, placed),
            delay_p50_s: percentile(50),
            delay_p95_s: percentile(95),
            delay_p99_s: percentile(99),
            base: self.highest_base,
            base_exceeded: self.base_exceeded,
            instances_left: 0,
            cost: (self.pool_cost() + node_cost).rounded(),
            tiers: pools.chain([("real".to_owned(), real)]).collect::<BTreeMap<_, _>>(),
            observed: BTreeMap::new(),
            plant: None,
        }
    }

    pub(super) fn base_short_s(&self) -> f64 {
        pod_seconds(self.base_short)
    }
}

impl Tier {
    fn cost(&self) -> Money {
        self.price.times(self.pod_millis, 1)
    }
}

#[allow(clippy::cast_precision_loss, reason = "53 bits hold milliseconds for longer than anything runs")]
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

/// Pod-milliseconds as pod-seconds.
#[allow(clippy::cast_precision_loss, reason = "53 bits hold milliseconds for longer than anything runs")]
pub(super) fn pod_seconds(millis: u128) -> f64 {
    millis as f64 / 1e3
}

#[allow(clippy::cast_precision_loss, reason = "the quotient is 10,000 at most")]
fn ten_thousandths(part: u128, whole: u128) -> f64 {
    (part * 20_000 + whole).checked_div(whole * 2).unwrap_or_default() as f64 / 1e4
}
