//! Node leases: the heartbeat that keeps nodes Ready, spread evenly over time.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{KubeletConfig, nodes::Kept};

const NAMESPACE: &str = "kube-node-lease";

/// How long a lease holds, in seconds, as the kubelet's default.
const DURATION: i32 = 40;

/// Time between two renewals of a lease.
const RENEW: Duration = Duration::from_secs(10);

/// How long the first round takes, in which whoever takes nodes over renews them all: their keeper before may have renewed
/// them a while ago.
const FIRST_ROUND: Duration = Duration::from_secs(2);

/// Renewals at a time. A slow API server delays renewals rather than being drowned in them.
const AT_ONCE: usize = 32;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Tries in a row before a node's turn passes.
const TRIES: u32 = 3;

/// Silence after which others may have taken the node for dead.
const LAPSE: Duration = Duration::from_secs(38);

/// Renews the leases of those nodes of `config` that are `kept` until `stop`. Numbers of nodes that went without one for too long go to
/// `lapsed`: their status must be written anew, because nothing else restores it.
pub(crate) async fn renew(
    client: Client,
    config: Arc<KubeletConfig>,
    kept: watch::Receiver<Kept>,
    lapsed: mpsc::Sender<usize>,
    stop: CancellationToken,
) {
    let count = config.nodes.len();
    let Some(nodes) = u32::try_from(count).ok().filter(|n| *n > 0) else { return };
    let every = |round: Duration| {
        let mut turns = tokio::time::interval((round / nodes).max(Duration::from_millis(1)));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turns
    };
    let mut turns = every(FIRST_ROUND);
    let mut is_first_round = true;
    let mut renewed = vec![Instant::now(); count];
    let mut in_flight = vec![false; count];
    let mut calls = JoinSet::new();
    let mut next = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick(), if calls.len() < AT_ONCE => {
                let number = next;
                next = (next + 1) % count;
                if next == 0 && std::mem::take(&mut is_first_round) {
                    turns = every(RENEW);
                    turns.reset();
                }
                if !kept.borrow().contains_key(&number) {
                    // Whoever keeps it later starts anew.
                    renewed[number] = Instant::now();
                } else if !std::mem::replace(&mut in_flight[number], true) {
                    let (client, config) = (client.clone(), Arc::clone(&config));
                    calls.spawn(async move { (number, renew_one(&client, &config.nodes[number].name).await) });
                }
            }
            Some(Ok((number, done))) = calls.join_next() => {
                in_flight[number] = false;
                if done {
                    if renewed[number].elapsed() > LAPSE {
                        // The keeper may be busy; the watch of nodes tells it too.
                        let _ = lapsed.try_send(number);
                    }
                    renewed[number] = Instant::now();
                }
            }
        }
    }
}

async fn renew_one(client: &Client, node: &str) -> bool {
    for attempt in 1..=TRIES {
        let failure = match tokio::time::timeout(TIMEOUT, patch(client, node)).await {
            Ok(Ok(true)) => return true,
            Ok(Ok(false)) => "the node does not stand yet".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        tracing::debug!(node, attempt, error = %failure, "lease not renewed");
        tokio::time::sleep(Duration::from_millis(500) * attempt).await;
    }
    tracing::warn!(node, "lease not renewed in {TRIES} tries; the node goes NotReady if this lasts");
    false
}

/// Answers whether there is a node to renew the lease of: one made before its node would have no owner, and outlive it.
async fn patch(client: &Client, node: &str) -> Result<bool, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": node, "leaseDurationSeconds": DURATION}});
    match leases.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => return Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error),
    }
    let Some(owner) = owner(client, node).await? else { return Ok(false) };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(DURATION),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    leases.create(&PostParams::default(), &lease).await.map(|_| true)
}

/// The node owns its lease, so that one is deleted with the other.
async fn owner(client: &Client, node: &str) -> Result<Option<OwnerReference>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let uid = nodes.get_metadata_opt(node).await?.and_then(|meta| meta.metadata.uid);
    Ok(uid.map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid,
        ..OwnerReference::default()
    }))
}
