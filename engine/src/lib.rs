//! The pure core of burstlet: which pods are base, which burst, which wait, and why.
//!
//! Nothing here does I/O or reads a clock: watch events and the present moment come in, actions go out. The live
//! system and the simulator run the same code, and a test of it needs neither a cluster nor a runtime.
//!
//! ```text
//!   model ◄── policy ◄── placement ◄── simulator
//!     ▲                                  │
//!     └────── traffic ◄──────────────────┘
//! ```
//!
//! - [`model`]: ids, quantities, time, pods and nodes as the engine sees them.
//! - [`policy`]: what people ask for: the base, and how long to try before moving on.
//! - [`placement`]: the ledger as a fold over the watch, and the decisions made on it.
//! - [`simulator`]: a cluster in virtual time around the same engine: what a scenario would deliver and cost.

#[macro_use]
pub mod planted;

pub mod model;
pub mod placement;
pub mod policy;
pub mod simulator;
pub mod traffic;
