//! Keys of image registries, from the Secrets that a pod pulls its images by.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::Source;
use crate::provider::{RegistryKey, clouds};

/// A registry's entry of a Docker configuration.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    /// `USER:PASSWORD` in base64, in place of both.
    auth: String,
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

impl Source<'_> {
    /// The keys of all pull secrets; a missing or unreadable one is none, as for a kubelet, whose pull then fails.
    pub(super) fn registries(&self) -> Vec<RegistryKey> {
        let references = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let secrets = references.filter_map(|reference| self.objects.secrets.get(&reference.name));
        secrets.flat_map(keys).collect()
    }
}

fn keys(secret: &Secret) -> Vec<RegistryKey> {
    let data = |key: &str| secret.data.as_ref()?.get(key);
    let config = data(".dockerconfigjson").and_then(|text| serde_json::from_slice::<DockerConfig>(&text.0).ok());
    let old = || data(".dockercfg").and_then(|text| serde_json::from_slice(&text.0).ok());
    let entries: BTreeMap<String, Entry> = config.map(|config| config.auths).or_else(old).unwrap_or_default();
    entries.into_iter().filter_map(|(server, entry)| key(server, entry)).collect()
}

fn key(server: String, entry: Entry) -> Option<RegistryKey> {
    let decoded = BASE64_STANDARD.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.to_owned()),
        None => (entry.username, entry.password),
    };
    (!user.is_empty()).then(|| RegistryKey { server, user, password: clouds::Secret::new(&password) })
}
