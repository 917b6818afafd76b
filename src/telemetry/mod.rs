//! Logs, metrics, Kubernetes Events, and the plain HTTP listener that shows health and metrics.

mod documented;
mod events;
mod health;
mod logs;
mod requests;

pub use documented::{Collectors, documented, listed, register};
pub use events::Events;
pub use health::{Health, Part, TelemetryError, bind, serve};
pub use logs::{LogFormat, init};
pub use requests::ApiRequests;
