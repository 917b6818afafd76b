//! Everything burstlet runs, in one process.

pub mod config;
