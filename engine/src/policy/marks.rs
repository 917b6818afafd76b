//! What people write on objects.

use std::collections::BTreeMap;

use crate::policy::{annotation, opt_in};

/// Labels and annotations of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Marks {
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// These annotations, and where they say nothing, those of `other`.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (key, value) in &other.annotations {
            self.annotations.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// Keeps the annotations that resolution reads: others, such as what `kubectl apply` keeps, can be long.
    #[must_use]
    pub fn slim(mut self) -> Self {
        let is_read = |key: &str| annotation::ALL.contains(&key) || opt_in::TABLE.iter().any(|mark| mark.key == key);
        self.annotations.retain(|key, _| is_read(key));
        self
    }
}
