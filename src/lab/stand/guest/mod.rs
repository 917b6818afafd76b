//! A stand in a cluster that is there already, which it leaves as it was.
//!
//! burstlet and the fake nodes run in this process, as the context's user. Pods of others stay off the fake nodes, and
//! the stand's own pods stay off the others. What the stand makes has fixed names ([`traces`]): if any of it is there
//! before, the cluster is refused untouched; all of it is removed at the end, whatever came between.

mod certificate;
mod error;
mod inspect;
mod own_nodes;
mod reach;
mod traces;

use std::{
    fs::Permissions,
    net::{IpAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub use error::GuestError;
pub use own_nodes::keep_to_own_nodes;

use super::{
    Footing, Scheduler, Stand, StandError, StandOptions, either,
    ground::{self, Ground, Identity},
    install, real_node_name,
};
use crate::{
    kubelet::virtual_node_name,
    lab::cluster::{Authority, CertificateFiles, CertificateRequest},
};
use error::refused;
use traces::Traces;

/// A cluster that is there already.
#[derive(Clone)]
pub struct Host {
    /// To its API server.
    pub client: Client,
    /// The kubeconfig's context that names it.
    pub context: String,
    /// Address of this machine at which its API server and metrics-server reach this process.
    pub address: IpAddr,
}

/// The stay in a cluster.
#[derive(Clone)]
pub struct Guest {
    host: Host,
    traces: Traces,
    folder: Arc<TempDir>,
}

impl Stand<Guest> {
    /// Sets everything up but burstlet itself in a cluster that is there already, with its own scheduler: the
    /// options `cluster` and `scheduler` do not count here. On failure and when `stop` comes, nothing is left there.
    ///
    /// `namespaces` are those that the trial will make, labelled [as burstlet's](crate::api::names::MANAGED_BY): the cluster is refused where
    /// they stand, and they are removed at the end.
    pub async fn visit(
        host: Host,
        namespaces: &[&str],
        options: StandOptions,
        stop: &CancellationToken,
    ) -> Result<Self, StandError> {
        let options = StandOptions { scheduler: Scheduler::ClustersOwn, ..options };
        let guest = Guest::new(host, namespaces, &options)?;
        stop.run_until_cancelled(inspect::inspect(&guest.host, &guest.traces))
            .await
            .ok_or(StandError::Interrupted)??;
        guest.enter().await?;
        let set_up = async {
            let stand = Self::assemble(guest.clone(), guest.ground().await?, options).await?;
            install::webhooks(&stand.ground, &stand.admission).await?;
            Ok(stand)
        };
        match stop.run_until_cancelled(set_up).await {
            Some(Ok(stand)) => Ok(stand),
            failed => {
                let failed = failed.and_then(Result::err).unwrap_or(StandError::Interrupted);
                Err(either(failed, guest.end().await))
            }
        }
    }

    /// Makes sure that the API server asks burstlet, once it runs.
    pub async fn is_asked(&self) -> Result<(), StandError> {
        let Host { client, address, .. } = &self.cluster.host;
        if reach::asks_webhook(client).await? {
            return Ok(());
        }
        Err(GuestError::NotReached { address: *address }.into())
    }
}

impl Footing for Guest {
    /// metrics-server reads nodes once a minute where it is not told otherwise, and needs two readings of a pod.
    const METRICS_WITHIN: Duration = Duration::from_mins(4);

    fn without_metrics(&self, what: String) -> StandError {
        let (address, within) = (self.host.address, Self::METRICS_WITHIN);
        GuestError::WithoutMetrics { what, address, within }.into()
    }

    async fn end(self) -> Result<(), StandError> {
        tracing::info!("removing what was made in the cluster of context {}", self.host.context);
        Ok(self.traces.remove(&self.host.client).await?)
    }
}

impl Guest {
    fn new(host: Host, namespaces: &[&str], options: &StandOptions) -> Result<Self, StandError> {
        let address = host.address;
        TcpListener::bind((address, 0)).map_err(|source| GuestError::Address { address, source })?;
        let real = (0..options.real_nodes.count).map(real_node_name);
        let virtual_nodes =
            options.pools.iter().flat_map(|pool| (0..pool.nodes).map(|index| virtual_node_name(&pool.name, index)));
        let traces = Traces::new(real.chain(virtual_nodes).collect(), namespaces);
        let folder = tempfile::Builder::new()
            .prefix("burstlet-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(StandError::system("make a folder for certificates"))?;
        Ok(Self { host, traces, folder: Arc::new(folder) })
    }

    /// The first write. burstlet's namespace is the lock: of two stands that come at once, one is refused here.
    async fn enter(&self) -> Result<(), StandError> {
        match install::namespace(&self.host.client).await {
            Err(StandError::Install { source: kube::Error::Api(status), .. }) if status.code == 409 => {
                Err(GuestError::Occupied { what: format!("Namespace {}", install::NAMESPACE) }.into())
            }
            entered => entered,
        }
    }

    async fn ground(&self) -> Result<Ground, StandError> {
        let Host { client, address, .. } = &self.host;
        let folder = self.folder.path().to_owned();
        let authority = Authority::create("burstlet-demo-ca", folder.clone())?;
        let serving = authority
            .issue(&CertificateRequest { addresses: vec![*address], ..CertificateRequest::server("burstlet", &[]) })?;
        let kubelet_clients = folder.join("kubelet-clients.crt");
        let clients = kubelet_client_authority(client).await?;
        std::fs::write(&kubelet_clients, clients).map_err(StandError::system("write the kubelets' client CA"))?;
        let (certificate, key) = certificate::kubelet_certificate(client, *address).await?;
        Ok(Ground {
            client: client.clone(),
            burstlet: Identity::Administrator,
            address: *address,
            authority: ground::Authority { file: authority.files().certificate.clone(), pem: authority.pem() },
            serving,
            kubelet: CertificateFiles::write(&folder, "kubelet", &certificate, &key)?,
            kubelet_clients,
            is_shared: true,
            folder,
        })
    }
}

/// The CA that signs the API server's own client certificate, as the API server itself publishes it.
async fn kubelet_client_authority(client: &Client) -> Result<String, GuestError> {
    let (namespace, name, key) = ("kube-system", "extension-apiserver-authentication", "client-ca-file");
    let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(name).await;
    let map = map.map_err(refused(format!("read the CA of kubelets' clients, ConfigMap {namespace}/{name}")))?;
    map.data.and_then(|mut data| data.remove(key)).ok_or_else(|| GuestError::Request {
        doing: format!("read the CA of kubelets' clients, ConfigMap {namespace}/{name}"),
        reason: format!("it has no {key}; the API server must run with --client-ca-file"),
    })
}
