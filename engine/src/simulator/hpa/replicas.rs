//! How many replicas a metric asks for.
//!
//! Pods that should not count are found first; then usage over target gives a ratio, and the ratio times the pods that
//! count gives replicas. Pods without a metric, and on the way up pods that are not ready, are then filled in with what
//! holds the change back. Integers truncate as upstream's do.

use std::time::Duration;

use super::{
    arithmetic::{low_half, to_f64, to_i32},
    moment::Moment,
    quantity::MilliValue,
    sample::{Phase, PodSample, Target},
};

/// By how much usage may differ from its target, in each direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerances {
    pub(super) up: f64,
    pub(super) down: f64,
}

impl Tolerances {
    fn hold(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Why a metric of pods gives no replicas, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown<'a> {
    #[error("no pods returned by selector while calculating replica count")]
    NoPods,
    #[error("did not receive metrics for targeted pods (pods might be unready)")]
    NoMetrics,
    #[error("missing request for {resource} in container app of Pod {pod}")]
    NoRequest { resource: &'a str, pod: &'a str },
    #[error("no metrics returned matched known pods")]
    NothingRequested,
}

/// Which CPU samples tell nothing yet, as the pod has just started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) now: Moment,
    pub(super) initialization: Duration,
    pub(super) delay: Duration,
}

impl Readiness {
    /// Whether the pod's CPU does not count.
    fn withholds(self, pod: &PodSample<'_>) -> bool {
        let (Some(ready), Some(started)) = (pod.ready, pod.started) else { return true };
        if started.after(self.initialization) > self.now {
            !ready || pod.sampled < pod.ready_since.after(pod.window)
        } else {
            // It has been ready before if it turned unready later than a start takes.
            !ready && started.after(self.delay) > pod.ready_since
        }
    }
}

/// Usage and requests of a group of pods.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    pods: i64,
    usage: i64,
    requests: i64,
}

impl Sum {
    /// Adds a pod and those alike.
    fn add(&mut self, pods: i64, usage: i64, request: i64) {
        self.pods += pods;
        self.usage = self.usage.wrapping_add(usage.wrapping_mul(pods));
        self.requests = self.requests.wrapping_add(request.wrapping_mul(pods));
    }

    fn and(self, other: Self) -> Self {
        Self {
            pods: self.pods + other.pods,
            usage: self.usage.wrapping_add(other.usage),
            requests: self.requests.wrapping_add(other.requests),
        }
    }
}

/// The pods of a target, by how they count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally<'a> {
    any: bool,
    counted: Sum,
    /// Without a metric; their usage is what a scale-down takes for it.
    missing: Sum,
    unready: Sum,
    without_request: Option<&'a str>,
}

/// What a metric reads of a pod.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    pub(super) usage: Option<MilliValue>,
    pub(super) request: Option<MilliValue>,
    /// What a scale-down takes for its usage where there is none.
    pub(super) full: i64,
}

impl<'a> Tally<'a> {
    /// Sorts the pods; with `readiness`, those whose sample tells nothing yet do not count.
    pub(super) fn of(
        pods: &[PodSample<'a>],
        readiness: Option<Readiness>,
        read: impl Fn(&PodSample<'a>) -> Read,
    ) -> Self {
        let mut tally = Self { any: !pods.is_empty(), ..Self::default() };
        for pod in pods {
            let Read { usage, request, full } = read(pod);
            if request.is_none() && tally.without_request.is_none() {
                tally.without_request = Some(pod.name);
            }
            let request = request.unwrap_or_default().0;
            if pod.deleted || pod.phase == Phase::Failed {
                continue;
            }
            let pods = pod.count();
            match usage {
                _ if pod.phase == Phase::Pending => tally.unready.add(pods, 0, request),
                None => tally.missing.add(pods, full, request),
                Some(_) if readiness.is_some_and(|readiness| readiness.withholds(pod)) => {
                    tally.unready.add(pods, 0, request);
                }
                Some(usage) => tally.counted.add(pods, usage.0, request),
            }
        }
        tally
    }

    fn check(&self) -> Result<(), Unknown<'a>> {
        match (self.any, self.counted.pods) {
            (false, _) => Err(Unknown::NoPods),
            (true, 0) => Err(Unknown::NoMetrics),
            (true, _) => Ok(()),
        }
    }

    /// Replicas at which the pods would use `target` percent of their requests.
    pub(super) fn for_utilization(
        &self,
        current: i32,
        target: i32,
        tolerances: Tolerances,
        resource: &'a str,
    ) -> Result<i32, Unknown<'a>> {
        self.check()?;
        if let Some(pod) = self.without_request {
            return Err(Unknown::NoRequest { resource, pod });
        }
        self.replicas(current, tolerances, |sum| match sum.requests {
            0 => Err(Unknown::NothingRequested),
            requests => {
                let percent = low_half(sum.usage.wrapping_mul(100).wrapping_div(requests));
                Ok(f64::from(percent) / f64::from(target))
            }
        })
    }

    /// Replicas at which each pod would use `target`.
    pub(super) fn for_average(
        &self,
        current: i32,
        target: MilliValue,
        tolerances: Tolerances,
    ) -> Result<i32, Unknown<'a>> {
        self.check()?;
        self.replicas(current, tolerances, |sum| Ok(to_f64(sum.usage / sum.pods) / to_f64(target.0)))
    }

    fn replicas(
        &self,
        current: i32,
        tolerances: Tolerances,
        ratio_of: impl Fn(Sum) -> Result<f64, Unknown<'a>>,
    ) -> Result<i32, Unknown<'a>> {
        let ratio = ratio_of(self.counted)?;
        let fill_unready = self.unready.pods > 0 && ratio > 1.0;
        if !fill_unready && self.missing.pods == 0 {
            let held = tolerances.hold(ratio);
            return Ok(if held { current } else { to_i32((ratio * to_f64(self.counted.pods)).ceil()) });
        }
        let mut sum = self.counted;
        if ratio < 1.0 {
            sum = sum.and(self.missing);
        } else if ratio > 1.0 {
            sum = sum.and(Sum { usage: 0, ..self.missing });
        }
        if fill_unready {
            sum = sum.and(self.unready);
        }
        let filled = ratio_of(sum)?;
        let turned = (ratio < 1.0 && filled > 1.0) || (ratio > 1.0 && filled < 1.0);
        if tolerances.hold(filled) || turned {
            return Ok(current);
        }
        let replicas = to_i32((filled * to_f64(sum.pods)).ceil());
        let against = (filled < 1.0 && replicas > current) || (filled > 1.0 && replicas < current);
        Ok(if against { current } else { replicas })
    }
}

/// Replicas at which a metric of the whole would reach `target`: its ratio times the pods that are ready.
pub(super) fn for_value<'a>(
    pods: &[PodSample<'a>],
    current: i32,
    usage: MilliValue,
    target: MilliValue,
    tolerances: Tolerances,
) -> Result<i32, Unknown<'a>> {
    let ratio = to_f64(usage.0) / to_f64(target.0);
    if current == 0 {
        return Ok(to_i32(ratio.ceil()));
    }
    if tolerances.hold(ratio) {
        return Ok(current);
    }
    if pods.is_empty() {
        return Err(Unknown::NoPods);
    }
    let ready = pods.iter().filter(|pod| pod.phase == Phase::Running && pod.ready == Some(true));
    let replicas = ratio * to_f64(ready.map(PodSample::count).sum());
    Ok(at_most_i32(replicas))
}

/// Replicas among which a metric of the whole would be `target` each.
pub(super) fn for_share(
    target: Target,
    usage: MilliValue,
    share: MilliValue,
    tolerances: Tolerances,
    capped: bool,
) -> i32 {
    let replicas = target.status_replicas;
    let ratio = to_f64(usage.0) / (to_f64(share.0) * f64::from(replicas));
    let wanted = to_f64(usage.0) / to_f64(share.0);
    match tolerances.hold(ratio) {
        true => replicas,
        false if capped => at_most_i32(wanted),
        false => to_i32(wanted.ceil()),
    }
}

/// Rounded up, and no more than 32 bits hold.
fn at_most_i32(replicas: f64) -> i32 {
    if replicas.ceil() > f64::from(i32::MAX) { i32::MAX } else { to_i32(replicas.ceil()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCES: Tolerances = Tolerances { up: 0.1, down: 0.1 };
    const NOW: Moment = Moment::START;
    const READINESS: Readiness =
        Readiness { now: NOW, initialization: Duration::from_mins(5), delay: Duration::from_secs(30) };

    fn at(seconds: i64) -> Moment {
        Moment::from_secs(seconds)
    }

    /// A pod that has long been ready, and requests 100m.
    fn pod(usage: i64) -> PodSample<'static> {
        let mut pod = PodSample { name: "a", ready: Some(true), started: Some(at(-900)), ..PodSample::default() };
        pod.ready_since = at(-890);
        pod.cpu.request = Some(MilliValue(100));
        pod.cpu.usage = Some(MilliValue(usage));
        pod
    }

    fn pods<const N: usize>(usages: [i64; N]) -> [PodSample<'static>; N] {
        usages.map(pod)
    }

    fn without_metric() -> PodSample<'static> {
        let mut missing = pod(0);
        missing.cpu.usage = None;
        missing
    }

    fn unready() -> PodSample<'static> {
        PodSample { ready: Some(false), ready_since: at(-900), ..pod(500) }
    }

    fn utilization<'a>(pods: &[PodSample<'a>], current: i32, target: i32) -> Result<i32, Unknown<'a>> {
        let tally = Tally::of(pods, Some(READINESS), |pod| Read {
            usage: pod.cpu.usage,
            request: pod.cpu.request,
            full: pod.cpu.request.unwrap_or_default().0 * i64::from(target.max(100)) / 100,
        });
        tally.for_utilization(current, target, TOLERANCES, "cpu")
    }

    fn average(pods: &[PodSample<'_>], current: i32, target: i64) -> i32 {
        let read = |pod: &PodSample<'_>| Read { usage: pod.cpu.usage, request: None, full: target };
        Tally::of(pods, None, read).for_average(current, MilliValue(target), TOLERANCES).unwrap()
    }

    #[test]
    fn the_ratio_times_the_pods_that_count_is_rounded_up() {
        assert_eq!(utilization(&pods([80, 80, 80]), 3, 50), Ok(5));
        assert_eq!(utilization(&pods([10, 10, 10]), 3, 50), Ok(1));
        assert_eq!(utilization(&pods([80, 80, 80]), 7, 50), Ok(5), "the replicas wanted do not matter to it");
    }

    #[test]
    fn utilization_is_a_whole_percentage_of_all_requests() {
        // 166 of 300 is 55.33%, cut to 55%, which 50% still tolerates; 168 is 56%.
        assert_eq!(utilization(&pods([56, 55, 55]), 3, 50), Ok(3));
        assert_eq!(utilization(&pods([56, 56, 56]), 3, 50), Ok(4));
    }

    #[test]
    fn averages_are_whole_thousandths() {
        // 331 among 3 is 110, which 100 tolerates; 333 is 111.
        assert_eq!(average(&pods([111, 110, 110]), 3, 100), 3);
        assert_eq!(average(&pods([111, 111, 111]), 3, 100), 4);
    }

    #[test]
    fn both_ends_of_the_tolerance_belong_to_it() {
        for (usage, replicas) in [(55, 10), (56, 12), (45, 10), (44, 9)] {
            assert_eq!(utilization(&pods([usage; 10]), 10, 50), Ok(replicas), "{usage}");
        }
    }

    #[test]
    fn a_pod_without_metric_uses_nothing_on_the_way_up() {
        // 120% of 50% for two of three: 80% with the third, so 1.6 × 3.
        let pods = [pod(120), pod(120), without_metric()];
        assert_eq!(utilization(&pods, 3, 50), Ok(5));
        assert_eq!(average(&pods, 3, 50), 5);
    }

    #[test]
    fn a_pod_without_metric_uses_all_it_requests_on_the_way_down_or_more_if_that_is_the_target() {
        // 10, 10 and 100 of 300: 40% of 80%.
        assert_eq!(utilization(&[pod(10), pod(10), without_metric()], 3, 80), Ok(2));
        // 10, 10 and 200 of 300: 73% of 200%.
        assert_eq!(utilization(&[pod(10), pod(10), without_metric()], 3, 200), Ok(2));
        // An average takes the target itself: 10, 10 and 80 are 33 of 80.
        assert_eq!(average(&[pod(10), pod(10), without_metric()], 3, 80), 2);
    }

    #[test]
    fn a_pod_without_metric_changes_nothing_where_usage_is_the_target() {
        assert_eq!(utilization(&[pod(50), without_metric()], 2, 50), Ok(2));
    }

    #[test]
    fn a_pod_that_is_not_ready_uses_nothing_on_the_way_up_and_is_left_out_on_the_way_down() {
        assert_eq!(utilization(&[pod(120), pod(120), unready()], 3, 50), Ok(5));
        assert_eq!(utilization(&[pod(10), pod(10), unready()], 3, 50), Ok(1));
        let pending = PodSample { phase: Phase::Pending, ..pod(500) };
        assert_eq!(utilization(&[pod(120), pod(120), pending], 3, 50), Ok(5));
    }

    #[test]
    fn what_is_filled_in_never_turns_the_direction() {
        assert_eq!(utilization(&[pod(60), unready(), unready()], 3, 50), Ok(3), "up became down");
        assert_eq!(utilization(&[pod(40), without_metric(), without_metric()], 3, 50), Ok(3), "down became up");
        assert_eq!(utilization(&[pod(160), unready()], 5, 50), Ok(5), "up to 4 would be down from 5");
    }

    #[test]
    fn failed_and_deleted_pods_do_not_count_but_must_have_requests() {
        let failed = PodSample { phase: Phase::Failed, ..pod(500) };
        let deleted = PodSample { deleted: true, ..pod(500) };
        assert_eq!(utilization(&[pod(100), failed, deleted], 3, 50), Ok(2));
        let mut bare = PodSample { name: "b", ..failed };
        bare.cpu.request = None;
        let missing = Err(Unknown::NoRequest { resource: "cpu", pod: "b" });
        assert_eq!(utilization(&[pod(100), bare], 1, 50), missing);
    }

    #[test]
    fn without_any_pod_metric_or_request_there_is_no_answer() {
        assert_eq!(utilization(&[], 1, 50), Err(Unknown::NoPods));
        assert_eq!(utilization(&[without_metric(), unready()], 2, 50), Err(Unknown::NoMetrics));
        let mut free = pod(10);
        free.cpu.request = Some(MilliValue(0));
        assert_eq!(utilization(&[free], 1, 50), Err(Unknown::NothingRequested));
    }

    #[test]
    fn succeeded_and_unknown_pods_count() {
        for phase in [Phase::Succeeded, Phase::Unknown] {
            assert_eq!(utilization(&[PodSample { phase, ..pod(100) }], 1, 50), Ok(2), "{phase:?}");
        }
    }

    #[test]
    fn cpu_counts_once_a_pod_has_been_ready_for_a_window_or_its_start_is_over() {
        let window = Duration::from_secs(30);
        let new = |ready, since, sampled| PodSample {
            ready: Some(ready),
            started: Some(at(-100)),
            ready_since: at(since),
            sampled: at(sampled),
            window,
            ..pod(100)
        };
        let old = |ready, since| PodSample { started: Some(at(-300)), ..new(ready, since, 0) };
        for (what, pod, counts) in [
            ("ready for a window", new(true, -30, 0), true),
            ("ready for less", new(true, -29, 0), false),
            ("sampled too early", new(true, -30, -1), false),
            ("not ready while it starts", new(false, -90, 0), false),
            ("just past its start", old(true, -1), true),
            ("never ready", old(false, -271), false),
            ("turned unready in time to have been ready", old(false, -270), true),
            ("without a condition", PodSample { ready: None, ..old(true, -1) }, false),
            ("without a start", PodSample { started: None, ..old(true, -1) }, false),
        ] {
            assert_eq!(!READINESS.withholds(&pod), counts, "{what}");
        }
    }

    #[test]
    fn a_value_is_shared_among_ready_running_pods_and_from_zero_is_a_count() {
        let value = |pods: &[PodSample<'_>], current, usage| {
            for_value(pods, current, MilliValue(usage), MilliValue(100), TOLERANCES).ok()
        };
        let some = [pod(0), pod(0), unready(), PodSample { phase: Phase::Succeeded, ..pod(0) }];
        assert_eq!(value(&some, 4, 150), Some(3), "1.5 × 2");
        assert_eq!(value(&some, 4, 110), Some(4), "tolerated");
        assert_eq!(value(&some, 0, 101), Some(2), "no pod and no tolerance from zero");
        assert_eq!(value(&some, 0, 0), Some(0));
        assert_eq!(value(&[], 4, 150), None);
        assert_eq!(value(&[pod(0); 10], 4, i64::MAX), Some(i32::MAX));
    }

    #[test]
    fn a_share_goes_by_the_replicas_that_there_are() {
        let share = |spec_replicas, status_replicas, usage| {
            let target = Target { spec_replicas, status_replicas };
            for_share(target, MilliValue(usage), MilliValue(100), TOLERANCES, true)
        };
        assert_eq!(share(9, 4, 440), 4, "tolerated: as many as there are");
        assert_eq!(share(9, 4, 441), 5);
        assert_eq!(share(1, 0, 250), 3);
        assert_eq!(share(1, 0, 0), 0);
        assert_eq!(share(1, 1, i64::MAX), i32::MAX);
    }
}
