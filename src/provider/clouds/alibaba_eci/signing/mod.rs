//! The two signatures of Alibaba Cloud's RPC style: to sign with, and to verify by.
//!
//! Both canonicalise the *decoded* parameters, so it does not matter in which order or spelling they travel: SDKs send a
//! space as `+` and sign it as `%20`.

mod canonical;
mod v1;
mod v3;

pub use canonical::{Parameters, decode, encode};
pub use v1::{V1_METHOD, sign_v1, signature_v1};
pub use v3::{Authorization, Signing, V3_ALGORITHM, content_hash, sign_v3, signature_v3};

#[cfg(test)]
mod tests;
