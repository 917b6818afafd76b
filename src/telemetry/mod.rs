//! Logs, metrics, and the plain HTTP listener that shows health and metrics.

mod health;
mod logs;

pub use health::{Health, Part, TelemetryError, bind, serve};
pub use logs::{LogFormat, init};
