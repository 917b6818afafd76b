//! What a watch has shown, kept current across lists by mark and sweep.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher, Hash},
};

/// Values by key, in no order that means anything: whoever tells of several sorts them.
///
/// Hashed, by no seed of chance: among 30,000 pods, comparing keys on the way down a tree took a third of a decision's
/// time.
pub(super) type ByKey<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Objects by key. A new list is taken in beside the old contents, without a second copy of them: every object that
/// it names is marked, and at its end the unmarked ones are swept.
#[derive(Debug)]
pub(super) struct Marked<K, V> {
    entries: ByKey<K, Entry<V>>,
    list: u64,
    progress: Progress,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    seen_in: u64,
}

/// In which list an object was seen last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Unlisted,
    Listing,
    Complete,
}

impl<K: Ord + Hash + Clone, V> Marked<K, V> {
    pub(super) fn new() -> Self {
        Self { entries: ByKey::default(), list: 0, progress: Progress::Unlisted }
    }

    /// Whether the contents are a whole list and what followed it.
    pub(super) fn is_complete(&self) -> bool {
        self.progress == Progress::Complete
    }

    pub(super) fn begin(&mut self) {
        self.list += 1;
        self.progress = Progress::Listing;
    }

    /// Ends a list and answers the keys that it did not name, in their order; the caller removes them.
    pub(super) fn finish(&mut self) -> Vec<K> {
        self.progress = Progress::Complete;
        let unnamed = self.entries.iter().filter(|(_, entry)| entry.seen_in != self.list);
        let mut unnamed: Vec<_> = unnamed.map(|(key, _)| key.clone()).collect();
        unnamed.sort_unstable();
        unnamed
    }

    /// Sets the value and answers the one before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.entries.insert(key, Entry { value, seen_in: self.list }).map(|entry| entry.value)
    }

    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// Takes a value out, to put it back changed.
    pub(super) fn take<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<(V, Mark)>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key).map(|entry| (entry.value, Mark(entry.seen_in)))
    }

    /// Puts a value back. The list under way has not named it by that: `mark` is what it was taken with.
    pub(super) fn put_back(&mut self, key: K, value: V, mark: Mark) {
        self.entries.insert(key, Entry { value, seen_in: mark.0 });
    }

    /// The mark of what the watch shows now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.list)
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(super) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// In no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_list_sweeps_what_it_does_not_name() {
        let mut marked = Marked::new();
        marked.begin();
        marked.insert("kept", 1);
        marked.insert("gone", 2);
        assert!(!marked.is_complete());
        assert!(marked.finish().is_empty());
        assert!(marked.is_complete());

        marked.begin();
        marked.insert("kept", 3);
        assert_eq!(marked.finish(), ["gone"]);
        assert_eq!(marked.get("kept"), Some(&3));
    }

    #[test]
    fn what_is_put_back_during_a_list_is_not_named_by_it() {
        let mut marked = Marked::new();
        marked.begin();
        marked.insert("gone", 1);
        marked.finish();

        marked.begin();
        let (value, mark) = marked.take("gone").unwrap();
        marked.put_back("gone", value + 1, mark);
        assert_eq!(marked.get("gone"), Some(&2));
        assert_eq!(marked.finish(), ["gone"]);
    }
}
