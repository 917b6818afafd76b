//! One connection, from handshake to close.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, ServerConnection},
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

use super::ClientIdentity;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the first request after the handshake, where there is no room to wait longer.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Longest wait for the end of an HTTP/1.1 header, and so for the next request on an idle connection. Above the 90 s
/// after which Go's clients close an idle connection themselves: closing first would race with their next POST.
const NEXT_HEADER: Duration = Duration::from_secs(100);
/// Connections that may wait as long for their first request as for a later one. Go's clients dial ahead: where another
/// connection comes free meanwhile, the new one is parked unused for up to 90 s. Closing it would race with the POST that
/// takes it up, which Go does not send again: a webhook call lost so lets a pod pass ungated. Strangers who hold
/// connections without a request take no more than these places.
pub(super) const SILENT_CONNECTIONS: usize = 256;
/// How often a connection that waits so long is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often an HTTP/2 client is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Requests answered at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Extension of every request: the client that its connection's handshake verified, if it showed a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer(pub Option<ClientIdentity>);

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("TLS handshake failed: {0}")]
    Handshake(std::io::Error),
    #[error("TLS handshake took too long")]
    HandshakeTimeout,
    #[error("no request came in time")]
    Silent,
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
}

impl ConnectionError {
    /// Strangers and lost peers are the network's daily noise; a refused client certificate is most often a mistake in
    /// someone's configuration, which a log line solves.
    pub(super) fn log(&self, from: SocketAddr) {
        let is_certificate = matches!(self, Self::Handshake(fault)
        if fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some_and(|fault| {
            matches!(fault, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
        }));
        if is_certificate {
            warn!(%from, fault = %self, "client refused");
        } else {
            debug!(%from, fault = %self, "connection ended early");
        }
    }
}

/// Answers a connection's requests until either side closes it.
pub(super) async fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    router: Router,
    stop: CancellationToken,
    silent_places: Arc<Semaphore>,
) -> Result<(), ConnectionError> {
    // Answers are small and awaited: Nagle's algorithm would only delay them. A socket that refuses is served anyway.
    let _ = stream.set_nodelay(true);
    let handshake = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream));
    let stream = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        done = handshake => done.map_err(|_| ConnectionError::HandshakeTimeout)?.map_err(ConnectionError::Handshake)?,
    };
    let peer = peer_of(stream.get_ref().1);
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    answer_http(stream, is_http2, peer, router, stop, &silent_places).await
}

fn peer_of(connection: &ServerConnection) -> Peer {
    Peer(connection.peer_certificates().and_then(<[_]>::first).and_then(ClientIdentity::of))
}

/// Ends when the first request has not come in time.
async fn silence(asked: &AtomicBool, places: &Semaphore) {
    sleep(FIRST_REQUEST).await;
    if !asked.load(Ordering::Relaxed)
        && let Ok(_place) = places.try_acquire()
    {
        let waited = Instant::now();
        // The place is given back soon after the request has come.
        while !asked.load(Ordering::Relaxed) && FIRST_REQUEST + waited.elapsed() < NEXT_HEADER {
            sleep(LOOK_EVERY).await;
        }
    }
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn answer_http(
    stream: TlsStream<TcpStream>,
    is_http2: bool,
    peer: Peer,
    router: Router,
    stop: CancellationToken,
    silent_places: &Semaphore,
) -> Result<(), ConnectionError> {
    let asked = Arc::new(AtomicBool::new(false));
    let seen = asked.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer.clone());
        // A `Router` is always ready, so there is no need to poll it so.
        router.clone().call(request.map(Body::new))
    });
    let io = TokioIo::new(stream);
    let silence = silence(&asked, silent_places);
    // The protocol is ALPN's answer, not a guess from the first bytes, for which hyper-util waits without limit.
    if is_http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).max_concurrent_streams(MAX_STREAMS);
        let mut connection = pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = silence => return Err(ConnectionError::Silent),
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(NEXT_HEADER);
        let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = silence => return Err(ConnectionError::Silent),
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a connection without a request is kept.
    async fn kept(places: &Semaphore) -> Duration {
        let begun = Instant::now();
        silence(&AtomicBool::new(false), places).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_dialled_ahead_is_kept_longer_than_go_parks_it() {
        assert!(kept(&Semaphore::new(1)).await > Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_without_a_request_take_no_more_than_their_places() {
        let places = Semaphore::new(1);
        let (first, second) = tokio::join!(kept(&places), kept(&places));
        let (first, second) = (first.max(second), first.min(second));
        assert!(first > Duration::from_secs(90));
        assert!(second < FIRST_REQUEST + Duration::from_secs(1), "{second:?}");
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_used_late_gives_its_place_back_and_is_not_closed() {
        let (asked, places) = (AtomicBool::new(false), Semaphore::new(1));
        let watched = timeout(Duration::from_hours(1), silence(&asked, &places));
        let used = async {
            sleep(Duration::from_mins(1)).await;
            assert_eq!(places.available_permits(), 0);
            asked.store(true, Ordering::Relaxed);
            sleep(LOOK_EVERY).await;
            assert_eq!(places.available_permits(), 1);
        };
        let (closed, ()) = tokio::join!(watched, used);
        assert!(closed.is_err());
    }
}
