//! A cluster in virtual time: what would have happened, under recorded traffic, had this been rolled out.
//!
//! - [`hpa`]: Kubernetes' `HorizontalPodAutoscaler`, exact to its integers.

pub mod hpa;
