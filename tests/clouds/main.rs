//! Clouds: their emulators as the official SDKs see them, and burstlet's providers on the emulators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by them, its helpers too")]

mod aws_ecs;
mod azure_aci;
mod keys;
mod kingsoft_kci;
mod trial;
mod venv;
