//! Bases on objects that are not governed for their kind's sake: told once, and listed while they last.

use std::collections::BTreeMap;

use burstlet_engine::model::ObjectName;
use kube::api::ObjectMeta;

use crate::{
    api::{misplaced::Misplaced, names, pod::object_name},
    watch::{Seen, Sighting},
};

/// The objects by kind and UID. Only those at fault are held.
#[derive(Debug, Default)]
pub(super) struct MisplacedBases {
    objects: BTreeMap<(&'static str, String), ObjectName>,
    /// Those that a list under way has not named yet.
    unlisted: BTreeMap<(&'static str, String), ObjectName>,
}

/// An object whose base has no effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MisplacedBase {
    pub(super) kind: &'static str,
    pub(super) uid: String,
    pub(super) name: ObjectName,
}

impl MisplacedBases {
    /// Takes a sighting in, and answers an object that has just come to carry a base.
    pub(super) fn see(&mut self, sighting: Sighting) -> Option<MisplacedBase> {
        let Sighting { kind, seen } = sighting;
        match seen {
            Seen::Begin => self.begin(kind),
            Seen::Finish => self.finish(kind),
            Seen::Gone(meta) => self.set(kind, meta.uid.as_deref()?, None),
            Seen::Set(meta) => {
                let name = has_base(&meta).then(|| object_name(&meta));
                self.set(kind, meta.uid.as_deref()?, name)
            }
        }
    }

    /// A list of this kind begins: what it does not name is gone.
    pub(super) fn begin(&mut self, kind: &str) -> Option<MisplacedBase> {
        let of_kind = self.objects.extract_if(.., |(other, _), _| *other == kind);
        self.unlisted.extend(of_kind);
        None
    }

    /// The list is complete.
    pub(super) fn finish(&mut self, kind: &str) -> Option<MisplacedBase> {
        self.unlisted.retain(|(other, _), _| *other != kind);
        None
    }

    /// The object carries a base, or (with `None`) does not. Answers it where it has just come to.
    pub(super) fn set(&mut self, kind: &'static str, uid: &str, name: Option<ObjectName>) -> Option<MisplacedBase> {
        // Most objects carry none.
        if name.is_none() && self.objects.is_empty() && self.unlisted.is_empty() {
            return None;
        }
        let key = (kind, uid.to_owned());
        let is_known = self.unlisted.remove(&key).is_some() | self.objects.remove(&key).is_some();
        let name = name?;
        self.objects.insert(key, name.clone());
        (!is_known).then(|| MisplacedBase { kind, uid: uid.to_owned(), name })
    }

    /// All of them, with their faults.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &ObjectName, Misplaced)> {
        let known = self.objects.iter().chain(&self.unlisted);
        known.map(|((kind, _), name)| (*kind, name, Misplaced::of(kind)))
    }
}

fn has_base(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().is_some_and(|all| all.contains_key(names::BASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bases: &MisplacedBases) -> Vec<(&'static str, String)> {
        bases.all().map(|(kind, name, _)| (kind, name.to_string())).collect()
    }

    fn set(bases: &mut MisplacedBases, uid: &str, base: bool) -> bool {
        bases.set("Pod", uid, base.then(|| ObjectName::new("shop", uid))).is_some()
    }

    #[test]
    fn an_object_is_told_of_once_and_listed_until_it_is_mended_or_gone() {
        let mut bases = MisplacedBases::default();
        assert!(set(&mut bases, "a", true));
        assert!(!set(&mut bases, "a", true), "told before");
        assert!(!set(&mut bases, "b", false));
        assert_eq!(names(&bases), [("Pod", "shop/a".to_owned())]);
        set(&mut bases, "a", false);
        assert_eq!(names(&bases), []);
        assert!(set(&mut bases, "a", true), "written again");
    }

    #[test]
    fn a_new_list_tells_nothing_anew_and_sweeps_what_it_does_not_name() {
        let mut bases = MisplacedBases::default();
        set(&mut bases, "gone", true);
        set(&mut bases, "kept", true);
        bases.begin("Pod");
        assert_eq!(names(&bases).len(), 2, "shown during the list");
        assert!(!set(&mut bases, "kept", true));
        bases.finish("Job");
        bases.finish("Pod");
        assert_eq!(names(&bases), [("Pod", "shop/kept".to_owned())]);
    }
}
