//! The watches that placement folds.

use std::fmt::Debug;

use burstlet_engine::{
    model::PodUid,
    placement::{Event, Kind},
};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ApiResource, DynamicObject, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    api::{
        node, owner,
        owner::SlimReplicaSet,
        pod,
        pod::{Patchable, SlimPod},
        policy, pool,
    },
    watch::{
        follow::{Listening, Seen, follow},
        policies,
    },
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
    /// Of a policy or pool.
    pub about: Option<About>,
}

/// What the status of a policy or pool must know of its object.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Its status as it stands.
    pub status: Value,
}

impl About {
    fn of(object: &DynamicObject) -> Option<Self> {
        Some(Self {
            uid: object.uid()?,
            generation: object.metadata.generation,
            status: object.data.get("status").cloned().unwrap_or_default(),
        })
    }
}

impl From<Event> for EngineWatch {
    fn from(event: Event) -> Self {
        Self { event, gated: None, has_misplaced_base: false, about: None }
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
                EngineWatch { event: Event::Pod(pod::to_engine(pod)?), gated, has_misplaced_base, about: None }
            }
            Change::Gone(pod) => Event::PodGone(PodUid::from(pod.uid()?)).into(),
        })
    });
    let policies = Api::<DynamicObject>::all_with(all(client), &policy::resource());
    watch_once_known(&mut tasks, &sender, Kind::Policy, policies, |seen| {
        Some(match seen {
            Change::Set(object) => {
                let name = pod::object_name(&object.metadata);
                let event = match policies::read(object) {
                    Ok(spec) => Event::Policy { name, spec: Box::new(spec) },
                    Err(faults) => Event::PolicyFaulty { name, faults },
                };
                EngineWatch { about: About::of(object), ..event.into() }
            }
            Change::Gone(object) => Event::PolicyGone(pod::object_name(&object.metadata)).into(),
        })
    });
    let pools = Api::<DynamicObject>::all_with(all(client), &pool::resource());
    watch_once_known(&mut tasks, &sender, Kind::Pool, pools, |seen| {
        Some(match seen {
            Change::Set(object) => {
                let event = match policies::read_pool(object) {
                    Ok(spec) => Event::Pool(spec.facts(&object.name_any())),
                    Err(faults) => Event::PoolFaulty { name: object.name_any().into(), faults },
                };
                EngineWatch { about: About::of(object), ..event.into() }
            }
            Change::Gone(object) => Event::PoolGone(object.name_any().into()).into(),
        })
    });
    (receiver, tasks)
}

/// A list's frame aside, what happened to an object.
enum Change<'a, K> {
    Set(&'a K),
    Gone(&'a K),
}

/// Watches a kind that the cluster may not know: until it does, its list is empty.
fn watch_once_known(
    tasks: &mut JoinSet<()>,
    sender: &mpsc::Sender<EngineWatch>,
    kind: Kind,
    api: Api<DynamicObject>,
    convert: impl Fn(Change<'_, DynamicObject>) -> Option<EngineWatch> + Send + 'static,
) {
    let sender = sender.clone();
    tasks.spawn(async move {
        let empty = async {
            for event in [Event::Begin(kind), Event::Finish(kind)] {
                // Without a receiver there is nobody to tell.
                let _ = sender.send(event.into()).await;
            }
        };
        policies::once_known(&api, empty).await;
        follow(api, forward(kind, sender.clone(), convert)).await;
    });
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
    tasks.spawn(follow(api, forward(kind, sender.clone(), convert)));
}

/// Sends what is seen as events, until nobody listens.
fn forward<K>(
    kind: Kind,
    sender: mpsc::Sender<EngineWatch>,
    convert: impl Fn(Change<'_, K>) -> Option<EngineWatch>,
) -> impl FnMut(Seen<K>) -> BoxFuture<'static, Listening> {
    move |seen| {
        let event = match &seen {
            Seen::Begin => Some(Event::Begin(kind).into()),
            Seen::Finish => Some(Event::Finish(kind).into()),
            Seen::Set(object) => convert(Change::Set(object)),
            Seen::Gone(object) => convert(Change::Gone(object)),
        };
        let sender = sender.clone();
        Box::pin(async move {
            let Some(event) = event else { return Listening::Yes };
            if sender.send(event).await.is_ok() { Listening::Yes } else { Listening::No }
        })
    }
}
