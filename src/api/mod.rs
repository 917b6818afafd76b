//! What stands between Kubernetes' objects and the engine: names, wire types, conversions.

pub mod extender;
pub mod names;
