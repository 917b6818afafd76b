//! Signature version 3: HMAC-SHA256 over the request, in the header `Authorization`.

use std::collections::BTreeMap;

use ring::{digest, hmac};

use super::canonical::{Parameters, canonical_query};
use crate::provider::{clouds::Secret, hex::hex};

/// Name of the algorithm, first in the header.
pub const V3_ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Hash of a body, as the header `x-acs-content-sha256` has it.
pub fn content_hash(body: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, body).as_ref())
}

/// What is signed.
#[derive(Debug)]
pub struct Signing<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path; `/` for ECI and VPC.
    pub path: &'a str,
    /// Parameters of the query.
    pub query: &'a Parameters,
    /// The headers that are signed, by lower-case name.
    pub headers: &'a BTreeMap<String, String>,
    /// [`content_hash`] of the body.
    pub content_hash: &'a str,
}

impl Signing<'_> {
    fn names(&self) -> String {
        self.headers.keys().map(String::as_str).collect::<Vec<_>>().join(";")
    }

    fn canonical(&self) -> String {
        let headers = self.headers.iter().flat_map(|(name, value)| [name, ":", value.trim(), "\n"]).collect::<String>();
        let Self { method, path, content_hash, .. } = self;
        format!("{method}\n{path}\n{}\n{headers}\n{}\n{content_hash}", canonical_query(self.query), self.names())
    }
}

/// The signature, in hexadecimal.
pub fn signature_v3(signing: &Signing<'_>, secret: &Secret) -> String {
    let text = format!("{V3_ALGORITHM}\n{}", content_hash(signing.canonical().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
    hex(hmac::sign(&key, text.as_bytes()).as_ref())
}

/// The header `Authorization` for a request.
pub fn sign_v3(signing: &Signing<'_>, key_id: &str, secret: &Secret) -> String {
    let signature = signature_v3(signing, secret);
    format!("{V3_ALGORITHM} Credential={key_id},SignedHeaders={},Signature={signature}", signing.names())
}

/// A header `Authorization`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Id of the key.
    pub key_id: String,
    /// Lower-case names of the headers that are signed.
    pub signed_headers: Vec<String>,
    /// The signature.
    pub signature: String,
}

impl Authorization {
    /// Reads the header; `None` where it is of another kind.
    pub fn parse(header: &str) -> Option<Self> {
        let fields = header.strip_prefix(V3_ALGORITHM)?.trim_start();
        let field = |name: &str| {
            let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned)
        };
        Some(Self {
            key_id: field("Credential")?,
            signed_headers: field("SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect(),
            signature: field("Signature")?,
        })
    }
}
