//! The ECI profile as it comes and changes.

use std::sync::{Arc, RwLock};

use burstlet_engine::policy::{fields::FieldFault, profile::Profile};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};

use crate::watch::follow::{Listening, events};

/// Where ECI keeps it.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "eci-profile";

/// The profile as it was last seen, and good.
pub type SharedProfile = Arc<RwLock<Profile>>;

/// Hands on each profile that makes sense, for as long as somebody listens: an empty one where there is none. One that
/// makes no sense is told, and the last good one stays.
pub async fn follow_profile<R>(client: Client, mut apply: impl FnMut(Profile) -> R)
where
    R: Future<Output = Listening>,
{
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = std::pin::pin!(events(api, config));
    let (mut is_listed, mut is_known) = (false, false);
    while let Some(event) = events.next().await {
        let seen = match event {
            Event::Init => {
                is_listed = false;
                None
            }
            Event::InitApply(map) | Event::Apply(map) => {
                is_listed = true;
                read(&map)
            }
            // Whoever listens waits for a first word, and one that makes no sense has none.
            Event::InitDone if is_listed => (!is_known).then(Profile::default),
            Event::InitDone | Event::Delete(_) => Some(Profile::default()),
        };
        is_known |= seen.is_some();
        if let Some(profile) = seen
            && apply(profile).await == Listening::No
        {
            return;
        }
    }
}

/// The profile as it stands now, or what is wrong with it: an empty one where there is none.
pub async fn present_profile(client: &Client) -> Result<Result<Profile, FieldFault>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(api.get_opt(NAME).await?.as_ref().map_or_else(|| Ok(Profile::default()), parse))
}

fn parse(map: &ConfigMap) -> Result<Profile, FieldFault> {
    let selectors = map.data.as_ref().and_then(|data| data.get("selectors")).map_or("", String::as_str);
    Profile::read(selectors)
}

fn read(map: &ConfigMap) -> Option<Profile> {
    parse(map).inspect_err(|fault| tracing::warn!(%fault, "ConfigMap {NAMESPACE}/{NAME}")).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_selectors_of_the_config_map_are_read_and_nonsense_is_left_aside() {
        let map = |selectors: &str| {
            let map = json!({"data": {"vpcId": "vpc-a", "selectors": selectors}});
            read(&serde_json::from_value(map).unwrap())
        };
        assert!(map(r#"[{"name": "all", "effect": {"labels": {"a": "b"}}}]"#).is_some_and(|read| !read.is_empty()));
        assert!(map("").is_some_and(|read| read.is_empty()));
        assert!(map("[{").is_none(), "the last good one stays");
    }
}
