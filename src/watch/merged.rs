//! Kinds of object that the engine takes for one, such as all that control pods.
//!
//! Each has a watch of its own, whose lists begin anew at their own times. The engine is told of one list only, which is
//! complete once all of them are; after that, what a new list of one kind does not name is told as gone, and the others'
//! objects stay.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use burstlet_engine::placement::{Event, Kind};
use futures::future::BoxFuture;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;

use crate::watch::{
    follow::{Listening, Seen},
    sources::EngineWatch,
};

/// Says that an object of this UID is gone.
type Gone = fn(&str) -> Event;

/// The kinds that are one for the engine.
pub(super) struct Merged {
    kind: Kind,
    gone: Gone,
    sender: mpsc::Sender<EngineWatch>,
    /// How many have not been listed yet.
    unlisted: Arc<AtomicUsize>,
}

impl Merged {
    /// One list of so many kinds.
    pub(super) fn of(count: usize, kind: Kind, gone: Gone, sender: &mpsc::Sender<EngineWatch>) -> Self {
        Self { kind, gone, sender: sender.clone(), unlisted: Arc::new(AtomicUsize::new(count)) }
    }

    /// One of them.
    pub(super) fn part(&self) -> Part {
        let (sender, unlisted) = (self.sender.clone(), self.unlisted.clone());
        Part {
            kind: self.kind,
            gone: self.gone,
            sender,
            unlisted: Some(unlisted),
            known: BTreeSet::new(),
            listed: None,
        }
    }
}

/// One kind of several.
pub(super) struct Part {
    kind: Kind,
    gone: Gone,
    sender: mpsc::Sender<EngineWatch>,
    /// Until it has been listed once.
    unlisted: Option<Arc<AtomicUsize>>,
    known: BTreeSet<String>,
    /// What the list under way has named.
    listed: Option<BTreeSet<String>>,
}

impl Part {
    /// Its list is complete, for the first time or again.
    pub(super) fn complete(&mut self) -> Option<Event> {
        let unlisted = self.unlisted.take()?;
        (unlisted.fetch_sub(1, Ordering::AcqRel) == 1).then_some(Event::Finish(self.kind))
    }

    /// What the engine is to be told.
    fn events<K: Resource>(&mut self, seen: &Seen<K>, convert: &impl Fn(&K) -> Option<Event>) -> Vec<Event> {
        match seen {
            Seen::Begin => {
                self.listed = Some(BTreeSet::new());
                Vec::new()
            }
            Seen::Set(object) => {
                let event = convert(object);
                if let Some(uid) = object.uid().filter(|_| event.is_some()) {
                    if let Some(listed) = &mut self.listed {
                        listed.insert(uid.clone());
                    }
                    self.known.insert(uid);
                }
                event.into_iter().collect()
            }
            Seen::Gone(object) => {
                let uid = object.uid().filter(|uid| self.known.remove(uid));
                if let (Some(listed), Some(uid)) = (&mut self.listed, &uid) {
                    listed.remove(uid);
                }
                uid.map(|uid| (self.gone)(&uid)).into_iter().collect()
            }
            Seen::Finish => {
                let listed = self.listed.take().unwrap_or_default();
                let unnamed = self.known.difference(&listed).map(|uid| (self.gone)(uid)).collect::<Vec<_>>();
                self.known = listed;
                unnamed.into_iter().chain(self.complete()).collect()
            }
        }
    }

    /// Sends what is seen as events, until nobody listens. What `convert` does not answer is not taken in.
    pub(super) fn forward<K: Resource>(
        mut self,
        convert: impl Fn(&K) -> Option<Event>,
    ) -> impl FnMut(Seen<K>) -> BoxFuture<'static, Listening> {
        move |seen| {
            let (events, sender) = (self.events(&seen, &convert), self.sender.clone());
            Box::pin(async move {
                for event in events {
                    if sender.send(event.into()).await.is_err() {
                        return Listening::No;
                    }
                }
                Listening::Yes
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn object(uid: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}})).unwrap()
    }

    fn told(part: &mut Part, seen: &[Seen<ConfigMap>]) -> Vec<String> {
        let convert = |object: &ConfigMap| Some(Event::NamespaceGone(format!("set {}", object.name_any())));
        let events = seen.iter().flat_map(|seen| part.events(seen, &convert));
        let line = |event| match event {
            Event::NamespaceGone(name) => name,
            Event::Finish(kind) => format!("finish {kind:?}"),
            other => panic!("{other:?}"),
        };
        events.map(line).collect()
    }

    fn list(uids: &[&str]) -> Vec<Seen<ConfigMap>> {
        let all = uids.iter().map(|uid| Seen::Set(object(uid)));
        [Seen::Begin].into_iter().chain(all).chain([Seen::Finish]).collect()
    }

    fn two() -> (Part, Part) {
        let (sender, _) = mpsc::channel(1);
        let gone: Gone = |uid| Event::NamespaceGone(format!("gone {uid}"));
        let merged = Merged::of(2, Kind::Revision, gone, &sender);
        (merged.part(), merged.part())
    }

    #[test]
    fn the_list_is_complete_once_all_kinds_are() {
        let (mut sets, mut jobs) = two();
        assert_eq!(told(&mut sets, &list(&["a"])), ["set a"]);
        assert_eq!(told(&mut sets, &list(&["a"])), ["set a"], "listed anew before the other was at all");
        assert_eq!(told(&mut jobs, &list(&["j"])), ["set j", "finish Revision"]);
    }

    #[test]
    fn a_new_list_of_one_kind_forgets_what_it_does_not_name_and_nothing_of_the_others() {
        let (mut sets, mut jobs) = two();
        told(&mut sets, &list(&["a", "b"]));
        told(&mut jobs, &list(&["j"]));
        assert_eq!(told(&mut sets, &list(&["b"])), ["set b", "gone a"]);
        assert_eq!(told(&mut sets, &[Seen::Gone(object("b"))]), ["gone b"]);
        assert_eq!(told(&mut sets, &[Seen::Gone(object("b"))]), [""; 0], "told once");
        assert_eq!(told(&mut jobs, &list(&["j"])), ["set j"]);
    }

    #[test]
    fn a_kind_that_the_cluster_does_not_know_is_an_empty_list() {
        let (mut sets, mut fleets) = two();
        told(&mut sets, &list(&["a"]));
        assert_eq!(fleets.complete(), Some(Event::Finish(Kind::Revision)));
        assert_eq!(told(&mut fleets, &list(&["f"])), ["set f"], "it is known by now");
    }
}
