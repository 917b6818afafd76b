//! The control plane's binary: etcd, Kubernetes, metrics-server and kubectl in one file, found or built.
//!
//! `$BURSTLET_CONTROLPLANE` names a ready binary. Without it, the Go module in `controlplane/` is built once into
//! `target/controlplane/<digest of its sources>/`, however many test processes ask at the same time.
//! `$BURSTLET_KUBERNETES` chooses an older minor for demo and tests, such as `1.35`: the same sources, built on
//! `controlplane/kubernetes-1.35.mod`, beside the newest, whose metrics-server is taken.

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
    /// The same binary, unless an older minor is asked for: the metrics-server that builds beside 1.35 does not start
    /// on that minor's libraries, and the newest one serves older API servers.
    metrics_server: PathBuf,
}

impl ControlPlane {
    /// The binary's path.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command that runs `component` (`etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`,
    /// `metrics-server`, `kubectl` or `version`).
    pub fn command(&self, component: &str) -> Command {
        let binary = if component == "metrics-server" { &self.metrics_server } else { &self.binary };
        let mut command = Command::new(binary);
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
    let is_built = |minor: Option<&str>| Place::of(minor).is_ok_and(|place| place.binary.is_file());
    is_named || is_built(minor().as_deref()) && is_built(None)
}

fn named(path: &OsStr) -> Result<ControlPlane, ControlPlaneError> {
    let binary = PathBuf::from(path);
    if !binary.is_file() {
        return Err(ControlPlaneError::NamedMissing { path: binary });
    }
    Ok(ControlPlane { metrics_server: binary.clone(), binary })
}

fn built() -> Result<ControlPlane, ControlPlaneError> {
    let newest = Place::of(None)?.built()?;
    let binary = match minor() {
        Some(minor) => Place::of(Some(&minor))?.built()?,
        None => newest.clone(),
    };
    Ok(ControlPlane { binary, metrics_server: newest })
}

fn minor() -> Option<String> {
    std::env::var(MINOR_VARIABLE).ok().filter(|minor| !minor.is_empty())
}

/// What is built, in which folder, into which file.
struct Place {
    source: Source,
    folder: PathBuf,
    binary: PathBuf,
}

impl Place {
    fn of(minor: Option<&str>) -> Result<Self, ControlPlaneError> {
        let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane"), minor)?;
        let folder = super::target_folder().join("controlplane").join(source.digest());
        let binary = folder.join("controlplane");
        Ok(Self { source, folder, binary })
    }

    fn built(self) -> Result<PathBuf, ControlPlaneError> {
        if !self.binary.is_file() {
            build::build(&self.source, &self.folder, &self.binary)?;
        }
        Ok(self.binary)
    }
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
