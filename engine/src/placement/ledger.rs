//! The ledger of one revision: which of its pods count where.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{ObjectName, Pod, PodUid, PoolName, Stage, Tier, Timestamp},
    placement::{cap::Sum, entry::Pending, nodes::Nodes, pools::Occupancy},
    policy::Count,
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
    /// Beyond the base, on virtual nodes.
    Burst,
    /// Beyond the base, on real nodes, as a later tier has it.
    Beyond,
}

/// A place that has a cap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Base,
    Pool(PoolName),
    Real(u8),
}

/// What a pod counts against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    is_base: bool,
    tier: Option<Slot>,
    class: Class,
}

/// What a policy may tell apart of the pods in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    /// burstlet did not place it.
    is_previous: bool,
    is_terminating: bool,
}

/// Where a pod stands: in its revision's ledger, and in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) role: Role,
    /// `None` for what is undecided or finished.
    share: Option<Share>,
    pub(super) occupancy: Option<Occupancy>,
    /// Of the base, and on a node that is known to be real.
    pub(super) is_home: bool,
}

impl Standing {
    /// Nothing known yet.
    pub(super) const NOWHERE: Self = Self { role: Role::Out, share: None, occupancy: None, is_home: false };

    /// A tier that was decided and sent counts before the watch shows it.
    pub(super) fn of(pod: &Pod, pending: Option<&Pending>, nodes: &Nodes) -> Self {
        let (is_gated, tier) = match pending {
            Some(Pending::Placed(_)) if planted!(PendingUncounted) => (false, Some(&Tier::Real(u8::MAX))),
            Some(Pending::Placed(tier)) => (false, tier.as_ref()),
            Some(Pending::MovedOn(tier)) => (false, Some(tier)),
            Some(Pending::Evicted) | None => (pod.stage == Stage::Gated, pod.tier.as_ref()),
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
        let settled = match tier {
            _ if is_gated => Role::Waiting,
            Some(Tier::Burst(_)) => Role::Burst,
            Some(Tier::Real(_)) => Role::Beyond,
            // A plain pod of a governed revision (webhook down, or older than the annotation) counts where it stands.
            None if node_pool.is_some() => Role::Burst,
            Some(Tier::Base | Tier::BaseShort(_)) | None => Role::Base,
        };
        let occupancy = pool.map(|pool| Occupancy {
            pool: pool.clone(),
            node: pod.node().cloned(),
            starting: pod.is_live() && !running,
            requests: pod.requests,
            imagined: false,
        });
        let role = if pod.is_live() { settled } else { Role::Out };
        let is_home = role == Role::Base && pod.node().is_some_and(|node| nodes.is_real(node));
        let share = (settled != Role::Waiting && pod.stage != Stage::Finished).then(|| Share {
            is_base: settled == Role::Base,
            tier: tier_slot(pod, tier, node_pool, is_home),
            class: Class { is_previous: tier.is_none(), is_terminating: pod.deleting },
        });
        Self { role, share, occupancy, is_home }
    }

    /// Where a pod that is only observed would stand: undecided until its verdict.
    pub(super) fn imagined(pod: &Pod, verdict: Option<&Tier>) -> Self {
        let share = |is_base, tier| {
            Some(Share { is_base, tier, class: Class { is_previous: false, is_terminating: pod.deleting } })
        };
        let (role, share, pool) = match verdict {
            None => (Role::Waiting, None, None),
            Some(Tier::Base) => (Role::Base, share(true, None), None),
            Some(Tier::Real(number)) => (Role::Beyond, share(false, Some(Slot::Real(*number))), None),
            Some(Tier::Burst(pool) | Tier::BaseShort(pool)) => {
                (Role::Burst, share(false, Some(Slot::Pool(pool.clone()))), Some(pool))
            }
        };
        let occupancy = pool.filter(|_| pod.is_live()).map(|pool| Occupancy {
            pool: pool.clone(),
            node: None,
            starting: false,
            requests: pod.requests,
            imagined: true,
        });
        let role = if pod.is_live() { role } else { Role::Out };
        Self { role, share: share.filter(|_| pod.stage != Stage::Finished), occupancy, is_home: false }
    }

    /// Whether the ledger has it in any way.
    pub(super) fn counts(&self) -> bool {
        self.role != Role::Out || self.share.is_some()
    }

    /// Of the base, but on a virtual node.
    pub(super) fn is_strayed(&self) -> bool {
        self.role == Role::Base && self.occupancy.is_some()
    }
}

/// The tier whose cap a pod counts against. One of the base that may use a pool counts there, too, unless it came home.
fn tier_slot(pod: &Pod, tier: Option<&Tier>, node_pool: Option<&PoolName>, is_home: bool) -> Option<Slot> {
    match (node_pool, tier) {
        (Some(pool), _) | (None, Some(Tier::Burst(pool))) => Some(Slot::Pool(pool.clone())),
        (None, Some(Tier::BaseShort(pool))) if !is_home && !pod.deleting => Some(Slot::Pool(pool.clone())),
        (None, Some(Tier::Real(number))) => Some(Slot::Real(*number)),
        (None, Some(Tier::Base | Tier::BaseShort(_)) | None) => None,
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
    pub(super) beyond: BTreeSet<PodUid>,
    sums: BTreeMap<(Slot, Class), Sum>,
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
            Role::Beyond => drop(self.beyond.insert(pod.uid.clone())),
        }
        for key in keys(standing) {
            *self.sums.entry(key).or_default() += Sum::one(pod.requests);
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
            Role::Beyond => drop(self.beyond.remove(&pod.uid)),
        }
        for key in keys(standing) {
            if let Some(sum) = self.sums.get_mut(&key) {
                *sum -= Sum::one(pod.requests);
                if sum.is_empty() {
                    self.sums.remove(&key);
                }
            }
        }
    }

    /// What counts against the cap of this place.
    pub(super) fn used(&self, slot: &Slot, count: Count) -> Sum {
        let is_meant = |class: Class| {
            let ignores_terminating =
                (count.ignore_terminating || planted!(TerminatingIgnored)) && !planted!(TerminatingCounts);
            let ignores_previous = count.ignore_previous && !planted!(PreviousCounts);
            !(class.is_previous && ignores_previous || class.is_terminating && ignores_terminating)
        };
        let classes = [false, true]
            .into_iter()
            .flat_map(|is_previous| [false, true].map(|is_terminating| Class { is_previous, is_terminating }));
        let meant = classes.filter(|class| is_meant(*class));
        meant.filter_map(|class| self.sums.get(&(slot.clone(), class))).copied().sum()
    }

    /// Live pods, waiting ones too.
    pub(super) fn live(&self) -> usize {
        self.waiting.len() + self.base.len() + self.burst.len() + self.beyond.len()
    }

    /// Whether no pod of it is left, terminating ones included.
    pub(super) fn is_empty(&self) -> bool {
        self.live() == 0 && self.sums.is_empty()
    }

    /// Live pods, by UID.
    pub(super) fn pods(&self) -> impl Iterator<Item = &PodUid> {
        let waiting = self.waiting.iter().map(|(_, _, uid)| uid);
        waiting.chain(&self.base).chain(&self.burst).chain(&self.beyond)
    }
}

fn keys(standing: &Standing) -> impl Iterator<Item = (Slot, Class)> {
    let share = standing.share.as_ref();
    let base = share.filter(|share| share.is_base).map(|share| (Slot::Base, share.class));
    let tier = share.and_then(|share| share.tier.clone().map(|slot| (slot, share.class)));
    base.into_iter().chain(tier)
}

fn turn(pod: &Pod) -> Turn {
    (pod.created, pod.name.clone(), pod.uid.clone())
}
