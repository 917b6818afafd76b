//! The pods decided on lately, so that bind knows a pod's tier without asking the API server.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use super::standing::Standing;

/// Pods a generation; the memory holds two.
const GENERATION: usize = 8_192;

/// What filter read of the last pods, by UID. Only a help: bind asks the API server about a pod that is not here, as
/// after a restart or where another replica answered filter.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    current: HashMap<Box<str>, Standing>,
    previous: HashMap<Box<str>, Standing>,
}

impl Recent {
    pub(super) fn remember(&self, uid: &str, standing: Standing) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.current.len() >= GENERATION {
            generations.previous = mem::take(&mut generations.current);
        }
        generations.current.insert(uid.into(), standing);
    }

    pub(super) fn get(&self, uid: &str) -> Option<Standing> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.current.get(uid).or_else(|| generations.previous.get(uid)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::standing::tests::standing, *};

    #[test]
    fn the_latest_standing_counts_and_old_pods_are_forgotten() {
        let recent = Recent::default();
        recent.remember("u", standing(Some("base"), None));
        recent.remember("u", standing(Some("base-short"), None));
        assert_eq!(recent.get("u"), Some(standing(Some("base-short"), None)));
        (0..GENERATION).for_each(|pod| recent.remember(&pod.to_string(), standing(None, None)));
        assert!(recent.get("u").is_some());
        (0..GENERATION).for_each(|pod| recent.remember(&format!("x{pod}"), standing(None, None)));
        assert_eq!(recent.get("u"), None);
    }
}
