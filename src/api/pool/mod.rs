//! What a pool's file says of its provider, as plain data.

pub mod alibaba_eci;
pub mod import;
