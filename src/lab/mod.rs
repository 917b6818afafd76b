//! What only trials need: a real Kubernetes control plane on this machine, without containers and without root.
//!
//! [`cluster::Cluster`] starts and stops one; [`controlplane`] finds or builds the binary that it runs.

use std::path::{Path, PathBuf};

pub mod cluster;
pub mod controlplane;

/// Where builds and kept logs go: cargo's own target folder.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
}
