//! Virtual nodes of burstlet's own: a pool's, which its VirtualPool counts.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::drain::{self, Pods};
use crate::{
    api::{
        names,
        pool::{self, VirtualPool},
    },
    kubelet::virtual_node_name,
};

/// A node of a pool, as it is shown.
pub(super) struct PoolNode {
    pub(super) name: String,
    pub(super) pool: String,
    pub(super) is_ready: bool,
    pub(super) is_closed: bool,
}

fn pools(client: &Client) -> Api<VirtualPool> {
    Api::all_with(client.clone(), &pool::resource())
}

fn shown(node: &Node) -> Option<PoolNode> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    Some(PoolNode {
        name: node.name_any(),
        pool: node.labels().get(names::POOL)?.clone(),
        is_ready: conditions.filter(|one| one.type_ == "Ready").any(|one| one.status == "True"),
        is_closed: node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true),
    })
}

/// All nodes of pools.
pub(super) async fn list(client: &Client) -> anyhow::Result<Vec<PoolNode>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default().labels(names::POOL)).await.context("unable to list the nodes")?;
    Ok(listed.iter().filter_map(shown).collect())
}

/// The node, if there is one.
pub(super) async fn get(client: &Client, name: &str) -> anyhow::Result<Option<PoolNode>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let found = nodes.get_opt(name).await.with_context(|| format!("unable to read the node {name}"))?;
    Ok(found.as_ref().and_then(shown))
}

/// One node more for the pool: its name.
pub(super) async fn create(client: &Client, pool: &str) -> anyhow::Result<String> {
    let count = change(client, pool, |count| Ok(count + 1)).await?;
    Ok(virtual_node_name(pool, count - 1))
}

/// One node less for its pool: the last, once it is empty.
pub(super) async fn delete(client: &Client, name: &str, pods: Pods) -> anyhow::Result<()> {
    let node = get(client, name).await?.with_context(|| format!("there is no virtual node {name}"))?;
    let is_last = |count: u32| {
        let last = virtual_node_name(&node.pool, count.saturating_sub(1));
        if last != name {
            bail!("{name} is not the last node of the pool {}; nodes go from the last, {last}", node.pool);
        }
        if count == 1 {
            bail!(
                "{name} is the only node of the pool {0}; delete the pool: kubectl delete virtualpool {0}",
                node.pool
            );
        }
        Ok(count - 1)
    };
    is_last(count_of(&read(client, &node.pool).await?))?;
    drain::empty(client, name, pods).await?;
    // The kubelet lets the node go with the count; before, it would make it again.
    change(client, &node.pool, is_last).await?;
    drain::remove(client, name).await
}

async fn read(client: &Client, pool: &str) -> anyhow::Result<VirtualPool> {
    pools(client).get(pool).await.with_context(|| format!("unable to read the VirtualPool {pool}"))
}

fn count_of(pool: &VirtualPool) -> u32 {
    pool.spec.nodes.as_ref().and_then(|nodes| nodes.max).unwrap_or(1)
}

/// Changes `nodes.max`, unless somebody else changes the pool meanwhile; answers what it is then.
async fn change(client: &Client, name: &str, to: impl Fn(u32) -> anyhow::Result<u32>) -> anyhow::Result<u32> {
    let pool = read(client, name).await?;
    let max = to(count_of(&pool))?;
    let patch = json!({
        "metadata": {"resourceVersion": pool.metadata.resource_version}, "spec": {"nodes": {"max": max}},
    });
    let changed = pools(client).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    changed.with_context(|| format!("unable to change nodes.max of the VirtualPool {name}"))?;
    Ok(max)
}
