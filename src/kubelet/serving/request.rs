//! A request for a serving certificate, and what has become of it. Pure.
//!
//! What the signer `kubernetes.io/kubelet-serving` signs is Kubernetes' rule ("Certificates and Certificate Signing Requests"
//! in its documentation): the subject is the node's own user in the group of all nodes, the names are those that the node is
//! reached by, the usages are those of a server, and the node itself asks.

use std::net::IpAddr;

use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use crate::kubelet::as_node;

/// Who signs the certificates that kubelets serve with.
pub(super) const SIGNER: &str = "kubernetes.io/kubelet-serving";

/// A key, and the request for a certificate of it.
pub(super) struct Asking {
    /// The object to create.
    pub(super) object: CertificateSigningRequest,
    /// PEM. It never leaves this process.
    pub(super) key: String,
}

impl Asking {
    /// A new key for `node`, which is reached at `address`. The signer decides how long the certificate lasts.
    pub(super) fn new(node: &str, address: IpAddr) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, as_node::NODES);
        subject.push(DnType::CommonName, as_node::user(node));
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        let request = params.serialize_request(&key)?.pem()?;
        // An elliptic curve's key enciphers no other key, so that usage is left out.
        let usages = ["digital signature", "server auth"].map(str::to_owned).to_vec();
        let object = CertificateSigningRequest {
            metadata: ObjectMeta { generate_name: Some(format!("{node}-")), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.into_bytes()),
                signer_name: SIGNER.to_owned(),
                usages: Some(usages),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        Ok(Self { object, key: key.serialize_pem() })
    }
}

/// What has become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody has approved it, or the signer has not come to it.
    Waits,
    /// The certificate, PEM, with any intermediates after it.
    Signed(Vec<u8>),
    /// Somebody has denied it, or the signer will not sign it.
    Refused(String),
}

impl Answer {
    pub(super) fn of(request: &CertificateSigningRequest) -> Self {
        let Some(status) = &request.status else { return Self::Waits };
        let refused = status.conditions.iter().flatten().find(|condition| condition.type_ != "Approved");
        if let Some(condition) = refused {
            let how = if condition.type_ == "Denied" { "denied" } else { "not signed" };
            let why = [&condition.reason, &condition.message].into_iter().flatten().filter(|text| !text.is_empty());
            let why = why.map(String::as_str).collect::<Vec<_>>().join(": ");
            return Self::Refused(if why.is_empty() { how.to_owned() } else { format!("{how}: {why}") });
        }
        match &status.certificate {
            Some(ByteString(certificate)) if !certificate.is_empty() => Self::Signed(certificate.clone()),
            _ => Self::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use x509_parser::{
        extensions::{GeneralName, ParsedExtension},
        pem::parse_x509_pem,
        prelude::{FromDer, X509CertificationRequest},
    };

    use super::*;

    #[test]
    fn it_asks_for_what_the_signer_signs_and_keeps_the_key() {
        let asking = Asking::new("burstlet-eci-0", [192, 0, 2, 7].into()).unwrap();
        let spec = &asking.object.spec;
        assert_eq!(spec.signer_name, "kubernetes.io/kubelet-serving");
        assert_eq!(spec.usages.as_deref().unwrap(), ["digital signature", "server auth"]);
        assert_eq!(asking.object.metadata.generate_name.as_deref(), Some("burstlet-eci-0-"));
        assert!(!serde_json::to_string(&asking.object).unwrap().contains("PRIVATE"));
        let (_, pem) = parse_x509_pem(&spec.request.0).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let subject = &request.certification_request_info.subject;
        assert_eq!(subject.to_string(), "O=system:nodes, CN=system:node:burstlet-eci-0");
        let names = request.requested_extensions().unwrap().find_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.clone()),
            _ => None,
        });
        assert_eq!(names.unwrap(), [GeneralName::IPAddress(&[192, 0, 2, 7])]);
    }

    fn answer(status: &Value) -> Answer {
        let spec = json!({"request": "", "signerName": SIGNER});
        Answer::of(&serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap())
    }

    #[test]
    fn it_is_signed_only_once_there_is_a_certificate() {
        let approved = json!({"type": "Approved", "status": "True", "reason": "ByHand"});
        assert_eq!(answer(&json!({})), Answer::Waits);
        assert_eq!(answer(&json!({"conditions": [approved]})), Answer::Waits);
        let signed = answer(&json!({"conditions": [approved], "certificate": "cGVt"}));
        assert_eq!(signed, Answer::Signed(b"pem".to_vec()));
    }

    #[test]
    fn who_denied_it_and_why_is_told() {
        let denied = json!({"type": "Denied", "status": "True", "reason": "Foreign", "message": "no such node"});
        assert_eq!(
            answer(&json!({"conditions": [denied]})),
            Answer::Refused("denied: Foreign: no such node".to_owned())
        );
        let failed = json!({"type": "Failed", "status": "True", "message": "usages"});
        let approved = json!({"type": "Approved", "status": "True"});
        let told = answer(&json!({"conditions": [approved, failed]}));
        assert_eq!(told, Answer::Refused("not signed: usages".to_owned()));
        let silent = json!({"type": "Denied", "status": "True"});
        assert_eq!(answer(&json!({"conditions": [silent]})), Answer::Refused("denied".to_owned()));
    }
}
