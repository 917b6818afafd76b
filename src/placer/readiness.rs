//! How long pods took from created to Ready, each told once, by the leader that saw it happen.

use std::time::Duration;

use burstlet_engine::model::{Pod, PodUid, Stage, Tier, Timestamp};

use super::by_pod::ByPod;
use crate::api::names;

/// Whether each pod is still awaited.
#[derive(Debug, Default)]
pub(super) struct Readiness(ByPod<bool>);

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
        let is_awaited = self.0.seen(&pod.uid, || !runs);
        if !is_ready || !*is_awaited {
            return None;
        }
        *is_awaited = false;
        Some((tier(pod.tier.as_ref()?), now.since(pod.created)))
    }

    /// The pod is gone.
    pub(super) fn forget(&mut self, uid: &PodUid) {
        self.0.forget(uid);
    }

    /// A list of all pods begins.
    pub(super) fn begin(&mut self) {
        self.0.begin();
    }

    /// It ends: what it lacks is gone.
    pub(super) fn finish(&mut self) {
        self.0.finish();
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
    }
}
