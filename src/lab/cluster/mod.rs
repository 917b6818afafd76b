//! A real Kubernetes cluster on this machine: etcd, API server, controller manager, scheduler and metrics-server as
//! processes on loopback, with TLS, RBAC and the node authorizer on. It has no nodes: fake ones join with certificates of
//! [`Cluster::issue`].
//!
//! ```no_run
//! # async fn example() -> Result<(), burstlet::lab::cluster::ClusterError> {
//! use burstlet::lab::cluster::{Cluster, ClusterOptions};
//!
//! let cluster = Cluster::start(ClusterOptions::default()).await?;
//! let client = cluster.client(); // as an administrator
//! cluster.kubectl(["get", "namespaces"])?;
//! cluster.stop().await
//! # }
//! ```
//!
//! Nothing outlives the cluster: its processes end and its folder goes when it is stopped or dropped, during a panic too. If
//! this process is killed, the kernel closes the components' standard input and they exit; the next cluster to start sweeps
//! the folder.

mod arguments;
mod bootstrap;
mod certificates;
mod component;
mod control;
mod error;
mod folder;
mod kubeconfig;
mod layout;
mod options;
mod port;
mod probe;
mod process;
mod scheduler;
mod start;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(in crate::lab) use certificates::{Authority, SigningRequest};
pub use certificates::{CertificateFiles, CertificateRequest};
pub use component::Component;
pub use error::ClusterError;
pub use options::{ClusterOptions, DedicatedScheduler, Extender};

use super::controlplane::ControlPlane;
use folder::Folder;
use layout::Layout;
use process::Process;

/// A running cluster. All methods take `&self`: tests may share one.
pub struct Cluster {
    plane: ControlPlane,
    options: ClusterOptions,
    layout: Layout,
    authority: Authority,
    client: kube::Client,
    /// The flags that a component was last started with.
    arguments: Mutex<BTreeMap<Component, Vec<String>>>,
    processes: Mutex<BTreeMap<Component, Process>>,
    /// `None` once it has been removed.
    folder: Option<Folder>,
}

impl Cluster {
    /// A client of the API server as an administrator (`system:masters`), without limits of its own. It belongs to the
    /// runtime that started the cluster.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// A client as `user`, in `group` besides `system:authenticated`; bound to no role until you bind one.
    pub async fn client_for(&self, user: &str, group: Option<&str>) -> Result<kube::Client, ClusterError> {
        let files = self.issue(&CertificateRequest::client(user, group))?;
        probe::client(&self.api_url(), self.ca(), &files).await
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.layout.admin_kubeconfig
    }

    /// A new kubeconfig for `user`, in `group` besides `system:authenticated`. The files lie in the cluster's folder.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf, ClusterError> {
        let files = self.issue(&CertificateRequest::client(user, group))?;
        layout::write_kubeconfig(self.own_folder()?, &self.api_url(), &self.authority, user, &files)
    }

    /// Has the cluster's authority sign a new certificate: for clients of the API server, for kubelets, webhooks and extenders.
    pub fn issue(&self, request: &CertificateRequest) -> Result<CertificateFiles, ClusterError> {
        self.authority.issue(request)
    }

    /// The certificate of the cluster's authority, a PEM file.
    pub fn ca(&self) -> &Path {
        &self.layout.authority.certificate
    }

    /// The certificate of the cluster's authority, PEM: what a webhook's `caBundle` holds (in base64).
    pub fn ca_pem(&self) -> &str {
        &self.layout.authority_pem
    }

    /// `https://127.0.0.1:PORT`
    pub fn api_url(&self) -> String {
        self.layout.api_server.url()
    }

    /// The cluster's folder, which is removed with it. Files of your own may go there.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), Folder::path)
    }

    /// The log of a component, there once it has been started.
    pub fn log(&self, component: Component) -> PathBuf {
        self.folder.as_ref().map(|folder| folder.log(component)).unwrap_or_default()
    }

    /// Every call, one `audit.k8s.io/v1` Event in JSON a line; with [`ClusterOptions::audit`] alone.
    pub fn audit_log(&self) -> PathBuf {
        self.folder().join("audit.log")
    }

    /// Runs kubectl as an administrator and waits for its end, whatever its exit status.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Output, ClusterError> {
        let mut command = self.kubectl_command(arguments);
        command.output().map_err(ClusterError::file("run", self.plane.binary()))
    }

    /// The same for those who want to feed standard input, follow the output or end it themselves.
    pub fn kubectl_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.plane.command("kubectl");
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // The user's own settings and caches stay out of it.
            .env("KUBERC", "off")
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            .stdin(Stdio::null());
        command
    }

    /// Stops every component, the dependent ones first, and removes the folder.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        let stopped = tokio::task::spawn_blocking(move || self.shut_down()).await;
        // The task panics only where shutting down does, and dropping the cluster has then cleaned up.
        stopped.unwrap_or(Ok(()))
    }

    fn shut_down(&mut self) -> Result<(), ClusterError> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        control::end_all(std::mem::take(&mut *self.processes()));
        if self.options.keep_logs || std::thread::panicking() {
            tell_kept_logs(&folder);
        }
        folder.remove()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Component, Process>> {
        // A panic elsewhere leaves the map whole: its changes are single inserts and removals.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_folder(&self) -> Result<&Folder, ClusterError> {
        self.folder.as_ref().ok_or(ClusterError::NotRunning(Component::ApiServer))
    }
}

fn tell_kept_logs(folder: &Folder) {
    let text = match folder.keep_logs() {
        Ok(kept) => format!("the cluster's logs are kept in {}", kept.display()),
        Err(error) => format!("the cluster's logs are lost: {error}"),
    };
    // Nobody to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Drop for Cluster {
    /// As [`Cluster::stop`], but blocks for as long as it takes (a second or two; seconds if a component hangs).
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            let _ = writeln!(std::io::stderr(), "{error}");
        }
    }
}
