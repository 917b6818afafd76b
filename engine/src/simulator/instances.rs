//! Pools: our kubelet's calls, and how their providers answer them.
//!
//! A call to create waits for the provider's throttle, and is refused where stock or quota is used up; our kubelet
//! repeats it after half a second, then after twice as long each time, two minutes at most. An instance that is taken
//! back fails its pod, whose ReplicaSet makes another.

use std::time::Duration;

use crate::{
    placement::Event,
    simulator::{
        bucket::Bucket,
        dice::Purpose,
        pod::{Place, PodId, PoolId, Step},
        setup::Pool,
        world::{Happening, World},
    },
};

/// First pause after a refusal.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after a refusal.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// How often burstlet asks a provider for its stock.
const POLL: Duration = Duration::from_secs(1);
/// Hours for which an instance's luck is rolled; what lives longer is not taken back.
const HOURS: u64 = 24 * 14;

/// A pool as it stands.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) instances: u32,
    calls: Bucket,
    /// What burstlet was told last.
    told: Told,
}

/// What burstlet knows of a pool's stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Free(Option<u64>),
}

impl PoolState {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { instances: 0, calls: Bucket::new(pool.throttle), told: Told::Nothing }
    }
}

impl World<'_> {
    /// What the pool can still take; `None` where nothing bounds it.
    fn free(&self, pool: PoolId) -> Option<u32> {
        let (setup, state) = (&self.setup.pools[pool.0], &self.pools[pool.0]);
        let since_start = self.now.since(self.start);
        let later = setup.stock.partition_point(|(from, _)| *from <= since_start);
        let stock = later.checked_sub(1).and_then(|index| setup.stock[index].1);
        let most = [stock, setup.quota].into_iter().flatten().min();
        most.map(|most| most.saturating_sub(state.instances))
    }

    /// The kubelet of a virtual node asks for a pod's instance.
    pub(super) fn ask_for_instance(&mut self, id: PodId) {
        let Some(pod) = self.pod(id).filter(|pod| pod.is_live() && pod.step == Step::Bound && !pod.has_instance) else {
            return;
        };
        let (Some(Place::Pool(pool)), workload, refusals) = (pod.place(), pod.workload, pod.refusals) else { return };
        if self.free(pool) == Some(0) {
            self.pods[id.0 as usize].refusals += 1;
            self.workloads[workload.0].books.refusals += 1;
            let pause = FIRST_PAUSE.saturating_mul(1 << refusals.min(16)).min(LONGEST_PAUSE);
            // As our kubelet does, so that refused pods do not all come back at once.
            let roll = self.dice.roll(Purpose::Retry, u64::from(id.0) << 8 | u64::from(refusals));
            let jitter = u32::try_from(roll % 1_000).unwrap_or_default();
            return self.plan_in(pause + pause * jitter / 4_000, Happening::Instance(id));
        }
        self.pods[id.0 as usize].has_instance = true;
        self.pools[pool.0].instances += 1;
        let called = self.pools[pool.0].calls.take(self.now);
        let setup = &self.setup.pools[pool.0];
        let start_up = self.dice.latency(&setup.start_up, Purpose::StartUp, u64::from(id.0));
        self.queue.plan(called.after(start_up + self.setup.timing.status_lag), Happening::Run(id));
        if let Some(lives) = self.lifetime(id, setup.reclaim.per_hour) {
            self.queue.plan(called.after(start_up + lives), Happening::Reclaim(id));
        }
    }

    /// How long the instance lives until it is taken back; `None` where it is not.
    fn lifetime(&self, id: PodId, per_hour: u32) -> Option<Duration> {
        if per_hour == 0 {
            return None;
        }
        let which = |hour: u64| u64::from(id.0) << 16 | hour;
        let hour = (0..HOURS).find(|hour| self.dice.happens(Purpose::Reclaim, which(*hour), per_hour))?;
        let within = self.dice.roll(Purpose::Reclaim, which(hour) | 1 << 60) % 3_600_000;
        Some(Duration::from_millis(hour * 3_600_000 + within))
    }

    /// A wave takes its share of the pool's instances.
    pub(super) fn wave(&mut self, pool: PoolId, share: u32) {
        let wave = u64::try_from(self.now.since(self.origin).as_millis()).unwrap_or_default();
        let is_taken = |id: &PodId| self.dice.happens(Purpose::ReclaimWave, wave << 24 ^ u64::from(id.0), share);
        let active = self.workloads.iter().flat_map(|state| state.revisions.active());
        let here =
            |id: &PodId| self.pod(*id).is_some_and(|pod| pod.has_instance && pod.place() == Some(Place::Pool(pool)));
        let taken: Vec<PodId> = active.filter(here).filter(is_taken).collect();
        for id in taken {
            self.reclaim(id);
        }
    }

    /// The provider takes an instance back: its pod has failed.
    pub(super) fn reclaim(&mut self, id: PodId) {
        let pod = self.pod(id).filter(|pod| pod.is_live() && pod.has_instance);
        let Some(workload) = pod.map(|pod| pod.workload) else { return };
        self.workloads[workload.0].books.reclaims += 1;
        self.leave_active(id);
        self.be_gone(id);
    }

    /// A pod's instance is gone, if it had one.
    pub(super) fn end_instance(&mut self, id: PodId) {
        let Some(pod) = self.pods.get_mut(id.0 as usize) else { return };
        if std::mem::take(&mut pod.has_instance)
            && let Some(Place::Pool(pool)) = pod.place()
        {
            self.pools[pool.0].instances -= 1;
        }
    }

    /// burstlet asks for the pool's stock, and placement hears of changes.
    pub(super) fn poll(&mut self, pool: PoolId) {
        let free = self.free(pool).map(u64::from);
        if std::mem::replace(&mut self.pools[pool.0].told, Told::Free(free)) != Told::Free(free) {
            let pool = self.pool_names[pool.0].clone();
            self.tell(Event::Stock { pool, free });
        }
        self.plan_in(POLL, Happening::Poll(pool));
    }

    /// Instances that run, in all pools.
    pub(super) fn instances(&self) -> u32 {
        self.pools.iter().map(|pool| pool.instances).sum()
    }
}
