//! Why there is no control plane to run, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::toolchain::GoVersion;

/// Why the control plane's binary could not be found or built.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// `$BURSTLET_CONTROLPLANE` names no file.
    #[error(
        "$BURSTLET_CONTROLPLANE names {path:?}, which is no file: name a built control plane, or unset it to build one"
    )]
    NamedMissing {
        /// What the variable says.
        path: PathBuf,
    },
    /// `$BURSTLET_KUBERNETES` names a minor that the module is not prepared for.
    #[error(
        "$BURSTLET_KUBERNETES is {minor:?}, and there is no {folder:?}/kubernetes-{minor}.mod: name one that is there, such as 1.35, or unset it"
    )]
    UnknownMinor {
        /// What the variable says.
        minor: String,
        /// Where the module is.
        folder: PathBuf,
    },
    /// There is no `go` to build with.
    #[error(
        "the control plane is built with Go, and there is no `go` on the PATH: install Go {needed} or later (https://go.dev/dl)"
    )]
    NoGo {
        /// What the module asks for.
        needed: GoVersion,
    },
    /// `go` is there, but does not run or says nothing that can be understood.
    #[error("`go version` says {said:?}: install Go {needed} or later (https://go.dev/dl)")]
    UnknownGo {
        /// What the module asks for.
        needed: GoVersion,
        /// What `go version` printed.
        said: String,
    },
    /// `go` is too old for the module.
    #[error(
        "the control plane needs Go {needed} or later, and `go` is {found}: install a newer one (https://go.dev/dl)"
    )]
    OldGo {
        /// What the module asks for.
        needed: GoVersion,
        /// What `go version` printed.
        found: GoVersion,
    },
    /// The Go module lacks something that this program reads from it.
    #[error("{path:?} {problem}: restore the file from version control")]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file operation failed.
    #[error("cannot {action} {path:?}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "no space left to build the control plane: free 6 GB for Go's caches (`go env GOCACHE GOMODCACHE`) and {folder:?}; log: {log:?}"
    )]
    DiskFull {
        /// Where the binary goes.
        folder: PathBuf,
        /// Everything that the build printed.
        log: PathBuf,
    },
    /// `go build` failed.
    #[error("building the control plane failed ({status}): {last_line}; log: {log:?}")]
    Build {
        /// How `go build` ended.
        status: ExitStatus,
        /// The last line that it printed.
        last_line: String,
        /// Everything that it printed.
        log: PathBuf,
    },
}

impl ControlPlaneError {
    /// A closure for `map_err`.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
