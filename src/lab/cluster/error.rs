//! Why a cluster did not start, or a component did not do as told.

use std::io;
use std::path::PathBuf;

use super::Component;
use crate::lab::controlplane::ControlPlaneError;

/// What went wrong with a local cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no binary to run.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// An option is outside what the components accept.
    #[error("option {option}: {problem}")]
    Option {
        /// The option's name in `ClusterOptions` or `Extender`.
        option: &'static str,
        /// Which values are accepted.
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
    /// No port of the loopback device could be reserved.
    #[error("cannot reserve a port on 127.0.0.1: {0}")]
    Port(#[source] io::Error),
    /// A certificate could not be made.
    #[error("cannot make the certificate of {name:?}: {source}")]
    Certificate {
        /// Its common name.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// A component ended, or did not get ready in time.
    #[error("{component} {what}; all logs are in {logs:?}, and its own ends with:\n{tail}")]
    Component {
        /// Which component.
        component: Component,
        /// What it did or failed to do.
        what: String,
        /// The folder with the logs, which outlives the cluster.
        logs: PathBuf,
        /// The last lines of its log.
        tail: String,
    },
    /// A component is asked for that does not run.
    #[error("{0} is not running: start it first")]
    NotRunning(Component),
    /// A component is to be started that runs already.
    #[error("{0} is running already: stop it first")]
    AlreadyRunning(Component),
    /// A component is asked for that this cluster was started without.
    #[error("this cluster has no {0}: ask for it in the options")]
    Absent(Component),
    /// A signal could not be sent.
    #[error("cannot signal {component}: {source}")]
    Signal {
        /// To which component.
        component: Component,
        /// Why not.
        source: io::Error,
    },
    /// A request to the cluster failed.
    #[error("cannot {action}: {source}")]
    Request {
        /// What was asked.
        action: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// A client could not be made from the cluster's own certificates.
    #[error("cannot make a client of {url}: {problem}")]
    Client {
        /// The server.
        url: String,
        /// Why not.
        problem: String,
    },
}

impl ClusterError {
    /// A closure for `map_err`.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// A closure for `map_err`.
    pub(super) fn request(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Request { action, source: Box::new(source) }
    }
}
