//! The kubelets' listener.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;

use super::ConfigError;
use crate::serve::{ClientAuth, HeldCertificate, Protocols, ServerTls, Tls};

/// The kubelets' listener: one for all virtual nodes of the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeletListener {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The virtual nodes' address (`InternalIP`), where the API server and metrics-server reach the listener. Left out,
    /// the environment variable `POD_IP` says it: each replica of a Deployment has an address of its own.
    pub address: Option<IpAddr>,
    /// Its certificate, and whose client certificates it takes.
    pub tls: KubeletTls,
}

/// The listener's certificate, in files or requested of the cluster, and whose client certificates it takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeletTls {
    /// PEM file with the certificate, and any intermediates after it.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Asks the cluster's signer `kubernetes.io/kubelet-serving` for the certificate, as one of the virtual nodes. Each
    /// request waits until somebody approves it.
    #[serde(default)]
    pub requested: bool,
    /// PEM file with the CAs that client certificates must come from.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

impl KubeletListener {
    /// The virtual nodes' address: as configured, or else the pod's that this process runs in.
    pub fn node_address(&self) -> Result<IpAddr, ConfigError> {
        let from_environment = || {
            let text = std::env::var("POD_IP").map_err(|_| ConfigError::NoAddress("is not set either"))?;
            text.parse().map_err(|_| ConfigError::NoAddress("is no IP address"))
        };
        self.address.map_or_else(from_environment, Ok)
    }
}

impl KubeletTls {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match (&self.certificate, &self.key, self.requested) {
            (Some(_), Some(_), false) | (None, None, true) => Ok(()),
            (None, None, false) => Err(ConfigError::KubeletTls("there is no certificate")),
            (_, _, true) => Err(ConfigError::KubeletTls("the certificate is requested, and a file is named as well")),
            _ => Err(ConfigError::KubeletTls("certificate and key go together")),
        }
    }

    /// The listener's rules; `held` is shown where no files are named.
    pub(in crate::run) fn rules(&self, held: &HeldCertificate) -> Tls {
        let Self { client_ca, client_auth, .. } = self.clone();
        match (self.certificate.clone(), self.key.clone()) {
            (Some(certificate), Some(key)) => {
                ServerTls { certificate, key, client_ca, client_auth, protocols: Protocols::Any }.into()
            }
            _ => Tls::held(held.clone(), client_ca, client_auth, Protocols::Any),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_in_files_or_requested_and_never_both() {
        let fault = |tls: &str| {
            let tls: KubeletTls = serde_saphyr::from_str(tls).unwrap();
            tls.check().err().map(|error| error.to_string())
        };
        assert_eq!(fault("{certificate: a, key: b}"), None);
        assert_eq!(fault("{requested: true, clientCa: c, clientAuth: optional}"), None);
        for tls in ["{}", "{certificate: a}", "{key: b}", "{requested: true, key: b}", "{requested: false}"] {
            let fault = fault(tls).unwrap();
            assert!(fault.ends_with("give certificate and key, or requested: true alone"), "{fault}");
        }
    }
}
