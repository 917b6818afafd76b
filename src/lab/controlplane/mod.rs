//! The control plane's binary: etcd, Kubernetes, metrics-server and kubectl in one file, found or built.
//!
//! `$BURSTLET_CONTROLPLANE` names a ready binary. Without it, the Go module in `controlplane/` is built once into
//! `target/controlplane/<digest of its sources>/`, however many test processes ask at the same time.
//! `$BURSTLET_KUBERNETES` chooses an older minor for demo and tests, such as `1.35`: the same sources, built on
//! `controlplane/kubernetes-1.35.mod`.

mod build;
mod error;
mod progress;
mod source;
mod toolchain;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use error::ControlPlaneError;
use source::Source;
pub use toolchain::GoVersion;

/// Names a ready binary; nothing is built then.
pub const BINARY_VARIABLE: &str = "BURSTLET_CONTROLPLANE";

/// Names an older minor of Kubernetes to build; else it is the newest that burstlet is tested on.
pub const MINOR_VARIABLE: &str = "BURSTLET_KUBERNETES";

/// A binary that runs every component of a Kubernetes control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    binary: PathBuf,
}

impl ControlPlane {
    /// The binary's path.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command that runs `component` (`etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`,
    /// `metrics-server`, `kubectl` or `version`).
    pub fn command(&self, component: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(component);
        command
    }
}

/// Finds the binary, or builds it: minutes the first time, nothing after. Blocks; progress goes to standard error.
pub fn ensure() -> Result<ControlPlane, ControlPlaneError> {
    match std::env::var_os(BINARY_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => named(&path),
        None => built(),
    }
}

/// Whether [`ensure`] has nothing to build.
pub fn is_ready() -> bool {
    let is_named = std::env::var_os(BINARY_VARIABLE).is_some_and(|path| !path.is_empty());
    is_named || place().is_ok_and(|(_, _, binary)| binary.is_file())
}

fn named(path: &OsStr) -> Result<ControlPlane, ControlPlaneError> {
    let binary = PathBuf::from(path);
    if binary.is_file() { Ok(ControlPlane { binary }) } else { Err(ControlPlaneError::NamedMissing { path: binary }) }
}

fn built() -> Result<ControlPlane, ControlPlaneError> {
    let (source, folder, binary) = place()?;
    if !binary.is_file() {
        build::build(&source, &folder, &binary)?;
    }
    Ok(ControlPlane { binary })
}

/// What is built, in which folder, into which file.
fn place() -> Result<(Source, PathBuf, PathBuf), ControlPlaneError> {
    let minor = std::env::var(MINOR_VARIABLE).ok().filter(|minor| !minor.is_empty());
    let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane"), minor.as_deref())?;
    let folder = super::target_folder().join("controlplane").join(source.digest());
    let binary = folder.join("controlplane");
    Ok((source, folder, binary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_binary_must_exist() {
        let error = named(OsStr::new("/nowhere/controlplane")).unwrap_err();
        assert!(error.to_string().contains("BURSTLET_CONTROLPLANE"), "{error}");
        assert!(error.to_string().contains("/nowhere/controlplane"), "{error}");
    }
}
