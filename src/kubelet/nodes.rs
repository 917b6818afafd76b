//! Keeps the Node objects: makes them, brings them back when something deletes them, refreshes their status.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
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
use tokio::{
    sync::{mpsc, watch as channel},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    KubeletConfig,
    index::Index,
    node::{Capacity, NodeTemplate},
    version::ControlPlaneVersion,
};
use crate::{
    api::names,
    watch::{self, Leadership},
};

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

/// Numbers of the nodes that are kept now, among those of the configuration, and what each shows.
pub(crate) type Kept = BTreeMap<usize, Capacity>;

/// What it takes to keep nodes.
pub(crate) struct Keeper {
    pub(crate) client: Client,
    pub(crate) config: Arc<KubeletConfig>,
    pub(crate) kept: channel::Receiver<Kept>,
    /// Whether this replica holds the nodes, where there are others.
    pub(crate) leadership: Option<channel::Receiver<Leadership>>,
    pub(crate) version: ControlPlaneVersion,
    /// Told which nodes are cordoned.
    pub(crate) index: Arc<Mutex<Index>>,
}

/// Keeps those nodes of the configuration that `kept` names until `stop`; what it names no longer is left to itself. Names
/// of nodes whose lease lapsed come by `lapsed`.
pub(crate) async fn keep(keeper: Keeper, mut lapsed: mpsc::Receiver<usize>, stop: CancellationToken) {
    let keeper = Arc::new(keeper);
    let (client, config, mut kept) = (keeper.client.clone(), Arc::clone(&keeper.config), keeper.kept.clone());
    let mut known = kept.borrow_and_update().clone();
    let mut watched = Watched::new(&config);
    let mut waiting: VecDeque<(usize, Need)> = known.keys().map(|n| (*n, Need::Existence)).collect();
    let mut queued: HashSet<usize> = known.keys().copied().collect();
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
            Some(event) = events.next() => {
                if let Some((number, is_cordoned)) = watched.cordon(&event) {
                    keeper.index.lock().unwrap_or_else(PoisonError::into_inner).set_cordoned(number, is_cordoned);
                }
                watched.apply(event)
            }
            Ok(()) = kept.changed() => {
                let now = kept.borrow_and_update().clone();
                let needs = needs(&known, &now);
                known = now;
                needs
            }
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

/// What nodes need that are kept since `before`, or show something else since.
fn needs(before: &Kept, now: &Kept) -> Vec<(usize, Need)> {
    let need = |(number, capacity): (&usize, &Capacity)| match before.get(number) {
        None => Some((*number, Need::Existence)),
        Some(before) if before != capacity => Some((*number, Need::Status)),
        Some(_) => None,
    };
    now.iter().filter_map(need).collect()
}

/// All events of the nodes that burstlet keeps, for ever.
fn node_events(client: Client) -> impl Stream<Item = watcher::Event<Node>> + Send {
    let selector = format!("{}={}", names::MANAGED_BY.0, names::MANAGED_BY.1);
    watch::events(Api::all(client), watcher::Config::default().labels(&selector))
}

/// Tells from the watch of nodes what they need.
struct Watched {
    config: Arc<KubeletConfig>,
    numbers: HashMap<String, usize>,
    /// Nodes that the list under way holds.
    listed: HashSet<usize>,
}

impl Watched {
    fn new(config: &Arc<KubeletConfig>) -> Self {
        let numbers = config.nodes.iter().map(|n| n.name.clone()).zip(0..).collect();
        Self { config: Arc::clone(config), numbers, listed: HashSet::new() }
    }

    /// Whether a node of ours is cordoned, where the event tells of one.
    fn cordon(&self, event: &watcher::Event<Node>) -> Option<(usize, bool)> {
        let is_cordoned = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        match event {
            watcher::Event::Apply(node) | watcher::Event::InitApply(node) => {
                Some((*self.numbers.get(&node.name_any())?, is_cordoned(node)))
            }
            watcher::Event::Delete(node) => Some((*self.numbers.get(&node.name_any())?, false)),
            watcher::Event::Init | watcher::Event::InitDone => None,
        }
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
                let stands = is_ready(&node) && is_reached_at(&node, self.config.address, self.config.port);
                (node, (!stands).then_some(Need::Status))
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

/// Whether the cluster reaches the node's kubelet API there: a late write of the replica that kept it before may say otherwise.
pub(super) fn is_reached_at(node: &Node, address: IpAddr, port: u16) -> bool {
    let Some(status) = &node.status else { return false };
    let told = status.daemon_endpoints.as_ref().and_then(|endpoints| endpoints.kubelet_endpoint.as_ref());
    let mut addresses = status.addresses.iter().flatten();
    told.is_some_and(|endpoint| endpoint.port == i32::from(port))
        && addresses.any(|told| told.type_ == "InternalIP" && told.address == address.to_string())
}

impl Keeper {
    /// Gives a node what it needs; answers whether it has it now. Waits before it answers no.
    async fn write(&self, number: usize, need: Need) -> bool {
        let Some(template) = self.template(number) else { return true };
        if !self.leadership.as_ref().is_none_or(|leadership| leadership.borrow().may_write()) {
            tokio::time::sleep(RETRY).await;
            return false;
        }
        let call = async {
            match need {
                Need::Existence => self.ensure(&template).await,
                Need::Status => self.write_status(number, &template).await,
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

    /// The node as it shall be now, if it is kept.
    fn template(&self, number: usize) -> Option<NodeTemplate> {
        let capacity = self.kept.borrow().get(&number)?.clone();
        Some(NodeTemplate { capacity, ..self.config.nodes.get(number)?.clone() })
    }

    async fn ensure(&self, template: &NodeTemplate) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut node = template.node(self.config.address, self.config.port, &self.version.shown().await?);
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
        self.patch_status(template).await
    }

    async fn write_status(&self, number: usize, template: &NodeTemplate) -> Result<(), kube::Error> {
        match self.patch_status(template).await {
            // It may have been let go, and removed, meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 && self.template(number).is_some() => {
                self.ensure(template).await
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            written => written,
        }
    }

    async fn patch_status(&self, template: &NodeTemplate) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut status = template.status(self.config.address, self.config.port, &self.version.shown().await?);
        if self.config.takes_websockets {
            status.declared_features = Some(vec![TAKES_WEBSOCKETS.to_owned()]);
        }
        // Strategic: conditions merge by type, so that those of others stay.
        let patch = Patch::Strategic(json!({"status": status}));
        api.patch_status(&template.name, &manager(), &patch).await.map(drop)
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
    fn a_node_that_is_kept_anew_is_made_and_one_that_shows_something_else_is_told() {
        let capacity = |pods| Capacity { cpu: Quantity("1".into()), memory: Quantity("1Gi".into()), pods };
        let before = Kept::from([(0, capacity(5)), (1, capacity(5)), (2, capacity(5))]);
        let now = Kept::from([(0, capacity(5)), (1, capacity(4)), (3, capacity(5))]);
        assert_eq!(needs(&before, &now), [(1, Need::Status), (3, Need::Existence)]);
    }

    #[test]
    fn nodes_that_go_unseen_are_made_again() {
        let template = |index| {
            let capacity = Capacity { cpu: Quantity("1".into()), memory: Quantity("1Gi".into()), pods: 1 };
            NodeTemplate::virtual_node("p", "simulated", index, capacity)
        };
        let address = "127.0.0.1".parse().unwrap();
        let config = Arc::new(KubeletConfig::new("c", (0..3).map(template).collect(), address, 1));
        let node = |index: usize| config.nodes[index].node(address, 1, "v1.36.3");
        let mut watched = Watched::new(&config);
        assert_eq!(watched.apply(watcher::Event::Init), []);
        assert_eq!(watched.apply(watcher::Event::InitApply(node(1))), []);
        assert_eq!(watched.apply(watcher::Event::InitDone), [(0, Need::Existence), (2, Need::Existence)]);
        assert_eq!(watched.apply(watcher::Event::Delete(node(1))), [(1, Need::Existence)]);
        let cordoned = |unschedulable| {
            let mut node = node(1);
            node.spec.get_or_insert_default().unschedulable = unschedulable;
            watcher::Event::Apply(node)
        };
        assert_eq!(watched.cordon(&cordoned(Some(true))), Some((1, true)));
        assert_eq!(watched.cordon(&cordoned(None)), Some((1, false)));
        let lapsed = Node { status: None, ..node(2) };
        assert_eq!(watched.apply(watcher::Event::Apply(lapsed)), [(2, Need::Status)]);
        assert_eq!(watched.apply(watcher::Event::Apply(node(2))), []);
        let of_another_replica = config.nodes[2].node(address, 2, "v1.36.3");
        assert_eq!(watched.apply(watcher::Event::Apply(of_another_replica)), [(2, Need::Status)]);
    }
}
