//! One watch, as a stream of lists and changes that never ends.

use std::{fmt::Debug, future::Future};

use futures::{Stream, StreamExt, stream};
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

/// Follows all objects of `api` and hands each event to `apply`, until `apply` answers that nobody listens any more.
///
/// Broken and expired watches are taken up again, with back-off; after an expired one the list begins anew. Lists are
/// streamed, and are as consistent as a quorum read.
pub async fn follow<K, F, R>(api: Api<K>, mut apply: F)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: FnMut(Seen<K>) -> R,
    R: Future<Output = Listening>,
{
    let mut events = std::pin::pin!(events(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        let seen = match event {
            Event::Init => Seen::Begin,
            Event::InitApply(object) | Event::Apply(object) => Seen::Set(object),
            Event::InitDone => Seen::Finish,
            Event::Delete(object) => Seen::Gone(object),
        };
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

/// The events of all objects that `config` selects, for ever: streamed lists where the API server knows them, pages
/// where it does not.
pub fn events<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let objects = api.resource_url().to_owned();
    let begin = move |config| watcher(api.clone(), config).default_backoff().boxed();
    let first = begin(config.clone().streaming_lists());
    stream::unfold((first, Some((begin, config)), objects), move |(mut source, mut pages, objects)| async move {
        loop {
            match source.next().await? {
                Ok(event) => return Some((event, (source, pages, objects))),
                Err(error) if is_unsupported(&error) && pages.is_some() => {
                    tracing::info!(objects, "the API server streams no lists; objects are listed in pages");
                    if let Some((begin, config)) = pages.take() {
                        source = begin(config);
                    }
                }
                Err(error) => tracing::warn!(
                    %error,
                    objects,
                    "the watch broke off and is taken up again; what was known meanwhile stays in force"
                ),
            }
        }
    })
}

fn is_unsupported(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 400 || status.code == 422)
}
