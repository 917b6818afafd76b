//! A kubeconfig for a managed node that may do no more than a virtual node must.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Secret as Object;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    config::Kubeconfig,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::config::VnodeContext;
use crate::{api::names, provider::clouds::Secret};

/// How long the cluster gets to write a token.
const LONGEST: Duration = Duration::from_secs(30);

/// The kubeconfig of a service account, `NAMESPACE/NAME`, in the context's cluster. Its token has no end of its own, as the
/// node is to live: deleting the Secret ends it.
pub(super) async fn kubeconfig(context: &VnodeContext, account: &str) -> anyhow::Result<Secret> {
    let Some((namespace, name)) = account.split_once('/') else {
        bail!("{account:?} is no ServiceAccount; write NAMESPACE/NAME");
    };
    let client = context.cluster().await?;
    let token = token(&client, namespace, name).await?;
    let path = context.kubeconfig()?;
    let own = Kubeconfig::read_from(path).with_context(|| format!("unable to read {}", path.display()))?;
    let current = own.contexts.iter().find(|one| Some(&one.name) == own.current_context.as_ref());
    let cluster = current.and_then(|one| one.context.as_ref()).map(|one| one.cluster.as_str());
    let cluster =
        own.clusters.iter().find(|one| Some(one.name.as_str()) == cluster).and_then(|one| one.cluster.as_ref());
    let cluster = cluster.with_context(|| format!("{}: its current context names no cluster", path.display()))?;
    let authority = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => Some(data.clone()),
        (None, Some(file)) => {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            Some(BASE64_STANDARD.encode(std::fs::read(file).with_context(|| format!("unable to read {file}"))?))
        }
        (None, None) => None,
    };
    let mut server = json!({"server": cluster.server});
    if let Some(authority) = authority {
        server["certificate-authority-data"] = authority.into();
    }
    let made = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "vnode",
        "clusters": [{"name": "vnode", "cluster": server}],
        "users": [{"name": "vnode", "user": {"token": token.reveal()}}],
        "contexts": [{"name": "vnode", "context": {"cluster": "vnode", "user": "vnode"}}],
    });
    Ok(Secret::new(&serde_saphyr::to_string(&made)?))
}

async fn token(client: &Client, namespace: &str, account: &str) -> anyhow::Result<Secret> {
    let secrets: Api<Object> = Api::namespaced(client.clone(), namespace);
    let name = format!("{account}-vnode-token");
    let wanted = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
    });
    let applied = secrets.patch(&name, &PatchParams::apply(names::MANAGER), &Patch::Apply(wanted)).await;
    applied.with_context(|| format!("unable to ask for a token of the ServiceAccount {namespace}/{account}"))?;
    let until = Instant::now() + LONGEST;
    loop {
        let secret = secrets.get_opt(&name).await?;
        let token = secret.and_then(|secret| String::from_utf8(secret.data?.remove("token")?.0).ok());
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            return Ok(Secret::new(&token));
        }
        if Instant::now() >= until {
            bail!(
                "the cluster has written no token into the Secret {namespace}/{name}; is there a ServiceAccount {account}?"
            );
        }
        sleep(Duration::from_millis(300)).await;
    }
}
