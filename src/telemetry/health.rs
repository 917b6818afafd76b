//! `/healthz`, `/readyz` and `/metrics`, over plain HTTP.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A part of the process that must be ready before the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The webhook's listener.
    Admission,
    /// The extender's listener and its view of the nodes.
    Extender,
    /// A leader is known, or this replica stands by.
    Election,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Extender => "extender",
            Self::Election => "election",
        }
    }
}

/// Which parts are ready. Cheap to clone; all clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<Part, bool>>>,
}

impl Health {
    /// Expects the part: the process is not ready until [`ready`](Self::ready) was said of it.
    pub fn expect(&self, part: Part) {
        self.set(part, false);
    }

    /// The part is ready.
    pub fn ready(&self, part: Part) {
        self.set(part, true);
    }

    fn set(&self, part: Part, ready: bool) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, ready);
    }

    /// The parts that are not ready, by name.
    fn missing(&self) -> Vec<&'static str> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, ready)| !**ready).map(|(part, _)| part.name()).collect()
    }
}

/// Why health and metrics cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The port cannot be taken.
    #[error(
        "unable to listen on {address} for health and metrics: {source}; choose another address in telemetry.listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("the listener for health and metrics broke: {0}")]
    Serve(#[source] std::io::Error),
}

#[derive(Clone)]
struct Shown {
    health: Health,
    registry: Registry,
}

/// Takes the port for health and metrics.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, TelemetryError> {
    TcpListener::bind(address).await.map_err(|source| TelemetryError::Listen { address, source })
}

/// Shows health and metrics on `listener` until `stop`.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    registry: Registry,
    stop: CancellationToken,
) -> Result<(), TelemetryError> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shown { health, registry });
    let stopped = async move { stop.cancelled().await };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await.map_err(TelemetryError::Serve)
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    let missing = shown.health.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}", missing.join(", ")))
    }
}

async fn metrics(State(shown): State<Shown>) -> Result<String, (StatusCode, String)> {
    let encoded = TextEncoder::new().encode_to_string(&shown.registry.gather());
    encoded.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_expected_part_is() {
        let health = Health::default();
        health.expect(Part::Admission);
        health.expect(Part::Extender);
        health.ready(Part::Extender);
        assert_eq!(health.missing(), ["admission"]);
        health.ready(Part::Admission);
        assert!(health.missing().is_empty());
    }
}
