//! What stands between Kubernetes' objects and the engine: names, wire types, conversions.

pub mod crd;
pub mod decision;
pub mod document;
pub mod extender;
pub mod kinds;
pub mod misplaced;
pub mod names;
pub mod node;
pub mod obstacles;
pub mod owner;
pub mod pod;
pub mod policy;
pub mod pool;
pub mod preflight;
pub mod status;
