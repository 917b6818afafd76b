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
    fn add(&mut self, usage: i64, request: i64) {
        self.pods += 1;
        self.usage = self.usage.wrapping_add(usage);
        self.requests = self.requests.wrapping_add(request);
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
            match usage {
                _ if pod.phase == Phase::Pending => tally.unready.add(0, request),
                None => tally.missing.add(full, request),
                Some(_) if readiness.is_some_and(|readiness| readiness.withholds(pod)) => {
                    tally.unready.add(0, request);
                }
                Some(usage) => tally.counted.add(usage.0, request),
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
    let ready = pods.iter().filter(|pod| pod.phase == Phase::Running && pod.ready == Some(true)).count();
    let replicas = ratio * to_f64(i64::try_from(ready).unwrap_or(i64::MAX));
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
