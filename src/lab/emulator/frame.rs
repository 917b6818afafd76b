//! The listener, and the way of a call through latency, mishaps and the cloud.

use std::{convert::Infallible, fmt, net::SocketAddr, str::FromStr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring},
};
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use super::{Call, Cloud, Delivery, FORWARDED_PROTO, Ground, admin};
use crate::{provider::clouds::Secret, serve::read_body_limited};

/// Largest request that is read.
const MOST: usize = 8 * 1024 * 1024;

/// Keys that a cloud knows, as `ID:SECRET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The public part.
    pub id: String,
    /// The secret part.
    pub secret: Secret,
}

impl FromStr for AccessKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
                Ok(Self { id: id.to_owned(), secret: Secret::new(secret) })
            }
            _ => Err("write a key as ID:SECRET".to_owned()),
        }
    }
}

/// Where an emulator listens, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address and port; port 0 is a free one.
    pub listen: SocketAddr,
    /// Speak TLS, by a certificate made for this run.
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), tls: false }
    }
}

/// Why an emulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The port.
    #[error("unable to listen on {address}: {source}")]
    Listen {
        /// Asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The certificate.
    #[error("unable to make a certificate: {0}")]
    Certificate(String),
}

/// A cloud that answers until this value is dropped.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    certificate: Option<String>,
    _task: AbortOnDropHandle<()>,
}

impl Emulator {
    /// Answers by `cloud`, which stands on `ground`.
    pub async fn start(options: &Options, ground: Arc<Ground>, cloud: Arc<dyn Cloud>) -> Result<Self, EmulatorError> {
        let listen = |source| EmulatorError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (acceptor, certificate) = if options.tls {
            let (acceptor, pem) = tls(address)?;
            (Some(acceptor), Some(pem))
        } else {
            (None, None)
        };
        let router = router(&ground, &cloud);
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, acceptor, router)));
        Ok(Self { address, certificate, _task: task })
    }

    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub fn address(&self) -> String {
        format!("{}://{}", if self.certificate.is_some() { "https" } else { "http" }, self.address)
    }

    /// What to trust, in PEM, where TLS is spoken.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }
}

impl fmt::Display for Emulator {
    /// The first line of output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match &self.certificate {
            Some(pem) => json!({"address": self.address(), "certificate": pem}),
            None => json!({"address": self.address()}),
        };
        line.fmt(f)
    }
}

fn tls(address: SocketAddr) -> Result<(TlsAcceptor, String), EmulatorError> {
    let made = |error: rcgen::Error| EmulatorError::Certificate(error.to_string());
    let params = CertificateParams::new(vec!["localhost".to_owned(), address.ip().to_string()]).map_err(made)?;
    let key = KeyPair::generate().map_err(made)?;
    let certificate = params.self_signed(&key).map_err(made)?;
    let failed = |error: tokio_rustls::rustls::Error| EmulatorError::Certificate(error.to_string());
    let private = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), certificate.pem()))
}

fn router(ground: &Arc<Ground>, cloud: &Arc<dyn Cloud>) -> Router {
    let api = Router::new().fallback(answer).with_state((ground.clone(), cloud.clone()));
    admin::router(ground.clone(), cloud.clone()).merge(cloud.streams()).merge(api)
}

/// A mark on a response that must not reach the client.
#[derive(Debug, Clone, Copy)]
struct Lost;

async fn answer(State((ground, cloud)): State<(Arc<Ground>, Arc<dyn Cloud>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match read_body_limited(body, MOST).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let action = cloud.action(&head, &body);
    tokio::time::sleep(ground.latency()).await;
    let mishap = ground.mishap(&action);
    if ground.is_out() || mishap.failed {
        ground.count(&action, |calls| (calls.arrived, calls.refused) = (calls.arrived + 1, calls.refused + 1));
        return cloud.unavailable();
    }
    let mut response = deliver(&ground, &*cloud, &head, &body, &action, Delivery::First);
    if mishap.twice {
        ground.count(&action, |calls| calls.twice += 1);
        response = deliver(&ground, &*cloud, &head, &body, &action, Delivery::Again);
    }
    if mishap.lost {
        ground.count(&action, |calls| calls.lost += 1);
        response.extensions_mut().insert(Lost);
    }
    response
}

fn deliver(
    ground: &Ground,
    cloud: &dyn Cloud,
    head: &Parts,
    body: &Bytes,
    action: &str,
    delivery: Delivery,
) -> Response {
    let response = cloud.answer(&Call { head, body, delivery, action });
    let is_refused = response.status() >= StatusCode::BAD_REQUEST;
    ground.count(action, |calls| {
        calls.arrived += 1;
        calls.refused += u64::from(is_refused);
    });
    response
}

/// Accepts for ever.
async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // A socket that refuses is served anyway.
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, acceptor.clone(), router.clone()));
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    match acceptor {
        None => converse(stream, router, false).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(stream, router, true).await;
            }
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct AnswerLost;

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, is_tls: bool) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        if is_tls {
            request.headers_mut().insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        }
        let router = router.clone();
        async move {
            let response: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
            match response {
                Ok(response) if response.extensions().get::<Lost>().is_some() => Err(AnswerLost),
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    // Clients come and go; an emulator has nobody to tell.
    let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}
