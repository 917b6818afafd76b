//! What stands between Kubernetes' objects and the engine: names, wire types, conversions.

pub mod extender;
pub mod misplaced;
pub mod names;
pub mod node;
pub mod owner;
pub mod pod;
pub mod pool;
