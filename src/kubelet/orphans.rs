//! Instances that stand although their pod does not: named once, so that none is billed unseen.

use std::{collections::BTreeMap, time::Duration};

use super::sync::Moment;
use crate::provider::Owner;

/// How long one stands before it is named: ending an instance takes a moment, and a list may be late.
const LONG: Duration = Duration::from_secs(45);

/// Those that stand, by the UID of their pod: since when, and whether they were named.
#[derive(Debug, Default)]
pub(crate) struct Orphans(BTreeMap<String, (Moment, bool)>);

impl Orphans {
    /// Takes in all that stand now; answers those that have for long and were not named yet.
    pub(crate) fn look(&mut self, now: Moment, standing: Vec<Owner>) -> Vec<Owner> {
        self.0.retain(|uid, _| standing.iter().any(|owner| owner.uid == *uid));
        let is_due = |owner: &Owner| {
            let (since, is_named) = self.0.entry(owner.uid.clone()).or_insert((now, false));
            let is_due = !*is_named && now.saturating_sub(*since) >= LONG;
            *is_named |= is_due;
            is_due
        };
        standing.into_iter().filter(is_due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(uids: &[&str]) -> Vec<Owner> {
        let owner = |uid: &&str| Owner {
            cluster: "lab".to_owned(),
            node: "n".to_owned(),
            namespace: "shop".to_owned(),
            name: format!("pod-{uid}"),
            uid: (*uid).to_owned(),
        };
        uids.iter().map(owner).collect()
    }

    #[test]
    fn an_orphan_is_named_once_and_only_one_that_stays() {
        let mut orphans = Orphans::default();
        let mut look = |seconds, uids: &[&str]| {
            let named = orphans.look(Duration::from_secs(seconds), owners(uids));
            named.into_iter().map(|owner| owner.uid).collect::<Vec<_>>()
        };
        assert_eq!(look(0, &["a", "b"]), [""; 0]);
        assert_eq!(look(30, &["a", "c"]), [""; 0], "b ended soon");
        assert_eq!(look(60, &["a", "b", "c"]), ["a"]);
        assert_eq!(look(90, &["a", "b", "c"]), ["c"], "a was named; b is another one's time");
        assert_eq!(look(120, &["a", "b", "c"]), ["b"]);
        assert_eq!(look(150, &[]), [""; 0]);
        assert_eq!(look(180, &["a"]), [""; 0], "it went and came again");
    }
}
