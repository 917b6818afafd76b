//! Clouds' APIs on loopback, with their state in memory: what official SDKs and burstlet's providers can be tried
//! against, and outages rehearsed on, for free.
//!
//! `burstlet emulate CLOUD` answers as the cloud documents: signatures are truly verified, ids, paging, idempotency,
//! quotas, addresses, stock and throttles are kept, instances come up, fail late, are reclaimed and are billed. Its
//! first line of output is one JSON object, `{"address":"http://127.0.0.1:PORT"}`; with `--tls` it also has the
//! certificate to trust as `certificate`, in PEM.
//!
//! # Driving it
//!
//! [`Settings`] say how the cloud behaves: `--settings FILE` (YAML) at the start, and the admin endpoint at any time. The
//! admin endpoint speaks JSON on the same port, below `/_admin`, without credentials:
//!
//! | call | what it does |
//! |---|---|
//! | `GET /_admin/settings` | the [`Settings`] in force |
//! | `PATCH /_admin/settings` | changes those that the body names (a JSON merge patch; `null` takes a default back) |
//! | `POST /_admin/reclaim {"id": …}` | takes a spot instance back, with the cloud's notice |
//! | `POST /_admin/advance {"by": "1h"}` | lets the instances' clock jump forward |
//! | `GET /_admin/instances` | all that stands or has ended |
//! | `GET /_admin/bill` | what each instance has cost, and the sum |
//! | `GET /_admin/calls` | how often each action was called, and how that ended |
//!
//! A cloud joins by implementing [`Cloud`]; the frame does the rest.

mod admin;
pub mod alibaba_eci;
pub mod aws_ecs;
pub mod azure_aci;
mod bill;
mod clock;
mod exec;
mod faults;
mod frame;
mod grants;
mod ground;
pub mod kingsoft_kci;
mod machines;
mod program;
mod settings;
mod sigv4;
mod stock;

pub use bill::{Bill, BillItem, Price};
pub use clock::{Clock, Moment};
pub use faults::FaultRates;
pub use frame::{AccessKey, Emulator, EmulatorError, Options};
pub use ground::{Calls, Ground};
pub use settings::{Range, Settings, ThrottleRate};
pub use stock::{StockStep, ZoneStock};

use std::collections::BTreeMap;

use axum::{
    Router,
    body::Bytes,
    http::{header, request::Parts},
    response::Response,
};

/// Which delivery of a request this is: networks and gateways send some twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The first.
    First,
    /// The same request once more. It has been verified already, so a nonce does not count as replayed.
    Again,
}

/// One call of the cloud's API.
#[derive(Debug)]
pub struct Call<'a> {
    /// Method, address and headers.
    pub head: &'a Parts,
    /// The body.
    pub body: &'a Bytes,
    /// Which delivery it is.
    pub delivery: Delivery,
    /// What [`Cloud::action`] found.
    pub action: &'a str,
}

impl Call<'_> {
    /// The address that the caller used, such as `http://127.0.0.1:7001`.
    pub fn base(&self) -> String {
        let header = |name: &str| self.head.headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = header(FORWARDED_PROTO).unwrap_or("http");
        format!("{scheme}://{}", header(header::HOST.as_str()).unwrap_or_default())
    }
}

/// Where the frame, or a proxy before it, says that the caller spoke TLS.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// A cloud, as the frame drives it.
pub trait Cloud: Send + Sync + 'static {
    /// The action that a request asks for, as throttles, faults and counts name it.
    fn action(&self, head: &Parts, body: &Bytes) -> String;

    /// Answers a call: verifies it and does what it asks for.
    fn answer(&self, call: &Call<'_>) -> Response;

    /// The cloud's own words for a server that fails, before anything was done.
    fn unavailable(&self) -> Response;

    /// All instances that stand or have ended, as the admin endpoint shows them.
    fn instances(&self) -> serde_json::Value;

    /// The parameters that a standing instance was asked for with, as they came; `None` where it does not stand, or the
    /// cloud does not keep them.
    fn asked(&self, id: &str) -> Option<BTreeMap<String, String>> {
        let _ = id;
        None
    }

    /// Takes a spot instance back, with the cloud's notice; `false` where there is none of that id.
    fn reclaim(&self, id: &str) -> bool;

    /// Lets the bill know of all that has ended by itself until now.
    fn settle(&self) {}

    /// Paths beside the API that need a connection of their own, such as WebSockets of exec. No fault touches them.
    fn streams(&self) -> Router {
        Router::new()
    }
}
