//! Keys, read again for each call.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::Secret;
use crate::{api::pool::credentials::CredentialsFrom, provider::ProviderError};

/// Where named values come from.
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// The value of `name`, if there is one.
    async fn value(&self, name: &str) -> Result<Option<Secret>, ProviderError>;
}

/// The store that a pool names; `None` for a Secret or `ConfigMap`, whose parts somebody has to read into a [`Held`].
pub fn store(from: &CredentialsFrom) -> Option<Arc<dyn KeyStore>> {
    match from {
        CredentialsFrom::Environment {} => Some(Arc::new(Environment)),
        CredentialsFrom::Folder { path } => Some(Arc::new(Folder { path: path.clone() })),
        CredentialsFrom::SecretRef { .. } | CredentialsFrom::ConfigMapRef { .. } => None,
    }
}

/// Every name by which a part of some cloud's keys may be found.
pub const NAMES: Names = &[
    "KCI_ACCESS_KEY",
    "KCI_SECRET_KEY",
    "KCI_SECURITY_TOKEN",
    "ak",
    "sk",
    "securityToken",
    "access-key-id",
    "access-key-secret",
    "security-token",
    "ECI_ACCESS_KEY",
    "ECI_SECRET_KEY",
    "ECI_SECURITY_TOKEN",
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "tenant-id",
    "client-id",
    "client-secret",
];

/// Values that somebody else reads, such as a Secret's parts.
#[derive(Debug, Default)]
pub struct Held(Mutex<BTreeMap<String, Secret>>);

impl Held {
    /// These parts, by their names.
    pub fn of(parts: &[(&str, &str)]) -> Self {
        let held = Self::default();
        held.take(&|name| parts.iter().find(|(part, _)| *part == name).map(|(_, value)| (*value).to_owned()));
        held
    }

    /// Takes those parts that have one of the [`NAMES`], in place of all that were held.
    pub fn take(&self, part: &dyn Fn(&str) -> Option<String>) {
        let parts = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), Secret::new(&part(name)?))));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = parts.collect();
    }
}

#[async_trait]
impl KeyStore for Held {
    async fn value(&self, name: &str) -> Result<Option<Secret>, ProviderError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }
}

#[derive(Debug)]
struct Environment;

#[async_trait]
impl KeyStore for Environment {
    async fn value(&self, name: &str) -> Result<Option<Secret>, ProviderError> {
        Ok(std::env::var(name).ok().map(|value| Secret::new(&value)))
    }
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

#[async_trait]
impl KeyStore for Folder {
    async fn value(&self, name: &str) -> Result<Option<Secret>, ProviderError> {
        match tokio::fs::read_to_string(self.path.join(name)).await {
            Ok(text) => Ok(Some(Secret::new(&text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ProviderError::Unauthorized(format!(
                "unable to read the key {}: {error}",
                self.path.join(name).display()
            ))),
        }
    }
}

/// The names by which one part of the keys may be found, first come first.
pub type Names = &'static [&'static str];

/// The first of `names` that has a value.
pub async fn first(store: &dyn KeyStore, names: Names) -> Result<Option<Secret>, ProviderError> {
    for name in names {
        if let Some(secret) = store.value(name).await?.filter(|secret| !secret.is_empty()) {
            return Ok(Some(secret));
        }
    }
    Ok(None)
}

/// Like [`first`], for what must be there.
pub async fn needed(store: &dyn KeyStore, names: Names) -> Result<Secret, ProviderError> {
    let missing = || ProviderError::Unauthorized(format!("no key: none of {} is set", names.join(", ")));
    first(store, names).await?.ok_or_else(missing)
}

/// Keys that sign requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeys {
    /// The public part.
    pub id: String,
    /// The secret part.
    pub secret: Secret,
    /// The session's token, where the keys are temporary.
    pub token: Option<Secret>,
}

impl SigningKeys {
    /// Reads them, by the names that a cloud's tools use. A key id that no header can hold is refused.
    pub async fn read(store: &dyn KeyStore, id: Names, secret: Names, token: Names) -> Result<Self, ProviderError> {
        let id = needed(store, id).await?.reveal().to_owned();
        if !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b',') {
            let text = "the access key's id is malformed: only letters, digits and signs but / and , are allowed";
            return Err(ProviderError::Unauthorized(text.to_owned()));
        }
        Ok(Self { id, secret: needed(store, secret).await?, token: first(store, token).await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Names = &["KCI_ACCESS_KEY", "ak"];
    const SECRET: Names = &["KCI_SECRET_KEY", "sk"];
    const TOKEN: Names = &["securityToken"];

    #[tokio::test]
    async fn keys_that_change_in_their_folder_count_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&CredentialsFrom::Folder { path: folder.path().to_owned() }).unwrap();
        let missing = SigningKeys::read(&*store, ID, SECRET, TOKEN).await.unwrap_err();
        assert!(missing.to_string().contains("KCI_ACCESS_KEY, ak"), "{missing}");
        for (id, token) in [("one", None), ("two", Some("t"))] {
            std::fs::write(folder.path().join("ak"), id).unwrap();
            std::fs::write(folder.path().join("sk"), format!("secret-{id}\n")).unwrap();
            if let Some(token) = token {
                std::fs::write(folder.path().join("securityToken"), token).unwrap();
            }
            let keys = SigningKeys::read(&*store, ID, SECRET, TOKEN).await.unwrap();
            assert_eq!((keys.id.as_str(), keys.secret.reveal()), (id, format!("secret-{id}").as_str()));
            assert_eq!(keys.token.as_ref().map(Secret::reveal), token);
            assert!(!format!("{keys:?}").contains("secret-"));
        }
        std::fs::write(folder.path().join("ak"), "a/b").unwrap();
        assert!(SigningKeys::read(&*store, ID, SECRET, TOKEN).await.unwrap_err().to_string().contains("malformed"));
    }
}
