//! Signature version 1.0: HMAC-SHA1 over the parameters, itself a parameter.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

use super::canonical::{Parameters, canonical_query, encode};
use crate::provider::clouds::Secret;

/// Value of the parameter `SignatureMethod`.
pub const V1_METHOD: &str = "HMAC-SHA1";

/// The signature that `parameters`, less their own `Signature`, have under `secret`.
pub fn signature_v1(method: &str, parameters: &Parameters, secret: &Secret) -> String {
    let mut signed = parameters.clone();
    signed.remove("Signature");
    let text = format!("{method}&%2F&{}", encode(&canonical_query(&signed)));
    let key = format!("{}&", secret.reveal());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

/// Adds the signature.
pub fn sign_v1(method: &str, parameters: &mut Parameters, secret: &Secret) {
    let signature = signature_v1(method, parameters, secret);
    parameters.insert("Signature".to_owned(), signature);
}
