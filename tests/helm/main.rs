//! The Helm chart: what it renders, and that a cluster takes it.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chart;
mod metrics;
mod release;
mod tool;
