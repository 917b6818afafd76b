//! Clouds: their emulators as the official SDKs see them, and burstlet's providers on the emulators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by them, its helpers too")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

mod alibaba_eci;
mod alibaba_eci_sdk;
mod aws_ecs;
mod azure_aci;
mod cluster;
mod conformance;
mod keys;
mod kingsoft_kci;
mod kubernetes;
mod seeds;
mod simulated;
mod trial;
mod venv;
mod vnode;
mod web_identity;
