//! Logs, metrics, and the plain HTTP listener that shows health and metrics.

mod documented;
mod health;
mod logs;
mod requests;

pub use documented::{Collectors, documented, listed, register};
pub use health::{Health, Part, TelemetryError, bind, serve};
pub use logs::{LogFormat, init};
pub use requests::ApiRequests;
