//! Secrets that pools take their keys from.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::time::sleep;

use crate::watch::Listening;

/// How often a Secret is read: rotated keys are taken up within this time.
const EVERY: Duration = Duration::from_secs(30);
/// The same, while it cannot be read.
const SOON: Duration = Duration::from_secs(2);

/// Reads the Secret again and again and hands its parts on, until `take` listens no more.
///
/// Read, not watched: `get` on one name is the least permission there is.
pub(super) async fn follow(
    client: Client,
    namespace: String,
    name: String,
    take: impl Fn(&dyn Fn(&str) -> Option<String>) -> Listening + Send,
) {
    let api = Api::<Secret>::namespaced(client, &namespace);
    loop {
        let pause = match api.get(&name).await {
            Ok(secret) => {
                let data = secret.data.unwrap_or_default();
                let part = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
                if take(&part) == Listening::No {
                    return;
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, %namespace, %name, "unable to read the Secret of a pool's credentials");
                SOON
            }
        };
        sleep(pause).await;
    }
}
