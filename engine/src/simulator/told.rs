//! What a metrics API tells of a workload besides its CPU: metrics of type Pods, Object and External, and memory.
//!
//! All follow from what a replay knows: the requests, or what was recorded beside them. One value stands for the whole
//! workload. Object and External metrics are that value; for a Pods metric, the pods that were Ready at the reading share
//! it evenly, other running pods have 0, and pods that did not run yet have none. All are read when metrics-server reads, and
//! told until it reads again.

use std::time::Duration;

use crate::{
    model::{Bytes, MilliCpu},
    simulator::{
        flow::Counters,
        hpa::{ContainerSample, MilliValue, OtherMetrics, Reading},
        setup::{Container, Memory, Workload},
    },
    traffic::{Rate, Traffic},
};

/// What a metric's value follows from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Requests that arrive a second, on average between the last two readings: what stands before the pods counts so.
    RequestRate,
    /// Requests that are served a second, on average between the last two readings: what pods count themselves.
    ServedRate,
    /// Requests that are being served or wait, at the last reading.
    InFlight,
    /// What was recorded: a rate's number is the metric's value.
    Recorded(Traffic),
}

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of the whole workload.
    pub(super) other: OtherMetrics,
    /// Of each pod that was Ready.
    pub(super) ready: Vec<(String, MilliValue)>,
    /// Of each pod that ran and was not Ready.
    pub(super) starting: Vec<(String, MilliValue)>,
    /// Memory of each pod that was Ready.
    ready_memory: Option<MilliValue>,
    /// Memory of each pod that ran and was not Ready.
    starting_memory: Option<MilliValue>,
}

/// Two readings of a workload's counters, and the time between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readings {
    pub(super) before: Counters,
    pub(super) last: Counters,
    pub(super) window: Duration,
}

impl Told {
    /// What the readings tell, `offset` after the start.
    pub(super) fn of(setup: &Workload, readings: Readings, offset: Duration) -> Self {
        let ready = i64::from(readings.last.ready);
        let mut told = Self::default();
        for (name, source) in &setup.metrics {
            let whole = match source {
                Source::RequestRate => readings.rate(|counters| counters.arrived),
                Source::ServedRate => readings.rate(|counters| counters.served),
                Source::InFlight => readings.in_flight(setup.serving.request_time),
                Source::Recorded(recorded) => thousandths(recorded.rate_at(offset)),
            };
            told.other.external.insert(name.clone(), vec![MilliValue(whole)]);
            told.other.object.insert(name.clone(), MilliValue(whole));
            told.starting.push((name.clone(), MilliValue(0)));
            told.ready.push((name.clone(), MilliValue(whole.checked_div(ready).unwrap_or_default())));
        }
        if let Some(Memory { idle, per_request }) = setup.serving.memory {
            let share = readings.in_flight(setup.serving.request_time).checked_div(ready).unwrap_or_default();
            let idle = MilliValue::from(idle).0;
            told.starting_memory = Some(MilliValue(idle));
            told.ready_memory = Some(MilliValue(idle.saturating_add(milli_bytes(per_request, share))));
        }
        told
    }

    /// The memory that a pod uses.
    pub(super) fn memory(&self, is_ready: bool) -> Option<MilliValue> {
        if is_ready { self.ready_memory } else { self.starting_memory }
    }
}

impl Readings {
    /// What a counter rose by, a second, in thousandths.
    fn rate(&self, counter: impl Fn(&Counters) -> u128) -> i64 {
        let rose = counter(&self.last).saturating_sub(counter(&self.before));
        let rate = rose.checked_div(self.window.as_millis() * 1_000).unwrap_or_default();
        i64::try_from(rate).unwrap_or(i64::MAX)
    }

    /// Requests that wait and those being served, in thousandths: as many as are served in the time that one takes.
    fn in_flight(&self, request_time: Duration) -> i64 {
        let served = self.last.served.saturating_sub(self.before.served);
        let busy = (served * request_time.as_millis()).checked_div(self.window.as_millis()).unwrap_or_default();
        i64::try_from((self.last.backlog + busy) / 1_000_000).unwrap_or(i64::MAX)
    }
}

/// What is told of a pod's containers: the first serves, and uses all; the others idle.
pub(super) fn containers(
    all: &[Container],
    cpu: Option<MilliValue>,
    memory: Option<MilliValue>,
) -> impl Iterator<Item = ContainerSample<'_>> {
    all.iter().enumerate().map(move |(index, container)| {
        let serves = index == 0;
        let used = |usage: MilliValue| if serves { usage } else { MilliValue(0) };
        ContainerSample {
            name: &container.name,
            cpu: Reading {
                request: Some(container.requests.cpu.into()).filter(|_| container.requests.cpu > MilliCpu(0)),
                usage: cpu.map(used),
            },
            memory: Reading {
                request: Some(container.requests.memory.into()).filter(|_| container.requests.memory > Bytes(0)),
                usage: memory.map(used),
            },
        }
    })
}

/// Thousandths of a byte of so many thousandths of a request.
fn milli_bytes(per_request: Bytes, requests: i64) -> i64 {
    let bytes = u128::from(per_request.0) * u128::from(requests.unsigned_abs());
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_possible_truncation, reason = "rates end at 10⁹")]
fn thousandths(rate: Rate) -> i64 {
    (rate.per_second() * 1e3).round() as i64
}
