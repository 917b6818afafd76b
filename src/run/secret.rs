//! Secrets and ConfigMaps that pools take their keys from.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::watch::Listening;

/// How often an object is read: rotated keys are taken up within this time.
const EVERY: Duration = Duration::from_secs(30);
/// The same, while it cannot be read.
const SOON: Duration = Duration::from_secs(2);

/// What has keys in it.
pub(super) trait Keyed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
    /// Its parts, by name.
    fn parts(self) -> BTreeMap<String, String>;
}

impl Keyed for Secret {
    fn parts(self) -> BTreeMap<String, String> {
        let parts = self.data.unwrap_or_default().into_iter();
        parts.filter_map(|(name, bytes)| Some((name, String::from_utf8(bytes.0).ok()?))).collect()
    }
}

impl Keyed for ConfigMap {
    fn parts(self) -> BTreeMap<String, String> {
        self.data.unwrap_or_default()
    }
}

/// Reads the object again and again and hands its parts on, until `take` listens no more.
///
/// Read, not watched: `get` on one name is the least permission there is.
pub(super) async fn follow<K: Keyed>(
    client: Client,
    namespace: String,
    name: String,
    take: impl Fn(&dyn Fn(&str) -> Option<String>) -> Listening + Send,
) {
    let kind = K::kind(&());
    let api = Api::<K>::namespaced(client, &namespace);
    loop {
        let pause = match api.get(&name).await {
            Ok(object) => {
                let parts = object.parts();
                if take(&|name: &str| parts.get(name).cloned()) == Listening::No {
                    return;
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, %kind, %namespace, %name, "unable to read what a pool takes its keys from");
                SOON
            }
        };
        sleep(pause).await;
    }
}
