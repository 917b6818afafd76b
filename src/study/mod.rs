//! Studies: many simulations of one scenario, under several policies, seeds and days.
//!
//! ```text
//!  Scenario ─> Policy ─> Piece (one simulation) ─> Figures ─┬─> compare: a row a policy
//!                           │ all cores, kept in a file     └─> tune: Objective, search ─> the cheapest base
//! ```
//!
//! A [`Piece`] is one simulation, whole in itself: what it needs goes in and a few figures come out, so that pieces may
//! run anywhere and in any order, and those that a file holds already need not run again.

mod caps;
mod clocks;
mod fidelity;
mod figures;
mod limits;
mod objective;
mod piece;
mod policy;
mod predict;
mod search;

pub use caps::{CappedChoice, all_limits, cheapest_capped};
pub use clocks::Clocks;
pub use fidelity::{Fidelity, LEAST_MOMENTS, Phases, Run, judge};
pub use figures::Figures;
pub use limits::{Limits, pools_of};
pub use objective::{Objective, ObjectiveError};
pub use piece::{Piece, Results, RunError, Runner, days};
pub use policy::Policy;
pub use predict::Prices;
pub use search::{Choice, Judged, cheapest};
