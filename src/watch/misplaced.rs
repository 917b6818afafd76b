//! The watches of objects whose base has no effect, for their kind's sake. Pods are not among them: placement watches
//! those already.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client, Resource, api::ObjectMeta, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use crate::watch::follow::{Listening, Seen, follow};

/// Sightings that wait.
const BACKLOG: usize = 256;

/// What was seen of an object of this kind.
#[derive(Debug)]
pub struct Sighting {
    /// The kind, such as `DaemonSet`.
    pub kind: &'static str,
    /// What was seen.
    pub seen: Seen<ObjectMeta>,
}

/// Starts the watches; they end when the receiver or the task set is dropped.
pub fn misplaced_bases(client: &Client) -> (mpsc::Receiver<Sighting>, JoinSet<()>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut tasks = JoinSet::new();
    watch::<DaemonSet>(&mut tasks, client, "DaemonSet", &sender);
    (receiver, tasks)
}

fn watch<K>(tasks: &mut JoinSet<()>, client: &Client, kind: &'static str, sender: &mpsc::Sender<Sighting>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    PartialObjectMeta<K>: Resource<DynamicType = ()>,
{
    let sender = sender.clone();
    tasks.spawn(follow(Api::<PartialObjectMeta<K>>::all(client.clone()), move |seen| {
        let seen = match seen {
            Seen::Begin => Seen::Begin,
            Seen::Set(object) => Seen::Set(object.metadata),
            Seen::Gone(object) => Seen::Gone(object.metadata),
            Seen::Finish => Seen::Finish,
        };
        let sender = sender.clone();
        async move { if sender.send(Sighting { kind, seen }).await.is_ok() { Listening::Yes } else { Listening::No } }
    }));
}
