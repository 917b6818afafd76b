//! metrics-server and the HPA: what the pods used, as late and as coarse as it is told, and what follows.
//!
//! Ready pods of a workload share its requests evenly, so one counter stands for all of them: a pod has used what the
//! counter rose by since it became Ready. metrics-server reads it at its resolution and tells the average between the
//! last two readings. A pod needs two readings to be known; one that runs for 10 s at its first reading, and not longer
//! than the resolution, counts from its start.

use std::time::Duration;

use crate::{
    model::{MilliCpu, Timestamp},
    simulator::{
        flow,
        hpa::{self, MilliValue, Moment, OtherMetrics, PodSample, Reading, Target},
        pod::{Pod, PodId, Step, WorkloadIx},
        world::{Happening, World},
    },
};

/// A container that runs this long at its first reading is known from its start.
const FRESH: Duration = Duration::from_secs(10);

/// A workload's pods as its HPA sees them: those that have been Ready for long are all alike.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Pods to look at one by one; some may be gone.
    pub(super) young: Vec<PodId>,
    /// How many are alike.
    pub(super) mature: u32,
}

/// The last two readings of a workload's counter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scrapes {
    before: Option<Scrape>,
    last: Option<Scrape>,
}

#[derive(Debug, Clone, Copy)]
struct Scrape {
    at: Timestamp,
    cpu: u64,
}

impl Scrapes {
    fn add(&mut self, at: Timestamp, cpu: u64) {
        (self.before, self.last) = (self.last, Some(Scrape { at, cpu }));
    }

    /// What is told of a pod: its use, and over which time it was measured.
    fn usage(&self, pod: &Pod) -> Option<(MilliCpu, Duration)> {
        let (running, last) = (pod.running?, self.last?);
        let before = match self.before {
            Some(before) if running <= before.at => before.at,
            before => {
                let age = last.at.since(running);
                let resolution = before.map_or(Duration::MAX, |before| last.at.since(before.at));
                (running <= last.at && age >= FRESH && age < resolution).then_some(running)?
            }
        };
        let window = last.at.since(before);
        let Some(ready) = pod.ready else { return Some((flow::average(0, window), window)) };
        if ready >= last.at {
            return Some((flow::average(0, window), window));
        }
        let from = self.before.filter(|before| ready <= before.at).map_or(pod.ready_cpu, |before| before.cpu);
        Some((flow::average(last.cpu.saturating_sub(from), window), window))
    }

    /// A pod that was Ready through all of the window, for longer than the HPA's initialisation period.
    fn mature(&self, request: MilliValue) -> PodSample<'static> {
        let told = self.before.zip(self.last).map(|(before, last)| {
            let window = last.at.since(before.at);
            flow::average(last.cpu.saturating_sub(before.cpu), window)
        });
        PodSample {
            name: "mature",
            ready: Some(true),
            started: Some(Moment::default()),
            cpu: Reading { request: Some(request), usage: told.map(milli) },
            sampled: Moment::from(self.told_at()).whole_second(),
            ..PodSample::default()
        }
    }

    fn told_at(&self) -> Timestamp {
        self.last.map(|last| last.at).unwrap_or_default()
    }
}

impl World<'_> {
    /// metrics-server reads the counters of all pods.
    pub(super) fn scrape(&mut self) {
        for state in &mut self.workloads {
            let cpu = state.flow.cpu_each(self.now);
            state.scrapes.add(self.now, cpu);
        }
        self.plan_in(self.setup.timing.metrics_resolution, Happening::Scrape);
    }

    /// The HPA looks, and sets what is wanted.
    pub(super) fn sync(&mut self, ix: WorkloadIx) {
        self.plan_in(self.setup.timing.hpa_sync, Happening::Sync(ix));
        let setup = &self.setup.workloads[ix.0];
        let request = MilliValue(i64::try_from(setup.requests.cpu.0).unwrap_or(i64::MAX));
        self.let_mature(ix);
        let state = &self.workloads[ix.0];
        let young = state.crowd.young.iter().filter_map(|id| self.pods.get(id.0 as usize));
        let mut samples: Vec<PodSample<'_>> = young.map(|pod| sample(pod, &state.scrapes, request)).collect();
        if let Some(more) = state.crowd.mature.checked_sub(1) {
            samples.push(PodSample { alike: more, ..state.scrapes.mature(request) });
        }
        let target = Target {
            spec_replicas: i32::try_from(state.wanted).unwrap_or(i32::MAX),
            status_replicas: i32::try_from(state.books.live()).unwrap_or(i32::MAX),
        };
        let (now, state) = (Moment::from(self.now), &mut self.workloads[ix.0]);
        let verdict = state.hpa.sync(now, target, &samples, &OtherMetrics::default());
        let wanted = u32::try_from(verdict.desired).unwrap_or_default();
        if wanted != state.wanted {
            self.want(ix, wanted);
        }
    }
}

impl World<'_> {
    /// Takes out of the young what has left, and what has become like all others: Ready through all of metrics-server's
    /// window, and started before the HPA's initialisation period.
    fn let_mature(&mut self, ix: WorkloadIx) {
        let initialization = self.setup.timing.hpa.cpu_initialization_period + Duration::from_secs(1);
        let (now, pods) = (self.now, &mut self.pods);
        let state = &mut self.workloads[ix.0];
        let window = state.scrapes.before.map(|before| before.at);
        let crowd = &mut state.crowd;
        let revisions = &state.revisions;
        crowd.young.retain(|id| {
            let Some(pod) = pods.get_mut(id.0 as usize).filter(|pod| revisions.has(pod.revision, pod.slot, *id)) else {
                return false;
            };
            let is_old = pod.bound.is_some_and(|bound| now.since(bound) > initialization);
            pod.is_mature = is_old && pod.ready.zip(window).is_some_and(|(ready, window)| ready <= window);
            crowd.mature += u32::from(pod.is_mature);
            !pod.is_mature
        });
    }
}

/// A pod as the HPA sees it. The API keeps whole seconds.
fn sample<'a>(pod: &'a Pod, scrapes: &Scrapes, request: MilliValue) -> PodSample<'a> {
    let second = |at: Timestamp| Moment::from(at).whole_second();
    let usage = scrapes.usage(pod);
    let ready_since = pod.ready.or(pod.bound).map(second).unwrap_or_default();
    PodSample {
        name: &pod.name.name,
        phase: if pod.running.is_some() { hpa::Phase::Running } else { hpa::Phase::Pending },
        deleted: pod.deleted.is_some(),
        ready: pod.bound.map(|_| pod.step == Step::Ready),
        ready_since,
        started: pod.bound.map(second),
        cpu: Reading { request: Some(request), usage: usage.map(|(cpu, _)| milli(cpu)) },
        memory: Reading::default(),
        sampled: Moment::from(scrapes.told_at()).whole_second(),
        window: usage.map_or(Duration::ZERO, |(_, window)| window),
        ..PodSample::default()
    }
}

fn milli(cpu: MilliCpu) -> MilliValue {
    MilliValue(i64::try_from(cpu.0).unwrap_or(i64::MAX))
}
