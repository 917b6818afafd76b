//! Logs, metrics, and the plain HTTP listener that shows health and metrics.

mod documented;
mod health;
mod logs;

pub use documented::documented;
pub use health::{Health, Part, TelemetryError, bind, serve};
pub use logs::{LogFormat, init};
