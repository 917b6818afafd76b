//! Clouds: their emulators as the official SDKs see them, and burstlet's providers on the emulators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by them, its helpers too")]

mod alibaba_eci;
mod alibaba_eci_sdk;
mod conformance;
mod simulated;
mod venv;
