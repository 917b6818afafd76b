//! Certificates of a listener, and who its clients are.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_rustls::rustls::{
    ConfigBuilder, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{WantsServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::{HeldCertificate, ServeError};

/// A file larger than this is no certificate; it is not read further.
const MAX_FILE: u64 = 1024 * 1024;

/// Files and rules of a listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file with the server's certificate, and any intermediates after it.
    pub certificate: PathBuf,
    /// PEM file with the certificate's key.
    pub key: PathBuf,
    /// PEM file with the CAs that client certificates must come from.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What the listener offers by ALPN; the code's choice, not the file's.
    #[serde(skip)]
    pub protocols: Protocols,
}

/// Whether clients must show a certificate of the client CA. One that is shown and does not verify always ends the
/// handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuth {
    /// Clients are not asked.
    #[default]
    None,
    /// Clients are asked and may decline; the handler decides what a stranger may do.
    Optional,
    /// Clients without a certificate fail the handshake.
    Required,
}

/// HTTP versions that a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocols {
    /// HTTP/2 before HTTP/1.1.
    #[default]
    Any,
    /// HTTP/1.1 alone: protocol upgrades (exec, port-forward) need it.
    Http1,
}

/// Who a client's verified certificate says it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientIdentity {
    /// Common name: the user, as Kubernetes reads certificates.
    pub name: String,
    /// Organisations: the user's groups.
    pub groups: Vec<String>,
}

impl ClientIdentity {
    /// Reads the subject of a certificate that the handshake has verified; `None` where its DER is not understood.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
        let subject: &X509Name<'_> = parsed.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        Some(Self { name, groups })
    }
}

impl ServerTls {
    /// Whether the files are there and make sense, before anything is begun.
    pub async fn check(&self) -> Result<(), ServeError> {
        Tls::from(self.clone()).check().await
    }
}

/// Rules of a listener's TLS, wherever its certificate comes from.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Files of the certificate and its key.
    files: Option<(PathBuf, PathBuf)>,
    /// What is shown where there are none.
    held: HeldCertificate,
    client_ca: Option<PathBuf>,
    client_auth: ClientAuth,
    protocols: Protocols,
}

impl From<ServerTls> for Tls {
    fn from(ServerTls { certificate, key, client_ca, client_auth, protocols }: ServerTls) -> Self {
        let files = Some((certificate, key));
        Self { files, held: HeldCertificate::default(), client_ca, client_auth, protocols }
    }
}

/// What the files held at one moment.
pub(super) struct Files {
    own: Option<Pair>,
    client_ca: Option<Vec<u8>>,
}

/// A certificate and its key in files, PEM.
#[derive(Hash)]
struct Pair {
    certificate: (PathBuf, Vec<u8>),
    key: (PathBuf, Vec<u8>),
}

impl Pair {
    async fn read(certificate: &Path, key: &Path) -> Result<Self, ServeError> {
        Ok(Self {
            certificate: (certificate.to_owned(), read_small("certificate", certificate).await?),
            key: (key.to_owned(), read_small("key", key).await?),
        })
    }

    fn serve(&self, builder: ConfigBuilder<ServerConfig, WantsServerCert>) -> Result<ServerConfig, ServeError> {
        let (certificate, pem) = &self.certificate;
        let chain = certificates("certificate", certificate, pem)?;
        let (path, pem) = &self.key;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|fault| ServeError::Pem {
            what: "key",
            path: path.clone(),
            reason: fault.to_string(),
        })?;
        builder.with_single_cert(chain, key).map_err(|fault| ServeError::Pair {
            certificate: certificate.clone(),
            key: path.clone(),
            reason: fault.to_string(),
        })
    }
}

impl Files {
    /// Differs where any file's content does.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.own, &self.client_ca).hash(&mut hasher);
        hasher.finish()
    }
}

impl Tls {
    /// Serves with a certificate that something else in this process gets and renews. Clients of a listener that has none
    /// yet fail the handshake.
    pub fn held(
        certificate: HeldCertificate,
        client_ca: Option<PathBuf>,
        client_auth: ClientAuth,
        protocols: Protocols,
    ) -> Self {
        Self { files: None, held: certificate, client_ca, client_auth, protocols }
    }

    /// Whether the files are there and make sense, before anything is begun.
    pub async fn check(&self) -> Result<(), ServeError> {
        self.config(&self.read().await?).map(drop)
    }

    pub(super) async fn read(&self) -> Result<Files, ServeError> {
        let client_ca = match &self.client_ca {
            Some(path) => Some(read_small("client CA", path).await?),
            None => None,
        };
        let own = match &self.files {
            Some((certificate, key)) => Some(Pair::read(certificate, key).await?),
            None => None,
        };
        Ok(Files { own, client_ca })
    }

    pub(super) fn config(&self, files: &Files) -> Result<Arc<ServerConfig>, ServeError> {
        // Named, not the process's default: a dependency may have set that one, or two may quarrel over it.
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match self.verifier(files, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = match &files.own {
            Some(pair) => pair.serve(builder)?,
            None => builder.with_cert_resolver(Arc::new(self.held.clone())),
        };
        config.alpn_protocols = match self.protocols {
            Protocols::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
        };
        Ok(Arc::new(config))
    }

    /// Its certificate's file, where it is one.
    pub(super) fn certificate_file(&self) -> Option<&Path> {
        self.files.as_ref().map(|(certificate, _)| certificate.as_path())
    }

    fn verifier(
        &self,
        files: &Files,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, ServeError> {
        let (path, pem) = match (self.client_auth, &self.client_ca, &files.client_ca) {
            (ClientAuth::None, None, _) => return Ok(None),
            (ClientAuth::None, Some(_), _) => {
                return Err(ServeError::ClientAuth(
                    "clientCa is set but clientAuth is none, so it checks nobody; set clientAuth to required or optional",
                ));
            }
            (_, Some(path), Some(pem)) => (path, pem),
            _ => {
                return Err(ServeError::ClientAuth(
                    "clientAuth asks for client certificates but clientCa is not set; name the CA's file",
                ));
            }
        };
        let unusable = |reason: String| ServeError::ClientCa { path: path.clone(), reason };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client CA", path, pem)? {
            roots.add(certificate).map_err(|fault| unusable(fault.to_string()))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if self.client_auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map(Some).map_err(|fault| unusable(fault.to_string()))
    }
}

fn certificates(what: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let refuse = |reason: String| ServeError::Pem { what, path: path.to_owned(), reason };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|fault| refuse(fault.to_string()))?;
    if all.is_empty() { Err(refuse("no CERTIFICATE block".to_owned())) } else { Ok(all) }
}

async fn read_small(what: &'static str, path: &Path) -> Result<Vec<u8>, ServeError> {
    let refuse = |source: io::Error| ServeError::Read { what, path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(refuse)?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).await.map_err(refuse)?;
    if content.len() as u64 > MAX_FILE {
        return Err(refuse(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB, which no PEM file is")));
    }
    Ok(content)
}
