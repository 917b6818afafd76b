//! What a watch has shown, kept current across lists by mark and sweep.

use std::{borrow::Borrow, collections::BTreeMap};

/// Objects by key. A new list is taken in beside the old contents, without a second copy of them: every object that
/// it names is marked, and at its end the unmarked ones are swept.
#[derive(Debug)]
pub(super) struct Marked<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    list: u64,
    progress: Progress,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    seen_in: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Unlisted,
    Listing,
    Complete,
}

impl<K: Ord + Clone, V> Marked<K, V> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), list: 0, progress: Progress::Unlisted }
    }

    /// Whether the contents are a whole list and what followed it.
    pub(super) fn is_complete(&self) -> bool {
        self.progress == Progress::Complete
    }

    pub(super) fn begin(&mut self) {
        self.list += 1;
        self.progress = Progress::Listing;
    }

    /// Ends a list and answers the keys that it did not name; the caller removes them.
    pub(super) fn finish(&mut self) -> Vec<K> {
        self.progress = Progress::Complete;
        self.entries.iter().filter(|(_, entry)| entry.seen_in != self.list).map(|(key, _)| key.clone()).collect()
    }

    /// Sets the value and answers the one before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.entries.insert(key, Entry { value, seen_in: self.list }).map(|entry| entry.value)
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key).map(|entry| entry.value)
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

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
}
