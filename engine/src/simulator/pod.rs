//! A simulated pod.

use crate::{
    model::{NodeName, ObjectName, Pod as Seen, PodUid, PoolName, RevisionId, Stage, Tier, Timestamp},
    simulator::{
        outcome::PodStory,
        setup::Workload,
        victims::{Candidate, Rank},
    },
};

/// A pod, by its number in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PodId(pub(super) u32);

/// A node, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u32);

/// A pool, by its place in the setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PoolId(pub(super) usize);

/// A workload, by its place in the setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkloadIx(pub(super) usize);

/// Where a pod is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Real,
    Pool(PoolId),
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Gated,
    Queued { unschedulable: bool },
    Bound,
    Running,
    Ready,
    Gone,
}

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) workload: WorkloadIx,
    /// Its revision, by its number within the workload.
    pub(super) revision: usize,
    pub(super) uid: PodUid,
    pub(super) name: ObjectName,
    pub(super) step: Step,
    pub(super) tier: Option<Tier>,
    pub(super) node: Option<(NodeId, Place)>,
    pub(super) created: Timestamp,
    pub(super) decided: Option<Timestamp>,
    pub(super) bound: Option<Timestamp>,
    pub(super) running: Option<Timestamp>,
    pub(super) ready: Option<Timestamp>,
    pub(super) deleted: Option<Timestamp>,
    pub(super) gone: Option<Timestamp>,
    /// What its workload's CPU counter showed when it became Ready.
    pub(super) ready_cpu: u64,
    /// The highest base since it was created: its placement may have been decided under any of them.
    pub(super) highest_base: u32,
    /// Its place among its revision's active pods.
    pub(super) slot: usize,
    /// Its `pod-deletion-cost`, as placement has set it.
    pub(super) deletion_cost: i32,
    /// Decides between equals.
    pub(super) roll: u32,
    /// Calls to create its instance that were refused.
    pub(super) refusals: u32,
    /// Whether it went to real nodes though the base was full: outside of the policy's windows, or its budget spent.
    pub(super) is_lifted: bool,
    /// Whether the HPA sees it as it sees all that are Ready for long.
    pub(super) is_mature: bool,
    /// Whether an instance runs for it.
    pub(super) has_instance: bool,
}

impl Pod {
    /// Neither terminating nor gone.
    pub(super) fn is_live(&self) -> bool {
        self.deleted.is_none() && self.step != Step::Gone
    }

    pub(super) fn is_serving(&self) -> bool {
        self.step == Step::Ready && self.deleted.is_none()
    }

    /// Whether it counts against the base.
    pub(super) fn is_of_base(&self) -> bool {
        matches!(self.tier, Some(Tier::Base | Tier::BaseShort(_))) && !self.is_lifted
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.node.map(|(_, place)| place)
    }

    /// The pod as the engine sees it.
    pub(super) fn seen(&self, node: Option<&NodeName>, revision: &RevisionId, setup: &Workload) -> Seen {
        let bound = |running, ready| match node {
            Some(node) => Stage::Bound { node: node.clone(), running, ready },
            None => Stage::Finished,
        };
        let stage = match self.step {
            Step::Gated => Stage::Gated,
            Step::Queued { unschedulable } => Stage::Unbound { unschedulable },
            Step::Bound => bound(false, false),
            Step::Running => bound(true, false),
            Step::Ready => bound(true, true),
            Step::Gone => Stage::Finished,
        };
        Seen {
            uid: self.uid.clone(),
            name: self.name.clone(),
            revision: Some(revision.clone()),
            created: self.created,
            decided: self.decided,
            stage,
            deleting: self.deleted.is_some(),
            tier: self.tier.clone(),
            requests: setup.requests,
            node_selector: setup.node_selector.clone(),
            virtual_obstacle: setup.virtual_obstacle.clone(),
            needs: setup.needs,
        }
    }

    /// Its place in the order of deletion, among `crowd` pods of its workload on its node.
    pub(super) fn rank(&self, crowd: u32, now: Timestamp) -> Rank {
        let candidate = Candidate {
            is_assigned: self.node.is_some(),
            is_running: matches!(self.step, Step::Running | Step::Ready),
            ready_since: self.ready,
            cost: self.deletion_cost,
            crowd,
            created: self.created,
            roll: self.roll,
        };
        candidate.rank(now)
    }

    /// Its life, with times from `start`.
    pub(super) fn story(&self, start: Timestamp, pools: &[PoolName]) -> PodStory {
        let seconds = |at: Timestamp| seconds_from(start, at);
        let tier = self.place().map(|place| match place {
            Place::Real => "real".to_owned(),
            Place::Pool(PoolId(index)) => pools.get(index).map(ToString::to_string).unwrap_or_default(),
        });
        PodStory {
            created: seconds(self.created),
            tier,
            bound: self.bound.map(seconds),
            ready: self.ready.map(seconds),
            deleted: self.deleted.map(seconds),
            gone: self.gone.map(seconds),
        }
    }
}

/// Seconds from `start` to `at`, to the millisecond; negative before it.
#[allow(clippy::cast_precision_loss, reason = "53 bits hold milliseconds for longer than anything runs")]
pub(super) fn seconds_from(start: Timestamp, at: Timestamp) -> f64 {
    let (start, at) = (start.as_millis(), at.as_millis());
    let (millis, is_before) = if at >= start { (at - start, false) } else { (start - at, true) };
    let seconds = millis as f64 / 1e3;
    if is_before { -seconds } else { seconds }
}
