//! What burstlet must never do to others, and what becomes of bad input: each story on a real control plane.
//!
//! One cluster stands at a time, whatever the number of test threads.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autoscaler;
mod bad_input;
mod coexist;
mod constrained;
mod extender_faults;
mod fleet;
mod kinds;
mod observe;
mod opt_in;
mod own_scheduler;
mod policies;
mod pools;
mod profile;
mod support;
mod telemetry;
mod under_fire;
