//! Virtual nodes that ECI manages.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

pub(super) use crate::provider::clouds::alibaba_eci::manage::VirtualNode;
use crate::provider::clouds::{
    Secret,
    alibaba_eci::manage::{Account, CreatedNode, NewVirtualNode, NodeTaint},
};

use super::{CreateArgs, config::VnodeContext};

const PAUSE: Duration = Duration::from_millis(500);
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `KEY=VALUE:EFFECT`, as kubectl has it.
pub(super) fn taint(text: &str) -> Result<NodeTaint, String> {
    let wrong = || format!("write KEY=VALUE:EFFECT, the effect one of {}", EFFECTS.join(", "));
    let (pair, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() || !EFFECTS.contains(&effect) {
        return Err(wrong());
    }
    Ok(NodeTaint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
}

/// The context's own kubeconfig.
pub(super) fn kubeconfig(context: &VnodeContext) -> anyhow::Result<Secret> {
    let path = context.kubeconfig()?;
    let text = std::fs::read_to_string(path).with_context(|| format!("unable to read {}", path.display()))?;
    Ok(Secret::new(&text))
}

pub(super) async fn create(
    account: &Account,
    context: &VnodeContext,
    args: &CreateArgs,
    kubeconfig: Secret,
) -> anyhow::Result<CreatedNode> {
    let most = crate::api::pool::alibaba_eci::MOST_ZONES;
    let count = context.vswitches()?.split(',').count();
    if count > most {
        bail!("vswitch-id: {count} are named; a virtual node takes {most}");
    }
    let new = NewVirtualNode {
        name: args.name.clone(),
        kubeconfig: Some(kubeconfig),
        vswitch_ids: context.vswitches()?.to_owned(),
        security_group_id: context.security_group()?.to_owned(),
        cluster_dns: args.cluster_dns.clone(),
        cluster_domain: args.cluster_domain.clone(),
        taints: args.taints.clone(),
    };
    Ok(account.create_virtual_node(&new).await?)
}

/// How far something has come.
pub(super) enum Step {
    Done,
    Still(String),
}

/// Asks until it is done, and tells each change on standard error.
pub(super) async fn until(
    what: &str,
    within: Duration,
    ask: impl AsyncFn() -> anyhow::Result<Step>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut told = String::new();
    loop {
        let still = match ask().await? {
            Step::Done => {
                eprintln!("{what}: done after {}s", began.elapsed().as_secs());
                return Ok(());
            }
            Step::Still(still) => still,
        };
        if still != told {
            eprintln!("{what}: {still}");
            told.clone_from(&still);
        }
        if began.elapsed() >= within {
            bail!("{what} is still {still} after {within:?}; it goes on by itself: look with burstlet vnode describe");
        }
        sleep(PAUSE).await;
    }
}

/// Waits until the node is ready.
pub(super) async fn wait(account: &Account, id: &str, within: Duration) -> anyhow::Result<()> {
    until(id, within, async || {
        let nodes = account.virtual_nodes(Some(id)).await?;
        let node = nodes.first().with_context(|| format!("the virtual node {id} is gone"))?;
        match node.status.as_str() {
            "Ready" => Ok(Step::Done),
            "Failed" => bail!("the virtual node {id} has failed; delete it: burstlet vnode delete {id}"),
            other => Ok(Step::Still(other.to_owned())),
        }
    })
    .await
}

/// Waits until the node is no more.
pub(super) async fn gone(account: &Account, id: &str, within: Duration) -> anyhow::Result<()> {
    until(id, within, async || {
        let nodes = account.virtual_nodes(Some(id)).await?;
        Ok(nodes.first().map_or(Step::Done, |node| Step::Still(format!("going, {}", node.status))))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_is_written_as_kubectl_has_it() {
        let read = taint("virtual-kubelet.io/provider=alibabacloud:NoSchedule").unwrap();
        assert_eq!((read.key.as_str(), read.value.as_str()), ("virtual-kubelet.io/provider", "alibabacloud"));
        assert_eq!(taint("key:NoExecute").unwrap().value, "");
        for wrong in ["key=value", "=v:NoSchedule", "key=value:Never"] {
            assert!(taint(wrong).is_err(), "{wrong}");
        }
    }
}
