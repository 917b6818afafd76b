//! A pod, with just what decisions need.

use crate::model::{Needs, NodeName, ObjectName, PodUid, PoolName, Resources, RevisionId, Timestamp};

/// Which step of its policy a pod was placed in, as its annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tier {
    /// One of the base: real nodes only.
    Base,
    /// One of the base that no real node took in time: real nodes, or the pool's.
    BaseShort(PoolName),
    /// Beyond the base: the pool's virtual nodes only.
    Burst(PoolName),
    /// Beyond the base, on real nodes, which the policy names again: its first tier of that kind is 0.
    Real(u8),
}

/// How far a pod has come, as the API server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Behind burstlet's scheduling gate.
    Gated,
    /// Free of the gate, on no node yet.
    Unbound {
        /// Whether kube-scheduler has said that no node fits.
        unschedulable: bool,
    },
    /// On a node.
    Bound {
        /// The node.
        node: NodeName,
        /// Whether its phase is Running.
        running: bool,
        /// Whether its Ready condition is true.
        ready: bool,
    },
    /// Succeeded or failed: its containers run no more.
    Finished,
}

/// A pod as the engine sees it. Ungoverned pods matter too: they fill real nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its UID.
    pub uid: PodUid,
    /// Its namespace and name.
    pub name: ObjectName,
    /// The ReplicaSet that controls it.
    pub revision: Option<RevisionId>,
    /// When it was created.
    pub created: Timestamp,
    /// When placement decided for it, as its annotation says.
    pub decided: Option<Timestamp>,
    /// How far it has come.
    pub stage: Stage,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// The tier it was placed in, if any.
    pub tier: Option<Tier>,
    /// What it requests.
    pub requests: Resources,
    /// Labels that its node must have (`nodeSelector`).
    pub node_selector: Vec<(Box<str>, Box<str>)>,
    /// Why no virtual node could ever take it, if so, for people.
    pub virtual_obstacle: Option<Box<str>>,
    /// What it asks of a virtual node's provider, which not every provider has.
    pub needs: Needs,
}

impl Pod {
    /// Whether it still counts: neither terminating nor finished.
    pub fn is_live(&self) -> bool {
        !self.deleting && self.stage != Stage::Finished
    }

    /// The node it occupies, also while terminating, until it has finished.
    pub fn node(&self) -> Option<&NodeName> {
        match &self.stage {
            Stage::Bound { node, .. } => Some(node),
            Stage::Gated | Stage::Unbound { .. } | Stage::Finished => None,
        }
    }

    /// The number in its name, as a StatefulSet gives it: 2 of `db-2`.
    pub fn ordinal(&self) -> Option<u32> {
        self.name.name.rsplit_once('-')?.1.parse().ok()
    }

    /// Its UID and name.
    pub fn reference(&self) -> PodRef {
        PodRef { uid: self.uid.clone(), name: self.name.clone() }
    }
}

/// Which pod: the name reaches it, the UID proves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Its UID.
    pub uid: PodUid,
    /// Its namespace and name.
    pub name: ObjectName,
}
