//! HTTPS listeners: certificates, client certificates, limits. Admission, extender and kubelet answer through them.
//!
//! [`bind`] takes the port, [`serve`] answers on it until told to stop. Certificates are files, read again every few
//! seconds by content, so that a rotated Secret is served without a restart; a new one that does not load is logged
//! and the old one stays. Or somebody in this process gets the certificate ([`HeldCertificate`]). A client certificate that passed the handshake is told to handlers as [`Peer`].
//!
//! What a stranger can cost is bounded: connections, the time of a handshake, the time to the first request and to
//! the end of a header, and, where the handler reads it by [`read_body_limited`], the size and time of a body.

mod body;
mod connection;
mod error;
mod held;
#[cfg(test)]
#[cfg(feature = "lab")]
pub(crate) mod test_tls;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use body::{BodyError, read_body_limited};
pub use connection::Peer;
pub use error::ServeError;
pub use held::{HeldCertificate, HeldError, Validity};
pub use tls::{ClientAuth, ClientIdentity, Protocols, ServerTls, Tls};

/// Connections answered at a time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How often certificate files are read again.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// How long answers under way may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which is most often a lack of file descriptors: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Answers HTTPS requests by `router` until `stop` is cancelled, then lets answers under way finish (10 s at most).
///
/// Fails at once where the certificate, key or CA files cannot be used; later faults in them are logged.
pub async fn serve(
    listener: TcpListener,
    tls: impl Into<Tls>,
    router: Router,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    serve_reloading(listener, tls.into(), router, stop, RELOAD_EVERY).await
}

async fn serve_reloading(
    listener: TcpListener,
    tls: Tls,
    router: Router,
    stop: CancellationToken,
    reload_every: Duration,
) -> Result<(), ServeError> {
    let files = tls.read().await?;
    let (config, current) = watch::channel(tls.config(&files)?);
    let mut connections = JoinSet::new();
    let places = Places {
        all: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        silent: Arc::new(Semaphore::new(connection::SILENT_CONNECTIONS)),
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept_all(&listener, &current, &router, &stop, &places, &mut connections) => {}
        () = reload(&tls, files.fingerprint(), &config, reload_every) => {}
    }
    drop(listener);
    if timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        warn!(open = connections.len(), "connections did not end in time and are cut");
    }
    Ok(())
}

/// Room for connections.
struct Places {
    all: Arc<Semaphore>,
    /// For those that have brought no request yet.
    silent: Arc<Semaphore>,
}

/// Accepts for ever.
async fn accept_all(
    listener: &TcpListener,
    current: &watch::Receiver<Arc<ServerConfig>>,
    router: &Router,
    stop: &CancellationToken,
    places: &Places,
    connections: &mut JoinSet<()>,
) {
    loop {
        while let Some(ended) = connections.try_join_next() {
            if let Err(fault) = ended {
                warn!(%fault, "a connection's task failed");
            }
        }
        let (stream, from, place) = next_connection(listener, &places.all).await;
        let config = current.borrow().clone();
        let (router, stop, silent) = (router.clone(), stop.clone(), places.silent.clone());
        connections.spawn(async move {
            if let Err(fault) = connection::answer(stream, config, router, stop, silent).await {
                fault.log(from);
            }
            drop(place);
        });
    }
}

async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, place),
            Err(fault) => {
                warn!(%fault, "unable to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads the files again and again, for ever. Polling the content, for a Secret volume swaps a symlink two folders
/// up, which a watch on the file misses.
async fn reload(tls: &Tls, first: u64, config: &watch::Sender<Arc<ServerConfig>>, every: Duration) {
    let mut seen = first;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let files = match tls.read().await {
            Ok(files) => files,
            Err(fault) => {
                debug!(%fault, "certificate files are not readable now; the loaded ones stay");
                continue;
            }
        };
        let fingerprint = files.fingerprint();
        if fingerprint == seen {
            continue;
        }
        // Seen even where it does not load, so that one bad file is one line in the log.
        seen = fingerprint;
        match tls.config(&files) {
            Ok(new) => {
                config.send_replace(new);
                info!(certificate = ?tls.certificate_file(), "certificate files reloaded");
            }
            Err(fault) => warn!(%fault, "the new certificate is not usable; the old one stays"),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests;
