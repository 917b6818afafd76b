//! burstlet keeps a base of each workload on real nodes and bursts the rest to serverless clouds.

pub mod admission;
pub mod api;
pub mod cli;
pub mod extender;
pub mod kubelet;
#[cfg(feature = "lab")]
pub mod lab;
pub mod placer;
pub mod provider;
pub mod run;
pub mod serve;
pub mod telemetry;
pub mod watch;
