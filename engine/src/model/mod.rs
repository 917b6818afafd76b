//! The world as the engine sees it: ids, quantities, time, pods and nodes, without Kubernetes' own types.

mod ids;
mod needs;
mod node;
mod pod;
mod quantity;
mod time;

pub use ids::{NodeName, ObjectName, PodUid, PoolName, PoolNameError, RevisionId, WorkloadId};
pub use needs::{Capabilities, Lack, Need, NeedSet, Needs};
pub use node::{Node, NodeKind};
pub use pod::{Pod, PodRef, Stage, Tier};
pub use quantity::{Bytes, MilliCpu, QuantityError, Resources};
pub use time::Timestamp;
