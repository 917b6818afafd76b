//! What each pool's instances have consumed, as their provider charges for it, as metrics.

use std::time::Duration;

use prometheus::{GaugeVec, Opts, Registry, core::Collector};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::run::pools::RunningPools;

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
        let gauge = |name: &str, help: &str| {
            let gauge = GaugeVec::new(Opts::new(name, help), &["pool"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            cpu: gauge(
                "burstlet_pool_consumed_cpu_seconds",
                "CPU that a pool's instances have been charged for, in vCPU-seconds by their rounded sizes, from their creation to their end. Of instances that this process has seen; Alibaba ECI only.",
            )?,
            memory: gauge(
                "burstlet_pool_consumed_gib_seconds",
                "Memory that a pool's instances have been charged for, in GiB-seconds by their rounded sizes, from their creation to their end. Of instances that this process has seen; Alibaba ECI only.",
            )?,
        })
    }

    /// All of them, as the documentation lists them.
    pub fn collectors(&self) -> Vec<&dyn Collector> {
        vec![&self.cpu, &self.memory]
    }

    /// Tells what the pools at work have consumed, for ever.
    pub(super) async fn tell(self, running: watch::Receiver<RunningPools>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (name, pool) in &*running.borrow() {
                if let Some(consumed) = pool.provider.consumed() {
                    self.cpu.with_label_values(&[name.as_str()]).set(consumed.cost(1.0, 0.0));
                    self.memory.with_label_values(&[name.as_str()]).set(consumed.cost(0.0, 1.0));
                }
            }
        }
    }
}
