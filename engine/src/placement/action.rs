//! What goes out: what the placer shall do, and the reasons that people read.

use std::{fmt, time::Duration};

use crate::{
    model::{NodeName, ObjectName, PodRef, PodUid, PoolName, Tier},
    policy::Fault,
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
        /// Why.
        reason: Reason,
    },
    /// Let an unbound base pod also use the pool. Answered with [`Placement::settle`].
    ///
    /// [`Placement::settle`]: super::Placement::settle
    MoveOn {
        /// The pod.
        pod: PodRef,
        /// The pool that may take it.
        pool: PoolName,
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
}

impl Action {
    /// The pod it is about, if any.
    pub fn pod(&self) -> Option<&PodUid> {
        match self {
            Self::Place { pod, .. }
            | Self::MoveOn { pod, .. }
            | Self::Evict { pod, .. }
            | Self::Explain { pod, .. } => Some(&pod.uid),
            Self::Warn { .. } => None,
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
        kind: &'static str,
        /// Its namespace and name.
        name: ObjectName,
        /// Its UID.
        uid: String,
    },
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
    /// Nobody governs it (any more): a plain pod without a tier.
    Release,
}

impl Placing {
    /// The tier that the pod's annotations will show.
    pub fn tier(&self) -> Option<Tier> {
        match self {
            Self::Base => Some(Tier::Base),
            Self::Burst { pool, .. } => Some(Tier::Burst(pool.clone())),
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

/// Why a pod stands or waits where it does. Prints as one line for the pod's annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The base had room.
    Base {
        /// This pod's number within the base, from 1.
        number: u32,
        /// The base.
        of: u32,
    },
    /// The base was full, and the pool had room.
    Burst {
        /// The base.
        base: u32,
        /// The pool.
        pool: PoolName,
    },
    /// No real node took a base pod in time.
    BaseShort {
        /// How long it was tried.
        after: Duration,
        /// The pool that may take it too.
        pool: PoolName,
    },
    /// The base has room again, and a real node could take the pod's successor.
    MoveBack,
    /// The base is full and no pool can take the pod.
    Wait {
        /// The base.
        base: u32,
        /// What keeps it from every pool, a clause each.
        obstacle: Box<str>,
    },
    /// The pod carries the gate, but nothing governs it.
    Ungoverned,
}

impl Reason {
    /// The reason as one bounded word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Base { .. } => "base",
            Self::Burst { .. } => "burst",
            Self::BaseShort { .. } => "base-short",
            Self::MoveBack => "move-back",
            Self::Wait { .. } => "wait",
            Self::Ungoverned => "ungoverned",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base { number, of } => write!(f, "base: {number} of {of} on real nodes"),
            Self::Burst { base, pool } => write!(f, "burst: the base of {base} is full; pool {pool} takes it"),
            Self::BaseShort { after, pool } => {
                write!(f, "base-short: no real node took it within {}s; pool {pool} may", after.as_secs())
            }
            Self::MoveBack => f.write_str("move-back: the base has room on real nodes again"),
            Self::Wait { base, obstacle } => write!(f, "waiting: the base of {base} is full; {obstacle}"),
            Self::Ungoverned => f.write_str("released: nothing governs this pod"),
        }
    }
}
