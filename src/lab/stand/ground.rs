//! What a stand needs of the cluster under it, whoever keeps that cluster.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::Taint;
use kube::Client;

use super::{StandError, install};
use crate::lab::cluster::{CertificateFiles, CertificateRequest, Cluster};

/// Taint of a stand's real nodes in a cluster where others' pods run, too.
pub(super) const OWN_NODES: &str = "burstlet.dev/demo";

/// The cluster as the stand sees it.
pub(super) struct Ground {
    /// To the API server, as an administrator.
    pub(super) client: Client,
    /// Who burstlet is there.
    pub(super) burstlet: Identity,
    /// Files of the stand's own go there.
    pub(super) folder: PathBuf,
    /// Address of this machine at which the cluster reaches webhooks and kubelets.
    pub(super) address: IpAddr,
    /// Who signed the webhook's and the extender's certificate, and signs the extender's clients.
    pub(super) authority: Authority,
    /// The webhook's and the extender's certificate.
    pub(super) serving: CertificateFiles,
    /// The kubelets' certificate, which the API server and metrics-server trust.
    pub(super) kubelet: CertificateFiles,
    /// The CA, a PEM file, that signs the kubelets' clients.
    pub(super) kubelet_clients: PathBuf,
    /// Pods of others are there, and must not land on nodes where nothing really runs.
    pub(super) is_shared: bool,
}

/// Who burstlet is to the API server.
pub(super) enum Identity {
    /// A user of its own, with burstlet's role, by a kubeconfig.
    User(PathBuf),
    /// Whoever runs the stand.
    Administrator,
}

/// A certificate authority's certificate.
pub(super) struct Authority {
    /// As a PEM file.
    pub(super) file: PathBuf,
    /// As text.
    pub(super) pem: String,
}

impl Ground {
    /// A cluster of the stand's own: one authority signs everything.
    pub(super) fn of(cluster: &Cluster) -> Result<Self, StandError> {
        let certificate =
            cluster.issue(&CertificateRequest { client: true, ..CertificateRequest::server("burstlet", &[]) })?;
        Ok(Self {
            client: cluster.client(),
            burstlet: Identity::User(cluster.kubeconfig_for(install::USER, None)?),
            folder: cluster.folder().to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            authority: Authority { file: cluster.ca().to_owned(), pem: cluster.ca_pem().to_owned() },
            serving: certificate.clone(),
            kubelet: certificate,
            kubelet_clients: cluster.ca().to_owned(),
            is_shared: false,
        })
    }

    /// What keeps others' pods off the real nodes.
    pub(super) fn taint(&self) -> Option<Taint> {
        let taint = Taint { key: OWN_NODES.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        self.is_shared.then_some(taint)
    }
}
