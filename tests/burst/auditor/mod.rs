//! An auditor that shares no code with burstlet: it watches the API server by itself and judges what it saw.
//!
//! It lists and watches pods, ReplicaSets and nodes from before the first apply, and keeps every event. All three kinds
//! lie in one etcd, whose revisions (`resourceVersion`) order them all: sorted by it, the events of the three watches
//! are the order in which things happened, whatever the watches' own delays. What is judged, and how strictly, is in
//! [`judge`].

mod event;
mod history;
mod judge;
mod policy;
mod watch;

#[cfg(test)]
mod planted;

pub use event::{Change, Event, Object};
pub use history::{History, Life};
pub use judge::{Delays, Verdict, instances, judge, scale_in};
pub use policy::{caps, least_ready, passed_on};
pub use watch::Auditor;
