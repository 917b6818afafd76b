//! How long pods took from created to Ready, each told once, by the leader that saw it happen.

use std::{collections::HashMap, time::Duration};

use burstlet_engine::model::{Pod, PodUid, Stage, Tier, Timestamp};

use crate::api::names;

/// Pods that are awaited, and those that are not any more.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    pods: HashMap<PodUid, Seen>,
    list: u32,
}

#[derive(Debug)]
struct Seen {
    is_awaited: bool,
    /// The list or watch that last showed it.
    list: u32,
}

impl Readiness {
    /// Takes in a pod; answers its tier and its time where it is Ready for the first time.
    ///
    /// One that ran already when it was first seen is not told of: it may have been Ready before.
    pub(super) fn see(&mut self, pod: &Pod, now: Timestamp) -> Option<(&'static str, Duration)> {
        if pod.tier.is_none() && pod.stage != Stage::Gated {
            return None;
        }
        let (runs, is_ready) = match pod.stage {
            Stage::Bound { running, ready, .. } => (running, ready),
            Stage::Finished => (true, false),
            Stage::Gated | Stage::Unbound { .. } => (false, false),
        };
        let list = self.list;
        let seen = self.pods.entry(pod.uid.clone()).or_insert(Seen { is_awaited: !runs, list });
        seen.list = list;
        if !is_ready || !seen.is_awaited {
            return None;
        }
        seen.is_awaited = false;
        Some((tier(pod.tier.as_ref()?), now.since(pod.created)))
    }

    /// The pod is gone.
    pub(super) fn forget(&mut self, uid: &PodUid) {
        self.pods.remove(uid);
    }

    /// A list of all pods begins.
    pub(super) fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// It ends: what it lacks is gone.
    pub(super) fn finish(&mut self) {
        let list = self.list;
        self.pods.retain(|_, seen| seen.list == list);
    }
}

/// As the gauge of pods by tier has it.
fn tier(tier: &Tier) -> &'static str {
    match tier {
        Tier::Base => names::TIER_BASE,
        Tier::BaseShort(_) => names::TIER_BASE_SHORT,
        Tier::Burst(_) => names::TIER_BURST,
        Tier::Real(_) => "real",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, stage: Stage) -> Pod {
        let tier = (stage != Stage::Gated).then(|| Tier::Burst("eci".into()));
        Pod {
            uid: uid.into(),
            name: burstlet_engine::model::ObjectName::new("shop", uid),
            revision: None,
            created: Timestamp::from_millis(1_000),
            decided: None,
            stage,
            deleting: false,
            tier,
            requests: burstlet_engine::model::Resources::default(),
            node_selector: Vec::new(),
            virtual_obstacle: None,
            needs: burstlet_engine::model::Needs::default(),
        }
    }

    fn bound(running: bool, ready: bool) -> Stage {
        Stage::Bound { node: "n".into(), running, ready }
    }

    #[test]
    fn a_pod_is_told_of_once_and_never_one_that_ran_before_this_leader_looked() {
        let mut readiness = Readiness::default();
        let at = Timestamp::from_millis;
        assert_eq!(readiness.see(&pod("a", Stage::Gated), at(1_100)), None);
        assert_eq!(readiness.see(&pod("a", bound(true, false)), at(3_000)), None);
        assert_eq!(
            readiness.see(&pod("a", bound(true, true)), at(4_500)),
            Some(("burst", Duration::from_millis(3_500)))
        );
        assert_eq!(readiness.see(&pod("a", bound(true, false)), at(9_000)), None);
        assert_eq!(readiness.see(&pod("a", bound(true, true)), at(9_500)), None, "it was Ready before");
        assert_eq!(readiness.see(&pod("b", bound(true, false)), at(5_000)), None);
        assert_eq!(readiness.see(&pod("b", bound(true, true)), at(6_000)), None, "it ran before");
        let plain = Pod { tier: None, ..pod("c", bound(false, true)) };
        assert_eq!(readiness.see(&plain, at(2_000)), None, "nobody governs it");
        readiness.begin();
        assert_eq!(readiness.see(&pod("b", bound(true, true)), at(7_000)), None);
        readiness.finish();
        assert_eq!(readiness.pods.len(), 1, "a list without a pod forgets it");
        readiness.forget(&"b".into());
        assert!(readiness.pods.is_empty());
    }
}
