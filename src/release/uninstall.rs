//! Everything of burstlet's gone, in the order in which nothing is lost: what makes new work first, what ends old work
//! last.
//!
//! ```text
//!   webhooks deleted ─> virtual nodes cordoned ─> pods on them evicted, waiting ones replaced ─> controller stopped ─> nodes deleted
//!   nothing new is      nothing new comes        burstlet's kubelet still runs, and ends        nobody makes
//!   gated               there                    the instances                                  them anew
//! ```

use std::{collections::BTreeSet, fmt, time::Duration};

use burstlet_engine::model::{NodeName, ObjectName, Pod};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{Node, Pod as CorePod},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    AT_ONCE, ReleaseError,
    fate::{Controller, Fate, fate},
    is_code, is_gone, pods, ungate,
};
use crate::api::{names, pod::SlimPod};

/// Where nodes' heartbeats stand.
const NODE_LEASES: &str = "kube-node-lease";
/// Time between two rounds. A webhook that was deleted is still called for a moment, so a round that found nothing is
/// followed by another.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one eviction is tried in a round.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pods that an error names.
const NAMED: usize = 3;

/// What to take away.
#[derive(Debug, Clone)]
pub struct Uninstall {
    /// burstlet's own namespace.
    pub namespace: String,
    /// The Deployment that runs placement and the kubelets.
    pub controller: String,
    /// The Deployment that runs the dedicated kube-scheduler, where there is one; its election's Lease has the same name.
    pub scheduler: String,
    /// How long evicted pods may take to end; disruption budgets may hold them up.
    pub within: Duration,
}

/// Pods that still need burstlet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    count: usize,
    named: Vec<ObjectName>,
    refusal: Option<String>,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self.named.iter().map(ToString::to_string).collect();
        write!(f, "{} pods still need burstlet, such as {}", self.count, named.join(", "))?;
        match &self.refusal {
            Some(refusal) => write!(f, " ({refusal})"),
            None => Ok(()),
        }
    }
}

/// Takes everything of burstlet's away but what Helm or whoever installed it has made. `tell` hears of each step.
///
/// Pods of Jobs on virtual nodes are evicted, too, which counts against their `backoffLimit`.
pub async fn uninstall(client: &Client, what: &Uninstall, mut tell: impl FnMut(&str)) -> Result<(), ReleaseError> {
    delete::<MutatingWebhookConfiguration>(Api::all(client.clone()), names::MANAGER).await?;
    delete::<ValidatingWebhookConfiguration>(Api::all(client.clone()), names::MANAGER).await?;
    tell("the webhooks are gone: new pods are plain");
    let nodes = cordon(client).await?;
    tell(&format!("{} virtual nodes are cordoned", nodes.len()));
    empty(client, &nodes, what.within, &mut tell).await?;
    tell("no pod needs burstlet any more");
    stop(client, what, &what.controller).await?;
    tell("the controller has stopped");
    stop(client, what, &what.scheduler).await?;
    for node in &nodes {
        delete::<Node>(Api::all(client.clone()), node.as_str()).await?;
        delete::<Lease>(Api::namespaced(client.clone(), NODE_LEASES), node.as_str()).await?;
    }
    let leases = Api::<Lease>::namespaced(client.clone(), &what.namespace);
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/managed-by={}", names::MANAGER));
    let ours = leases.list_metadata(&ours).await.map_err(ReleaseError::refused("list leases"))?;
    for lease in ours.iter().map(ResourceExt::name_any).chain([what.scheduler.clone()]) {
        delete::<Lease>(leases.clone(), &lease).await?;
    }
    tell("the virtual nodes are gone");
    Ok(())
}

async fn delete<K>(api: Api<K>, name: &str) -> Result<(), ReleaseError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(ReleaseError::refused(format!("delete {} {name}", K::kind(&())))(error)),
    }
}

/// Closes burstlet's virtual nodes to new pods, and answers their names.
async fn cordon(client: &Client) -> Result<BTreeSet<NodeName>, ReleaseError> {
    let api = Api::<Node>::all(client.clone());
    let ours = format!("{}={},{}", names::NODE_TYPE, names::VIRTUAL_NODE_TYPE, names::POOL);
    let listed = api.list_metadata(&ListParams::default().labels(&ours)).await;
    let listed = listed.map_err(ReleaseError::refused("list virtual nodes"))?;
    let nodes: BTreeSet<_> = listed.items.iter().map(|node| NodeName::from(node.name_any().as_str())).collect();
    for node in &nodes {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
        match api.patch_metadata(node.as_str(), &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(ReleaseError::refused(format!("cordon node {node}"))(error)),
        }
    }
    Ok(nodes)
}

/// Goes round until no pod needs burstlet, twice in a row.
async fn empty(
    client: &Client,
    nodes: &BTreeSet<NodeName>,
    within: Duration,
    tell: &mut impl FnMut(&str),
) -> Result<(), ReleaseError> {
    let begin = Instant::now();
    let mut is_quiet = false;
    loop {
        let left = round(client, nodes).await?;
        match (left.count, is_quiet) {
            (0, true) => return Ok(()),
            (0, false) => {}
            _ if begin.elapsed() >= within => return Err(ReleaseError::Left(left)),
            _ => tell(&left.to_string()),
        }
        is_quiet = left.count == 0;
        sleep(PAUSE).await;
    }
}

async fn round(client: &Client, nodes: &BTreeSet<NodeName>) -> Result<Left, ReleaseError> {
    let pods = pods(client, None).await?;
    let fates = pods.iter().map(|(slim, pod)| {
        let is_virtual = pod.node().is_some_and(|node| nodes.contains(node));
        (slim, pod, fate(pod, is_virtual, controller(slim)))
    });
    let fates: Vec<_> = fates.filter(|(_, _, fate)| *fate != Fate::Stays).collect();
    let done = stream::iter(&fates).map(|(slim, pod, fate)| follow(client, slim, pod, *fate));
    let refusals: Vec<Option<String>> = done.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(Left {
        count: fates.len(),
        named: fates.iter().take(NAMED).map(|(_, pod, _)| pod.name.clone()).collect(),
        refusal: refusals.into_iter().flatten().next(),
    })
}

/// Does what is to be done with a pod; the answer is why not yet, where a budget forbids it.
async fn follow(client: &Client, slim: &SlimPod, pod: &Pod, fate: Fate) -> Result<Option<String>, ReleaseError> {
    let api = Api::<CorePod>::namespaced(client.clone(), &pod.name.namespace);
    let same = Preconditions { uid: Some(pod.uid.as_str().to_owned()), ..Preconditions::default() };
    let options = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
    let done = match fate {
        Fate::Stays | Fate::Ends => return Ok(None),
        Fate::Ungate => return ungate(client, slim, pod).await.map(|_| None),
        Fate::Delete => api.delete(&pod.name.name, &options).await.map(drop),
        Fate::Evict => {
            let eviction = EvictParams { delete_options: Some(options), ..EvictParams::default() };
            // The client repeats a budget's refusal by itself.
            match timeout(PATIENCE, api.evict(&pod.name.name, &eviction)).await {
                Ok(evicted) => evicted.map(drop),
                Err(_) => return Ok(Some(held(pod))),
            }
        }
    };
    match done {
        Ok(()) => Ok(None),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) if is_code(&error, 429) => Ok(Some(held(pod))),
        Err(error) => Err(ReleaseError::refused(format!("remove pod {}", pod.name))(error)),
    }
}

fn held(pod: &Pod) -> String {
    format!("a disruption budget keeps pod {}", pod.name)
}

fn controller(slim: &SlimPod) -> Controller {
    let owners = slim.metadata.owner_references.iter().flatten();
    match owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.kind.as_str()).next() {
        None => Controller::None,
        Some("DaemonSet") => Controller::DaemonSet,
        Some(_) => Controller::Other,
    }
}

/// Scales a Deployment to nothing, and waits until its pods are gone: a kubelet that runs makes a deleted virtual node
/// anew, and a scheduler its Lease.
async fn stop(client: &Client, what: &Uninstall, deployment: &str) -> Result<(), ReleaseError> {
    let api = Api::<Deployment>::namespaced(client.clone(), &what.namespace);
    let doing = || format!("stop deployment {}/{deployment}", what.namespace);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match api.patch_scale(deployment, &PatchParams::default(), &none).await {
        Ok(_) => {}
        Err(error) if is_code(&error, 404) => return Ok(()),
        Err(error) => return Err(ReleaseError::refused(doing())(error)),
    }
    let begin = Instant::now();
    loop {
        let scale = api.get_scale(deployment).await.map_err(ReleaseError::refused(doing()))?;
        if scale.status.is_none_or(|status| status.replicas == 0) {
            return Ok(());
        }
        if begin.elapsed() >= what.within {
            let named = vec![ObjectName::new(&what.namespace, deployment)];
            return Err(ReleaseError::Left(Left { count: 1, named, refusal: Some("it does not stop".to_owned()) }));
        }
        sleep(PAUSE).await;
    }
}
