//! burstlet on the stand: in this process, or as processes that can be killed.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kube::{
    Client, Config as ClientConfig,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    api::kinds::ForeignKind,
    lab::{
        cluster::CertificateFiles,
        stand::{Ground, Identity, SCHEDULER, Scheduler, Stand, StandError, install},
    },
    placer::Board,
    run::{
        Run, RunError,
        config::{ALL_COMPONENTS, Component, Config},
        providers,
    },
};

/// How long a replica gets to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The ports of one replica, all on 127.0.0.1 but the kubelet's, which is where the cluster reaches nodes.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaPorts {
    /// Webhook.
    pub admission: SocketAddr,
    /// Extender.
    pub extender: SocketAddr,
    /// Kubelet API.
    pub kubelet: SocketAddr,
    /// Health and metrics.
    pub telemetry: SocketAddr,
}

/// A replica that runs. Dropping it kills it.
pub struct Replica {
    ports: ReplicaPorts,
    running: Running,
    board: Board,
}

enum Running {
    Here { stop: CancellationToken, task: JoinHandle<Result<(), RunError>> },
    Process(Child),
}

impl<C> Stand<C> {
    /// Runs burstlet in this process.
    pub async fn run_here(&self) -> Result<Replica, StandError> {
        self.run_of(&ALL_COMPONENTS, &[]).await
    }

    /// Runs some of burstlet in this process.
    pub async fn run_components(&self, components: &[Component]) -> Result<Replica, StandError> {
        self.run_of(components, &[]).await
    }

    /// Runs burstlet in this process, told of these kinds of other API groups.
    pub async fn run_here_with(&self, workloads: &[ForeignKind]) -> Result<Replica, StandError> {
        self.run_of(&ALL_COMPONENTS, workloads).await
    }

    async fn run_of(&self, components: &[Component], workloads: &[ForeignKind]) -> Result<Replica, StandError> {
        let ports = ReplicaPorts::free(self.ground.address)?;
        let config = Config::read(&self.write_config(&ports)?).map_err(RunError::from)?;
        let config = Config { workloads: workloads.to_vec(), ..config };
        let client = self.burstlets_client().await?;
        let board = Board::default();
        let run = Run {
            providers: providers(&config, &client)?,
            client,
            registry: prometheus::Registry::new(),
            components: components.iter().copied().collect(),
            identity: format!("here-{}", ports.telemetry.port()),
            config,
            board: board.clone(),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run.until(stop.clone()));
        let mut replica = Replica { ports, running: Running::Here { stop, task }, board };
        self.point_services(&[&ports]);
        replica.ready().await?;
        Ok(replica)
    }

    /// Runs burstlet as a process of its own, from this binary, its log in `log`.
    pub async fn run_process(&self, binary: &Path, log: &Path) -> Result<Replica, StandError> {
        let Identity::User(kubeconfig) = &self.ground.burstlet else { return Err(StandError::NoUser) };
        let ports = ReplicaPorts::free(self.ground.address)?;
        let config = self.write_config(&ports)?;
        let log = std::fs::File::options().create(true).append(true).open(log);
        let log = log.map_err(StandError::system("open a replica's log"))?;
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(config)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(StandError::system(format!("run {}", binary.display())))?;
        let mut replica = Replica { ports, running: Running::Process(child), board: Board::default() };
        replica.ready().await?;
        Ok(replica)
    }

    /// Sends webhook and extender calls to these replicas, as Services would.
    pub fn point_services(&self, replicas: &[&ReplicaPorts]) {
        self.admission.set_backends(replicas.iter().map(|ports| ports.admission));
        self.extender.set_backends(replicas.iter().map(|ports| ports.extender));
    }

    /// Sends extender calls to this address alone, or nowhere, also those of connections that stand.
    pub fn point_extender(&self, address: Option<SocketAddr>) {
        self.extender.set_backends(address);
        self.extender.cut();
    }

    async fn burstlets_client(&self) -> Result<Client, StandError> {
        let path = match &self.ground.burstlet {
            Identity::Administrator => return Ok(self.ground.client.clone()),
            Identity::User(path) => path,
        };
        let install = |source: kube::Error| StandError::Install { what: "burstlet's client".to_owned(), source };
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| install(kube::Error::InferKubeconfig(error)))?;
        let options = KubeConfigOptions::default();
        let config = ClientConfig::from_custom_kubeconfig(kubeconfig, &options);
        let config = config.await.map_err(|error| install(kube::Error::InferKubeconfig(error)))?;
        Client::try_from(config).map_err(install)
    }

    fn write_config(&self, ports: &ReplicaPorts) -> Result<PathBuf, StandError> {
        let path = self.ground.folder.join(format!("burstlet-{}.yaml", ports.telemetry.port()));
        std::fs::write(&path, self.config(ports)).map_err(StandError::system("write burstlet's configuration"))?;
        Ok(path)
    }

    fn config(&self, ports: &ReplicaPorts) -> String {
        let tls = |files: &CertificateFiles, client_ca: &Path, client_auth: &str| {
            let (certificate, key, ca) = (files.certificate.display(), files.key.display(), client_ca.display());
            format!("{{certificate: '{certificate}', key: '{key}', clientCa: '{ca}', clientAuth: {client_auth}}}")
        };
        let Ground { serving, authority, kubelet, kubelet_clients, address, .. } = &self.ground;
        let scheduler = match self.options.scheduler {
            Scheduler::ClustersOwn => String::new(),
            Scheduler::Dedicated => format!("schedulerName: {SCHEDULER}\n"),
        };
        let (after, back) = (self.options.move_on_after, self.options.move_back_after);
        let (after, back) = (humantime::format_duration(after), humantime::format_duration(back));
        let pools: String = self.options.pools.iter().map(|pool| self.pool_config(pool)).collect();
        format!(
            "clusterId: lab\nnamespace: {namespace}\n{scheduler}\
             placement: {{moveOn: {{after: {after}}}, moveBack: {{after: {back}, coolDown: {back}}}}}\n\
             telemetry: {{listen: '{telemetry}'}}\n\
             admission: {{listen: '{admission}', tls: {admission_tls}}}\n\
             extender: {{listen: '{extender}', tls: {extender_tls}}}\n\
             kubelet: {{listen: '{kubelet}', address: '{address}', tls: {kubelet_tls}}}\n\
             pools:\n{pools}",
            namespace = install::NAMESPACE,
            telemetry = ports.telemetry,
            admission = ports.admission,
            extender = ports.extender,
            kubelet = ports.kubelet,
            admission_tls = tls(serving, &authority.file, "optional"),
            extender_tls = tls(serving, &authority.file, "required"),
            kubelet_tls = tls(kubelet, kubelet_clients, "optional"),
        )
    }

    fn pool_config(&self, pool: &super::SimulatedPool) -> String {
        let endpoint = self.clouds.get(&pool.name).map(super::HostedCloud::endpoint).unwrap_or_default();
        format!(
            "- {{name: {}, nodes: {}, podsPerNode: {}, provider: {{simulated: {{endpoint: '{endpoint}'}}}}}}\n",
            pool.name, pool.nodes, pool.pods_per_node
        )
    }
}

impl ReplicaPorts {
    fn free(kubelet: IpAddr) -> Result<Self, StandError> {
        // All four are held until all are found, so that they differ.
        let hold = |at: IpAddr| TcpListener::bind((at, 0)).map_err(StandError::system("find a free port"));
        let here = Ipv4Addr::LOCALHOST.into();
        let listeners = [hold(here)?, hold(here)?, hold(kubelet)?, hold(here)?];
        let address = |index: usize| listeners[index].local_addr().map_err(StandError::system("find a free port"));
        Ok(Self { admission: address(0)?, extender: address(1)?, kubelet: address(2)?, telemetry: address(3)? })
    }
}

impl Replica {
    /// Its ports.
    pub fn ports(&self) -> &ReplicaPorts {
        &self.ports
    }

    /// What it shows, where it runs in this process.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Its process id, where it is a process.
    pub fn process_id(&self) -> Option<u32> {
        match &self.running {
            Running::Here { .. } => None,
            Running::Process(child) => Some(child.id()),
        }
    }

    /// Ends it as `kill -9` does (a process), or as losing the machine would (here).
    pub fn kill(&mut self) {
        match &mut self.running {
            Running::Here { task, .. } => task.abort(),
            Running::Process(child) => {
                // A child that has ended by itself needs no killing.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) -> Result<(), StandError> {
        match &mut self.running {
            Running::Here { stop, task } => {
                stop.cancel();
                Ok(task.await.unwrap_or(Ok(()))?)
            }
            Running::Process(_) => {
                self.kill();
                Ok(())
            }
        }
    }

    /// The replica's `/metrics`.
    pub async fn metrics(&self) -> Result<String, reqwest::Error> {
        reqwest::get(format!("http://{}/metrics", self.ports.telemetry)).await?.text().await
    }

    async fn ready(&mut self) -> Result<(), StandError> {
        let begin = Instant::now();
        while begin.elapsed() < READY_WITHIN {
            let answer = reqwest::get(format!("http://{}/readyz", self.ports.telemetry)).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Running::Here { task, .. } = &mut self.running
                && task.is_finished()
            {
                task.await.unwrap_or(Ok(()))?;
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(StandError::Late { what: "a replica that is ready".to_owned(), within: READY_WITHIN })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
