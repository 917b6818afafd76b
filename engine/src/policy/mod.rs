//! What people ask for: the base, and how long to try before moving on.

mod base;

pub use base::{Base, BaseError};
