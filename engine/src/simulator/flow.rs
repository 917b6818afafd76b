//! Requests as a flow: what arrives, waits, is served, is late, and is given up.
//!
//! The queue model, for one workload between two changes of its rate or of its ready pods:
//!
//! - Requests arrive at a rate and wait in one line for all Ready pods, first come first served.
//! - A pod serves as many a second as its CPU limit allows at the CPU time that a request costs, or as its concurrency
//!   allows at the time that a request takes, whichever is less.
//! - A request that finds a line longer than `late_after` (at the present pods' pace) is **late**, though served.
//! - The line is never longer than `give_up_after`: what comes on top is **unserved**, and so is the end of the line
//!   when pods go. Without a Ready pod everything is unserved.
//!
//! All in whole numbers: rates in millionths of a request a second, amounts in 10⁻⁹ of a request, so a day of the same
//! traffic gives the same figures on every machine. Requests are a flow and not events: a rate of a million costs as
//! much to simulate as a rate of one.

use std::time::Duration;

use crate::{
    model::{MilliCpu, Timestamp},
    simulator::{outcome::Load, setup::Serving},
    traffic::Rate,
};

/// CPU that an idle pod uses: metrics-server drops a pod whose counter stands still.
const IDLE: MilliCpu = MilliCpu(1);

/// The flow of one workload's requests.
#[derive(Debug)]
pub(super) struct Flow {
    /// CPU time of a request, in nanoseconds.
    request_cpu: u128,
    /// What one pod serves, in millionths of a request a second.
    per_pod: u128,
    late_after: u128,
    give_up_after: u128,
    /// Arrivals, in millionths of a request a second.
    rate: u128,
    ready: u32,
    until: Timestamp,
    backlog: u128,
    arrived: u128,
    served: u128,
    late: u128,
    unserved: u128,
    /// Arrived and served before the start.
    forgotten: (u128, u128),
    /// CPU time that a pod which was Ready all the time has used, in nanoseconds.
    cpu_each: u64,
}

/// What a flow has counted since it began; requests in 10⁻⁹.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    /// CPU time that a pod which was Ready all the time has used, in nanoseconds.
    pub(super) cpu_each: u64,
    /// Requests that came.
    pub(super) arrived: u128,
    /// Requests that were served.
    pub(super) served: u128,
    /// Requests that wait.
    pub(super) backlog: u128,
    /// Pods that are Ready.
    pub(super) ready: u32,
}

impl Flow {
    pub(super) fn new(serving: &Serving, cpu_limit: Option<MilliCpu>, start: Timestamp) -> Self {
        let request_cpu = serving.request_cpu.as_nanos().max(1);
        let by_cpu = cpu_limit.map(|limit| u128::from(limit.0) * 1_000_000_000_000 / request_cpu);
        let by_concurrency = serving.concurrency.map(|concurrency| {
            u128::from(concurrency.get()) * 1_000_000_000_000_000 / serving.request_time.as_nanos().max(1)
        });
        let per_pod = [by_cpu, by_concurrency].into_iter().flatten().min().unwrap_or(MOST);
        Self {
            request_cpu,
            per_pod: per_pod.min(MOST),
            late_after: serving.late_after.as_millis(),
            give_up_after: serving.give_up_after.as_millis(),
            rate: 0,
            ready: 0,
            until: start,
            backlog: 0,
            arrived: 0,
            served: 0,
            late: 0,
            unserved: 0,
            forgotten: (0, 0),
            cpu_each: 0,
        }
    }

    /// From now on requests arrive at this rate.
    pub(super) fn set_rate(&mut self, rate: Rate, now: Timestamp) {
        self.advance(now);
        self.rate = millionths(rate);
    }

    /// From now on so many pods are Ready.
    pub(super) fn set_ready(&mut self, ready: u32, now: Timestamp) {
        self.advance(now);
        self.ready = ready;
        let longest = self.capacity() * self.give_up_after;
        let dropped = self.backlog.saturating_sub(longest);
        self.unserved += dropped;
        self.backlog -= dropped;
    }

    /// Forgets what came before the start; the line stays.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.advance(now);
        self.forgotten = (self.forgotten.0 + self.arrived, self.forgotten.1 + self.served);
        (self.arrived, self.served, self.late, self.unserved) = (0, 0, 0, 0);
    }

    /// CPU time that a pod which was Ready all the time has used until now, in nanoseconds.
    pub(super) fn cpu_each(&mut self, now: Timestamp) -> u64 {
        self.advance(now);
        self.cpu_each
    }

    /// All that is counted, from the flow's beginning on.
    pub(super) fn counters(&mut self, now: Timestamp) -> Counters {
        Counters {
            cpu_each: self.cpu_each(now),
            arrived: self.forgotten.0 + self.arrived,
            served: self.forgotten.1 + self.served,
            backlog: self.backlog,
            ready: self.ready,
        }
    }

    pub(super) fn load(&self) -> Load {
        let requests = |amount: u128| thousandths(amount);
        Load {
            served: requests(self.served),
            late: requests(self.late),
            unserved: requests(self.unserved),
            backlog: requests(self.backlog),
        }
    }

    pub(super) fn arrived(&self) -> f64 {
        thousandths(self.arrived)
    }

    /// Requests that are left when the run ends have not been served.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.advance(now);
        self.unserved += std::mem::take(&mut self.backlog);
    }

    fn capacity(&self) -> u128 {
        self.per_pod * u128::from(self.ready)
    }

    /// Goes on until `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let millis = now.since(self.until).as_millis();
        if millis == 0 {
            return;
        }
        self.until = now;
        let capacity = self.capacity();
        let before = self.backlog;
        let arrived = self.rate * millis;
        self.arrived += arrived;
        let work = before + arrived;
        let (longest, late_from) = (capacity * self.give_up_after, capacity * self.late_after);
        let after = work.saturating_sub(capacity * millis);
        let dropped = after.saturating_sub(longest);
        self.backlog = after - dropped;
        self.unserved += dropped;
        let served = work - after;
        self.served += served;
        self.late += self.arrived_late(before, late_from, millis, capacity).saturating_sub(dropped);
        if let Some(share) = (served * self.request_cpu).checked_div(u128::from(self.ready) * 1_000_000_000) {
            let idle = u128::from(IDLE.0) * millis * 1_000;
            self.cpu_each += u64::try_from(share.max(idle)).unwrap_or(u64::MAX);
        }
    }

    /// What arrives within `millis` and finds the line longer than `late_from`.
    fn arrived_late(&self, before: u128, late_from: u128, millis: u128, capacity: u128) -> u128 {
        if capacity == 0 {
            return self.rate * millis;
        }
        let arrived = self.rate * millis;
        if self.rate > capacity {
            let growth = self.rate - capacity;
            let missing = late_from.saturating_sub(before);
            // Until the line is that long, arrivals are in time.
            arrived.saturating_sub(self.rate * missing / growth)
        } else {
            let shrinking = capacity - self.rate;
            let excess = before.saturating_sub(late_from);
            match (self.rate * excess).checked_div(shrinking) {
                Some(late) => late.min(arrived),
                None => {
                    if excess > 0 {
                        arrived
                    } else {
                        0
                    }
                }
            }
        }
    }
}

/// More than any pod serves, in millionths of a request a second.
const MOST: u128 = 1_000_000_000_000_000;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates end at 10⁹ and are never negative")]
fn millionths(rate: Rate) -> u128 {
    u128::from((rate.per_second() * 1e6).round() as u64)
}

/// An amount of 10⁻⁹ requests, as requests to three places.
#[allow(clippy::cast_precision_loss, reason = "three places of ten million million requests fit")]
fn thousandths(amount: u128) -> f64 {
    ((amount + 500_000) / 1_000_000) as f64 / 1e3
}

/// The average use between two readings of a CPU counter, rounded up to whole thousandths of a core.
pub(super) fn average(used_nanos: u64, over: Duration) -> MilliCpu {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    MilliCpu(used_nanos.div_ceil(millis.saturating_mul(1_000)).max(IDLE.0))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::simulator::setup::Latency;

    fn serving() -> Serving {
        Serving {
            request_cpu: Duration::from_millis(100),
            request_time: Duration::from_millis(100),
            concurrency: None,
            memory: None,
            late_after: Duration::from_secs(1),
            give_up_after: Duration::from_secs(4),
            ready_after: Latency::fixed(Duration::ZERO),
            stop: Duration::ZERO,
        }
    }

    /// One core, so ten requests a second a pod.
    fn flow(ready: u32, rate: f64) -> Flow {
        let mut flow = Flow::new(&serving(), Some(MilliCpu(1_000)), at(0));
        flow.set_ready(ready, at(0));
        flow.set_rate(Rate::new(rate).unwrap(), at(0));
        flow
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// Served, late, unserved and waiting, in whole requests.
    fn figures(flow: &Flow) -> [u128; 4] {
        [flow.served, flow.late, flow.unserved, flow.backlog].map(|amount| amount / 1_000_000_000)
    }

    #[test]
    fn what_fits_is_served_in_time() {
        let mut flow = flow(2, 15.0);
        assert_eq!(flow.cpu_each(at(10)), 7_500_000_000, "1.5 cores over two pods for ten seconds");
        assert_eq!(figures(&flow), [150, 0, 0, 0]);
    }

    #[test]
    fn a_line_grows_makes_late_and_is_cut_at_the_patience() {
        let mut flow = flow(1, 20.0);
        flow.advance(at(1));
        assert_eq!(figures(&flow), [10, 0, 0, 10], "the line is a second long now");
        flow.advance(at(2));
        assert_eq!(figures(&flow), [20, 20, 0, 20]);
        flow.advance(at(10));
        assert_eq!(figures(&flow), [100, 120, 60, 40], "four seconds of line, the rest given up");
    }

    #[test]
    fn steps_of_any_size_give_the_same_figures() {
        let (mut fine, mut coarse) = (flow(1, 17.0), flow(1, 17.0));
        for second in 1..=20 {
            fine.advance(at(second));
        }
        coarse.advance(at(20));
        assert_eq!(figures(&fine), figures(&coarse));
        for flow in [&mut fine, &mut coarse] {
            flow.set_ready(3, at(20));
        }
        for second in 21..=30 {
            fine.advance(at(second));
        }
        coarse.advance(at(30));
        assert_eq!(figures(&fine), figures(&coarse));
        assert_eq!(fine.backlog, 0, "the line is gone");
    }

    #[test]
    fn requests_are_neither_lost_nor_made() {
        let mut flow = flow(1, 13.7);
        for (second, ready, rate) in [(3, 2, 40.0), (9, 0, 11.0), (12, 5, 80.0), (40, 1, 3.0), (60, 1, 0.0)] {
            flow.set_ready(ready, at(second));
            flow.set_rate(Rate::new(rate).unwrap(), at(second));
        }
        flow.advance(at(90));
        assert_eq!(flow.arrived, flow.served + flow.unserved + flow.backlog);
    }

    #[test]
    fn without_a_ready_pod_everything_is_unserved() {
        let mut flow = flow(0, 5.0);
        flow.advance(at(4));
        assert_eq!(figures(&flow), [0, 0, 20, 0]);
    }

    #[test]
    fn concurrency_bounds_a_pod_that_mostly_waits() {
        let concurrency = NonZeroU32::new(4);
        let serving = Serving { concurrency, request_time: Duration::from_secs(2), ..serving() };
        let mut flow = Flow::new(&serving, None, at(0));
        flow.set_ready(1, at(0));
        flow.set_rate(Rate::new(3.0).unwrap(), at(0));
        flow.advance(at(1));
        assert_eq!(figures(&flow), [2, 0, 0, 1], "four at once for two seconds each");
    }

    #[test]
    fn an_average_is_of_the_window_and_never_nothing() {
        assert_eq!(average(7_500_000_000, Duration::from_secs(10)), MilliCpu(750));
        assert_eq!(average(0, Duration::from_secs(10)), MilliCpu(1));
    }
}
