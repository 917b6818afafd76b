//! A pool's virtual nodes as its load wants them: looks, asks [`fleet`] what to do, and does it.
//!
//! What drains is marked on the Node itself, so that whoever keeps the pool next goes on with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use burstlet_engine::model::PoolName;
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::PartialObjectMeta,
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    api::names,
    kubelet::{
        Capacity, Kept, KubeletHandle,
        fleet::{self, Bounds, NodeIndex, Standing, Step, Use},
        virtual_node_name,
    },
    placer::Stocks,
    provider::Provider,
    run::{
        config::{Pool, Scaled},
        evict::{Evicted, evict},
        pools::RunningPools,
    },
    watch::Leadership,
};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How often pods are evicted from a node that drains, and how many at a time: their successors need room first.
const EVICT_EVERY: Duration = Duration::from_secs(5);
const EVICT_AT_ONCE: u32 = 20;
/// Least time between two changes of what a node shows, unless it begins or ends to have room.
const SHOW_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A pool's nodes by number, and whether they drain.
pub(super) type Known = BTreeMap<NodeIndex, bool>;

/// Keeps as many nodes of a pool as its load wants.
pub(super) struct Fleet {
    pub(super) client: Client,
    pub(super) pool: PoolName,
    pub(super) cluster: String,
    pub(super) handle: KubeletHandle,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) running: watch::Receiver<RunningPools>,
    pub(super) stocks: watch::Receiver<Stocks>,
    /// What a node shows at most.
    pub(super) capacity: Capacity,
    pub(super) kept: watch::Sender<Kept>,
    pub(super) known: Known,
    /// Fewest nodes: those to begin with.
    pub(super) least: u32,
    pub(super) leadership: watch::Receiver<Leadership>,
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    ApiServer(#[from] kube::Error),
    #[error(transparent)]
    Provider(#[from] crate::provider::ProviderError),
    #[error("no answer within {TIMEOUT:?}")]
    Late,
}

/// The pool's nodes as they stand.
pub(super) async fn stand(client: &Client, pool: &PoolName) -> Result<Known, kube::Error> {
    let labelled = ListParams::default().labels(&format!("{}={pool}", names::POOL));
    let prefix = virtual_node_name(pool.as_str(), 0);
    let prefix = prefix.trim_end_matches('0');
    let nodes = Api::<Node>::all(client.clone()).list_metadata(&labelled).await?.items;
    let index = |node: &PartialObjectMeta<Node>| node.name_any().strip_prefix(prefix)?.parse().ok();
    let drains = |node: &PartialObjectMeta<Node>| node.annotations().contains_key(names::DRAINS_SINCE);
    Ok(nodes.iter().filter_map(|node| Some((index(node)?, drains(node)))).collect())
}

/// What is kept to begin with: what stands, and the first `least` nodes.
pub(super) fn kept(known: &Known, least: u32, capacity: &Capacity) -> Kept {
    known.keys().copied().chain(0..least).map(|index| (index as usize, capacity.clone())).collect()
}

impl Fleet {
    /// Works until it is dropped.
    pub(super) async fn keep(mut self) {
        for index in 0..self.least {
            self.known.entry(index).or_default();
        }
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut surplus_since: Option<Instant> = None;
        let mut evicted = Instant::now();
        let mut shown = BTreeMap::new();
        loop {
            tick.tick().await;
            let may_act = self.leadership.borrow().may_write();
            if !may_act {
                continue;
            }
            let Some((bounds, scaled)) = self.bounds() else { continue };
            let Some(standing) = self.standing() else { continue };
            surplus_since = fleet::is_surplus(bounds, &standing).then(|| surplus_since.unwrap_or_else(Instant::now));
            let surplus = surplus_since.map(|since| since.elapsed()).unwrap_or_default();
            for step in fleet::steps(bounds, &standing, surplus) {
                self.take(step).await;
                if matches!(step, Step::Drain(_)) {
                    surplus_since = None;
                }
            }
            if evicted.elapsed() >= EVICT_EVERY {
                evicted = Instant::now();
                self.evict().await;
            }
            if let Some(standing) = self.standing() {
                match scaled {
                    Some(scaled) => self.show(bounds, &standing, scaled.quota_pods, &mut shown),
                    None => self.keep_those(&standing),
                }
            }
        }
    }

    /// What the pool may have now, and what else bounds it where its nodes follow the load. A pool that ends gets no more
    /// nodes.
    fn bounds(&self) -> Option<(Bounds, Option<Scaled>)> {
        let running = self.running.borrow();
        let pool = running.get(&self.pool)?;
        let Pool { nodes, pods_per_node, scaled, .. } = &pool.pool;
        let bounds = Bounds { least: self.least, most: *nodes, pods_per_node: *pods_per_node };
        (!pool.ends).then_some((bounds, *scaled))
    }

    /// The nodes and what is on them, once that is known. A node with pods is one, whatever was seen to begin with.
    fn standing(&mut self) -> Option<BTreeMap<NodeIndex, Standing>> {
        let loads = self.handle.by_node()?;
        for (index, on) in (0..).zip(&loads) {
            if on.pods > 0 || on.instances > 0 {
                self.known.entry(index).or_default();
            }
        }
        let standing = |(index, drains): (&NodeIndex, &bool)| {
            let on = loads.get(*index as usize).copied().unwrap_or_default();
            let is = match (*drains, on.is_cordoned) {
                (true, _) => Use::Drains,
                (false, true) => Use::Cordoned,
                (false, false) => Use::Open,
            };
            (*index, Standing { pods: on.pods, instances: on.instances, is })
        };
        Some(self.known.iter().map(standing).collect())
    }

    /// Has the kubelet keep these nodes alone, each as it is.
    fn keep_those(&self, standing: &BTreeMap<NodeIndex, Standing>) {
        let stands = |index: usize| u32::try_from(index).is_ok_and(|index| standing.contains_key(&index));
        let lost = |kept: &Kept| kept.keys().any(|index| !stands(*index));
        self.kept.send_if_modified(|kept| {
            let differs = lost(kept);
            kept.retain(|index, _| stands(*index));
            differs
        });
    }

    /// Tells the kubelet what each node shows: no more than quota and stock leave.
    fn show(
        &self,
        bounds: Bounds,
        standing: &BTreeMap<NodeIndex, Standing>,
        quota: Option<u32>,
        shown: &mut BTreeMap<NodeIndex, Instant>,
    ) {
        let pods: u32 = standing.values().map(|node| node.pods).sum();
        let stock = self.stocks.borrow().get(&self.pool).and_then(|news| news.free);
        let left = [quota.map(|quota| u64::from(quota.saturating_sub(pods))), stock].into_iter().flatten().min();
        let mut kept = self.kept.borrow().clone();
        kept.retain(|index, _| u32::try_from(*index).is_ok_and(|index| standing.contains_key(&index)));
        let most = fleet::shown(bounds, standing, left);
        for (index, node) in standing {
            let wanted = most.get(index).copied().unwrap_or(bounds.pods_per_node);
            let before = kept.get(&(*index as usize)).map(|capacity| capacity.pods);
            let turns = before.is_none_or(|before| (before > node.pods) != (wanted > node.pods));
            let is_due = shown.get(index).is_none_or(|at| at.elapsed() >= SHOW_EVERY);
            if before != Some(wanted) && (turns || is_due) {
                shown.insert(*index, Instant::now());
                kept.insert(*index as usize, Capacity { pods: wanted, ..self.capacity.clone() });
            }
        }
        self.kept.send_if_modified(|now| {
            let differs = *now != kept;
            *now = kept;
            differs
        });
    }

    async fn take(&mut self, step: Step) {
        let (index, taken) = match step {
            Step::Make(index) => {
                self.known.insert(index, false);
                tracing::info!(pool = %self.pool, node = %self.name(index), "the pool's pods want another virtual node");
                return;
            }
            Step::Reopen(index) => (index, within(self.mark(index, false)).await),
            Step::Drain(index) => (index, within(self.mark(index, true)).await),
            Step::Remove(index) => (index, within(self.remove(index)).await),
        };
        let node = self.name(index);
        match taken {
            Ok(true) => {
                if matches!(step, Step::Remove(_)) {
                    self.known.remove(&index);
                } else {
                    self.known.insert(index, matches!(step, Step::Drain(_)));
                }
                tracing::info!(pool = %self.pool, %node, ?step, "virtual node");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(pool = %self.pool, %node, ?step, %error, "virtual node, will be tried again"),
        }
    }

    fn name(&self, index: NodeIndex) -> String {
        virtual_node_name(self.pool.as_str(), index)
    }

    /// Cordons the node and marks it as one that drains, or takes both back.
    async fn mark(&self, index: NodeIndex, drains: bool) -> Result<bool, StepError> {
        let since = drains.then(|| jiff::Timestamp::now().to_string());
        let patch = json!({
            "metadata": {"annotations": {names::DRAINS_SINCE: since}},
            "spec": {"unschedulable": drains.then_some(true)},
        });
        let nodes = Api::<Node>::all(self.client.clone());
        match nodes.patch(&self.name(index), &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(true),
            // The kubelet makes it again, open; it is tried again then.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a node on which nothing is left, by the API server's and the provider's own word; answers whether it was so.
    async fn remove(&self, index: NodeIndex) -> Result<bool, StepError> {
        let name = self.name(index);
        let nodes = Api::<Node>::all(self.client.clone());
        let Some(node) = nodes.get_metadata_opt(&name).await? else {
            self.let_go(index);
            return Ok(true);
        };
        if !node.annotations().contains_key(names::DRAINS_SINCE) {
            // Something deleted it meanwhile, and it was made again.
            self.mark(index, true).await?;
            return Ok(false);
        }
        if self.pods_on(&name).await?.iter().any(|pod| !has_controller(&pod.metadata, &["DaemonSet"])) {
            return Ok(false);
        }
        if self.provider.list(&self.cluster).await?.iter().any(|instance| instance.owner.node == name) {
            return Ok(false);
        }
        self.let_go(index);
        let preconditions = Preconditions { uid: node.metadata.uid, resource_version: None };
        let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match nodes.delete(&name, &delete).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the kubelet keep the node no longer.
    fn let_go(&self, index: NodeIndex) {
        self.kept.send_if_modified(|kept| kept.remove(&(index as usize)).is_some());
    }

    async fn pods_on(&self, node: &str) -> Result<Vec<PartialObjectMeta<Pod>>, kube::Error> {
        let bound = ListParams::default().fields(&format!("spec.nodeName={node}")).limit(500);
        Ok(Api::<Pod>::all(self.client.clone()).list_metadata(&bound).await?.items)
    }

    /// Evicts from nodes that drain what has a controller that replaces it. A Job would count it as failed, and a bare
    /// pod has no successor: those are waited for.
    async fn evict(&self) {
        for index in self.known.iter().filter(|(_, drains)| **drains).map(|(index, _)| *index) {
            let name = self.name(index);
            if let Err(error) = within(self.evict_from(&name)).await {
                tracing::warn!(pool = %self.pool, node = %name, %error, "pods not evicted, will be tried again");
            }
        }
    }

    async fn evict_from(&self, node: &str) -> Result<bool, StepError> {
        let mut evicted = 0;
        let mut guarded = BTreeSet::new();
        for pod in self.pods_on(node).await? {
            let is_waited_for = has_controller(&pod.metadata, &["DaemonSet", "Job", "Node"])
                || !is_controlled(&pod.metadata)
                || pod.metadata.deletion_timestamp.is_some();
            if is_waited_for || evicted >= EVICT_AT_ONCE {
                continue;
            }
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            match evict(&self.client, &namespace, &name, pod.metadata.uid.clone()).await? {
                Evicted::Asked => evicted += 1,
                Evicted::Gone => {}
                Evicted::Held => drop(guarded.insert(name)),
            }
        }
        if !guarded.is_empty() {
            tracing::debug!(node, pods = guarded.len(), "disruption budgets hold a node that drains");
        }
        Ok(evicted > 0)
    }
}

pub(super) fn is_controlled(metadata: &ObjectMeta) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true))
}

pub(super) fn has_controller(metadata: &ObjectMeta, kinds: &[&str]) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && kinds.contains(&owner.kind.as_str()))
}

async fn within(work: impl Future<Output = Result<bool, StepError>>) -> Result<bool, StepError> {
    timeout(TIMEOUT, work).await.unwrap_or(Err(StepError::Late))
}
