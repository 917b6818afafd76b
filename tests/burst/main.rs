//! The main job on real control planes, judged by an auditor that shares no code with burstlet. One story a module.

// Clippy knows tests by their attribute; their helpers here are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// A test binary has no outside.
#![allow(unreachable_pub)]

mod auditor;
mod containers;
mod docs;
mod rights;
#[path = "../helm/tool.rs"]
mod tool;
mod trial;

mod base_kill;
mod hpa;
mod install;
mod kill;
mod policies;
mod rollout;
mod scale;
mod uninstall;
