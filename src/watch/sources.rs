//! The watches that placement folds.

use std::fmt::Debug;

use burstlet_engine::{
    model::PodUid,
    placement::{Event, Kind},
};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
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
        kinds::{ForeignKinds, Owns},
        node, owner,
        owner::{SlimJob, SlimReplicaSet, SlimStatefulSet},
        pod,
        pod::{Patchable, SlimPod},
        policy, pool,
    },
    watch::{
        follow::{Listening, Seen, follow},
        follow_profile,
        merged::{Merged, Part},
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
pub fn engine_events(client: &Client, foreign: &ForeignKinds) -> (mpsc::Receiver<EngineWatch>, JoinSet<()>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut tasks = JoinSet::new();
    let all = |client: &Client| client.clone();
    watch(&mut tasks, &sender, Kind::Namespace, Api::<PartialObjectMeta<Namespace>>::all(all(client)), |seen| {
        Some(match seen {
            Change::Set(meta) => Event::Namespace(owner::namespace(meta.meta())?).into(),
            Change::Gone(meta) => Event::NamespaceGone(meta.name_any()).into(),
        })
    });
    workloads(&mut tasks, &sender, client, foreign);
    revisions(&mut tasks, &sender, client, foreign);
    watch(&mut tasks, &sender, Kind::Node, Api::<Node>::all(all(client)), |seen| {
        Some(match seen {
            Change::Set(node) => Event::Node(node::to_engine(node)?).into(),
            Change::Gone(node) => Event::NodeGone(node.name_any().into()).into(),
        })
    });
    let known = foreign.clone();
    let pods = Api::<SlimPod>::all_with(all(client), &ApiResource::erase::<Pod>(&()));
    watch(&mut tasks, &sender, Kind::Pod, pods, move |seen| {
        Some(match seen {
            Change::Set(pod) => {
                let gated = Some(pod::patchable(pod)).filter(|patchable| patchable.gate.is_some());
                let has_misplaced_base = pod::has_misplaced_base(pod);
                EngineWatch { event: Event::Pod(pod::to_engine(pod, &known)?), gated, has_misplaced_base, about: None }
            }
            Change::Gone(pod) => Event::PodGone(PodUid::from(pod.uid()?)).into(),
        })
    });
    let (profiles, client_of_profiles) = (sender.clone(), client.clone());
    tasks.spawn(follow_profile(client_of_profiles, move |profile| {
        let profiles = profiles.clone();
        async move {
            let sent = profiles.send(Event::Profile(profile).into()).await;
            if sent.is_ok() { Listening::Yes } else { Listening::No }
        }
    }));
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
    watch_once_known(&mut tasks, &sender, Kind::Pool, pools, |seen| match seen {
        Change::Set(object) => {
            let name = object.name_any();
            let (before, event) = match policies::read_pool(object) {
                Ok(spec) => {
                    let capabilities = spec.provider.capabilities();
                    // First, so that no pod is placed by the pool alone.
                    let told = Event::Capabilities { pool: name.as_str().into(), capabilities };
                    (Some(told.into()), Event::Pool(spec.facts(&name)))
                }
                Err(faults) => (None, Event::PoolFaulty { name: name.into(), faults }),
            };
            before.into_iter().chain([EngineWatch { about: About::of(object), ..event.into() }]).collect::<Vec<_>>()
        }
        Change::Gone(object) => vec![Event::PoolGone(object.name_any().into()).into()],
    });
    (receiver, tasks)
}

/// What scales other objects.
fn workloads(tasks: &mut JoinSet<()>, sender: &mpsc::Sender<EngineWatch>, client: &Client, foreign: &ForeignKinds) {
    let all = Merged::of(2 + foreign.iter().count(), Kind::Workload, |uid| Event::WorkloadGone(uid.into()), sender);
    begin(sender, Kind::Workload);
    let deployments = Api::<PartialObjectMeta<Deployment>>::all(client.clone());
    let deployment = |object: &PartialObjectMeta<Deployment>| owner::workload(object.meta(), "Deployment");
    tasks.spawn(follow(deployments, all.part().forward(move |object| deployment(object).map(Event::Workload))));
    let cron_jobs = Api::<PartialObjectMeta<CronJob>>::all(client.clone());
    let cron_job = |object: &PartialObjectMeta<CronJob>| owner::workload(object.meta(), "CronJob");
    tasks.spawn(follow(cron_jobs, all.part().forward(move |object| cron_job(object).map(Event::Workload))));
    for kind in foreign.iter().cloned() {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.api_resource());
        follow_foreign(tasks, api, all.part(), sender, move |object| {
            owner::workload(object.meta(), &kind.kind).map(Event::Workload)
        });
    }
}

/// What controls pods.
fn revisions(tasks: &mut JoinSet<()>, sender: &mpsc::Sender<EngineWatch>, client: &Client, foreign: &ForeignKinds) {
    let owners = || foreign.iter().filter(|kind| kind.owns == Owns::Pods);
    let all = Merged::of(3 + owners().count(), Kind::Revision, |uid| Event::RevisionGone(uid.into()), sender);
    begin(sender, Kind::Revision);
    let sets = Api::<SlimReplicaSet>::all_with(client.clone(), &ApiResource::erase::<ReplicaSet>(&()));
    let known = foreign.clone();
    let replica_set = move |set: &SlimReplicaSet| owner::replica_set(set, &known).map(Event::Revision);
    tasks.spawn(follow(sets, all.part().forward(replica_set)));
    let sets = Api::<SlimStatefulSet>::all_with(client.clone(), &ApiResource::erase::<StatefulSet>(&()));
    let stateful_set = |set: &SlimStatefulSet| owner::stateful_set(set).map(Event::Revision);
    tasks.spawn(follow(sets, all.part().forward(stateful_set)));
    let jobs = Api::<SlimJob>::all_with(client.clone(), &ApiResource::erase::<Job>(&()));
    let job = |job: &SlimJob| owner::job(job).map(Event::Revision);
    tasks.spawn(follow(jobs, all.part().forward(job)));
    for kind in owners() {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.api_resource());
        follow_foreign(tasks, api, all.part(), sender, |object| owner::foreign(object).map(Event::Revision));
    }
}

/// A list of several kinds begins; the channel is fresh and has room.
fn begin(sender: &mpsc::Sender<EngineWatch>, kind: Kind) {
    let _ = sender.try_send(Event::Begin(kind).into());
}

/// Follows a kind that the cluster may not know: until it does, its list is empty.
fn follow_foreign(
    tasks: &mut JoinSet<()>,
    api: Api<DynamicObject>,
    mut part: Part,
    sender: &mpsc::Sender<EngineWatch>,
    convert: impl Fn(&DynamicObject) -> Option<Event> + Send + 'static,
) {
    let sender = sender.clone();
    tasks.spawn(async move {
        let empty = async {
            if let Some(event) = part.complete() {
                // Without a receiver there is nobody to tell.
                let _ = sender.send(event.into()).await;
            }
        };
        policies::once_known(&api, empty).await;
        follow(api, part.forward(convert)).await;
    });
}

/// A list's frame aside, what happened to an object.
enum Change<'a, K> {
    Set(&'a K),
    Gone(&'a K),
}

/// Watches a kind that the cluster may not know: until it does, its list is empty.
fn watch_once_known<I: IntoIterator<Item = EngineWatch> + 'static>(
    tasks: &mut JoinSet<()>,
    sender: &mpsc::Sender<EngineWatch>,
    kind: Kind,
    api: Api<DynamicObject>,
    convert: impl Fn(Change<'_, DynamicObject>) -> I + Send + 'static,
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

fn watch<K, I>(
    tasks: &mut JoinSet<()>,
    sender: &mpsc::Sender<EngineWatch>,
    kind: Kind,
    api: Api<K>,
    convert: impl Fn(Change<'_, K>) -> I + Send + 'static,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    I: IntoIterator<Item = EngineWatch> + 'static,
{
    tasks.spawn(follow(api, forward(kind, sender.clone(), convert)));
}

/// Sends what is seen as events, until nobody listens.
fn forward<K, I: IntoIterator<Item = EngineWatch>>(
    kind: Kind,
    sender: mpsc::Sender<EngineWatch>,
    convert: impl Fn(Change<'_, K>) -> I,
) -> impl FnMut(Seen<K>) -> BoxFuture<'static, Listening> {
    move |seen| {
        let events: Vec<_> = match &seen {
            Seen::Begin => vec![Event::Begin(kind).into()],
            Seen::Finish => vec![Event::Finish(kind).into()],
            Seen::Set(object) => convert(Change::Set(object)).into_iter().collect(),
            Seen::Gone(object) => convert(Change::Gone(object)).into_iter().collect(),
        };
        let sender = sender.clone();
        Box::pin(async move {
            for event in events {
                if sender.send(event).await.is_err() {
                    return Listening::No;
                }
            }
            Listening::Yes
        })
    }
}
