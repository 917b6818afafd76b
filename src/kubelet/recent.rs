//! Objects read a moment ago, for those who come together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::OnceCell;

use super::resolve::Unresolved;

/// How long an object is good for others after its read began: as long as pods of one rollout come in, and no longer than
/// anybody waits between changing an object and making a pod that is to have it.
const WINDOW: Duration = Duration::from_secs(1);

/// Node, namespace and name: what one node was let read, another has to ask for itself.
type Key = [String; 3];

/// The object with its name; `None` where there is none.
type Read<K> = Option<(String, K)>;

type Reads<K> = HashMap<Key, Arc<OnceCell<Read<K>>>>;

/// See the module. Nothing is kept beyond [`WINDOW`].
pub(super) struct Recent<K> {
    reads: Arc<Mutex<Reads<K>>>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { reads: Arc::default() }
    }
}

impl<K: Clone + Send + Sync + 'static> Recent<K> {
    /// What is read by `read`, or was a moment ago, or is being read for another. A failure is nobody else's.
    pub(super) async fn get(
        &self,
        key: Key,
        read: impl Future<Output = Result<Read<K>, Unresolved>>,
    ) -> Result<Read<K>, Unresolved> {
        let cell = self.cell(key);
        cell.get_or_try_init(|| read).await.cloned()
    }

    fn cell(&self, key: Key) -> Arc<OnceCell<Read<K>>> {
        let mut known = lock(&self.reads);
        if let Some(cell) = known.get(&key) {
            return Arc::clone(cell);
        }
        let cell = Arc::<OnceCell<_>>::default();
        known.insert(key.clone(), Arc::clone(&cell));
        drop(known);
        let reads = Arc::clone(&self.reads);
        tokio::spawn(async move {
            tokio::time::sleep(WINDOW).await;
            lock(&reads).remove(&key);
        });
        cell
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.reads).len()
    }
}

fn lock<K>(reads: &Mutex<Reads<K>>) -> MutexGuard<'_, Reads<K>> {
    reads.lock().unwrap_or_else(PoisonError::into_inner)
}
