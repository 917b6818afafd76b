//! What keeps a listener from starting.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a listener cannot start, in one line: what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("unable to listen on {address}: {source}; choose another port or end what holds it")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is missing, unreadable or not a regular small file.
    #[error("unable to read the {what} {path}: {source}", path = path.display())]
    Read {
        /// Certificate, key or client CA.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file holds no such thing in PEM.
    #[error("the {what} {path} holds none that is readable: {reason}; it must be PEM", path = path.display())]
    Pem {
        /// Certificate, key or client CA.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// Certificate and key are readable but do not serve together.
    #[error(
        "the certificate {certificate} and the key {key} do not serve together: {reason}",
        certificate = certificate.display(),
        key = key.display()
    )]
    Pair {
        /// Certificate's file.
        certificate: PathBuf,
        /// Key's file.
        key: PathBuf,
        /// The TLS library's words.
        reason: String,
    },
    /// Client certificates are wanted but there is no CA to check them, or the other way round.
    #[error("{0}")]
    ClientAuth(&'static str),
    /// The client CA's certificates cannot check anything.
    #[error("the client CA {path} is not usable: {reason}", path = path.display())]
    ClientCa {
        /// Where.
        path: PathBuf,
        /// The TLS library's words.
        reason: String,
    },
    /// The TLS library refused the protocol versions.
    #[error("unable to set up TLS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}
