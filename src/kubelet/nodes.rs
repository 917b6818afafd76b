//! Keeps the Node objects: makes them, brings them back when something deletes them, refreshes their status.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    KubeletConfig,
    node::{MANAGED_BY, NodeTemplate},
};
use crate::{api::names, watch};

/// How often the status of each node is written although nothing changed.
const REFRESH: Duration = Duration::from_mins(5);

/// Nodes written at a time.
const AT_ONCE: usize = 16;

/// Wait before a node that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What nodes declare whose kubelet API speaks WebSocket for exec, attach and port-forward.
const TAKES_WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";

const TIMEOUT: Duration = Duration::from_secs(15);

/// What a node needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// To exist, with its labels, taints and status.
    Existence,
    /// Its status written anew.
    Status,
}

struct Keeper {
    client: Client,
    config: Arc<KubeletConfig>,
}

/// Keeps all nodes of `config` until `stop`. Names of nodes whose lease lapsed come by `lapsed`.
pub(crate) async fn keep(
    client: Client,
    config: Arc<KubeletConfig>,
    mut lapsed: mpsc::Receiver<usize>,
    stop: CancellationToken,
) {
    let keeper = Arc::new(Keeper { client: client.clone(), config: Arc::clone(&config) });
    let mut watched = Watched::new(&config);
    let mut waiting: VecDeque<(usize, Need)> = (0..config.nodes.len()).map(|n| (n, Need::Existence)).collect();
    let mut queued: HashSet<usize> = (0..config.nodes.len()).collect();
    let mut writes = JoinSet::new();
    let mut events = node_events(client).boxed();
    let count = u32::try_from(config.nodes.len()).unwrap_or(u32::MAX).max(1);
    let mut refresh =
        tokio::time::interval_at(Instant::now() + REFRESH, (REFRESH / count).max(Duration::from_millis(1)));
    let mut turn = 0;
    loop {
        while writes.len() < AT_ONCE
            && let Some((number, need)) = waiting.pop_front()
        {
            queued.remove(&number);
            let keeper = Arc::clone(&keeper);
            writes.spawn(async move { (number, need, keeper.write(number, need).await) });
        }
        let wanted = tokio::select! {
            () = stop.cancelled() => return,
            Some(event) = events.next() => watched.apply(event),
            Some(number) = lapsed.recv() => vec![(number, Need::Status)],
            _ = refresh.tick() => {
                turn = (turn + 1) % config.nodes.len().max(1);
                vec![(turn, Need::Status)]
            }
            Some(written) = writes.join_next() => match written {
                Ok((number, need, false)) => vec![(number, need)],
                _ => Vec::new(),
            },
        };
        for (number, need) in wanted {
            // Where a status finds no node, it makes one: whichever need came first will do.
            if queued.insert(number) {
                waiting.push_back((number, need));
            }
        }
    }
}

/// All events of the nodes that burstlet keeps, for ever.
fn node_events(client: Client) -> impl Stream<Item = watcher::Event<Node>> + Send {
    let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
    watch::events(Api::all(client), watcher::Config::default().labels(&selector))
}

/// Tells from the watch of nodes what they need.
struct Watched {
    numbers: HashMap<String, usize>,
    /// Nodes that the list under way holds.
    listed: HashSet<usize>,
}

impl Watched {
    fn new(config: &KubeletConfig) -> Self {
        let numbers = config.nodes.iter().map(|n| n.name.clone()).zip(0..).collect();
        Self { numbers, listed: HashSet::new() }
    }

    fn apply(&mut self, event: watcher::Event<Node>) -> Vec<(usize, Need)> {
        let (node, need) = match event {
            watcher::Event::Init => {
                self.listed.clear();
                return Vec::new();
            }
            watcher::Event::InitDone => {
                let mut missing: Vec<usize> = self.numbers.values().copied().collect();
                missing.retain(|number| !self.listed.contains(number));
                missing.sort_unstable();
                return missing.into_iter().map(|number| (number, Need::Existence)).collect();
            }
            watcher::Event::Delete(node) => (node, Some(Need::Existence)),
            watcher::Event::Apply(node) | watcher::Event::InitApply(node) => {
                let need = (!is_ready(&node)).then_some(Need::Status);
                (node, need)
            }
        };
        let Some(&number) = self.numbers.get(&node.name_any()) else { return Vec::new() };
        self.listed.insert(number);
        need.map(|need| (number, need)).into_iter().collect()
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

impl Keeper {
    /// Gives a node what it needs; answers whether it has it now. Waits before it answers no.
    async fn write(&self, number: usize, need: Need) -> bool {
        let Some(template) = self.config.nodes.get(number) else { return true };
        let call = async {
            match need {
                Need::Existence => self.ensure(template).await,
                Need::Status => self.write_status(template).await,
            }
        };
        let result = tokio::time::timeout(TIMEOUT, call).await;
        let failure = match result {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        tracing::warn!(node = %template.name, error = %failure, "node not written, will be tried again");
        tokio::time::sleep(RETRY).await;
        false
    }

    async fn ensure(&self, template: &NodeTemplate) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut node = template.node(self.config.address, self.config.port);
        if let Some(status) = node.status.as_mut().filter(|_| self.config.takes_websockets) {
            status.declared_features = Some(vec![TAKES_WEBSOCKETS.to_owned()]);
        }
        let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &node).await {
            Ok(_) => {
                tracing::info!(node = %template.name, "node made");
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        // It stands already: of the spec, only missing taints are added, because others add taints of theirs.
        let standing = api.get(&template.name).await?;
        let mut taints = standing.spec.and_then(|s| s.taints).unwrap_or_default();
        let missing: Vec<_> =
            template.taints.iter().filter(|t| !taints.iter().any(|s| s.key == t.key && s.effect == t.effect)).collect();
        let mut patch = json!({"metadata": {"labels": node.metadata.labels, "annotations": node.metadata.annotations}});
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().cloned().collect();
            taints.extend(missing);
            patch["spec"] = json!({"taints": taints});
        }
        api.patch(&template.name, &manager(), &Patch::Merge(&patch)).await?;
        self.write_status(template).await
    }

    async fn write_status(&self, template: &NodeTemplate) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut status = template.status(self.config.address, self.config.port);
        if self.config.takes_websockets {
            status.declared_features = Some(vec![TAKES_WEBSOCKETS.to_owned()]);
        }
        // Strategic: conditions merge by type, so that those of others stay.
        let patch = Patch::Strategic(json!({"status": status}));
        match api.patch_status(&template.name, &manager(), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Box::pin(self.ensure(template)).await,
            Err(error) => Err(error),
        }
    }
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;
    use crate::kubelet::Capacity;

    #[test]
    fn nodes_that_go_unseen_are_made_again() {
        let template = |index| {
            let capacity = Capacity { cpu: Quantity("1".into()), memory: Quantity("1Gi".into()), pods: 1 };
            NodeTemplate::virtual_node("p", "simulated", index, capacity)
        };
        let address = "127.0.0.1".parse().unwrap();
        let config = KubeletConfig::new("c", (0..3).map(template).collect(), address, 1);
        let node = |index: usize| config.nodes[index].node(address, 1);
        let mut watched = Watched::new(&config);
        assert_eq!(watched.apply(watcher::Event::Init), []);
        assert_eq!(watched.apply(watcher::Event::InitApply(node(1))), []);
        assert_eq!(watched.apply(watcher::Event::InitDone), [(0, Need::Existence), (2, Need::Existence)]);
        assert_eq!(watched.apply(watcher::Event::Delete(node(1))), [(1, Need::Existence)]);
        let lapsed = Node { status: None, ..node(2) };
        assert_eq!(watched.apply(watcher::Event::Apply(lapsed)), [(2, Need::Status)]);
    }
}
