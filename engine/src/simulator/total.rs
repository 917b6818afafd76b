//! All workloads of a run together.

use std::collections::BTreeMap;

use crate::simulator::outcome::{Load, Outcome, Plant, Played, PodStory, Sample, Summary, TierUse};

/// What stands for all workloads where each names its own: no workload's name lacks a slash.
const ALL: &str = "all";

impl Outcome {
    /// All workloads as if they were one, where there are several. Nodes are the cluster's, and counted once.
    pub fn total(&self) -> Option<Played> {
        let (first, others) = self.workloads.split_first().filter(|(_, others)| !others.is_empty())?;
        let mut samples = first.samples.clone();
        for played in others {
            for (all, sample) in samples.iter_mut().zip(&played.samples) {
                add_sample(all, sample);
            }
        }
        let pods: Vec<PodStory> = self.workloads.iter().flat_map(|played| played.pods.iter().cloned()).collect();
        let end = samples.last().map_or(0.0, |sample| sample.t);
        Some(Played { workload: ALL.to_owned(), summary: self.summed(&pods, end), samples, pods })
    }

    fn summed(&self, pods: &[PodStory], end: f64) -> Summary {
        let summaries = || self.workloads.iter().map(|played| &played.summary);
        let mut delays: Vec<f64> = pods.iter().filter_map(|pod| delay(pod, end)).collect();
        delays.sort_unstable_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let rank = (delays.len() * percent).div_ceil(100).max(1);
            delays.get(rank - 1).copied()
        };
        let mut tiers = BTreeMap::new();
        let mut observed = BTreeMap::new();
        for summary in summaries() {
            add_tiers(&mut tiers, &summary.tiers);
            add_tiers(&mut observed, &summary.observed);
        }
        let burst: f64 = tiers.iter().filter(|(tier, _)| *tier != "real").map(|(_, used)| used.pod_s).sum();
        let placed: f64 = tiers.values().map(|used| used.pod_s).sum();
        Summary {
            workload: None,
            peak: peak(pods, end),
            burst_share: if placed > 0.0 { rounded(burst / placed, 1e4) } else { 0.0 },
            delay_p50_s: percentile(50),
            delay_p95_s: percentile(95),
            delay_p99_s: percentile(99),
            base: summaries().map(|summary| summary.base).sum(),
            base_exceeded: summaries().map(|summary| summary.base_exceeded).sum(),
            // Each workload tells of the whole cluster.
            instances_left: summaries().map(|summary| summary.instances_left).max().unwrap_or_default(),
            cost: rounded(summaries().map(|summary| summary.cost).sum(), 1e6),
            tiers,
            observed,
            plant: summaries().map(|summary| summary.plant).reduce(|all, plant| Some(both(all?, plant?))).flatten(),
        }
    }
}

fn add_sample(all: &mut Sample, sample: &Sample) {
    all.rps = rounded(all.rps + sample.rps, 1e3);
    all.wanted += sample.wanted;
    all.ready += sample.ready;
    all.pending += sample.pending;
    all.gated += sample.gated;
    all.real += sample.real;
    all.ready_real += sample.ready_real;
    for (all, pools) in [(&mut all.pools, &sample.pools), (&mut all.ready_pools, &sample.ready_pools)] {
        for (pool, pods) in pools {
            *all.entry(pool.clone()).or_default() += pods;
        }
    }
    all.cost = rounded(all.cost + sample.cost, 1e6);
    all.load = all.load.zip(sample.load).map(|(all, load)| Load {
        served: rounded(all.served + load.served, 1e3),
        late: rounded(all.late + load.late, 1e3),
        unserved: rounded(all.unserved + load.unserved, 1e3),
        backlog: rounded(all.backlog + load.backlog, 1e3),
    });
    all.delay_s = all.delay_s.into_iter().chain(sample.delay_s).reduce(f64::max);
}

fn add_tiers(all: &mut BTreeMap<String, TierUse>, tiers: &BTreeMap<String, TierUse>) {
    for (tier, used) in tiers {
        let all = all.entry(tier.clone()).or_default();
        all.pod_s = rounded(all.pod_s + used.pod_s, 1e3);
        all.cost = rounded(all.cost + used.cost, 1e6);
    }
}

fn both(one: Plant, other: Plant) -> Plant {
    Plant {
        requests: rounded(one.requests + other.requests, 1e3),
        late: rounded(one.late + other.late, 1e3),
        unserved: rounded(one.unserved + other.unserved, 1e3),
        created: one.created + other.created,
        base_short_s: rounded(one.base_short_s + other.base_short_s, 1e3),
        evictions: one.evictions + other.evictions,
        reclaims: one.reclaims + other.reclaims,
        refusals: one.refusals + other.refusals,
        node_s: one.node_s,
        nodes_peak: one.nodes_peak,
    }
}

/// From created to Ready, of a pod created after the start; so far, of one that still hangs at the end.
fn delay(pod: &PodStory, end: f64) -> Option<f64> {
    let is_over = pod.deleted.is_some() || pod.gone.is_some();
    let ready = pod.ready.or_else(|| (!is_over).then_some(end))?;
    (pod.created >= 0.0).then(|| rounded(ready - pod.created, 1e3))
}

/// Most pods that were Ready at once since the start.
fn peak(pods: &[PodStory], end: f64) -> u32 {
    let mut changes: Vec<(f64, i8)> = Vec::new();
    for pod in pods {
        let Some(ready) = pod.ready else { continue };
        let over = pod.deleted.or(pod.gone).unwrap_or(f64::INFINITY);
        if over > 0.0 && ready <= end {
            changes.extend([(ready.max(0.0), 1), (over, -1)]);
        }
    }
    changes.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let (mut ready, mut most) = (0_i64, 0_i64);
    for (_, change) in changes {
        ready += i64::from(change);
        most = most.max(ready);
    }
    u32::try_from(most).unwrap_or_default()
}

fn rounded(number: f64, places: f64) -> f64 {
    (number * places).round() / places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(created: f64, ready: f64, deleted: Option<f64>) -> PodStory {
        PodStory { created, tier: None, bound: None, ready: Some(ready), deleted, gone: deleted }
    }

    #[test]
    fn the_peak_is_that_of_the_sum_and_not_the_sum_of_the_peaks() {
        let one = [story(0.0, 1.0, Some(5.0)), story(0.0, 2.0, Some(5.0))];
        let other = [story(4.0, 5.0, Some(9.0)), story(4.0, 5.0, None), story(-9.0, -8.0, Some(-1.0))];
        assert_eq!((peak(&one, 10.0), peak(&other, 10.0)), (2, 2));
        assert_eq!(peak(&[one.to_vec(), other.to_vec()].concat(), 10.0), 2, "one hands over to the other");
    }

    #[test]
    fn a_pod_that_hangs_counts_with_its_delay_so_far() {
        let hangs = PodStory { ready: None, ..story(4.0, 0.0, None) };
        assert_eq!(delay(&hangs, 10.0), Some(6.0));
        assert_eq!(delay(&PodStory { deleted: Some(5.0), ..hangs }, 10.0), None);
        assert_eq!(delay(&story(-1.0, 3.0, None), 10.0), None, "made before the start");
    }
}
