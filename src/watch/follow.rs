//! One watch, as a stream of lists and changes that never ends.

use std::{fmt::Debug, future::Future};

use futures::{Stream, StreamExt, TryStreamExt};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// What a watch has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<K> {
    /// A list begins; what it names follows as [`Seen::Set`].
    Begin,
    /// The object is there, or has changed.
    Set(K),
    /// The object is gone.
    Gone(K),
    /// The list is complete: what it did not name is gone.
    Finish,
}

/// How to follow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Follow {
    /// Field selector, such as `spec.nodeName!=`.
    pub fields: Option<&'static str>,
}

/// Follows all objects of `api` and hands each event to `apply`, until `apply` answers that nobody listens any more.
///
/// Broken and expired watches are taken up again, with back-off; after an expired one the list begins anew. Lists are
/// streamed, and are as consistent as a quorum read.
pub async fn follow<K, F, R>(api: Api<K>, what: Follow, mut apply: F)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: FnMut(Seen<K>) -> R,
    R: Future<Output = Listening>,
{
    let mut events = std::pin::pin!(events(api, what));
    while let Some(seen) = events.next().await {
        if apply(seen).await == Listening::No {
            return;
        }
    }
}

/// Whether somebody still wants events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Go on.
    Yes,
    /// Stop following.
    No,
}

fn events<K>(api: Api<K>, what: Follow) -> impl Stream<Item = Seen<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut config = watcher::Config::default().streaming_lists();
    if let Some(fields) = what.fields {
        config = config.fields(fields);
    }
    let kind = std::any::type_name::<K>();
    let stream = watcher(api, config).default_backoff();
    stream
        .inspect_err(move |error| tracing::warn!(%error, kind, "the watch broke off and is taken up again"))
        .filter_map(|event| async { event.ok() })
        .map(|event| match event {
            Event::Init => Seen::Begin,
            Event::InitApply(object) | Event::Apply(object) => Seen::Set(object),
            Event::InitDone => Seen::Finish,
            Event::Delete(object) => Seen::Gone(object),
        })
}
