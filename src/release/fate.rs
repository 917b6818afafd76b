//! What becomes of each pod when burstlet leaves.

use burstlet_engine::model::{Pod, Stage};

/// What is to be done with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing: it does not need burstlet.
    Stays,
    /// The gate comes off: nobody would make it anew.
    Ungate,
    /// It stands on no node; deleted, its controller makes a plain one.
    Delete,
    /// It stands on a virtual node; evicted within disruption budgets, its controller makes a plain one.
    Evict,
    /// It ends already.
    Ends,
}

/// A pod's controller, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    /// None: deleted, the pod is gone for good.
    None,
    /// It makes a new pod for the same node; that one has no instance and goes with its node.
    DaemonSet,
    /// It makes a new pod.
    Other,
}

/// What becomes of `pod`; `is_virtual` says whether its node is one of burstlet's.
///
/// The spec of a pod cannot be undone (toleration, affinity, the dedicated scheduler's name), so one that was decided
/// and not bound is replaced rather than released.
pub(super) fn fate(pod: &Pod, is_virtual: bool, controller: Controller) -> Fate {
    match (&pod.stage, controller) {
        (Stage::Finished, _) | (Stage::Bound { .. }, Controller::DaemonSet) => Fate::Stays,
        (Stage::Bound { .. }, _) if !is_virtual => Fate::Stays,
        _ if pod.deleting => Fate::Ends,
        (Stage::Bound { .. }, _) => Fate::Evict,
        (Stage::Gated, Controller::None) => Fate::Ungate,
        (Stage::Unbound { .. }, _) if pod.tier.is_none() => Fate::Stays,
        (Stage::Unbound { .. }, Controller::None) => Fate::Stays,
        (Stage::Gated | Stage::Unbound { .. }, _) => Fate::Delete,
    }
}

#[cfg(test)]
mod tests {
    use burstlet_engine::model::{Needs, ObjectName, Resources, Tier, Timestamp};

    use super::*;

    fn pod(stage: Stage, tier: Option<Tier>) -> Pod {
        Pod {
            uid: "u".into(),
            name: ObjectName::new("shop", "p"),
            revision: None,
            created: Timestamp::default(),
            decided: None,
            stage,
            deleting: false,
            tier,
            requests: Resources::default(),
            node_selector: Vec::new(),
            virtual_obstacle: None,
            needs: Needs::default(),
        }
    }

    fn bound() -> Stage {
        Stage::Bound { node: "n".into(), running: true, ready: true }
    }

    #[test]
    fn what_stands_on_a_real_node_or_was_never_ours_stays() {
        let waiting = Stage::Unbound { unschedulable: false };
        assert_eq!(fate(&pod(bound(), Some(Tier::Base)), false, Controller::Other), Fate::Stays);
        assert_eq!(fate(&pod(waiting, None), false, Controller::Other), Fate::Stays);
        assert_eq!(fate(&pod(Stage::Finished, Some(Tier::Burst("eci".into()))), true, Controller::Other), Fate::Stays);
        assert_eq!(fate(&pod(bound(), None), true, Controller::DaemonSet), Fate::Stays, "it goes with its node");
    }

    #[test]
    fn what_waits_for_us_is_made_anew_as_a_plain_pod() {
        let waiting = Stage::Unbound { unschedulable: true };
        assert_eq!(fate(&pod(Stage::Gated, None), false, Controller::Other), Fate::Delete);
        for tier in [Tier::Base, Tier::Burst("eci".into()), Tier::BaseShort("eci".into())] {
            assert_eq!(fate(&pod(waiting.clone(), Some(tier)), false, Controller::Other), Fate::Delete);
        }
    }

    #[test]
    fn a_pod_that_nobody_would_make_anew_is_not_deleted_for_its_gate() {
        assert_eq!(fate(&pod(Stage::Gated, None), false, Controller::None), Fate::Ungate);
    }

    #[test]
    fn burst_pods_are_evicted_once() {
        let mut burst = pod(bound(), Some(Tier::Burst("eci".into())));
        assert_eq!(fate(&burst, true, Controller::Other), Fate::Evict);
        burst.deleting = true;
        assert_eq!(fate(&burst, true, Controller::Other), Fate::Ends);
    }
}
