//! Brings a cluster up: each component as soon as what it needs is ready.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lab::controlplane::{self, ControlPlane};

use super::folder::Folder;
use super::layout::{Identity, Layout};
use super::options::{ClusterOptions, DedicatedScheduler, Extender};
use super::process::Process;
use super::scheduler::{ExtenderTls, SchedulerConfiguration};
use super::{Cluster, ClusterError, Component, arguments, bootstrap, probe};

/// A component that is not ready by then never will be: it takes seconds, tens of them on a machine that is busy.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Each call once, when it is answered: who, what, and the answer's code.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"], "rules": [{"level": "Metadata"}]}
"#;
const POLL: Duration = Duration::from_millis(25);

impl Cluster {
    /// Starts a cluster and waits until pods can be created in it and, with metrics-server, its API answers: a few seconds
    /// (and minutes the very first time, when the control plane is built).
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        options.check()?;
        let plane = tokio::task::spawn_blocking(controlplane::ensure).await;
        let plane = plane.map_err(io::Error::other).map_err(ClusterError::file("build", "the control plane"))??;
        let cluster = Self::prepare(plane, options).await?;
        cluster.bring_up().await?;
        Ok(cluster)
    }

    async fn prepare(plane: ControlPlane, options: ClusterOptions) -> Result<Self, ClusterError> {
        let folder = Folder::create()?;
        let (layout, authority) = Layout::create(&folder)?;
        let client = probe::client(&layout.api_server.url(), &layout.authority.certificate, &layout.admin).await?;
        Ok(Self {
            plane,
            options,
            layout,
            authority,
            client,
            arguments: Mutex::default(),
            processes: Mutex::new(BTreeMap::new()),
            folder: Some(folder),
        })
    }

    async fn bring_up(&self) -> Result<(), ClusterError> {
        let (layout, options) = (&self.layout, &self.options);
        self.launch(Component::Etcd, arguments::etcd(layout))?;
        self.await_ready(Component::Etcd).await?;
        let mut api_server = arguments::api_server(layout);
        if options.audit {
            let policy = self.own_folder()?.write_config("audit-policy.json", AUDIT_POLICY)?;
            api_server.extend(arguments::audit(&policy, &self.audit_log()));
        }
        self.launch(Component::ApiServer, api_server)?;
        self.await_ready(Component::ApiServer).await?;
        self.launch(Component::ControllerManager, arguments::controller_manager(layout, options))?;
        let extender = options.extender.as_ref();
        self.launch_scheduler(Component::Scheduler, &layout.scheduler, None, extender)?;
        bootstrap::allow_kubelet_client(&self.client).await?;
        if options.metrics_server {
            bootstrap::allow_metrics_server(&self.client).await?;
            self.launch(Component::MetricsServer, arguments::metrics_server(layout, options))?;
        }
        self.await_ready(Component::ControllerManager).await?;
        self.await_ready(Component::Scheduler).await?;
        self.await_default_service_account().await?;
        if options.metrics_server {
            self.await_ready(Component::MetricsServer).await?;
            self.register_metrics().await?;
        }
        Ok(())
    }

    /// Starts a second kube-scheduler, for pods that name it, and waits until it is ready.
    pub async fn start_dedicated_scheduler(&self, wanted: &DedicatedScheduler) -> Result<(), ClusterError> {
        let component = Component::DedicatedScheduler;
        wanted.extender.check()?;
        if self.processes().contains_key(&component) {
            return Err(ClusterError::AlreadyRunning(component));
        }
        bootstrap::allow_dedicated_scheduler(&self.client).await?;
        let identity = &self.layout.dedicated_scheduler;
        self.launch_scheduler(component, identity, Some(&wanted.scheduler_name), Some(&wanted.extender))?;
        self.await_ready(component).await
    }

    fn launch_scheduler(
        &self,
        component: Component,
        identity: &Identity,
        dedicated_to: Option<&str>,
        extender: Option<&Extender>,
    ) -> Result<(), ClusterError> {
        let tls = || ExtenderTls { authority: self.ca(), client: &identity.client };
        let configuration = SchedulerConfiguration {
            kubeconfig: &identity.kubeconfig,
            dedicated_to,
            extender: extender.map(|extender| (extender, tls())),
            raised_client_limits: self.options.raised_client_limits,
        };
        let name = format!("{component}.yaml");
        let path = self.own_folder()?.write_config(&name, &configuration.render())?;
        self.launch(component, arguments::scheduler(&self.layout, identity, &path))
    }

    /// Starts a component's process and remembers its flags for the next time.
    pub(super) fn launch(&self, component: Component, arguments: Vec<String>) -> Result<(), ClusterError> {
        let log = self.own_folder()?.log(component);
        let mut processes = self.processes();
        if processes.contains_key(&component) {
            return Err(ClusterError::AlreadyRunning(component));
        }
        let process = Process::start(&self.plane, component, &arguments, &log)
            .map_err(ClusterError::file("run", self.plane.binary()))?;
        processes.insert(component, process);
        self.arguments().insert(component, arguments);
        Ok(())
    }

    /// Waits until the component says that it is ready, or has ended.
    pub(super) async fn await_ready(&self, component: Component) -> Result<(), ClusterError> {
        let prober = self.prober(component).await?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = probe::get(&prober, component.ready_path()).await;
            self.check_alive(component)?;
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    let path = component.ready_path();
                    return Err(
                        self.failure(component, format!("is not ready after {READY_WITHIN:?} ({path}: {error})"))
                    );
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn await_default_service_account(&self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + READY_WITHIN;
        while !bootstrap::default_service_account_exists(&self.client).await? {
            self.check_alive(Component::ControllerManager)?;
            if Instant::now() >= deadline {
                let what = format!("has not made the service account default/default in {READY_WITHIN:?}");
                return Err(self.failure(Component::ControllerManager, what));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn register_metrics(&self) -> Result<(), ClusterError> {
        let port = self.layout.metrics_server.port.number();
        bootstrap::register_metrics(&self.client, port, self.ca_pem()).await?;
        let deadline = Instant::now() + READY_WITHIN;
        while let Err(error) = probe::get(&self.client, bootstrap::NODE_METRICS_PATH).await {
            self.check_alive(Component::MetricsServer)?;
            if Instant::now() >= deadline {
                let what = format!("is not reached through the API server after {READY_WITHIN:?} ({error})");
                return Err(self.failure(Component::MetricsServer, what));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn check_alive(&self, component: Component) -> Result<(), ClusterError> {
        let ended = match self.processes().get_mut(&component) {
            Some(process) => process.ended(),
            None => return Err(ClusterError::NotRunning(component)),
        };
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(component, format!("ended by itself ({status})"))),
            Err(source) => Err(ClusterError::Signal { component, source }),
        }
    }

    /// The error of a component that failed; keeps the logs.
    fn failure(&self, component: Component, what: String) -> ClusterError {
        let kept = self.own_folder().and_then(|folder| Ok((folder.keep_logs()?, folder.tail(component))));
        match kept {
            Ok((logs, tail)) => ClusterError::Component { component, what, logs, tail },
            Err(error) => error,
        }
    }
}
