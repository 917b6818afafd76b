//! The five watches that placement folds.

use std::fmt::Debug;

use burstlet_engine::{
    model::PodUid,
    placement::{Event, Kind},
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ApiResource, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    api::{
        node, owner,
        owner::SlimReplicaSet,
        pod,
        pod::{Patchable, SlimPod},
    },
    watch::follow::{Listening, Seen, follow},
};

/// Events that wait for the engine; a slow engine slows the watches, not the other way round.
const BACKLOG: usize = 4096;

/// An event for the engine, and what the placer must know of a pod beside it.
#[derive(Debug)]
pub struct EngineWatch {
    /// For the engine.
    pub event: Event,
    /// Of a pod that carries burstlet's gate.
    pub gated: Option<Patchable>,
    /// Of a pod that carries a base itself, which has no effect.
    pub has_misplaced_base: bool,
}

impl From<Event> for EngineWatch {
    fn from(event: Event) -> Self {
        Self { event, gated: None, has_misplaced_base: false }
    }
}

/// Starts the watches; they end when the receiver or the task set is dropped.
pub fn engine_events(client: &Client) -> (mpsc::Receiver<EngineWatch>, JoinSet<()>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut tasks = JoinSet::new();
    let all = |client: &Client| client.clone();
    watch(&mut tasks, &sender, Kind::Namespace, Api::<PartialObjectMeta<Namespace>>::all(all(client)), |seen| {
        Some(match seen {
            Change::Set(meta) => Event::Namespace(owner::namespace(meta.meta())?).into(),
            Change::Gone(meta) => Event::NamespaceGone(meta.name_any()).into(),
        })
    });
    watch(&mut tasks, &sender, Kind::Workload, Api::<PartialObjectMeta<Deployment>>::all(all(client)), |seen| {
        Some(match seen {
            Change::Set(meta) => Event::Workload(owner::deployment(meta.meta())?).into(),
            Change::Gone(meta) => Event::WorkloadGone(meta.uid()?.into()).into(),
        })
    });
    let sets = Api::<SlimReplicaSet>::all_with(all(client), &ApiResource::erase::<ReplicaSet>(&()));
    watch(&mut tasks, &sender, Kind::Revision, sets, |seen| {
        Some(match seen {
            Change::Set(set) => Event::Revision(owner::replica_set(set)?).into(),
            Change::Gone(set) => Event::RevisionGone(set.uid()?.into()).into(),
        })
    });
    watch(&mut tasks, &sender, Kind::Node, Api::<Node>::all(all(client)), |seen| {
        Some(match seen {
            Change::Set(node) => Event::Node(node::to_engine(node)?).into(),
            Change::Gone(node) => Event::NodeGone(node.name_any().into()).into(),
        })
    });
    let pods = Api::<SlimPod>::all_with(all(client), &ApiResource::erase::<Pod>(&()));
    watch(&mut tasks, &sender, Kind::Pod, pods, |seen| {
        Some(match seen {
            Change::Set(pod) => {
                let gated = Some(pod::patchable(pod)).filter(|patchable| patchable.gate.is_some());
                let has_misplaced_base = pod::has_misplaced_base(pod);
                EngineWatch { event: Event::Pod(pod::to_engine(pod)?), gated, has_misplaced_base }
            }
            Change::Gone(pod) => Event::PodGone(PodUid::from(pod.uid()?)).into(),
        })
    });
    // Policies and pools are no objects of the cluster yet: their lists are empty.
    for kind in [Kind::Policy, Kind::Pool] {
        let sender = sender.clone();
        tasks.spawn(async move {
            for event in [Event::Begin(kind), Event::Finish(kind)] {
                // Without a receiver there is nobody to tell.
                let _ = sender.send(event.into()).await;
            }
        });
    }
    (receiver, tasks)
}

/// A list's frame aside, what happened to an object.
enum Change<'a, K> {
    Set(&'a K),
    Gone(&'a K),
}

fn watch<K>(
    tasks: &mut JoinSet<()>,
    sender: &mpsc::Sender<EngineWatch>,
    kind: Kind,
    api: Api<K>,
    convert: impl Fn(Change<'_, K>) -> Option<EngineWatch> + Send + 'static,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let sender = sender.clone();
    tasks.spawn(follow(api, move |seen| {
        let event = match &seen {
            Seen::Begin => Some(Event::Begin(kind).into()),
            Seen::Finish => Some(Event::Finish(kind).into()),
            Seen::Set(object) => convert(Change::Set(object)),
            Seen::Gone(object) => convert(Change::Gone(object)),
        };
        let sender = sender.clone();
        async move {
            let Some(event) = event else { return Listening::Yes };
            if sender.send(event).await.is_ok() { Listening::Yes } else { Listening::No }
        }
    }));
}
