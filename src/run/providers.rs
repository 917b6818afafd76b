//! Who runs each pool's instances.

#[cfg(feature = "lab")]
use std::path::Path;
use std::{collections::BTreeMap, sync::Arc};

use burstlet_engine::model::PoolName;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;

#[cfg(feature = "lab")]
use crate::provider::process;
use crate::{
    api::pool::{
        Provider as PoolProvider,
        credentials::CredentialsFrom,
        kubernetes::{KubeconfigFrom, Kubernetes},
    },
    provider::{
        Provider, ProviderError,
        clouds::{
            alibaba_eci::Eci,
            aws_fargate::Fargate,
            azure_aci::Aci,
            credentials::{self, KeyStore},
            fleet::Pace,
            kingsoft_kci::Kci,
        },
        kubernetes::OtherCluster,
        simulated,
    },
    run::{
        RunError,
        config::{self, Config},
        secret,
    },
    watch::Listening,
};

/// The providers that a configuration names. Secrets that they take their keys from are read by `client`, as long as the
/// provider lives.
pub fn providers(config: &Config, client: &Client) -> Result<BTreeMap<PoolName, Arc<dyn Provider>>, RunError> {
    let provider = |pool: &config::Pool| {
        let made = provider(&pool.provider, config, client);
        let made = made.map_err(|source| RunError::Provider { pool: pool.name.clone(), source })?;
        Ok((pool.name.clone(), made))
    };
    config.pools.iter().map(provider).collect()
}

/// Who runs a pool's instances.
pub(super) fn provider(
    provider: &PoolProvider,
    config: &Config,
    client: &Client,
) -> Result<Arc<dyn Provider>, ProviderError> {
    Ok(match provider {
        PoolProvider::Simulated(settings) => Arc::new(simulated::Remote::new(&settings.endpoint)?),
        PoolProvider::AlibabaEci(settings) => {
            let keys = keys(&settings.credentials, config, client);
            Arc::new(Eci::with_keys((**settings).clone(), keys)?)
        }
        PoolProvider::KingsoftKci(settings) => {
            let keys = keys(&settings.credentials, config, client);
            Arc::new(Kci::with_keys((**settings).clone(), keys, Pace::default())?)
        }
        PoolProvider::AwsFargate(settings) => {
            let keys = keys(&settings.credentials, config, client);
            Arc::new(Fargate::with_keys((**settings).clone(), keys, Pace::default())?)
        }
        PoolProvider::AzureAci(settings) => {
            let keys = keys(&settings.credentials, config, client);
            Arc::new(Aci::with_keys((**settings).clone(), keys, Pace::SLOW)?)
        }
        PoolProvider::Kubernetes(settings) => other_cluster(settings, config, client)?,
        #[cfg(feature = "lab")]
        PoolProvider::Process(settings) => processes(&settings.folder, config)?,
    })
}

/// Pods of another cluster; a kubeconfig from a Secret is read as long as the provider lives.
fn other_cluster(settings: &Kubernetes, config: &Config, client: &Client) -> Result<Arc<dyn Provider>, ProviderError> {
    let there = Arc::new(OtherCluster::new(settings.clone())?);
    if let KubeconfigFrom::SecretRef { name, namespace } = &settings.kubeconfig {
        let namespace = namespace.as_ref().unwrap_or(&config.namespace).clone();
        let weak = Arc::downgrade(&there);
        tokio::spawn(secret::follow::<Secret>(client.clone(), namespace, name.clone(), move |part| {
            let Some(there) = weak.upgrade() else { return Listening::No };
            if let Some(text) = part("kubeconfig") {
                there.set_kubeconfig(&text);
            } else {
                tracing::warn!("the Secret of a pool on another cluster has no key kubeconfig");
            }
            Listening::Yes
        }));
    }
    Ok(there)
}

/// Pods as processes of this host: where the command line allows it.
#[cfg(feature = "lab")]
fn processes(folder: &Path, config: &Config) -> Result<Arc<dyn Provider>, ProviderError> {
    if !config.allows_host_processes {
        let told = "its pods would be processes of this host, without isolation; where that is wanted, give --allow-host-processes";
        return Err(ProviderError::Invalid(told.to_owned()));
    }
    let started = process::Processes::start(process::Settings::new(folder.to_owned()));
    let told = |error: std::io::Error| ProviderError::Unavailable(format!("{}: {error}", folder.display()));
    Ok(Arc::new(started.map_err(told)?))
}

/// The keys that a pool names; those of a Secret or ConfigMap are read as long as somebody holds them.
fn keys(from: &CredentialsFrom, config: &Config, client: &Client) -> Arc<dyn KeyStore> {
    let held = Arc::new(credentials::Held::default());
    let weak = Arc::downgrade(&held);
    let take = move |part: &dyn Fn(&str) -> Option<String>| {
        let Some(held) = weak.upgrade() else { return Listening::No };
        held.take(part);
        Listening::Yes
    };
    let home = |namespace: &Option<String>| namespace.as_ref().unwrap_or(&config.namespace).clone();
    let client = client.clone();
    match from {
        CredentialsFrom::SecretRef { name, namespace } => {
            tokio::spawn(secret::follow::<Secret>(client, home(namespace), name.clone(), take));
        }
        CredentialsFrom::ConfigMapRef { name, namespace } => {
            tokio::spawn(secret::follow::<ConfigMap>(client, home(namespace), name.clone(), take));
        }
        CredentialsFrom::Environment {} | CredentialsFrom::Folder { .. } => {}
    }
    credentials::store(from).unwrap_or(held)
}

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests {
    use super::*;

    /// To nobody: the providers here never call the API server.
    fn client() -> Client {
        Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap()
    }

    #[tokio::test]
    async fn host_processes_need_the_command_lines_word() {
        let folder = tempfile::tempdir().unwrap();
        let pool = format!("{{name: lab, provider: {{process: {{folder: '{}'}}}}}}", folder.path().display());
        let mut config: Config = serde_saphyr::from_str(&format!("clusterId: x\npools: [{pool}]")).unwrap();
        let refused = providers(&config, &client()).err().unwrap().to_string();
        assert!(refused.contains("--allow-host-processes"), "{refused}");
        config.allows_host_processes = true;
        assert_eq!(providers(&config, &client()).unwrap().values().next().unwrap().name(), "process");
        let own: Result<Config, _> = serde_saphyr::from_str("clusterId: x\nallowsHostProcesses: true");
        assert!(own.is_err(), "a file allows it");
    }
}
