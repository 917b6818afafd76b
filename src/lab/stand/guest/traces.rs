//! Every object that a stand makes in a cluster, by name: what must not be there before, and must be gone after.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    certificates::v1::CertificateSigningRequest,
    coordination::v1::Lease,
    core::v1::{Namespace, Node, Pod},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams},
    core::{ApiResource, DynamicObject},
};
use tokio::time::{Instant, sleep, timeout};

use super::{GuestError, certificate, error::refused};
use crate::{
    api::names::{self, MANAGED_BY},
    lab::stand::{install, said},
};

/// Where nodes' heartbeats stand.
const NODE_LEASES: &str = "kube-node-lease";
/// How long removing may take; a namespace alone takes some ten seconds.
const GONE_WITHIN: Duration = Duration::from_mins(2);
/// How long one round of removing may take.
const ROUND_WITHIN: Duration = Duration::from_secs(20);
/// Time between two rounds: a write that was under way when its writer ended has come through by the second.
const PAUSE: Duration = Duration::from_millis(500);

/// The objects of one stand.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// Names of its nodes.
    nodes: Vec<String>,
    /// Namespaces that it makes.
    namespaces: Vec<String>,
}

/// A kind of object, and one of its names.
struct Trace {
    kind: ApiResource,
    namespace: Option<&'static str>,
    name: String,
}

impl Trace {
    fn of<K: Resource<DynamicType = ()>>(name: &str) -> Self {
        Self { kind: ApiResource::erase::<K>(&()), namespace: None, name: name.to_owned() }
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.kind),
            None => Api::all_with(client.clone(), &self.kind),
        }
    }

    fn told(&self) -> String {
        format!("{} {}", self.kind.kind, self.name)
    }
}

impl Traces {
    /// Of a stand with these nodes and namespaces, beside burstlet's own.
    pub(super) fn new(nodes: Vec<String>, namespaces: &[&str]) -> Self {
        let namespaces = namespaces.iter().chain([&install::NAMESPACE]).map(|&name| name.to_owned()).collect();
        Self { nodes, namespaces }
    }

    /// The objects in the order in which they go: what others are told by first, burstlet's own namespace last.
    fn all(&self) -> Vec<Trace> {
        let webhooks = [
            Trace::of::<MutatingWebhookConfiguration>(names::MANAGER),
            Trace::of::<ValidatingWebhookConfiguration>(names::MANAGER),
        ];
        let lease = |name: &String| Trace { namespace: Some(NODE_LEASES), ..Trace::of::<Lease>(name) };
        let request = Trace::of::<CertificateSigningRequest>(certificate::NAME);
        let nodes = self.nodes.iter().map(|name| Trace::of::<Node>(name));
        let namespaces = self.namespaces.iter().map(|name| Trace::of::<Namespace>(name));
        webhooks
            .into_iter()
            .chain(nodes)
            .chain(self.nodes.iter().map(lease))
            .chain([request])
            .chain(namespaces)
            .collect()
    }

    /// The first object found of those that the stand would make, or of another burstlet.
    pub(super) async fn first(&self, client: &Client) -> Result<Option<String>, GuestError> {
        let looking = || refused("look for what is there already");
        // Its namespace tells people the most.
        let roles = [Trace::of::<ClusterRole>(names::MANAGER), Trace::of::<ClusterRoleBinding>(names::MANAGER)];
        for trace in self.all().into_iter().rev().chain(roles) {
            if trace.api(client).get_metadata_opt(&trace.name).await.map_err(looking())?.is_some() {
                return Ok(Some(trace.told()));
            }
        }
        let kept = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)).limit(1);
        let nodes = Api::<Node>::all(client.clone()).list_metadata(&kept).await.map_err(looking())?;
        Ok(nodes.items.first().map(|node| format!("Node {}", node.name_any())))
    }

    /// Removes all of them, until two rounds in a row have found nothing.
    pub(super) async fn remove(&self, client: &Client) -> Result<(), GuestError> {
        let begin = Instant::now();
        let mut quiet = 0;
        loop {
            let (left, reason) = match timeout(ROUND_WITHIN, self.round(client)).await {
                Ok(round) => round,
                Err(_) => (self.all().iter().map(Trace::told).collect(), format!("no answer within {ROUND_WITHIN:?}")),
            };
            quiet = if left.is_empty() { quiet + 1 } else { 0 };
            if quiet == 2 {
                return Ok(());
            }
            if begin.elapsed() > GONE_WITHIN {
                let what = left.into_iter().collect::<Vec<_>>().join(", ");
                return Err(GuestError::Left { what, reason });
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks for the removal of what stands. Answers what stood, and why the last of it may still stand.
    async fn round(&self, client: &Client) -> (BTreeSet<String>, String) {
        let mut left = BTreeSet::new();
        let mut reason = format!("not gone after {GONE_WITHIN:?}");
        for trace in self.all() {
            match remove(client, &trace).await {
                Ok(false) => {}
                Ok(true) => drop(left.insert(trace.told())),
                Err(error) => {
                    left.insert(trace.told());
                    reason = said(&error);
                }
            }
        }
        for node in &self.nodes {
            match remove_pods(client, node).await {
                Ok(found) => left.extend(found),
                Err(error) => {
                    left.insert(format!("pods of node {node}"));
                    reason = said(&error);
                }
            }
        }
        (left, reason)
    }
}

/// Removes one object; answers whether it was there.
async fn remove(client: &Client, trace: &Trace) -> Result<bool, kube::Error> {
    let api = trace.api(client);
    let Some(found) = api.get_metadata_opt(&trace.name).await? else { return Ok(false) };
    // A namespace is more than its name: one that somebody else has made meanwhile stays.
    let is_ours = found.labels().get(MANAGED_BY.0).is_some_and(|manager| manager == MANAGED_BY.1);
    if trace.kind.kind == Namespace::kind(&()) && !is_ours {
        return Ok(false);
    }
    if found.metadata.deletion_timestamp.is_none() {
        gone(api.delete(&trace.name, &DeleteParams::default()).await.map(drop))?;
    }
    Ok(true)
}

/// Removes the pods of a node that has no kubelet any more, others' agents among them; answers which there were.
async fn remove_pods(client: &Client, node: &str) -> Result<Vec<String>, kube::Error> {
    let there = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let found = Api::<Pod>::all(client.clone()).list_metadata(&there).await?;
    let at_once = DeleteParams::default().grace_period(0);
    let mut told = Vec::new();
    for pod in found {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        gone(Api::<Pod>::namespaced(client.clone(), &namespace).delete(&name, &at_once).await.map(drop))?;
        told.push(format!("Pod {namespace}/{name}"));
    }
    Ok(told)
}

/// What is gone, or going, needs no removing.
fn gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result,
    }
}
