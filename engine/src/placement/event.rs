//! What comes in: the watches, in the order in which the API server told them.

use std::sync::Arc;

use crate::{
    model::{Bytes, Capabilities, MilliCpu, Node, NodeName, ObjectName, Pod, PodUid, PoolName, RevisionId, WorkloadId},
    policy::{Budget, Marks, Price, Spec, annotation, fields::FieldFault, profile::Profile},
};

/// A namespace and the default it sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels and annotations.
    pub marks: Marks,
}

/// What scales revisions, such as a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its UID.
    pub id: WorkloadId,
    /// Its kind, such as `Deployment`.
    pub kind: Arc<str>,
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its labels and annotations.
    pub marks: Marks,
}

/// What creates a revision's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// A ReplicaSet: its pods are alike and replaced when they go.
    ReplicaSet,
    /// A controller of another API group, taken to do as a ReplicaSet does.
    Other,
    /// A StatefulSet: the base is its lowest ordinals, from this one on.
    StatefulSet {
        /// Its first ordinal (`spec.ordinals.start`).
        first: u32,
    },
    /// A Job: an evicted pod would count as failed, so none is moved back.
    Job,
}

impl Controller {
    /// The kind of such an object, where that tells it.
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::ReplicaSet => Some("ReplicaSet"),
            Self::StatefulSet { .. } => Some("StatefulSet"),
            Self::Job => Some("Job"),
            Self::Other => None,
        }
    }
}

/// What controls pods: a ReplicaSet, a StatefulSet, a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its UID.
    pub id: RevisionId,
    /// Its namespace and name.
    pub name: ObjectName,
    /// What kind of controller it is.
    pub controller: Controller,
    /// What controls it, such as a Deployment or a `CronJob`.
    pub workload: Option<WorkloadId>,
    /// Its own labels and annotations: they count where no workload is known.
    pub marks: Marks,
    /// Those of its pods, as its template has them.
    pub pods: Marks,
    /// How many replicas it shall have.
    pub wanted: u32,
    /// How often what it shall be has changed (`metadata.generation`): what was said of an earlier one is outdated.
    pub generation: u64,
}

/// What a look at a revision found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// How many replicas it shall have.
    pub wanted: u32,
    /// As [`Revision::generation`].
    pub generation: u64,
}

/// A pool as its object says: the price and the quota may change at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFacts {
    /// Its name.
    pub name: PoolName,
    /// What it charges, if that is known.
    pub price: Option<Price>,
    /// What it takes at most, over all workloads.
    pub quota: Quota,
    /// What may be spent in it, over all workloads. Once it is spent, the pool is short until the next hour or day,
    /// whatever [`Budget::exhausted`] says.
    pub budget: Option<Budget>,
    /// Pool that stands for it while it is short.
    pub fallback: Option<PoolName>,
}

/// What a pool takes at most, all pods together. Every bound that is set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// In pods.
    pub pods: Option<u64>,
    /// In CPU that they request.
    pub cpu: Option<MilliCpu>,
    /// In memory that they request.
    pub memory: Option<Bytes>,
}

/// The kinds of object that are listed and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Namespaces.
    Namespace,
    /// Workloads: Deployments, `CronJob`s.
    Workload,
    /// Revisions: ReplicaSets, StatefulSets, Jobs.
    Revision,
    /// Nodes.
    Node,
    /// Pods.
    Pod,
    /// Policies.
    Policy,
    /// Pools.
    Pool,
}

impl Kind {
    /// All of them. Each has to be listed once before anything is decided; a list may be empty.
    pub const ALL: [Self; 7] =
        [Self::Namespace, Self::Workload, Self::Revision, Self::Node, Self::Pod, Self::Policy, Self::Pool];
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
    /// The answer to [`Action::Look`](super::Action::Look).
    Looked {
        /// The revision.
        revision: RevisionId,
        /// As the action said.
        arrivals: u64,
        /// What was read; `None` where it is gone.
        found: Option<Looked>,
    },
    /// New or changed.
    Node(Node),
    /// Deleted.
    NodeGone(NodeName),
    /// New or changed.
    Pod(Pod),
    /// Deleted.
    PodGone(PodUid),
    /// New or changed.
    Policy {
        /// Its namespace and name.
        name: ObjectName,
        /// What it says.
        spec: Box<Spec>,
    },
    /// New or changed, and no policy as it is now: the last one of its name stays in force, also where a list names it.
    PolicyFaulty {
        /// Its namespace and name.
        name: ObjectName,
        /// What is wrong.
        faults: Vec<FieldFault>,
    },
    /// Deleted.
    PolicyGone(ObjectName),
    /// New or changed.
    Pool(PoolFacts),
    /// New or changed, and no pool as it is now: what was known of it stays.
    PoolFaulty {
        /// Its name.
        name: PoolName,
        /// What is wrong.
        faults: Vec<FieldFault>,
    },
    /// Deleted.
    PoolGone(PoolName),
    /// What the pool's provider has of what pods ask for. Until it is told, it has everything.
    Capabilities {
        /// The pool.
        pool: PoolName,
        /// What it has.
        capabilities: Capabilities,
    },
    /// What pods get when they are created, and what that makes of them.
    Profile(Profile),
    /// Whether the pool's provider works.
    Health {
        /// The pool.
        pool: PoolName,
        /// What is wrong with it, for people; `None` where it works.
        fault: Option<Box<str>>,
    },
    /// What the pool's provider can still take; `None` where it tells no number.
    Stock {
        /// The pool.
        pool: PoolName,
        /// Instances that may still be created.
        free: Option<u64>,
    },
}

/// The base that an object's annotation gives, as written.
pub(super) fn base(marks: &Marks) -> Option<&str> {
    marks.annotations.get(annotation::BASE).map(String::as_str)
}
