//! The traffic, the start, and what is told of each moment and of the whole run.

use std::time::Duration;

use crate::policy::Money;
use crate::simulator::{
    govern::is_observed,
    outcome::{Outcome, Plant, Played, Sample, Summary, TierUse},
    pod::{PodId, WorkloadIx, seconds_from},
    world::{Happening, World},
};

/// How long instances get to be gone once everything is deleted.
const GONE_WITHIN: Duration = Duration::from_mins(1);

impl World<'_> {
    /// The traffic's next row. The first one holds during the warm-up.
    pub(super) fn traffic_changes(&mut self, ix: WorkloadIx, row: usize) {
        let rows = self.setup.workloads[ix.0].traffic.rows();
        let Some((_, rate)) = rows.get(row) else { return };
        self.workloads[ix.0].flow.set_rate(*rate, self.now);
        if let Some((offset, _)) = rows.get(row + 1) {
            self.queue.plan(self.start.after(*offset), Happening::Traffic(ix, row + 1));
        }
    }

    /// The warm-up is over: from here on everything counts.
    pub(super) fn begin(&mut self) {
        self.machines.begin(self.now);
        self.observe();
        for state in &mut self.workloads {
            state.books.begin(self.now);
            state.flow.start(self.now);
        }
        self.queue.plan(self.now, Happening::Sample);
    }

    pub(super) fn sample(&mut self) {
        self.machines.accrue(self.now);
        let t = seconds_from(self.start, self.now);
        for state in &mut self.workloads {
            state.flow.advance(self.now);
            state.books.accrue(self.now);
        }
        for ix in 0..self.workloads.len() {
            let node_cost = self.node_share(WorkloadIx(ix));
            let rate = self.setup.workloads[ix].traffic.rate_at(self.now.since(self.start));
            let state = &mut self.workloads[ix];
            let sample = Sample {
                t,
                rps: thousandths(rate.per_second()),
                cost: (state.books.pool_cost() + node_cost).rounded(),
                nodes: Some(self.machines.up()),
                load: Some(state.flow.load()),
                ..state.books.sample(&self.pool_names)
            };
            state.samples.push(sample);
        }
        let next = self.now.after(self.setup.sample_every);
        if self.now < self.end {
            self.queue.plan(next.min(self.end), Happening::Sample);
        }
    }

    /// A workload's share of the nodes' cost, by the CPU that its pods requested on them over time.
    fn node_share(&self, ix: WorkloadIx) -> crate::simulator::money::Money {
        let cpu_time =
            |ix: usize| self.workloads[ix].books.real_millis() * u128::from(self.setup.workloads[ix].requests.cpu.0);
        let whole = (0..self.workloads.len()).map(cpu_time).sum();
        let cost = self.node_cost();
        if self.workloads.len() == 1 { cost } else { cost.share(cpu_time(ix.0), whole) }
    }

    /// Ends the run and tells all of it.
    pub(super) fn outcome(mut self) -> Outcome {
        self.machines.accrue(self.now);
        self.observe();
        let now = self.now;
        let events = self.events;
        for state in &mut self.workloads {
            state.books.accrue(now);
            state.flow.end(now);
        }
        let summaries: Vec<Summary> = (0..self.workloads.len()).map(|ix| self.summary(WorkloadIx(ix))).collect();
        let stories = self.stories();
        self.clear_away(GONE_WITHIN);
        let instances_left = self.instances();
        let names = self.setup.workloads.iter().map(|workload| workload.name.to_string());
        let played = names.zip(summaries).zip(self.workloads).zip(stories);
        let workloads = played.map(|(((workload, summary), state), pods)| Played {
            workload,
            samples: state.samples,
            summary: Summary { instances_left, ..summary },
            pods,
        });
        Outcome { seed: self.setup.seed, workloads: workloads.collect(), events }
    }

    fn summary(&self, ix: WorkloadIx) -> Summary {
        let state = &self.workloads[ix.0];
        let load = state.flow.load();
        let plant = Plant {
            requests: state.flow.arrived(),
            late: load.late,
            unserved: load.unserved,
            created: state.books.created,
            base_short_s: state.books.base_short_s(),
            evictions: state.books.evictions,
            reclaims: state.books.reclaims,
            refusals: state.books.refusals,
            node_s: crate::simulator::books::pod_seconds(self.machines.millis()),
            nodes_peak: self.machines.peak(),
        };
        let summary = state.books.summary(&self.pool_names, self.hanging(ix), self.node_share(ix));
        Summary { plant: Some(plant), observed: state.observed.clone(), ..summary }
    }

    /// Takes what workloads whose policies only observe would have used since the last time.
    fn observe(&mut self) {
        if !self.workloads.iter().any(|state| is_observed(state.policy.as_ref())) {
            return;
        }
        // placement counts until the moment that it was last asked.
        self.decide();
        let observations = self.placement.observations();
        for (state, setup) in self.workloads.iter_mut().zip(&self.setup.workloads) {
            for (pool, observation) in observations.get(&setup.name).into_iter().flatten() {
                let used = state.observed.entry(pool.to_string()).or_default();
                let before = state.observed_before.entry(pool.clone()).or_default();
                let cost = observation.cost.as_ref().map_or(0, Money::nanos);
                let minutes = observation.pod_minutes;
                *used = TierUse {
                    pod_s: crate::simulator::books::pod_seconds(u128::from(minutes - before.0) * 60_000),
                    cost: millionths_of(cost - before.1),
                };
                *before = (minutes, cost);
            }
        }
    }

    /// The lives of all pods, by workload. Those that were gone before the start are left out.
    fn stories(&self) -> Vec<Vec<crate::simulator::outcome::PodStory>> {
        let mut stories = vec![Vec::new(); self.workloads.len()];
        for index in 0..self.pods.len() {
            let Some(pod) = self.pod(PodId(u32::try_from(index).unwrap_or(u32::MAX))) else { continue };
            if pod.gone.is_none_or(|gone| gone > self.start) {
                stories[pod.workload.0].push(pod.story(self.start, &self.pool_names));
            }
        }
        stories
    }
}

/// Billionths of the currency as the currency, to six places.
#[allow(clippy::cast_precision_loss, reason = "53 bits hold nine thousand million with six places")]
fn millionths_of(nanos: i128) -> f64 {
    ((nanos + 500) / 1_000) as f64 / 1e6
}

fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
