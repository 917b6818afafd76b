//! Emptying a node before it goes: what still runs on a virtual node that is gone runs on, and is paid for.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(500);

/// What to do with a node's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    /// A node that has any is not deleted.
    Keep,
    /// They are evicted within disruption budgets, for so long at most.
    Evict(Duration),
}

/// Keeps new pods off the node and sees that none is on it. A node that does not exist is empty.
pub(super) async fn empty(client: &Client, node: &str, pods: Pods) -> anyhow::Result<()> {
    let was_open = cordon(client, node, true).await?;
    let emptied = match pods {
        Pods::Keep => refuse_pods(client, node).await,
        Pods::Evict(within) => drain(client, node, within).await,
    };
    if emptied.is_err() && was_open && pods == Pods::Keep {
        cordon(client, node, false).await?;
    }
    emptied
}

/// Closes or opens the node; answers whether it was open.
async fn cordon(client: &Client, node: &str, is_closed: bool) -> anyhow::Result<bool> {
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(found) = nodes.get_opt(node).await.with_context(|| format!("unable to read the node {node}"))? else {
        return Ok(false);
    };
    let patch = Patch::Merge(json!({"spec": {"unschedulable": is_closed}}));
    nodes.patch(node, &PatchParams::default(), &patch).await.with_context(|| format!("unable to cordon {node}"))?;
    Ok(found.spec.and_then(|spec| spec.unschedulable) != Some(true))
}

async fn pods_on(client: &Client, node: &str) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::all(client.clone());
    let on_it = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let listed = pods.list(&on_it).await.with_context(|| format!("unable to list the pods of {node}"))?;
    let has_instance = |pod: &Pod| !pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
    Ok(listed.items.into_iter().filter(has_instance).collect())
}

async fn refuse_pods(client: &Client, node: &str) -> anyhow::Result<()> {
    let pods = pods_on(client, node).await?;
    if pods.is_empty() {
        return Ok(());
    }
    let names = pods.iter().take(3).map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()));
    let names = names.collect::<Vec<_>>().join(", ");
    bail!(
        "{node} still has {} pods ({names}{}); their instances would be left behind. Move them first, or have them evicted with --drain",
        pods.len(),
        if pods.len() > 3 { ", …" } else { "" }
    )
}

async fn drain(client: &Client, node: &str, within: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + within;
    let mut told = usize::MAX;
    let mut asked = BTreeSet::new();
    loop {
        let pods = pods_on(client, node).await?;
        if pods.is_empty() {
            return Ok(());
        }
        if pods.len() < told {
            told = pods.len();
            eprintln!("{node}: {told} pods to go");
        }
        let mut refusal = None;
        for pod in &pods {
            let uid = pod.uid().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() || asked.contains(&uid) {
                continue;
            }
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            match api.evict(&pod.name_any(), &EvictParams::default()).await {
                Ok(_) => drop(asked.insert(uid)),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(kube::Error::Api(status)) if status.code == 429 => refusal = Some(status.message.clone()),
                Err(error) => return Err(error).with_context(|| format!("unable to evict {}", pod.name_any())),
            }
        }
        if Instant::now() >= until {
            let why = refusal.map(|text| format!(": {text}")).unwrap_or_default();
            bail!("{node} still has {} pods after {within:?}{why}; it stays, closed to new ones", pods.len());
        }
        sleep(PAUSE).await;
    }
}

/// Removes the Node object; one that does not exist is removed.
pub(super) async fn remove(client: &Client, node: &str) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    match nodes.delete(node, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("unable to delete the node {node}")),
    }
}
