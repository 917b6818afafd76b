//! What goes out: what the placer shall do, and the reasons that people read.

use std::{collections::BTreeMap, sync::Arc};

pub use crate::placement::reason::{Reason, WhyReal};
use crate::{
    model::{NodeName, ObjectName, PodRef, PodUid, PoolName, RevisionId, Tier},
    placement::event::Controller,
    policy::{Fault, resolve::Note},
};

/// Something to do at the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take the gate off and send the pod to its tier, in one write. Answered with [`Placement::settle`].
    ///
    /// [`Placement::settle`]: super::Placement::settle
    Place {
        /// The pod.
        pod: PodRef,
        /// Where to.
        placing: Placing,
        /// What the pod gets beside.
        extras: Extras,
        /// Why.
        reason: Reason,
    },
    /// Let an unbound pod that fits no real node also use the pool. Answered with [`Placement::settle`].
    ///
    /// [`Placement::settle`]: super::Placement::settle
    MoveOn {
        /// The pod.
        pod: PodRef,
        /// The pool that may take it.
        pool: PoolName,
        /// The tier that it is one of from now on.
        tier: Tier,
        /// What the pod gets beside.
        extras: Extras,
        /// Why.
        reason: Reason,
    },
    /// Evict a pod from a virtual node, so that its successor fills the base. Answered with [`Placement::settle`].
    ///
    /// [`Placement::settle`]: super::Placement::settle
    Evict {
        /// The pod.
        pod: PodRef,
        /// Why.
        reason: Reason,
    },
    /// Read afresh how many replicas the revision shall have: its watch may be behind the pods', and a share of what
    /// was wanted before would be wrong. Answered with [`Event::Looked`](super::Event::Looked).
    Look {
        /// The revision.
        revision: RevisionId,
        /// Its namespace and name.
        name: ObjectName,
        /// What kind of controller it is.
        controller: Controller,
        /// How many pods had been seen when the look was asked for.
        arrivals: u64,
    },
    /// Tell on the pod why it waits.
    Explain {
        /// The pod.
        pod: PodRef,
        /// Why.
        reason: Reason,
    },
    /// Tell on the object that its annotation is left aside.
    Warn {
        /// The object that carries the annotation.
        object: Annotated,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Tell on the workload what is wrong with its policy.
    Note {
        /// The workload.
        object: Annotated,
        /// What is wrong.
        note: Note,
    },
}

impl Action {
    /// The pod it is about, if any.
    pub fn pod(&self) -> Option<&PodUid> {
        match self {
            Self::Place { pod, .. }
            | Self::MoveOn { pod, .. }
            | Self::Evict { pod, .. }
            | Self::Explain { pod, .. } => Some(&pod.uid),
            Self::Look { .. } | Self::Warn { .. } | Self::Note { .. } => None,
        }
    }
}

/// An object with a base annotation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Annotated {
    /// A namespace.
    Namespace(String),
    /// A namespaced object of this kind.
    Workload {
        /// Its kind, such as `Deployment`.
        kind: Arc<str>,
        /// Its namespace and name.
        name: ObjectName,
        /// Its UID.
        uid: String,
    },
}

/// What a pod gets beside its tier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// The tier's labels. The pod's own come first.
    pub labels: BTreeMap<String, String>,
    /// The tier's annotations. The pod's own come first.
    pub annotations: BTreeMap<String, String>,
    /// The order of its end at scale-in: lower goes first (`controller.kubernetes.io/pod-deletion-cost`). Later tiers
    /// are lower; base pods keep Kubernetes' 0. A cost that the pod has of its own comes first: whoever wrote it
    /// orders the scale-in. Only ReplicaSets heed it.
    pub deletion_cost: Option<i32>,
}

/// Where a gated pod goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placing {
    /// To real nodes, as a plain pod.
    Base,
    /// To the pool, on one of its open virtual nodes.
    Burst {
        /// The pool.
        pool: PoolName,
        /// The pool's open virtual nodes, by name.
        nodes: Vec<NodeName>,
    },
    /// To real nodes, beyond the base.
    Real {
        /// Which of the policy's tiers of that kind, from 0.
        number: u8,
        /// Labels that the nodes must have, beside those that the pod selects itself.
        node_selector: BTreeMap<String, String>,
    },
    /// Nobody governs it (any more): a plain pod without a tier.
    Release,
}

impl Placing {
    /// The tier that the pod's annotations will show.
    pub fn tier(&self) -> Option<Tier> {
        match self {
            Self::Base => Some(Tier::Base),
            Self::Burst { pool, .. } => Some(Tier::Burst(pool.clone())),
            Self::Real { number, .. } => Some(Tier::Real(*number)),
            Self::Release => None,
        }
    }
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The API server took it.
    Applied,
    /// The API server will not take it as it is: the pod is gone or has changed, or a budget forbids it.
    Refused,
}
