//! The clocks of a real cluster, read off what was seen of them.
//!
//! When within its period the HPA looks first, and metrics-server reads first, no scenario can say: it is as chance has
//! it when the real components start. And the HPA's period is longer than its flag says: kube-controller-manager waits
//! that long from the end of one look to the begin of the next (upstream's `FixedItemIntervalRateLimiter`), so each look
//! adds its own length, which is more while it scales and on a busy machine. So a look is taken as it was seen, and no
//! phase for all of them.

use std::time::Duration;

use burstlet_engine::simulator::Setup;
use serde::{Deserialize, Serialize};

/// Strikes that it takes to read a clock.
const LEAST_STRIKES: usize = 5;

/// When clocks were seen to strike, in seconds from the traffic's beginning on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// The HPA had just looked: it told another status.
    pub hpa_s: Vec<f64>,
    /// metrics-server read the pods' counters.
    pub metrics_s: Vec<f64>,
}

impl Clocks {
    /// The setup with these clocks in place of its own; none where too little was seen.
    pub fn set(&self, setup: &Setup) -> Option<Setup> {
        let mut setup = setup.clone();
        let (timing, before) = (&mut setup.timing, setup.warm_up.as_secs_f64());
        let hpa = Clock::read(&self.hpa_s, timing.hpa_sync)?;
        let metrics = Clock::read(&self.metrics_s, timing.metrics_resolution)?;
        timing.hpa_looks = hpa.all(before).into_iter().filter_map(millis).collect();
        (timing.hpa_sync, timing.hpa_phase) = (millis(hpa.period)?, *timing.hpa_looks.first()?);
        (timing.metrics_resolution, timing.metrics_phase) = (millis(metrics.period)?, millis(metrics.phase(before))?);
        Some(setup)
    }
}

/// A clock that was read. Times are in seconds from the traffic's beginning on.
#[derive(Debug)]
struct Clock {
    /// The strikes by their numbers from the first one on. Not every one was seen.
    seen: Vec<(f64, f64)>,
    period: f64,
    /// When the first one strikes, by the period and all others.
    first: f64,
}

impl Clock {
    /// The line through the strikes by their numbers whose slope is the median of the slopes of all pairs (Theil and
    /// Sen's): single strikes that were seen late do not move it.
    fn read(strikes: &[f64], nominal: Duration) -> Option<Self> {
        if strikes.len() < LEAST_STRIKES {
            return None;
        }
        let seen = numbered(strikes, nominal.as_secs_f64());
        let pairs = seen.iter().enumerate().flat_map(|(index, one)| seen[..index].iter().map(move |two| (one, two)));
        let slopes = pairs.filter(|(one, two)| one.0 > two.0).map(|(one, two)| (one.1 - two.1) / (one.0 - two.0));
        let period = median(slopes.collect())?;
        let first = median(seen.iter().map(|(number, at)| at - number * period).collect())?;
        Some(Self { seen, period, first })
    }

    /// When within its period it strikes, counted from `before` the traffic's beginning on.
    fn phase(&self, before: f64) -> f64 {
        (self.first + before).rem_euclid(self.period)
    }

    /// All strikes from `before` the traffic's beginning on, counted from there, to the last one seen. Between two that were
    /// seen, those that were not are evenly spaced.
    fn all(&self, before: f64) -> Vec<f64> {
        let first = self.seen.first().map_or(self.first, |(_, at)| *at) + before;
        let mut all: Vec<f64> =
            std::iter::successors(Some(first), |at| Some(at - self.period).filter(|at| *at >= 0.0)).collect();
        all.reverse();
        for pair in self.seen.windows(2) {
            let [(number, at), (next, until)] = pair else { continue };
            let count = next - number;
            let mut strike = 1.0;
            while strike <= count {
                all.push(at + (until - at) * strike / count + before);
                strike += 1.0;
            }
        }
        all
    }
}

/// Strikes with their numbers from the first one on. Each is told by the one before, since the phase drifts.
fn numbered(strikes: &[f64], nominal: f64) -> Vec<(f64, f64)> {
    let mut number = 0.0;
    let mut before = None;
    let one = |at: &f64| {
        number += before.replace(*at).map_or(0.0, |before| ((at - before) / nominal).round().max(0.0));
        (number, *at)
    };
    strikes.iter().map(one).collect()
}

fn median(mut of: Vec<f64>) -> Option<f64> {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied()
}

/// As whole milliseconds, in which the simulator counts.
fn millis(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((seconds * 1e3).round() / 1e3).ok().filter(|time| time.as_millis() < 1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn setup() -> Setup {
        let setup = Scenario::open("flash-crowd").unwrap().setup().unwrap();
        let timing = &setup.timing;
        assert_eq!([timing.hpa_sync, timing.metrics_resolution, setup.warm_up], [5, 10, 45].map(Duration::from_secs));
        setup
    }

    #[test]
    fn a_clock_that_drifts_is_read_with_its_period() {
        // Every 5.05 s, but for looks that told nothing new; one was seen late.
        let at = |number: u32| 2.4 + f64::from(number) * 5.05;
        let mut hpa_s: Vec<f64> = [0, 1, 2, 4, 6, 7, 8, 20, 21, 30, 39].map(at).to_vec();
        hpa_s[5] += 1.9;
        let metrics_s = (0..20).map(|number| 3.25 + f64::from(number) * 10.0).collect();
        let read = Clocks { hpa_s, metrics_s }.set(&setup()).unwrap().timing;
        assert_eq!(read.hpa_sync, Duration::from_millis(5_050));
        // 47.4 s after the warm-up began, less nine periods; then all of them, the late one late.
        assert_eq!(read.hpa_phase, Duration::from_millis(1_950));
        let looks = [0, 9, 12, 16, 48].map(|number| read.hpa_looks[number].as_millis());
        assert_eq!(looks, [1_950, 47_400, 62_550, 84_650, 244_350]);
        assert_eq!(read.hpa_looks.len(), 9 + 40);
        assert_eq!(read.metrics_resolution, Duration::from_secs(10));
        assert_eq!(read.metrics_phase, Duration::from_millis(8_250));
    }

    #[test]
    fn two_strikes_of_one_look_count_as_one() {
        let hpa_s = vec![0.0, 0.1, 5.0, 5.1, 10.0, 15.0];
        let metrics_s = vec![0.0, 10.0, 20.0, 30.0, 40.0];
        let read = Clocks { hpa_s, metrics_s }.set(&setup()).unwrap().timing;
        assert_eq!([read.hpa_sync, read.hpa_phase], [Duration::from_secs(5), Duration::ZERO]);
    }

    #[test]
    fn what_was_hardly_seen_is_not_read() {
        let seen = vec![0.0, 10.0, 20.0, 30.0];
        let enough = vec![0.0, 10.0, 20.0, 30.0, 40.0];
        for (hpa_s, metrics_s) in [(seen.clone(), enough.clone()), (enough.clone(), seen)] {
            assert!(Clocks { hpa_s, metrics_s }.set(&setup()).is_none());
        }
        // All at the same moment: no period.
        assert!(Clocks { hpa_s: vec![1.0; 9], metrics_s: enough }.set(&setup()).is_none());
    }
}
