//! What is known of each pod's instance, and what was asked for and has not been answered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{signing::content_hash, translate::Asked};
use crate::provider::{Instance, Owner};

/// Pods that are remembered, before those without an instance are forgotten.
const MOST_SLOTS: usize = 65_536;

/// One request for an instance: the same attempt is sent again until its outcome is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Place, by the pool's order; `None` where the pod names its own.
    pub(super) place: Option<usize>,
    /// Which of the pod's alternatives.
    pub(super) alternative: usize,
    pub(super) token: String,
    /// When it was sent first in a way that may have taken effect: the cloud charges from then.
    pub(super) since: Option<Instant>,
}

/// What is known of one pod's instance. Whoever calls the cloud for the pod holds it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The instance that stands.
    pub(super) group: Option<String>,
    /// An attempt whose outcome is not known.
    pub(super) pending: Option<Attempt>,
    /// Attempts that met a shortage; their tokens would meet it for ever.
    pub(super) spent: u32,
    /// What was asked for, while it may have to be asked for again.
    pub(super) asked: Option<Arc<Asked>>,
    /// Its size, and what the cloud said of it, as annotations that ECI's own virtual nodes write.
    pub(super) notes: BTreeMap<String, String>,
}

/// An instance as the last poll saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) instance: Instance,
    /// When it counts as failed if it is still pending, where the pod says so.
    pub(super) pending_until: Option<Instant>,
    /// The cloud may take it back.
    pub(super) is_spot: bool,
    /// A late failure of this group has been dealt with.
    pub(super) is_replaced: bool,
    /// A list has had it: a later one without it says that it is gone.
    pub(super) was_listed: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    slots: Mutex<HashMap<String, Arc<AsyncMutex<Slot>>>>,
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Ledger {
    /// The slot of a pod, made where there is none.
    pub(super) fn slot(&self, uid: &str) -> Arc<AsyncMutex<Slot>> {
        let mut slots = lock(&self.slots);
        if slots.len() >= MOST_SLOTS {
            slots.retain(|_, slot| slot.try_lock().map_or(true, |slot| slot.group.is_some() || slot.pending.is_some()));
        }
        slots.entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets a pod, unless somebody is at it.
    pub(super) fn forget(&self, uid: &str) {
        let mut slots = lock(&self.slots);
        if slots.get(uid).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(uid);
        }
    }

    /// An instance by its id.
    pub(super) fn seen(&self, id: &str) -> Option<Seen> {
        lock(&self.seen).get(id).cloned()
    }

    /// Notes an instance.
    pub(super) fn see(&self, seen: Seen) {
        lock(&self.seen).insert(seen.instance.id.0.clone(), seen);
    }

    /// Keeps those of `cluster` that `is_there`; what was created after the list began is kept, too.
    /// Answers the others.
    pub(super) fn retain(&self, cluster: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = lock(&self.seen);
        let is_gone =
            |id: &str, seen: &Seen| seen.instance.owner.cluster == cluster && !is_there(id) && seen.was_listed;
        let gone = seen.extract_if(.., |id, seen| is_gone(id, seen)).map(|(id, _)| id).collect();
        seen.iter_mut().filter(|(id, _)| is_there(id)).for_each(|(_, seen)| seen.was_listed = true);
        gone
    }

    /// Instances of a cluster.
    pub(super) fn of(&self, cluster: &str) -> Vec<Seen> {
        lock(&self.seen).values().filter(|seen| seen.instance.owner.cluster == cluster).cloned().collect()
    }
}

/// The token of an attempt. The first one follows from pod and place alone, so that two processes that ask for the same
/// pod at the same time get one instance; later ones are like no other, for a token that met a shortage meets it for ever.
pub(super) fn token(owner: &Owner, place: Option<usize>, alternative: usize, spent: u32) -> String {
    let unique = if spent == 0 { 0 } else { jiff::Timestamp::now().as_nanosecond() };
    let text = format!("{}/{}/{place:?}/{alternative}/{spent}/{unique}", owner.cluster, owner.uid);
    content_hash(text.as_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_follows_from_the_pod_and_later_ones_from_nothing() {
        let owner = |uid: &str| Owner {
            cluster: "c".to_owned(),
            node: "n".to_owned(),
            namespace: "d".to_owned(),
            name: "w".to_owned(),
            uid: uid.to_owned(),
        };
        assert_eq!(token(&owner("a"), Some(0), 0, 0), token(&owner("a"), Some(0), 0, 0));
        assert_ne!(token(&owner("a"), Some(0), 0, 0), token(&owner("a"), Some(1), 0, 0));
        assert_ne!(token(&owner("a"), Some(0), 0, 0), token(&owner("b"), Some(0), 0, 0));
        assert_ne!(token(&owner("a"), Some(0), 0, 1), token(&owner("a"), Some(0), 0, 1));
        assert_eq!(token(&owner("a"), None, 0, 0).len(), 64);
    }
}
