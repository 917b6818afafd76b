//! What only trials need: a real Kubernetes control plane on this machine, without containers and without root, and
//! what is shown on it.
//!
//! - [`controlplane`] finds or builds the control plane's binary, [`cluster`] starts and stops a cluster of it.
//! - [`service`] stands for a Kubernetes Service on loopback.
//! - [`stand`] sets up a whole test bench on a cluster: fake real nodes, simulated clouds, burstlet.
//! - [`demo`] plays a scenario on a stand.
//! - [`emulator`] answers like a cloud, so that an outage can be rehearsed for free.

pub mod cluster;
pub mod controlplane;
pub mod demo;
pub mod emulator;
pub mod service;
pub mod stand;

use std::path::{Path, PathBuf};

/// Where builds and kept logs go: cargo's own target folder.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
}
