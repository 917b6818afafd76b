//! Logs, on standard error.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `RUST_LOG` overrides what is logged; without it, burstlet's own words from `info` on.
///
/// A second call in one process changes nothing.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,burstlet=info,kube_client::client=off"));
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match format {
        LogFormat::Human => {
            let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
            let is_coloured = std::io::stderr().is_terminal() && !is_plain;
            registry.with(fmt::layer().with_ansi(is_coloured).with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
}
