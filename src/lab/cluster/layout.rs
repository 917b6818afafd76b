//! Everything that exists before the first process: ports, authorities, certificates, kubeconfigs.

use std::path::PathBuf;

use super::certificates::{Authority, CertificateFiles, CertificateRequest, service_account_keys};
use super::folder::Folder;
use super::port::Port;
use super::{ClusterError, kubeconfig};

/// User names of the components without a built-in one.
pub(super) const DEDICATED_SCHEDULER_USER: &str = "system:burstlet-scheduler";
pub(super) const METRICS_SERVER_USER: &str = "system:metrics-server";
pub(super) const KUBELET_CLIENT_USER: &str = "kube-apiserver-kubelet-client";

/// A component that is a client of the API server and a server of its own figures.
#[derive(Debug)]
pub(super) struct Identity {
    pub port: Port,
    pub kubeconfig: PathBuf,
    /// Its client certificate, which the kubeconfig names.
    pub client: CertificateFiles,
    pub server: CertificateFiles,
}

/// The cluster's ports and files.
pub(super) struct Layout {
    pub etcd: Port,
    pub etcd_peer: Port,
    pub etcd_data: PathBuf,
    pub etcd_authority: CertificateFiles,
    pub etcd_server: CertificateFiles,
    pub etcd_client: CertificateFiles,
    pub authority: CertificateFiles,
    pub authority_pem: String,
    pub api_server: Port,
    pub api_server_files: CertificateFiles,
    pub kubelet_client: CertificateFiles,
    pub front_proxy_authority: CertificateFiles,
    pub front_proxy_client: CertificateFiles,
    /// (public key, private key)
    pub service_account_keys: (PathBuf, PathBuf),
    pub admin: CertificateFiles,
    pub admin_kubeconfig: PathBuf,
    pub controller_manager: Identity,
    pub scheduler: Identity,
    pub dedicated_scheduler: Identity,
    pub metrics_server: Identity,
}

impl Layout {
    /// Reserves the ports and writes the files. The authority comes back beside it: it goes on issuing.
    pub(super) fn create(folder: &Folder) -> Result<(Self, Authority), ClusterError> {
        let pki = folder.path().join("pki");
        let authority = Authority::create("burstlet-lab-ca", pki.join("cluster"))?;
        let etcd = Authority::create("burstlet-lab-etcd-ca", pki.join("etcd"))?;
        let front_proxy = Authority::create("burstlet-lab-front-proxy-ca", pki.join("front-proxy"))?;
        let api_server = Port::reserve()?;
        let url = api_server.url();
        let components = Components { folder, authority: &authority, url: &url };
        let admin = authority.issue(&CertificateRequest::client("admin", Some("system:masters")))?;
        let layout = Self {
            etcd: Port::reserve()?,
            etcd_peer: Port::reserve()?,
            etcd_data: folder.path().join("etcd"),
            etcd_authority: etcd.files().clone(),
            // Members are each other's clients, and the gateway inside etcd is one of etcd itself.
            etcd_server: etcd.issue(&CertificateRequest { client: true, ..CertificateRequest::server("etcd", &[]) })?,
            etcd_client: etcd.issue(&CertificateRequest::client("kube-apiserver", None))?,
            authority: authority.files().clone(),
            authority_pem: authority.pem(),
            api_server_files: authority.issue(&CertificateRequest::server("kube-apiserver", &API_SERVER_NAMES))?,
            kubelet_client: authority.issue(&CertificateRequest::client(KUBELET_CLIENT_USER, None))?,
            front_proxy_authority: front_proxy.files().clone(),
            front_proxy_client: front_proxy.issue(&CertificateRequest::client("front-proxy-client", None))?,
            service_account_keys: service_account_keys(&pki)?,
            admin_kubeconfig: components.kubeconfig("admin", &admin)?,
            admin,
            controller_manager: components.identity("system:kube-controller-manager", &[])?,
            scheduler: components.identity("system:kube-scheduler", &[])?,
            dedicated_scheduler: components.identity(DEDICATED_SCHEDULER_USER, &[])?,
            // The aggregation layer asks for this name, whatever address it dials.
            metrics_server: components.identity(METRICS_SERVER_USER, &["metrics-server.kube-system.svc"])?,
            api_server,
        };
        Ok((layout, authority))
    }
}

const API_SERVER_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// Issues what the components need.
struct Components<'a> {
    folder: &'a Folder,
    authority: &'a Authority,
    url: &'a str,
}

impl Components<'_> {
    fn identity(&self, user: &str, dns_names: &[&str]) -> Result<Identity, ClusterError> {
        let client = self.authority.issue(&CertificateRequest::client(user, None))?;
        let server = CertificateRequest::server(format!("{user}-server"), dns_names);
        let kubeconfig = self.kubeconfig(user, &client)?;
        Ok(Identity { port: Port::reserve()?, kubeconfig, client, server: self.authority.issue(&server)? })
    }

    fn kubeconfig(&self, user: &str, files: &CertificateFiles) -> Result<PathBuf, ClusterError> {
        write_kubeconfig(self.folder, self.url, self.authority, user, files)
    }
}

/// Writes a kubeconfig beside the others, named as its certificate is.
pub(super) fn write_kubeconfig(
    folder: &Folder,
    url: &str,
    authority: &Authority,
    user: &str,
    files: &CertificateFiles,
) -> Result<PathBuf, ClusterError> {
    let stem = files.certificate.file_stem().unwrap_or_default().to_string_lossy();
    let text = kubeconfig::render(url, &authority.files().certificate, user, files);
    folder.write_config(&format!("{stem}.kubeconfig"), &text)
}
