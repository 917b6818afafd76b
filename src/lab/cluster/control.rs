//! Single components: stop, start, pause, and read their figures.

use std::collections::BTreeMap;
use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::process::Process;
use super::{Cluster, ClusterError, Component, probe};

/// How long a component may take to end when asked to; then it is killed.
const END_WITHIN: Duration = Duration::from_secs(3);

impl Cluster {
    /// Stops one component. Its port stays reserved, so clients are refused at once.
    pub async fn stop_component(&self, component: Component) -> Result<(), ClusterError> {
        let process = self.processes().remove(&component);
        let mut process = process.ok_or(ClusterError::NotRunning(component))?;
        let ended = tokio::task::spawn_blocking(move || {
            process.ask_to_end()?;
            process.await_end(Instant::now() + END_WITHIN)
        });
        let ended = ended.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        ended.map_err(|source| ClusterError::Signal { component, source })
    }

    /// Starts a stopped component as it was, and waits until it is ready.
    pub async fn start_component(&self, component: Component) -> Result<(), ClusterError> {
        let arguments = self.arguments().get(&component).cloned().ok_or(ClusterError::Absent(component))?;
        self.launch(component, arguments)?;
        self.await_ready(component).await
    }

    /// Takes all processor time from a component, as a hang would: its connections stay open and unanswered.
    pub fn pause(&self, component: Component) -> Result<(), ClusterError> {
        self.with_process(component, Process::pause)
    }

    /// Ends a pause.
    pub fn resume(&self, component: Component) -> Result<(), ClusterError> {
        self.with_process(component, Process::resume)
    }

    /// The ids of the running components' processes, such as for measuring what they use.
    pub fn process_ids(&self) -> BTreeMap<Component, u32> {
        self.processes().iter().map(|(component, process)| (*component, process.id())).collect()
    }

    /// What a component serves at `/metrics`, in Prometheus' text format.
    pub async fn metrics(&self, component: Component) -> Result<String, ClusterError> {
        if !self.processes().contains_key(&component) {
            return Err(ClusterError::NotRunning(component));
        }
        let prober = self.prober(component).await?;
        probe::get(&prober, "/metrics").await.map_err(ClusterError::request(format!("read the metrics of {component}")))
    }

    /// A client of the component's own port.
    pub(super) async fn prober(&self, component: Component) -> Result<kube::Client, ClusterError> {
        let layout = &self.layout;
        let port = match component {
            Component::Etcd => {
                let authority = &layout.etcd_authority.certificate;
                return probe::prober(&layout.etcd.url(), authority, &layout.etcd_client).await;
            }
            Component::ApiServer => &layout.api_server,
            Component::ControllerManager => &layout.controller_manager.port,
            Component::Scheduler => &layout.scheduler.port,
            Component::DedicatedScheduler => &layout.dedicated_scheduler.port,
            Component::MetricsServer => &layout.metrics_server.port,
        };
        probe::prober(&port.url(), self.ca(), &layout.admin).await
    }

    pub(super) fn arguments(&self) -> MutexGuard<'_, BTreeMap<Component, Vec<String>>> {
        self.arguments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_process(
        &self,
        component: Component,
        act: impl FnOnce(&mut Process) -> io::Result<()>,
    ) -> Result<(), ClusterError> {
        let mut processes = self.processes();
        let process = processes.get_mut(&component).ok_or(ClusterError::NotRunning(component))?;
        act(process).map_err(|source| ClusterError::Signal { component, source })
    }
}

/// Ends all processes: first those that depend on the API server, then the API server, then etcd. Each is killed that is not
/// gone in time, or cannot be asked.
pub(super) fn end_all(mut processes: BTreeMap<Component, Process>) {
    let etcd = processes.remove(&Component::Etcd);
    let api_server = processes.remove(&Component::ApiServer);
    for mut stage in [processes.into_values().collect(), Vec::from_iter(api_server), Vec::from_iter(etcd)] {
        for process in &mut stage {
            // Dropping the process kills it if this fails.
            let _ = process.ask_to_end();
        }
        let deadline = Instant::now() + END_WITHIN;
        for mut process in stage {
            let _ = process.await_end(deadline);
        }
    }
}
