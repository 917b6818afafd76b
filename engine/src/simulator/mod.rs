//! Virtual time: what a scenario would deliver and cost, with the same engine inside that decides live.
//!
//! ```text
//!  traffic ─> flow ─> CPU of each pod ─> metrics-server ─> HPA ─> Deployment ─> ReplicaSet ─> pod
//!               ▲                                                                              │ gated
//!               │ Ready                                                           placement::Placement
//!             kubelet, ours or a real node's <─ kube-scheduler <── base, burst or wait ─────────┘
//! ```
//!
//! [`run`] takes a [`Setup`] and answers an [`Outcome`]. It is a function: the same setup gives the same outcome to the last
//! bit on every machine, in any time zone or locale, on any number of cores. Time is whole milliseconds, money and
//! requests are whole numbers, what is random is a function of the seed, and nothing is iterated in a hash's order.
//!
//! # What is simulated, and how
//!
//! - **Requests** are a flow with a queue (`flow`): served, late, unserved.
//! - **CPU** follows from it; metrics-server tells it late and averaged (`metrics`). So do memory and the HPA's metrics of type
//!   Pods, Object and External (`told`), some of which may be recorded instead.
//! - **The HPA** is upstream's, rule by rule ([`hpa`]).
//! - **Deployments and ReplicaSets**: rolling updates with surge and lack, scaling in proportion amid one (`rollout`), the
//!   order of deletion (`victims`), the controllers' limits on requests (`bucket`).
//! - **kube-scheduler**: its plugins' filters and scores for resources, labels, taints, pod anti-affinity and topology spread
//!   (`judge`), on nodes that are all looked at. No preemption, pod affinity or volumes.
//! - **Real nodes** come and go with a node autoscaler (`machines`).
//! - **Pools** start instances by a measured or a given distribution, run out of stock, throttle, and take instances
//!   back (`instances`).
//! - **burstlet** itself is [`placement`](crate::placement), told what its watches would tell it (`control`).

mod books;
mod bucket;
mod constraints;
mod control;
mod deploy;
mod dice;
mod flow;
mod govern;
pub mod hpa;
mod instances;
mod judge;
mod machines;
mod metrics;
mod moments;
mod money;
mod nodes;
mod outcome;
mod pod;
mod queue;
mod revisions;
mod rollout;
mod schedule;
mod setup;
mod told;
mod total;
mod victims;
mod world;

pub use constraints::{Apart, Constraints, Effect, NodeTerm, Operator, Requirement, Spread, Taint, Toleration, ZONE};
pub use govern::with_base;
pub use judge::{Occupant, judge};
pub use money::{Money, PerMilli};
pub use outcome::{Load, Outcome, Plant, Played, PodStory, Record, Sample, Summary, TierUse};
pub use setup::{
    Amount, Autoscaler, Container, Latency, Memory, Pool, RateLimit, RealNodes, Reclaim, Rolling, Serving, Setup,
    Timing, Workload,
};
pub use told::Source;

/// Simulates a whole run. Fails where the API server would refuse an HPA.
pub fn run(setup: &Setup) -> Result<Outcome, hpa::Invalid> {
    let mut world = world::World::new(setup)?;
    world.run();
    Ok(world.outcome())
}

#[cfg(test)]
mod tests;
