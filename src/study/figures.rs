//! What is kept of one simulation.

use std::collections::BTreeMap;

use burstlet_engine::simulator::{Outcome, Plant, Played};
use serde::{Deserialize, Serialize};

/// The figures of one simulation, over all of its workloads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Money for all tiers.
    pub cost: f64,
    /// Money for real nodes.
    pub real_cost: f64,
    /// Seconds from created to Ready, the worst workload's; none without a scale-out.
    pub delay_p50_s: Option<f64>,
    /// Its 95th percentile.
    pub delay_p95_s: Option<f64>,
    /// Its 99th percentile.
    pub delay_p99_s: Option<f64>,
    /// Late requests' part of all, 0 to 1.
    pub late: f64,
    /// Unserved requests' part of all, 0 to 1.
    pub unserved: f64,
    /// Pod-seconds that the base lacked on real nodes.
    pub base_short_s: f64,
    /// Most Ready pods at once.
    pub peak: u32,
    /// Burst pods' part of the pod time, 0 to 1.
    pub burst_share: f64,
    /// Pods evicted.
    pub evictions: u32,
    /// Most real nodes at once.
    pub nodes_peak: u32,
    /// For how many seconds so many pods were placed: the replica curve without its order.
    pub held: BTreeMap<u32, f64>,
    /// The same of each workload, where there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub each: BTreeMap<String, Figures>,
}

impl Figures {
    /// The figures of a run.
    pub fn of(outcome: &Outcome) -> Self {
        let mut figures = Self::of_all(&outcome.workloads);
        if outcome.workloads.len() > 1 {
            let own = |played: &Played| (played.workload.clone(), Self::of_all(std::slice::from_ref(played)));
            figures.each = outcome.workloads.iter().map(own).collect();
        }
        figures
    }

    fn of_all(workloads: &[Played]) -> Self {
        let mut figures = Self::default();
        let (mut requests, mut late, mut unserved) = (0.0, 0.0, 0.0);
        let (mut burst_s, mut placed_s) = (0.0, 0.0);
        for played in workloads {
            let summary = &played.summary;
            let plant = summary.plant.unwrap_or_default();
            figures.cost += summary.cost;
            for (tier, used) in &summary.tiers {
                placed_s += used.pod_s;
                if tier == "real" {
                    figures.real_cost += used.cost;
                } else {
                    burst_s += used.pod_s;
                }
            }
            figures.delay_p50_s = worse(figures.delay_p50_s, summary.delay_p50_s);
            figures.delay_p95_s = worse(figures.delay_p95_s, summary.delay_p95_s);
            figures.delay_p99_s = worse(figures.delay_p99_s, summary.delay_p99_s);
            requests += plant.requests;
            late += plant.late;
            unserved += plant.unserved;
            figures.count(&plant, summary.peak);
        }
        figures.late = part(late, requests);
        figures.unserved = part(unserved, requests);
        figures.burst_share = part(burst_s, placed_s);
        if let [played] = workloads {
            figures.held = held(played);
        }
        figures
    }

    fn count(&mut self, plant: &Plant, peak: u32) {
        self.base_short_s += plant.base_short_s;
        self.peak += peak;
        self.evictions += plant.evictions;
        self.nodes_peak = self.nodes_peak.max(plant.nodes_peak);
    }
}

fn held(played: &Played) -> BTreeMap<u32, f64> {
    let mut held = BTreeMap::new();
    for pair in played.samples.windows(2) {
        if let [sample, next] = pair {
            let pods = sample.real + sample.pools.values().sum::<u32>();
            *held.entry(pods).or_default() += next.t - sample.t;
        }
    }
    held
}

fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

fn part(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
