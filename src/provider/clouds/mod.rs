//! Serverless clouds.
//!
//! Each cloud is a module with its signing, its wire format and its [`Provider`](super::Provider). What they share
//! stands here: calls kept to a rate, a circuit breaker, secrets that are never printed, and the choice among a pool's zones.

pub mod alibaba_eci;
pub mod aws_fargate;
pub mod azure_aci;
pub mod bandwidth;
pub mod credentials;
pub mod exchange;
mod exec;
pub mod fleet;
pub mod http;
pub mod kingsoft_kci;
pub mod limits;
pub mod log;
pub mod meter;
pub mod places;
pub mod pod;
mod renewed;
mod secret;
pub mod signing;

pub use burstlet_engine::model::{Bytes, MilliCpu, QuantityError, Resources};
pub use secret::Secret;
