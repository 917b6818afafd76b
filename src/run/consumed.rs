//! What each pool's instances have consumed, as their provider charges for it, as metrics.

use std::time::Duration;

use prometheus::{GaugeVec, Opts, Registry};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    run::pools::RunningPools,
    telemetry::{Collectors, listed, register},
};

/// How often it is told.
const EVERY: Duration = Duration::from_secs(2);

/// CPU and memory by time, by pool.
#[derive(Debug, Clone)]
pub struct ConsumedMetrics {
    cpu: GaugeVec,
    memory: GaugeVec,
}

impl ConsumedMetrics {
    /// Registers the metrics; an error says that a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["pool"]);
        let metrics = Self {
            cpu: gauge(
                "burstlet_pool_consumed_cpu_seconds",
                "CPU that a pool's instances have been charged for, in vCPU-seconds by their rounded sizes, from their creation to their end. Of instances that this process has seen; Alibaba ECI only.",
            )?,
            memory: gauge(
                "burstlet_pool_consumed_gib_seconds",
                "Memory that a pool's instances have been charged for, in GiB-seconds by their rounded sizes, from their creation to their end. Of instances that this process has seen; Alibaba ECI only.",
            )?,
        };
        register(registry, metrics.collectors())?;
        Ok(metrics)
    }

    /// All of them, to register and to document.
    pub fn collectors(&self) -> Collectors {
        let Self { cpu, memory } = self;
        vec![listed(cpu), listed(memory)]
    }

    /// Tells what the pools at work have consumed, for ever.
    pub(super) async fn tell(self, running: watch::Receiver<RunningPools>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (name, pool) in &*running.borrow() {
                if let Some(consumed) = pool.provider.consumed() {
                    self.cpu.with_label_values(&[name.as_str()]).set(consumed.cpu_seconds());
                    self.memory.with_label_values(&[name.as_str()]).set(consumed.gib_seconds());
                }
            }
        }
    }
}
