//! Whose account it is, read anew while the process runs.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    api::pool::alibaba_eci::Credentials,
    provider::{ProviderError, clouds::Secret},
};

/// How long what was read is used before it is read again.
const FRESH: Duration = Duration::from_secs(10);

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The public part.
    pub id: String,
    /// The secret part.
    pub secret: Secret,
    /// Token of a temporary key (STS).
    pub token: Option<Secret>,
}

impl Keys {
    /// From the parts that a Secret or folder has, by the names `access-key-id`, `access-key-secret` and, for temporary
    /// keys, `security-token`.
    pub fn from_parts(part: impl Fn(&str) -> Option<String>) -> Result<Self, ProviderError> {
        let needed = |name: &str| {
            let text = part(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            text.ok_or_else(|| ProviderError::Unauthorized(format!("alibaba-eci: the credentials have no {name}")))
        };
        Ok(Self {
            id: needed("access-key-id")?,
            secret: Secret::new(&needed("access-key-secret")?),
            token: part("security-token").map(|text| Secret::new(&text)).filter(|token| !token.is_empty()),
        })
    }
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub struct KeySource {
    from: From,
    cached: Arc<Mutex<Option<(Instant, Keys)>>>,
}

#[derive(Debug, Clone)]
enum From {
    Settings(Credentials),
    /// Somebody else reads them: [`KeySource::set`].
    Given,
}

impl KeySource {
    /// As a pool's file says. A Secret must be read by somebody who has a client: see [`KeySource::set`].
    pub fn new(credentials: &Credentials) -> Self {
        let from = match credentials {
            Credentials::SecretRef { .. } => From::Given,
            other => From::Settings(other.clone()),
        };
        Self { from, cached: Arc::default() }
    }

    /// These keys, until others are set.
    pub fn fixed(keys: Keys) -> Self {
        let source = Self { from: From::Given, cached: Arc::default() };
        source.set(keys);
        source
    }

    /// Sets the keys from now on.
    pub fn set(&self, keys: Keys) {
        *self.cached() = Some((Instant::now(), keys));
    }

    /// The keys to sign with now. Where they cannot be read again, those that were read last are used on.
    pub fn keys(&self) -> Result<Keys, ProviderError> {
        let From::Settings(credentials) = &self.from else {
            let given = self.cached().as_ref().map(|(_, keys)| keys.clone());
            return given.ok_or_else(|| {
                ProviderError::Unauthorized("alibaba-eci: the Secret has not been read yet".to_owned())
            });
        };
        if let Some((at, keys)) = self.cached().as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(keys.clone());
        }
        let read = match credentials {
            Credentials::Folder { path } => from_folder(path),
            _ => from_environment(),
        };
        match read {
            Ok(keys) => {
                self.set(keys.clone());
                Ok(keys)
            }
            Err(error) => self.cached().as_ref().map(|(_, keys)| keys.clone()).ok_or(error),
        }
    }

    /// Forgets what was read: the cloud refused it.
    pub fn expire(&self) {
        if matches!(self.from, From::Settings(_)) {
            *self.cached() = None;
        }
    }

    fn cached(&self) -> MutexGuard<'_, Option<(Instant, Keys)>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn from_folder(folder: &Path) -> Result<Keys, ProviderError> {
    Keys::from_parts(|name| std::fs::read_to_string(folder.join(name)).ok()).map_err(|error| match error {
        ProviderError::Unauthorized(text) => {
            ProviderError::Unauthorized(format!("{text} (folder {})", folder.display()))
        }
        other => other,
    })
}

fn from_environment() -> Result<Keys, ProviderError> {
    let variable = |name: &str| match name {
        "access-key-id" => std::env::var("ECI_ACCESS_KEY").ok(),
        "access-key-secret" => std::env::var("ECI_SECRET_KEY").ok(),
        _ => std::env::var("ECI_SECURITY_TOKEN").ok(),
    };
    Keys::from_parts(variable).map_err(|_| {
        ProviderError::Unauthorized("alibaba-eci: set ECI_ACCESS_KEY and ECI_SECRET_KEY in the environment".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, secret: &str) {
        std::fs::write(folder.join("access-key-id"), "LTAI\n").unwrap();
        std::fs::write(folder.join("access-key-secret"), secret).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn rotated_files_are_taken_up_and_missing_ones_do_not_matter_meanwhile() {
        let folder = std::env::temp_dir().join(format!("burstlet-eci-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder, "first\n");
        let source = KeySource::new(&Credentials::Folder { path: folder.clone() });
        assert_eq!(source.keys().unwrap().secret.reveal(), "first");
        assert_eq!(source.keys().unwrap().id, "LTAI");
        write(&folder, "second");
        tokio::time::sleep(FRESH).await;
        assert_eq!(source.keys().unwrap().secret.reveal(), "second");
        std::fs::remove_dir_all(&folder).unwrap();
        tokio::time::sleep(FRESH).await;
        assert_eq!(source.keys().unwrap().secret.reveal(), "second");
        source.expire();
        assert!(source.keys().unwrap_err().to_string().contains("access-key-id"));
    }

    #[test]
    fn keys_never_print_their_secrets() {
        let keys = Keys { id: "id".to_owned(), secret: Secret::new("hush"), token: Some(Secret::new("hush")) };
        assert!(!format!("{keys:?}").contains("hush"));
    }
}
