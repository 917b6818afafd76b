//! What people ask for: the base, and how long to try before moving on.

mod base;
mod governance;
mod settings;
pub mod spec;

pub use base::{Base, BaseError};
pub use governance::{Fault, Governance, Source, governance};
pub use settings::{MoveBack, Settings};
pub use spec::Spec;
