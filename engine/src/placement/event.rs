//! What comes in: the watches, in the order in which the API server told them.

use crate::model::{Node, NodeName, ObjectName, Pod, PodUid, PoolName, RevisionId, WorkloadId};

/// A namespace and the default it sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its `burstlet.dev/base` annotation, as written.
    pub base: Option<String>,
}

/// What scales revisions, such as a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its UID.
    pub id: WorkloadId,
    /// Its kind, such as `Deployment`.
    pub kind: &'static str,
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its `burstlet.dev/base` annotation, as written.
    pub base: Option<String>,
}

/// A ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its UID.
    pub id: RevisionId,
    /// Its namespace and name.
    pub name: ObjectName,
    /// The Deployment that controls it.
    pub workload: Option<WorkloadId>,
    /// Its own `burstlet.dev/base` annotation: counts where no Deployment is known.
    pub base: Option<String>,
    /// How many replicas it shall have.
    pub wanted: u32,
}

/// The kinds of object that are listed and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Namespaces.
    Namespace,
    /// Deployments.
    Workload,
    /// ReplicaSets.
    Revision,
    /// Nodes.
    Node,
    /// Pods.
    Pod,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A list of this kind begins; its objects follow.
    Begin(Kind),
    /// The list is complete: what it did not name is gone.
    Finish(Kind),
    /// New or changed.
    Namespace(Namespace),
    /// Deleted.
    NamespaceGone(String),
    /// New or changed.
    Workload(Workload),
    /// Deleted.
    WorkloadGone(WorkloadId),
    /// New or changed.
    Revision(Revision),
    /// Deleted.
    RevisionGone(RevisionId),
    /// New or changed.
    Node(Node),
    /// Deleted.
    NodeGone(NodeName),
    /// New or changed.
    Pod(Pod),
    /// Deleted.
    PodGone(PodUid),
    /// What the pool's provider can still take; `None` where it tells no number.
    Stock {
        /// The pool.
        pool: PoolName,
        /// Instances that may still be created.
        free: Option<u64>,
    },
}
