//! What only trials need: the demo and its scenarios.

pub mod demo;
