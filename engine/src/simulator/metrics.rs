//! metrics-server and the HPA: what the pods used, as late and as coarse as it is told, and what follows.
//!
//! Ready pods of a workload share its requests evenly, so one counter stands for all of them: a pod has used what the
//! counter rose by since it became Ready. metrics-server reads it at its resolution and tells the average between the
//! last two readings. A pod needs two readings to be known; one that runs for 10 s at its first reading, and not longer
//! than the resolution, counts from its start.

use std::time::Duration;

use crate::{
    model::{Bytes, MilliCpu, Resources, Timestamp},
    simulator::{
        flow::{self, Counters},
        hpa::{self, ContainerSample, MetricSpec, MilliValue, Moment, PodSample, Reading, Spec, Target},
        pod::{Pod, PodId, Step, WorkloadIx},
        setup::Workload,
        told::{self, Readings, Told},
        world::{Happening, WorkloadState, World},
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

/// The last two readings of a workload's counters, and what they tell.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    before: Option<Scrape>,
    last: Option<Scrape>,
    told: Told,
}

#[derive(Debug, Clone, Copy)]
struct Scrape {
    at: Timestamp,
    counters: Counters,
}

impl Scrapes {
    fn add(&mut self, at: Timestamp, counters: Counters, setup: &Workload, offset: Duration) {
        (self.before, self.last) = (self.last, Some(Scrape { at, counters }));
        if let (Some(before), Some(last)) = (self.before, self.last) {
            let window = last.at.since(before.at);
            let readings = Readings { before: before.counters, last: last.counters, window };
            self.told = Told::of(setup, readings, offset);
        }
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
        let from =
            self.before.filter(|before| ready <= before.at).map_or(pod.ready_cpu, |before| before.counters.cpu_each);
        Some((flow::average(last.counters.cpu_each.saturating_sub(from), window), window))
    }

    /// A pod that was Ready through all of the window, for longer than the HPA's initialisation period.
    fn mature(&self, requests: Requests) -> PodSample<'_> {
        let told = self.before.zip(self.last).map(|(before, last)| {
            let window = last.at.since(before.at);
            flow::average(last.counters.cpu_each.saturating_sub(before.counters.cpu_each), window)
        });
        PodSample {
            name: "mature",
            ready: Some(true),
            started: Some(Moment::default()),
            cpu: Reading { request: Some(requests.cpu), usage: told.map(MilliValue::from) },
            memory: Reading { request: requests.memory, usage: told.and_then(|_| self.told.memory(true)) },
            sampled: Moment::from(self.told_at()).whole_second(),
            metrics: &self.told.ready,
            ..PodSample::default()
        }
    }

    /// A pod as the HPA sees it. The API keeps whole seconds.
    fn sample<'a>(&'a self, pod: &'a Pod, requests: Requests) -> PodSample<'a> {
        let second = |at: Timestamp| Moment::from(at).whole_second();
        let usage = self.usage(pod);
        let at_reading = |since: Option<Timestamp>| since.zip(self.last).is_some_and(|(since, last)| since <= last.at);
        let was_ready = at_reading(pod.ready);
        let metrics = match (was_ready, at_reading(pod.running)) {
            (true, _) => &*self.told.ready,
            (false, true) => &*self.told.starting,
            (false, false) => &[],
        };
        PodSample {
            name: &pod.name.name,
            phase: if pod.running.is_some() { hpa::Phase::Running } else { hpa::Phase::Pending },
            deleted: pod.deleted.is_some(),
            ready: pod.bound.map(|_| pod.step == Step::Ready),
            ready_since: pod.ready.or(pod.bound).map(second).unwrap_or_default(),
            started: pod.bound.map(second),
            cpu: Reading { request: Some(requests.cpu), usage: usage.map(|(cpu, _)| cpu.into()) },
            memory: Reading { request: requests.memory, usage: usage.and_then(|_| self.told.memory(was_ready)) },
            sampled: Moment::from(self.told_at()).whole_second(),
            window: usage.map_or(Duration::ZERO, |(_, window)| window),
            metrics,
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
        let offset = self.now.since(self.start);
        for (state, setup) in self.workloads.iter_mut().zip(&self.setup.workloads) {
            let counters = state.flow.counters(self.now);
            state.scrapes.add(self.now, counters, setup, offset);
        }
        self.plan_in(self.setup.timing.metrics_resolution, Happening::Scrape);
    }

    /// The HPA looks, and sets what is wanted.
    pub(super) fn sync(&mut self, ix: WorkloadIx) {
        self.queue.plan(self.next_look(), Happening::Sync(ix));
        let setup = &self.setup.workloads[ix.0];
        self.let_mature(ix);
        let WorkloadState { crowd, scrapes, books, hpa, wanted, .. } = &mut self.workloads[ix.0];
        let scrapes = &*scrapes;
        let requests = Requests::of(setup);
        let young = crowd.young.iter().filter_map(|id| self.pods.get(id.0 as usize));
        let mut samples: Vec<PodSample<'_>> = young.map(|pod| scrapes.sample(pod, requests)).collect();
        if let Some(more) = crowd.mature.checked_sub(1) {
            samples.push(PodSample { alike: more, ..scrapes.mature(requests) });
        }
        let containers = if asks_for_containers(&setup.hpa) { container_samples(setup, &samples) } else { Vec::new() };
        for (sample, containers) in samples.iter_mut().zip(containers.chunks(setup.containers.len().max(1))) {
            sample.containers = containers;
        }
        let target = Target {
            spec_replicas: i32::try_from(*wanted).unwrap_or(i32::MAX),
            status_replicas: i32::try_from(books.live()).unwrap_or(i32::MAX),
        };
        let before = *wanted;
        let verdict = hpa.sync(Moment::from(self.now), target, &samples, &scrapes.told.other);
        let wanted = u32::try_from(verdict.desired).unwrap_or_default();
        if wanted != before {
            self.want(ix, wanted);
        }
    }
}

impl World<'_> {
    /// When an HPA looks again.
    fn next_look(&self) -> Timestamp {
        let timing = &self.setup.timing;
        let so_far = self.now.since(self.origin);
        let next = timing.hpa_looks.partition_point(|look| *look <= so_far);
        timing.hpa_looks.get(next).map_or(self.now.after(timing.hpa_sync), |look| self.origin.after(*look))
    }

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

/// What each pod of a workload requests, as the HPA reads it.
#[derive(Debug, Clone, Copy)]
struct Requests {
    cpu: MilliValue,
    memory: Option<MilliValue>,
}

impl Requests {
    fn of(setup: &Workload) -> Self {
        // Without what kube-scheduler counts beside containers: overhead, and init containers that ask for more.
        let containers = setup.containers.iter().map(|container| container.requests);
        let Resources { cpu, memory } = containers.reduce(std::ops::Add::add).unwrap_or(setup.requests);
        Self { cpu: cpu.into(), memory: (memory > Bytes(0)).then(|| memory.into()) }
    }
}

fn asks_for_containers(spec: &Spec) -> bool {
    let asks = |metric: &MetricSpec| metric.container_resource.is_some();
    spec.metrics.as_ref().is_some_and(|metrics| metrics.iter().any(asks))
}

/// The containers of all these pods, one pod after the other.
fn container_samples<'a>(setup: &'a Workload, samples: &[PodSample<'_>]) -> Vec<ContainerSample<'a>> {
    let of = |pod: &PodSample<'_>| told::containers(&setup.containers, pod.cpu.usage, pod.memory.usage);
    samples.iter().flat_map(of).collect()
}
