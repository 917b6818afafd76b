//! Containers as processes of this host: what makes logs, exec, attach, port-forward and probes real in trials.
//!
//! **There is no isolation.** Whoever may create pods for such a pool runs programs as the user that runs burstlet, on
//! its files and its network. It is part of trials alone, and off unless `--allow-host-processes` is given.
//!
//! Each container is a process group with a folder of its own, which stands for its root: it is the working directory,
//! `$HOME` and `$BURSTLET_ROOT`, and volumes are mounted below it. Its image is not looked at; it needs a command. Ports
//! are the host's. Nothing outlives its pod: the group is ended with it, and so is every process that still carries the
//! pod's mark, after a crash at the next start.

mod command;
mod container;
mod files;
mod log;
mod plan;
mod pod;
mod probe;
mod system;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::Pod as PodObject;
use tokio::{
    net::TcpStream,
    sync::{broadcast, mpsc},
};

use self::{plan::Plan, pod::Pod};
use super::{
    Content, Duplex, Exec, ExitStatus, Instance, InstanceChange, LogOptions, LogStream, Owner, Provider, ProviderError,
    Stock, Streams, Takes, Tokens, Usage, capabilities::hold,
};
use crate::api::pool::capabilities::PROCESS;

/// Changes that a slow watcher may lag behind before it has to list again.
const BACKLOG: usize = 1024;

/// The address of every pod: its ports are the host's.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How the provider runs processes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of all pods' folders, the provider's alone: what is in it at the start is removed.
    pub folder: PathBuf,
    /// Pause before a container's first restart; it doubles with each.
    pub first_back_off: Duration,
    /// Longest pause before a restart.
    pub most_back_off: Duration,
    /// Bytes after which a log is put aside; one is kept beside that of now.
    pub log_limit: u64,
}

impl Settings {
    /// Processes below `folder`, timed as Kubernetes does.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            first_back_off: Duration::from_secs(10),
            most_back_off: Duration::from_mins(5),
            log_limit: 10 << 20,
        }
    }
}

/// The provider. Clones are the same; with the last one, every process ends.
#[derive(Clone)]
pub struct Processes {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    sampled: Mutex<BTreeMap<String, (Instant, Duration)>>,
    changes: broadcast::Sender<InstanceChange>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        system::sweep(&self.settings.folder);
    }
}

impl Processes {
    /// Ends what an earlier run left behind, and begins anew in an empty folder.
    pub fn start(mut settings: Settings) -> io::Result<Self> {
        tracing::warn!(
            folder = %settings.folder.display(),
            "pods run as PROCESSES OF THIS HOST, without isolation: whoever may create pods runs programs as this user"
        );
        std::fs::create_dir_all(&settings.folder)?;
        // Marks hold the path as it really is.
        settings.folder = settings.folder.canonicalize()?;
        let left = system::sweep(&settings.folder);
        if left > 0 {
            tracing::info!(left, "processes that an earlier run left behind are ended");
        }
        for entry in std::fs::read_dir(&settings.folder)? {
            std::fs::remove_dir_all(entry?.path())?;
        }
        let changes = broadcast::channel(BACKLOG).0;
        let inner = Inner { settings, pods: Mutex::default(), sampled: Mutex::default(), changes };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Pod>>> {
        self.inner.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod(&self, owner: &Owner) -> Result<Arc<Pod>, ProviderError> {
        let found = self.pods().get(&owner.uid).cloned();
        found.ok_or_else(|| ProviderError::NotFound(format!("pod {} has no processes here", owner.name)))
    }

    fn tell(&self, change: InstanceChange) {
        // No watcher is no loss: whoever comes later lists first.
        let _ = self.inner.changes.send(change);
    }

    /// Runs the pod, telling every change, until it is stopped.
    fn spawn(&self, pod: Arc<Pod>) {
        let weak = Arc::downgrade(&self.inner);
        let settings = self.inner.settings.clone();
        let changes = self.inner.changes.clone();
        tokio::spawn(async move {
            let mut seen = pod.changes();
            let running = pod.run(&settings);
            let mut running = std::pin::pin!(running);
            let mut has_ended = false;
            while !has_ended {
                tokio::select! {
                    () = &mut running => has_ended = true,
                    _ = seen.changed() => {}
                }
                let _ = changes.send(InstanceChange::Changed(pod.instance()));
            }
            pod.deleted().await;
            let folder = pod.plan.folder.clone();
            let swept = tokio::task::spawn_blocking(move || {
                system::sweep(&folder);
                std::fs::remove_dir_all(&folder)
            });
            if let Ok(Err(error)) = swept.await {
                tracing::warn!(pod = %pod.owner.name, %error, "the pod's folder is not removed");
            }
            if let Some(inner) = weak.upgrade() {
                inner.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(&pod.owner.uid);
            }
            let _ = changes.send(InstanceChange::Gone(pod.owner.clone()));
        });
    }
}

#[async_trait]
impl Provider for Processes {
    fn name(&self) -> &'static str {
        "process"
    }

    fn capabilities(&self) -> Capabilities {
        PROCESS
    }

    fn takes(&self) -> Takes {
        Takes { files: true, tokens: Tokens::All, registries: false, renewals: true }
    }

    async fn create(&self, owner: &Owner, pod: &PodObject) -> Result<Instance, ProviderError> {
        self.create_with(owner, pod, &Content::default()).await
    }

    async fn create_with(&self, owner: &Owner, pod: &PodObject, content: &Content) -> Result<Instance, ProviderError> {
        if let Ok(known) = self.pod(owner) {
            return Ok(known.instance());
        }
        hold(pod, &PROCESS)?;
        let plan = Plan::of(pod, self.inner.settings.folder.join(&owner.uid))?;
        plan.lay_out(content).map_err(|error| not_written(&error))?;
        let pod = Arc::new(Pod::new(owner.clone(), plan));
        let first = Arc::clone(self.pods().entry(owner.uid.clone()).or_insert_with(|| Arc::clone(&pod)));
        if Arc::ptr_eq(&first, &pod) {
            self.spawn(pod);
        }
        Ok(first.instance())
    }

    async fn renew(&self, owner: &Owner, content: &Content) -> Result<(), ProviderError> {
        self.pod(owner)?.plan.put(content).map_err(|error| not_written(&error))
    }

    async fn delete(&self, owner: &Owner, grace: Duration) -> Result<(), ProviderError> {
        match self.pod(owner) {
            Ok(pod) => pod.delete(grace),
            Err(_) => self.tell(InstanceChange::Gone(owner.clone())),
        }
        Ok(())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        let pods: Vec<_> = self.pods().values().cloned().collect();
        Ok(pods.iter().map(|pod| pod.instance()).filter(|instance| instance.owner.cluster == cluster).collect())
    }

    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError> {
        let mut source = self.inner.changes.subscribe();
        if changes.send(InstanceChange::Watching).await.is_err() {
            return Ok(());
        }
        loop {
            let change = tokio::select! {
                received = source.recv() => {
                    received.map_err(|error| ProviderError::Unavailable(format!("process: watch ended: {error}")))?
                }
                () = changes.closed() => return Ok(()),
            };
            let belongs = match &change {
                InstanceChange::Watching => false,
                InstanceChange::Changed(instance) => instance.owner.cluster == cluster,
                InstanceChange::Gone(owner) => owner.cluster == cluster,
            };
            if belongs && changes.send(change).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        let pods: Vec<_> = self.pods().values().filter(|pod| pod.owner.cluster == cluster).cloned().collect();
        let by_group = tokio::task::spawn_blocking(system::used_by_group).await.unwrap_or_default();
        let now = Instant::now();
        let mut sampled = self.inner.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = BTreeMap::new();
        let usage = pods.iter().map(|pod| {
            let used = pod.containers().iter().map(|container| container.used(&by_group));
            let (cpu, memory) =
                used.fold((Duration::ZERO, 0), |(cpu, memory), used| (cpu + used.cpu, memory + used.memory));
            let uid = pod.owner.uid.clone();
            let (since, before) = sampled.get(&uid).copied().unwrap_or((now, cpu));
            let nanos = cpu.saturating_sub(before).as_nanos() * 1_000_000_000;
            let cpu_nano_cores = nanos.checked_div(now.duration_since(since).as_nanos()).unwrap_or(0);
            taken.insert(uid.clone(), (now, cpu));
            Usage {
                uid,
                // Metrics-server drops a pod with a counter of zero.
                cpu: cpu.max(Duration::from_millis(1)),
                cpu_nano_cores: u64::try_from(cpu_nano_cores).unwrap_or(u64::MAX),
                memory_bytes: memory.max(4096),
            }
        });
        let usage = usage.collect();
        *sampled = taken;
        Ok(usage)
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        Ok(Stock { instances: None })
    }

    async fn logs(&self, owner: &Owner, container: &str, options: &LogOptions) -> Result<LogStream, ProviderError> {
        self.pod(owner)?.container(container)?.logs(options)
    }

    async fn exec(&self, owner: &Owner, exec: Exec) -> Result<ExitStatus, ProviderError> {
        self.pod(owner)?.container(&exec.container)?.exec(&exec.command, exec.streams).await
    }

    async fn attach(&self, owner: &Owner, container: &str, streams: Streams) -> Result<ExitStatus, ProviderError> {
        self.pod(owner)?.container(container)?.attach(streams).await
    }

    async fn port_forward(&self, owner: &Owner, port: u16) -> Result<Duplex, ProviderError> {
        self.pod(owner)?;
        let refused = |error: io::Error| ProviderError::NotFound(format!("nothing answers at port {port}: {error}"));
        Ok(Box::pin(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(refused)?))
    }
}

fn not_written(error: &io::Error) -> ProviderError {
    ProviderError::Unavailable(format!("the pod's folder is not written: {error}"))
}

#[cfg(test)]
mod tests;
