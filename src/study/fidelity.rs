//! How well a simulation foretells what a real control plane does with the same scenario.
//!
//! Compared are moments within five minutes of a real change of the wanted replicas, so that a trace on which nothing
//! happens proves nothing. At each, a figure agrees that is within one pod of the real one.
//!
//! The real run's [`Clocks`] are chance, and no scenario can say them. They are read off the run and told with the figures;
//! where too little was seen of them, their phases are fitted: the pair is taken that agrees best. How well the best pair
//! agrees is told either way, as what reading could reach.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::simulator::{self, Sample, Setup, Summary, hpa};
use serde::{Deserialize, Serialize};

use super::Clocks;

/// How long after a change moments count.
const NEAR: f64 = 300.0;
/// Moments that a comparison needs, so that it says something.
pub const LEAST_MOMENTS: usize = 200;

/// What a comparison has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Moments that were compared.
    pub moments: usize,
    /// The share of them at which everything was within one pod.
    pub within_one_pod: f64,
    /// The same of each figure: `wanted`, `placed` and `ready` in total and by tier.
    pub by_figure: BTreeMap<String, f64>,
    /// Scale-out delay as measured, and as simulated: median, 95th percentile.
    pub delays_s: [[Option<f64>; 2]; 2],
    /// The HPA's period, and when within it it looked, from the warm-up's begin on.
    pub hpa_s: [f64; 2],
    /// metrics-server's period, and when within it it read.
    pub metrics_s: [f64; 2],
    /// How the two are known.
    pub phases: Phases,
    /// The share of moments that agree with the pair of phases that agrees best.
    pub fitted_within_one_pod: f64,
}

/// How the phases of the clocks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phases {
    /// Off the real run's clocks.
    Read,
    /// By trying which agree best.
    Fitted,
}

/// A run: its moments, a second apart, and its summary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// Its moments.
    pub samples: Vec<Sample>,
    /// The whole.
    pub summary: Summary,
}

/// How well the simulation foretells the real run, with the clocks that were read off it.
pub fn judge(real: &Run, clocks: &Clocks, setup: &Setup) -> Result<Fidelity, hpa::Invalid> {
    let seen = clocks.set(setup);
    let mut best: Option<Fidelity> = None;
    for setup in phases(seen.as_ref().unwrap_or(setup)) {
        let fidelity = simulated(real, &setup)?;
        if best.as_ref().is_none_or(|best| fidelity.within_one_pod > best.within_one_pod) {
            best = Some(fidelity);
        }
    }
    let Some(setup) = seen else { return best.map_or_else(|| simulated(real, setup), Ok) };
    let fidelity = simulated(real, &setup)?;
    // Looks as they were seen are none of the evenly spaced ones that were tried.
    let fitted = best.map_or(0.0, |best| best.within_one_pod).max(fidelity.within_one_pod);
    Ok(Fidelity { phases: Phases::Read, fitted_within_one_pod: fitted, ..fidelity })
}

fn simulated(real: &Run, setup: &Setup) -> Result<Fidelity, hpa::Invalid> {
    let mut outcome = simulator::run(setup)?;
    let run = outcome.workloads.pop().map(|played| Run { samples: played.samples, summary: played.summary });
    Ok(compare(real, &run.unwrap_or_default(), setup))
}

/// The setup in every pair of phases that is tried: eight of the HPA's by five of metrics-server's.
fn phases(setup: &Setup) -> Vec<Setup> {
    let steps = |period: Duration, count: u32| (0..count).map(move |index| period * index / count);
    let timing = &setup.timing;
    let hpa = steps(timing.hpa_sync, 8);
    hpa.flat_map(|hpa_phase| {
        steps(timing.metrics_resolution, 5).map(move |metrics_phase| {
            let mut setup = setup.clone();
            setup.timing.hpa_looks.clear();
            (setup.timing.hpa_phase, setup.timing.metrics_phase) = (hpa_phase, metrics_phase);
            setup
        })
    })
    .collect()
}

/// Compares a simulated run, in the phases of its setup, with the real one.
fn compare(real: &Run, simulated: &Run, setup: &Setup) -> Fidelity {
    let moments: Vec<(&Sample, &Sample)> = pairs(&real.samples, &simulated.samples);
    let mut agreeing = BTreeMap::<String, usize>::new();
    let mut whole = 0;
    for (real, simulated) in &moments {
        let mut all = true;
        for (figure, real, simulated) in figures(real, simulated) {
            let agrees = real.abs_diff(simulated) <= 1;
            *agreeing.entry(figure).or_default() += usize::from(agrees);
            all &= agrees;
        }
        whole += usize::from(all);
    }
    let share = |count: usize| part(count, moments.len());
    let delays = |summary: &Summary| [summary.delay_p50_s, summary.delay_p95_s];
    let timing = &setup.timing;
    Fidelity {
        moments: moments.len(),
        within_one_pod: share(whole),
        by_figure: agreeing.into_iter().map(|(figure, count)| (figure, share(count))).collect(),
        delays_s: [delays(&real.summary), delays(&simulated.summary)],
        hpa_s: [timing.hpa_sync, timing.hpa_phase].map(|time| time.as_secs_f64()),
        metrics_s: [timing.metrics_resolution, timing.metrics_phase].map(|time| time.as_secs_f64()),
        phases: Phases::Fitted,
        fitted_within_one_pod: share(whole),
    }
}

/// Real moments near a change, each with the simulated moment that is nearest.
fn pairs<'a>(real: &'a [Sample], simulated: &'a [Sample]) -> Vec<(&'a Sample, &'a Sample)> {
    let changes: Vec<f64> = real
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] if before.wanted != after.wanted => Some(after.t),
            _ => None,
        })
        .collect();
    let is_near = |sample: &&Sample| changes.iter().any(|change| (sample.t - change).abs() <= NEAR);
    let nearest = |t: f64| {
        let later = simulated.partition_point(|sample| sample.t < t);
        let around = simulated.get(later.saturating_sub(1)..(later + 1).min(simulated.len())).unwrap_or_default();
        around.iter().min_by(|a, b| (a.t - t).abs().total_cmp(&(b.t - t).abs()))
    };
    real.iter().filter(is_near).filter_map(|sample| Some((sample, nearest(sample.t)?))).collect()
}

/// The figures that are compared, by name: real, then simulated.
fn figures(real: &Sample, simulated: &Sample) -> Vec<(String, u32, u32)> {
    let mut figures = vec![
        ("wanted".to_owned(), real.wanted, simulated.wanted),
        ("ready".to_owned(), real.ready, simulated.ready),
        ("placed on real nodes".to_owned(), real.real, simulated.real),
        ("ready on real nodes".to_owned(), real.ready_real, simulated.ready_real),
    ];
    for (pool, placed) in &real.pools {
        let of = |pods: &BTreeMap<_, u32>| pods.get(pool).copied().unwrap_or_default();
        figures.push((format!("placed in {pool}"), *placed, of(&simulated.pools)));
        figures.push((format!("ready in {pool}"), of(&real.ready_pools), of(&simulated.ready_pools)));
    }
    figures
}

#[allow(clippy::cast_precision_loss, reason = "moments are few")]
fn part(count: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { count as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "shares of a few moments are exact")]

    use super::*;
    use crate::scenario::Scenario;

    fn run(wanted: &[u32]) -> Run {
        let sample = |(t, wanted): (u32, &u32)| Sample { t: f64::from(t), wanted: *wanted, ..Sample::default() };
        Run { samples: (0..).zip(wanted).map(sample).collect(), summary: Summary::default() }
    }

    fn setup() -> Setup {
        Scenario::open("flash-crowd").unwrap().setup().unwrap()
    }

    #[test]
    fn a_figure_agrees_within_one_pod_and_all_must_for_a_moment_to() {
        let fidelity = compare(&run(&[3, 5, 5, 5]), &run(&[3, 4, 3, 6]), &setup());
        assert_eq!((fidelity.moments, fidelity.by_figure["wanted"], fidelity.within_one_pod), (4, 0.75, 0.75));
        assert_eq!(fidelity.by_figure["ready"], 1.0);
    }

    #[test]
    fn what_never_changes_proves_nothing() {
        assert_eq!(compare(&run(&[3; 400]), &run(&[3; 400]), &setup()).moments, 0);
        let mut wanted = vec![3; 1_000];
        wanted[500..].fill(4);
        assert_eq!(compare(&run(&wanted), &run(&wanted), &setup()).moments, 601);
    }

    #[test]
    fn phases_lie_within_their_periods() {
        let setups = phases(&setup());
        assert_eq!(setups.len(), 40);
        assert!(setups.iter().all(|setup| setup.timing.hpa_phase < setup.timing.hpa_sync));
    }
}
