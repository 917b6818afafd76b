//! Alibaba Cloud's Elastic Container Instance (RPC style, version 2018-08-08), and the VPC actions that go with it.
//!
//! ```text
//!  pod ── translate ──> parameters ── create ──> token, place ── call ──> paced, signed, sent ──> ECI
//!                                        │                                                        │
//!                                     ledger <── observe: statuses of a cluster, 200 a page <─────┘
//! ```
//!
//! | what | how |
//! |---|---|
//! | one pod, one instance | a client token that follows from the pod's UID; the same request until its answer is known |
//! | zones | the pool's vSwitches in order; a short one is left out for a while |
//! | late shortage | a group that ends `ScheduleFailed` is replaced in another zone |
//! | whose instance | tags: cluster, node, namespace, name, UID |
//! | sizes | rounded up to ECI's table; the annotation `burstlet.dev/instance-size` has both |

mod call;
mod client;
mod create;
mod error;
mod identity;
mod ledger;
mod logs;
pub mod manage;
mod observe;
mod provider;
pub mod signing;
pub mod size;
mod status;
mod translate;
mod wire;

pub use client::Eci;
pub use observe::SecondPrice;
pub use translate::Resolved;
