//! Spot instances that their cloud will take back: their pods are evicted before it does, so that what replaces them
//! starts early.
//!
//! Only what the cloud has announced counts: a cloud that does not answer, or no longer lists an instance, evicts nobody.
//! Through the Eviction API, so within disruption budgets; who is refused is asked for again until the cloud acts. A Job
//! would count an evicted pod as failed, and it may end in time; a bare pod has no successor: those are only told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    provider::{Provider, ReclaimNotice},
    run::{
        evict::{Evicted, evict},
        fleet::{has_controller, is_controlled},
    },
    telemetry::Events,
};

/// How often it is asked. Clouds give two minutes or more.
const EVERY: Duration = Duration::from_secs(10);
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What has become of a pod whose instance is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is on its way out, or gone, or stays to the end.
    Done,
    /// A disruption budget holds it.
    Held,
}

/// Looks after the pods of one pool, until it is dropped.
pub(super) async fn keep(client: Client, cluster: String, provider: Arc<dyn Provider>) {
    let keeper = Keeper { events: Events::new(client.clone()), client };
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done: BTreeMap<String, Step> = BTreeMap::new();
    loop {
        tick.tick().await;
        let notices = match timeout(TIMEOUT, provider.reclaim_notices(&cluster)).await {
            Ok(Ok(notices)) => notices,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the provider does not tell what it takes back");
                continue;
            }
            Err(_) => continue,
        };
        let announced = notices.iter().map(|notice| notice.owner.uid.clone()).collect::<BTreeSet<_>>();
        done.retain(|uid, _| announced.contains(uid));
        for notice in &notices {
            let uid = &notice.owner.uid;
            let before = done.get(uid).copied();
            if before == Some(Step::Done) {
                continue;
            }
            if before.is_none() {
                keeper.tell(notice).await;
            }
            match timeout(TIMEOUT, keeper.evict(notice)).await {
                Ok(Ok(step)) => drop(done.insert(uid.clone(), step)),
                Ok(Err(error)) => {
                    let (pod, namespace) = (&notice.owner.name, &notice.owner.namespace);
                    tracing::warn!(%error, %pod, %namespace, "a pod whose instance is taken back is not evicted, will be tried again");
                    done.insert(uid.clone(), Step::Held);
                }
                Err(_) => drop(done.insert(uid.clone(), Step::Held)),
            }
        }
    }
}

struct Keeper {
    client: Client,
    events: Events,
}

impl Keeper {
    async fn evict(&self, ReclaimNotice { owner, .. }: &ReclaimNotice) -> Result<Step, kube::Error> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &owner.namespace);
        let Some(pod) = pods.get_metadata_opt(&owner.name).await? else { return Ok(Step::Done) };
        let is_another = pod.metadata.uid.as_deref() != Some(&owner.uid);
        let is_waited_for = has_controller(&pod.metadata, &["Job", "Node"]) || !is_controlled(&pod.metadata);
        if is_another || is_waited_for || pod.metadata.deletion_timestamp.is_some() {
            return Ok(Step::Done);
        }
        let step = match evict(&self.client, &owner.namespace, &owner.name, Some(owner.uid.clone())).await? {
            Evicted::Asked => {
                tracing::info!(pod = %owner.name, namespace = %owner.namespace, "evicted: its instance is taken back");
                Step::Done
            }
            Evicted::Gone => Step::Done,
            Evicted::Held => Step::Held,
        };
        Ok(step)
    }

    async fn tell(&self, ReclaimNotice { owner, message }: &ReclaimNotice) {
        let note = format!("the cloud takes the pod's instance back: {message}");
        self.events.warn(&owner.reference(), "Evict", "SpotToBeReleased", &note).await;
    }
}
