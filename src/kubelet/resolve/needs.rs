//! What has to be read before a pod can be resolved.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};

use crate::provider::{Takes, Tokens};

/// Seconds that a service account's token holds where the pod does not say.
const TOKEN_SECONDS: i64 = 3600;

/// Name of the volume that the API server adds to every pod by itself, for its service account's token.
const OWN_TOKEN_VOLUME: &str = "kube-api-access-";

/// Names of the objects that a pod refers to, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) tokens: BTreeSet<TokenNeed>,
    /// A variable comes from elsewhere, or a volume is made of files: the pod cannot stay as it is.
    pub(crate) any: bool,
}

/// A token of the pod's service account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TokenNeed {
    /// For whom; empty for the API server.
    pub(crate) audience: String,
    pub(crate) seconds: i64,
}

impl TokenNeed {
    pub(crate) fn new(audience: Option<&str>, seconds: Option<i64>) -> Self {
        Self { audience: audience.unwrap_or_default().to_owned(), seconds: seconds.unwrap_or(TOKEN_SECONDS) }
    }
}

impl Needs {
    /// What `pod` needs, as far as its provider takes it.
    pub(crate) fn of(pod: &Pod, takes: Takes) -> Self {
        let mut needs = Self::default();
        let Some(spec) = &pod.spec else { return needs };
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            needs.add_env(container);
        }
        for volume in spec.volumes.iter().flatten().filter(|volume| is_taken(volume, takes)) {
            needs.add_volume(volume);
        }
        if takes.registries {
            needs.add_registries(spec);
        }
        needs
    }

    fn add_env(&mut self, container: &Container) {
        for from in container.env_from.iter().flatten() {
            self.any = true;
            self.config_maps.extend(from.config_map_ref.as_ref().map(|reference| reference.name.clone()));
            self.secrets.extend(from.secret_ref.as_ref().map(|reference| reference.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            self.any = true;
            self.config_maps.extend(from.config_map_key_ref.as_ref().map(|reference| reference.name.clone()));
            self.secrets.extend(from.secret_key_ref.as_ref().map(|reference| reference.name.clone()));
        }
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.any |= has_files(volume);
        self.config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        self.secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            self.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            self.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
            let token = source.service_account_token.as_ref();
            self.tokens.extend(token.map(|t| TokenNeed::new(t.audience.as_deref(), t.expiration_seconds)));
        }
    }

    fn add_registries(&mut self, spec: &PodSpec) {
        let names = spec.image_pull_secrets.iter().flatten().map(|reference| reference.name.clone());
        let before = self.secrets.len();
        self.secrets.extend(names.filter(|name| !name.is_empty()));
        self.any |= self.secrets.len() > before || spec.image_pull_secrets.iter().flatten().next().is_some();
    }
}

/// Whether a volume is made of files that the kubelet puts there.
pub(crate) fn has_files(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Whether the provider is given the volume's files. A volume with a token that it does not take is left to it: to do without,
/// where it is the one that every pod has, and else to refuse.
pub(super) fn is_taken(volume: &Volume, takes: Takes) -> bool {
    let mut sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let has_token = sources.any(|source| source.service_account_token.is_some());
    let is_own = volume.name.starts_with(OWN_TOKEN_VOLUME);
    let takes_its_token = match takes.tokens {
        Tokens::All => true,
        Tokens::Asked => !is_own,
        Tokens::None => !has_token && !is_own,
    };
    takes.files && has_files(volume) && takes_its_token
}
