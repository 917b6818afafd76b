//! burstlet keeps a base of each workload on real nodes and bursts the rest to serverless clouds.

pub mod admission;
pub mod api;
pub mod extender;
pub mod kubelet;
#[cfg(feature = "lab")]
pub mod lab;
pub mod provider;
pub mod serve;
