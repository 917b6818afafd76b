//! How requests prove who makes them.

pub mod sigv4;
