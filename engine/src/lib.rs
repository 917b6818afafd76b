//! The pure core of burstlet.

pub mod policy;
pub mod traffic;
