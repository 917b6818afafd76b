//! The ledger of one revision: which of its pods count where.

use std::collections::BTreeSet;

use crate::{
    model::{ObjectName, Pod, PodUid, Stage, Tier, Timestamp},
    placement::{entry::Pending, nodes::Nodes, pools::Occupancy},
};

/// What a pod counts as within its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Terminating, finished or gone: it counts no more.
    Out,
    /// Behind the gate, undecided.
    Waiting,
    /// One of the base: placed on real nodes, or meant for them.
    Base,
    /// Beyond the base.
    Burst,
}

/// Where a pod stands: in its revision's ledger, and in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) role: Role,
    pub(super) occupancy: Option<Occupancy>,
    /// Of the base, and on a node that is known to be real.
    pub(super) is_home: bool,
}

impl Standing {
    /// A tier that was decided and sent counts before the watch shows it.
    pub(super) fn of(pod: &Pod, pending: Option<&Pending>, nodes: &Nodes) -> Self {
        let (is_gated, tier) = match pending {
            Some(Pending::Placed(tier)) => (false, tier.as_ref()),
            _ => (pod.stage == Stage::Gated, pod.tier.as_ref()),
        };
        let (node_pool, running) = match &pod.stage {
            Stage::Bound { node, running, .. } => (nodes.pool_of(node), *running),
            Stage::Gated | Stage::Unbound { .. } | Stage::Finished => (None, false),
        };
        let pool = match (&pod.stage, tier) {
            (Stage::Finished, _) => None,
            (Stage::Bound { .. }, _) if node_pool.is_some() => node_pool,
            (_, Some(Tier::Burst(pool))) if !is_gated => Some(pool),
            _ => None,
        };
        let role = match tier {
            _ if !pod.is_live() => Role::Out,
            _ if is_gated => Role::Waiting,
            Some(Tier::Burst(_)) => Role::Burst,
            // A plain pod of a governed revision (webhook down, or older than the annotation) counts where it stands.
            None if node_pool.is_some() => Role::Burst,
            Some(Tier::Base | Tier::BaseShort(_)) | None => Role::Base,
        };
        let occupancy = pool.map(|pool| Occupancy {
            pool: pool.clone(),
            node: pod.node().cloned(),
            starting: pod.is_live() && !running,
        });
        let is_home = role == Role::Base && pod.node().is_some_and(|node| nodes.is_real(node));
        Self { role, occupancy, is_home }
    }

    /// Of the base, but on a virtual node.
    pub(super) fn is_strayed(&self) -> bool {
        self.role == Role::Base && self.occupancy.is_some()
    }
}

/// A place in the queue of gated pods: oldest first, then by name, so that the order is the same after a restart.
pub(super) type Turn = (Timestamp, ObjectName, PodUid);

/// The pods of one revision by what they count as.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) waiting: BTreeSet<Turn>,
    pub(super) base: BTreeSet<PodUid>,
    /// Those of the base that stand on virtual nodes.
    pub(super) strayed: BTreeSet<PodUid>,
    pub(super) burst: BTreeSet<PodUid>,
}

impl Ledger {
    pub(super) fn enter(&mut self, pod: &Pod, standing: &Standing) {
        match standing.role {
            Role::Out => {}
            Role::Waiting => drop(self.waiting.insert(turn(pod))),
            Role::Base => {
                self.base.insert(pod.uid.clone());
                if standing.is_strayed() {
                    self.strayed.insert(pod.uid.clone());
                }
            }
            Role::Burst => drop(self.burst.insert(pod.uid.clone())),
        }
    }

    pub(super) fn leave(&mut self, pod: &Pod, standing: &Standing) {
        match standing.role {
            Role::Out => {}
            Role::Waiting => drop(self.waiting.remove(&turn(pod))),
            Role::Base => {
                self.base.remove(&pod.uid);
                self.strayed.remove(&pod.uid);
            }
            Role::Burst => drop(self.burst.remove(&pod.uid)),
        }
    }

    /// Live pods, waiting ones too.
    pub(super) fn live(&self) -> usize {
        self.waiting.len() + self.base.len() + self.burst.len()
    }
}

fn turn(pod: &Pod) -> Turn {
    (pod.created, pod.name.clone(), pod.uid.clone())
}
