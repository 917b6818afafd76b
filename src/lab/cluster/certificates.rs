//! Certificate authorities, and what they sign.
//!
//! A cluster has three, as real ones do: its own (API server, clients, kubelets, extender), etcd's (else every client of the
//! cluster could write the database) and the front proxy's (else every client could claim to be the aggregation layer).

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::ClusterError;

/// Clocks of one machine do not differ, but certificates are checked to the second.
const BACKDATED: Duration = Duration::from_hours(1);
/// Longer than any trial.
const VALID: Duration = Duration::from_hours(30 * 24);

/// What a certificate is to say.
#[derive(Debug, Clone, Default)]
pub struct CertificateRequest {
    /// The user's name, for a client of the API server. Also the file's name, so it need not be unique but should tell.
    pub common_name: String,
    /// The user's group. One at most: a distinguished name of rcgen holds each kind of attribute once.
    pub organisation: Option<String>,
    /// Host names that a server answers to.
    pub dns_names: Vec<String>,
    /// Addresses that a server answers on.
    pub addresses: Vec<IpAddr>,
    /// May identify a server.
    pub server: bool,
    /// May identify a client.
    pub client: bool,
}

impl CertificateRequest {
    /// A user of the API server, in `group` besides the groups that the API server adds (`system:authenticated`).
    pub fn client(user: impl Into<String>, group: Option<&str>) -> Self {
        Self { common_name: user.into(), organisation: group.map(str::to_owned), client: true, ..Self::default() }
    }

    /// A server on this machine: `127.0.0.1`, `localhost` and `dns_names`.
    pub fn server(name: impl Into<String>, dns_names: &[&str]) -> Self {
        let dns_names = ["localhost"].iter().chain(dns_names).map(|name| (*name).to_owned()).collect();
        let addresses = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        Self { common_name: name.into(), dns_names, addresses, server: true, ..Self::default() }
    }
}

/// A certificate and its key, as PEM files inside the cluster's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Writes both into `folder`, under a name that no other pair there has.
    pub(in crate::lab) fn write(folder: &Path, name: &str, certificate: &str, key: &str) -> Result<Self, ClusterError> {
        let mut earlier: u32 = 0;
        let (mut file, path) = loop {
            let path = folder.join(format!("{}.crt", file_name(name, earlier)));
            match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => earlier += 1,
                created => break (created.map_err(ClusterError::file("create", &path))?, path),
            }
        };
        let files = Self { key: path.with_extension("key"), certificate: path };
        file.write_all(certificate.as_bytes()).map_err(ClusterError::file("write", &files.certificate))?;
        fs::write(&files.key, key).map_err(ClusterError::file("write", &files.key))?;
        Ok(files)
    }
}

/// `system:node:a` → `system-node-a`, and `-1`, `-2` … for further ones of the same name.
fn file_name(name: &str, earlier: u32) -> String {
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    if earlier == 0 { safe } else { format!("{safe}-{earlier}") }
}

/// A certificate authority with its files.
pub(in crate::lab) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    files: CertificateFiles,
}

impl Authority {
    /// Makes an authority whose files go into `folder`, which is created.
    pub(in crate::lab) fn create(name: &str, folder: PathBuf) -> Result<Self, ClusterError> {
        let failed = |source| ClusterError::Certificate { name: name.to_owned(), source };
        fs::create_dir_all(&folder).map_err(ClusterError::file("create", &folder))?;
        let mut params = params(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?).map_err(failed)?;
        let files = CertificateFiles::write(&folder, "ca", &issuer.pem(), &issuer.key().serialize_pem())?;
        Ok(Self { issuer, folder, files })
    }

    pub(in crate::lab) fn files(&self) -> &CertificateFiles {
        &self.files
    }

    pub(in crate::lab) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(in crate::lab) fn issue(&self, request: &CertificateRequest) -> Result<CertificateFiles, ClusterError> {
        let name = &request.common_name;
        let failed = |source| ClusterError::Certificate { name: name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = leaf(request).map_err(failed)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        CertificateFiles::write(&self.folder, name, &certificate.pem(), &key.serialize_pem())
    }
}

/// What another authority is to sign, PEM.
pub(in crate::lab) struct SigningRequest {
    /// The request, PKCS#10.
    pub(in crate::lab) request: String,
    /// The private key, PKCS#8, which stays here.
    pub(in crate::lab) key: String,
}

impl SigningRequest {
    /// Makes a key, and asks for a certificate of it.
    pub(in crate::lab) fn new(request: &CertificateRequest) -> Result<Self, ClusterError> {
        let failed = |source| ClusterError::Certificate { name: request.common_name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let asked = leaf(request).and_then(|params| params.serialize_request(&key)?.pem()).map_err(failed)?;
        Ok(Self { request: asked, key: key.serialize_pem() })
    }
}

/// The key pair that signs service account tokens: (public key, private key).
pub(super) fn service_account_keys(folder: &Path) -> Result<(PathBuf, PathBuf), ClusterError> {
    let name = "service-account";
    let key = KeyPair::generate().map_err(|source| ClusterError::Certificate { name: name.to_owned(), source })?;
    let (public, private) = (folder.join(format!("{name}.pub")), folder.join(format!("{name}.key")));
    for (path, text) in [(&public, key.public_key_pem()), (&private, key.serialize_pem())] {
        fs::write(path, text).map_err(ClusterError::file("write", path))?;
    }
    Ok((public, private))
}

fn params(common_name: &str, organisation: Option<&str>) -> CertificateParams {
    let mut name = DistinguishedName::new();
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALID).into();
    params
}

fn leaf(request: &CertificateRequest) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(&request.common_name, request.organisation.as_deref());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let purposes =
        [(request.server, ExtendedKeyUsagePurpose::ServerAuth), (request.client, ExtendedKeyUsagePurpose::ClientAuth)];
    params.extended_key_usages = purposes.into_iter().filter_map(|(wanted, use_)| wanted.then_some(use_)).collect();
    for name in &request.dns_names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(request.addresses.iter().copied().map(SanType::IpAddress));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use x509_parser::pem::parse_x509_pem;
    use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

    use super::*;

    fn issue(request: &CertificateRequest, check: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create("test-ca", folder.path().to_owned()).unwrap();
        let files = authority.issue(request).unwrap();
        let (_, pem) = parse_x509_pem(&fs::read(files.certificate).unwrap()).unwrap();
        check(&pem.parse_x509().unwrap());
    }

    #[test]
    fn a_client_certificate_names_the_user_and_the_group() {
        issue(&CertificateRequest::client("jane", Some("devs")), |certificate| {
            let subject = certificate.subject();
            assert_eq!(subject.iter_common_name().next().unwrap().as_str(), Ok("jane"));
            let groups: Vec<_> = subject.iter_organization().map(|o| o.as_str().unwrap()).collect();
            assert_eq!(groups, ["devs"]);
            let usage = certificate.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.client_auth && !usage.server_auth);
        });
    }

    #[test]
    fn a_server_certificate_covers_loopback_and_its_names() {
        issue(&CertificateRequest::server("kube-apiserver", &["kubernetes.default.svc"]), |certificate| {
            let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
            assert!(names.contains(&GeneralName::DNSName("kubernetes.default.svc")), "{names:?}");
            assert!(names.contains(&GeneralName::DNSName("localhost")), "{names:?}");
            assert!(names.contains(&GeneralName::IPAddress(&[127, 0, 0, 1])), "{names:?}");
            let usage = certificate.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.server_auth && !usage.client_auth);
        });
    }

    #[test]
    fn certificates_of_one_name_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create("test-ca", folder.path().to_owned()).unwrap();
        let request = CertificateRequest::client("system:node:a/../../b", None);
        let files = [authority.issue(&request).unwrap(), authority.issue(&request).unwrap()];
        assert_ne!(files[0], files[1]);
        assert!(files.iter().all(|files| files.key.parent() == Some(folder.path()) && files.key.exists()));
    }

    #[test]
    fn a_signing_request_asks_for_what_a_kubelets_certificate_must_say() {
        let wanted = CertificateRequest {
            common_name: "system:node:real-000".to_owned(),
            organisation: Some("system:nodes".to_owned()),
            addresses: vec![[192, 0, 2, 7].into()],
            server: true,
            ..CertificateRequest::default()
        };
        let asked = SigningRequest::new(&wanted).unwrap();
        assert!(asked.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        let (_, pem) = parse_x509_pem(asked.request.as_bytes()).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let info = &request.certification_request_info;
        assert_eq!(info.subject.to_string(), "O=system:nodes, CN=system:node:real-000");
        let names: Vec<_> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(names, [[GeneralName::IPAddress(&[192, 0, 2, 7])]]);
    }
}
