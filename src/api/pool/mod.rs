//! What a pool says of its cloud: plain data, one file a cloud.

pub mod credentials;
pub mod kingsoft_kci;
