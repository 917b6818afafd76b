//! A cloud in memory: what trials, tests and the lab run pods on.
//!
//! [`Cloud`] keeps instances that start after a while, use CPU as a scenario says, end by themselves and fail on
//! demand. It is a [`Provider`](super::Provider) in the process; [`Cloud::router`] offers the same over HTTP and
//! [`Remote`] uses it from there, so that instances outlive a killed burstlet.

mod clock;
mod cloud;
pub(crate) mod dice;
mod http;
mod remote;
mod settings;
mod state;

pub use cloud::Cloud;
pub use remote::Remote;
pub use settings::{CpuTarget, Fault, Settings, StartUp};
pub use state::{Audit, AuditEntry, AuditEvent};

use super::{Takes, Tokens};

/// What it takes: files, as a cloud would, so that what is missing is told. It does nothing with them.
const TAKES: Takes = Takes { files: true, tokens: Tokens::None, registries: false, renewals: false };

/// Pod annotation: the containers end by themselves after this long, in humantime's form (`5s`).
pub const RUN_FOR: &str = "simulated.burstlet.dev/run-for";

/// Pod annotation: the exit code that [`RUN_FOR`] ends with; 0 where it is missing.
pub const EXIT_CODE: &str = "simulated.burstlet.dev/exit-code";
