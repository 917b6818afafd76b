//! Serverless clouds.
//!
//! Each cloud is a module with its signing, its wire format and its [`Provider`](super::Provider). What they share
//! stands here: calls kept to a rate, a circuit breaker, secrets that are never printed, and the choice among a pool's zones.

pub mod alibaba_eci;
pub mod http;
pub mod limits;
pub mod meter;
pub mod places;
mod secret;

pub use burstlet_engine::model::{Bytes, MilliCpu, QuantityError, Resources};
pub use secret::Secret;
