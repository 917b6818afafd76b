//! What a pool's instances have consumed, as the cloud will bill it: CPU and memory by time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Resources;

/// CPU and memory by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consumed {
    /// Millionths of vCPU-seconds.
    pub cpu_micro_seconds: u128,
    /// Thousandths of MiB-seconds.
    pub mib_milli_seconds: u128,
}

impl Consumed {
    fn of(size: Resources, time: Duration) -> Self {
        Self {
            cpu_micro_seconds: u128::from(size.cpu.0) * time.as_millis(),
            mib_milli_seconds: u128::from(size.memory.0 >> 20) * time.as_millis(),
        }
    }

    fn add(&mut self, other: Self) {
        self.cpu_micro_seconds += other.cpu_micro_seconds;
        self.mib_milli_seconds += other.mib_milli_seconds;
    }

    /// CPU, in vCPU-seconds.
    #[expect(clippy::cast_precision_loss, reason = "an amount that is shown, or costs money that is estimated")]
    pub fn cpu_seconds(self) -> f64 {
        self.cpu_micro_seconds as f64 / 1e6
    }

    /// Memory, in GiB-seconds.
    #[expect(clippy::cast_precision_loss, reason = "an amount that is shown, or costs money that is estimated")]
    pub fn gib_seconds(self) -> f64 {
        self.mib_milli_seconds as f64 / 1e3 / 1024.0
    }

    /// What it costs at a price for each vCPU-second and GiB-second.
    pub fn cost(self, cpu_second: f64, gib_second: f64) -> f64 {
        self.cpu_seconds() * cpu_second + self.gib_seconds() * gib_second
    }
}

/// Counts what instances consume, each from its creation to its end.
#[derive(Debug, Default)]
pub struct Meter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<String, (Resources, Instant)>,
    ended: Consumed,
}

impl Meter {
    /// The instance `id` is charged for since `at`. Known ones are left alone.
    pub fn begin(&self, id: &str, size: Resources, at: Instant) {
        self.state().running.entry(id.to_owned()).or_insert((size, at));
    }

    /// The instance is charged for no more.
    pub fn end(&self, id: &str, at: Instant) {
        let mut state = self.state();
        if let Some((size, since)) = state.running.remove(id) {
            state.ended.add(Consumed::of(size, at.saturating_duration_since(since)));
        }
    }

    /// The instance never had a machine.
    pub fn cancel(&self, id: &str) {
        self.state().running.remove(id);
    }

    /// All that was consumed until now.
    pub fn total(&self) -> Consumed {
        let now = Instant::now();
        let state = self.state();
        let mut total = state.ended;
        for (size, since) in state.running.values() {
            total.add(Consumed::of(*size, now.saturating_duration_since(*since)));
        }
        total
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::clouds::{Bytes, MilliCpu};

    #[tokio::test(start_paused = true)]
    async fn what_runs_and_what_has_ended_counts_and_what_never_ran_does_not() {
        let meter = Meter::default();
        let size = Resources { cpu: MilliCpu(2000), memory: Bytes(4 << 30) };
        let now = Instant::now();
        for id in ["a", "b", "c"] {
            meter.begin(id, size, now);
        }
        tokio::time::sleep(Duration::from_secs(50)).await;
        meter.end("a", Instant::now());
        meter.cancel("b");
        tokio::time::sleep(Duration::from_secs(50)).await;
        meter.end("a", Instant::now());
        // 150 s of 2 vCPU and 4 GiB.
        let cost = meter.total().cost(0.01, 0.001);
        assert!((cost - 150.0 * (2.0 * 0.01 + 4.0 * 0.001)).abs() < 1e-9, "{cost}");
    }
}
