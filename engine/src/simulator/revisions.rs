//! A workload's revisions, and the pods of each that still count.

use crate::{
    model::{RevisionId, Timestamp},
    simulator::{pod::PodId, rollout::Size},
};

/// One ReplicaSet.
#[derive(Debug)]
pub(super) struct Revision {
    pub(super) id: RevisionId,
    /// Its `spec.replicas`.
    pub(super) desired: u32,
    /// Its pods that are neither terminating nor gone, nor meant to be.
    pub(super) active: Vec<PodId>,
    /// Those of them that are Ready.
    pub(super) available: u32,
    /// Its live pods on real nodes.
    pub(super) real: u32,
    /// Creations that are on their way.
    pub(super) creating: u32,
    /// Until when the controller works at its last sync.
    pub(super) busy_until: Timestamp,
    pub(super) is_planned: bool,
}

/// All revisions of a workload, the oldest first.
#[derive(Debug)]
pub(super) struct Revisions {
    pub(super) all: Vec<Revision>,
    /// What was wanted, and the surge, when the sizes were set.
    pub(super) sized_for: (u32, u32),
    pub(super) is_planned: bool,
}

impl Revisions {
    pub(super) fn new() -> Self {
        Self { all: Vec::new(), sized_for: (0, 0), is_planned: false }
    }

    pub(super) fn add(&mut self, id: RevisionId) {
        self.all.push(Revision {
            id,
            desired: 0,
            active: Vec::new(),
            available: 0,
            real: 0,
            creating: 0,
            busy_until: Timestamp::default(),
            is_planned: false,
        });
    }

    pub(super) fn id(&self, revision: usize) -> Option<&RevisionId> {
        self.all.get(revision).map(|revision| &revision.id)
    }

    /// Whether the pod counts, given its place.
    pub(super) fn has(&self, revision: usize, slot: usize, pod: PodId) -> bool {
        self.all.get(revision).is_some_and(|revision| revision.active.get(slot) == Some(&pod))
    }

    pub(super) fn get_mut(&mut self, revision: usize) -> Option<&mut Revision> {
        self.all.get_mut(revision)
    }

    pub(super) fn sizes(&self) -> Vec<Size> {
        let size = |revision: &Revision| Size { desired: revision.desired, available: revision.available };
        self.all.iter().map(size).collect()
    }

    /// Whether a rolling update is under way: an old revision has pods, or the new one not all of them.
    pub(super) fn is_rolling(&self) -> bool {
        self.all.split_last().is_some_and(|(_, old)| old.iter().any(|revision| revision.desired > 0))
    }

    /// Every pod that counts.
    pub(super) fn active(&self) -> impl Iterator<Item = PodId> {
        self.all.iter().flat_map(|revision| revision.active.iter().copied())
    }
}
