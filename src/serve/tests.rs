use std::path::Path;

use axum::{
    Extension,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use super::{
    test_tls::{Authority, Leaf},
    *,
};

struct Fixture {
    folder: TempDir,
    authority: Authority,
    tls: ServerTls,
}

impl Fixture {
    fn new(client_auth: ClientAuth) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test CA");
        let (certificate, key) = authority.server().write(folder.path(), "server");
        let client_ca = (client_auth != ClientAuth::None).then(|| {
            let path = folder.path().join("ca.crt");
            std::fs::write(&path, authority.pem()).unwrap();
            path
        });
        let tls = ServerTls { certificate, key, client_ca, client_auth, protocols: Protocols::Any };
        Self { folder, authority, tls }
    }

    async fn start(&self, router: Router) -> Server {
        start(self.tls.clone().into(), router).await
    }
}

async fn start(tls: Tls, router: Router) -> Server {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve_reloading(listener, tls, router, stop.clone(), Duration::from_millis(20)));
    Server { address, stop, task }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

fn who() -> Router {
    Router::new().route("/who", get(|Extension(Peer(client)): Extension<Peer>| async move { format!("{client:?}") }))
}

async fn connect(
    server: &Server,
    authority: &Authority,
    client: Option<&Leaf>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client.map(Leaf::der) {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(server.address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// One request on a connection of its own. TLS 1.3 tells a refused client certificate only at the first read.
async fn ask(
    server: &Server,
    authority: &Authority,
    client: Option<&Leaf>,
    request: hyper::Request<Body>,
) -> Result<(u16, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = connect(server, authority, client, &[b"http/1.1"]).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

fn get_request(path: &str) -> hyper::Request<Body> {
    hyper::Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_client_of_the_ca_is_told_to_the_handler_by_name_and_groups() {
    let fixture = Fixture::new(ClientAuth::Required);
    let server = fixture.start(who()).await;
    let client = fixture.authority.client("kube-scheduler", &["system:masters", "ops"]);
    let (status, text) = ask(&server, &fixture.authority, Some(&client), get_request("/who")).await.unwrap();
    let identity = ClientIdentity {
        name: "kube-scheduler".to_owned(),
        groups: vec!["system:masters".to_owned(), "ops".to_owned()],
    };
    assert_eq!((status, text), (200, format!("{:?}", Some(identity))));
}

#[tokio::test]
async fn where_required_no_certificate_a_strangers_or_an_expired_one_ends_the_handshake() {
    let fixture = Fixture::new(ClientAuth::Required);
    let server = fixture.start(who()).await;
    let strangers = Authority::new("someone else's CA").client("kube-scheduler", &[]);
    let expired = fixture.authority.expired_client("kube-scheduler");
    for client in [None, Some(&strangers), Some(&expired)] {
        assert!(ask(&server, &fixture.authority, client, get_request("/who")).await.is_err());
    }
}

#[tokio::test]
async fn where_optional_no_certificate_is_a_stranger_and_a_wrong_one_is_still_refused() {
    let fixture = Fixture::new(ClientAuth::Optional);
    let server = fixture.start(who()).await;
    let answer = ask(&server, &fixture.authority, None, get_request("/who")).await.unwrap();
    assert_eq!(answer, (200, "None".to_owned()));
    let strangers = Authority::new("someone else's CA").client("x", &[]);
    assert!(ask(&server, &fixture.authority, Some(&strangers), get_request("/who")).await.is_err());
}

#[tokio::test]
async fn http2_is_offered_unless_upgrades_need_http1() {
    let mut fixture = Fixture::new(ClientAuth::None);
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let server = fixture.start(who()).await;
    let stream = connect(&server, &fixture.authority, None, both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://localhost/who").body(Body::empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);

    fixture.tls.protocols = Protocols::Http1;
    let server = fixture.start(who()).await;
    let stream = connect(&server, &fixture.authority, None, both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_rotated_certificate_is_served_and_a_bad_one_keeps_the_old() {
    let fixture = Fixture::new(ClientAuth::None);
    let server = fixture.start(who()).await;
    let shown = async || {
        let stream = connect(&server, &fixture.authority, None, &[]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = shown().await;

    std::fs::write(&fixture.tls.certificate, "not a certificate").unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(shown().await, first);

    let second = fixture.authority.server();
    second.write(fixture.folder.path(), "server");
    let rotated = timeout(Duration::from_secs(10), async {
        while shown().await != second.der().0 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    rotated.await.unwrap();
}

#[tokio::test]
async fn a_held_certificate_is_shown_once_it_is_there_and_the_next_one_after_it() {
    let fixture = Fixture::new(ClientAuth::None);
    let held = HeldCertificate::default();
    let server = start(Tls::held(held.clone(), None, ClientAuth::None, Protocols::Any), who()).await;
    assert!(connect(&server, &fixture.authority, None, &[]).await.is_err(), "it serves without a certificate");
    for _ in 0..2 {
        let leaf = fixture.authority.server();
        held.set(leaf.certificate.as_bytes(), leaf.key.as_bytes()).unwrap();
        let stream = connect(&server, &fixture.authority, None, &[]).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], leaf.der().0);
    }
}

#[test]
fn a_certificate_of_another_key_is_not_held_and_the_one_before_stays() {
    let authority = Authority::new("test CA");
    let (leaf, other) = (authority.server(), authority.server());
    let held = HeldCertificate::default();
    let error = held.set(leaf.certificate.as_bytes(), other.key.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("it does not serve with its key: "), "{error}");
    let empty = held.set(b"", leaf.key.as_bytes()).unwrap_err().to_string();
    assert_eq!(empty, "it holds no CERTIFICATE block");
    let validity = held.set(leaf.certificate.as_bytes(), leaf.key.as_bytes()).unwrap();
    assert!(validity.from < validity.until);
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_stop_and_then_the_server_ends() {
    let fixture = Fixture::new(ClientAuth::None);
    let (entered, mut inside) = tokio::sync::mpsc::channel::<()>(1);
    let slow = Router::new().route(
        "/slow",
        get(move || async move {
            entered.send(()).await.unwrap();
            sleep(Duration::from_millis(200)).await;
            "done"
        }),
    );
    let server = fixture.start(slow).await;
    let answer = async {
        let answer = ask(&server, &fixture.authority, None, get_request("/slow")).await;
        answer.unwrap()
    };
    let stopped = async {
        inside.recv().await.unwrap();
        server.stop.cancel();
    };
    let (answer, ()) = tokio::join!(answer, stopped);
    assert_eq!(answer, (200, "done".to_owned()));
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_huge_body_is_refused_before_it_is_read() {
    async fn read(request: Request) -> Response {
        match read_body_limited(request.into_body(), 1024).await {
            Ok(body) => body.len().to_string().into_response(),
            Err(fault) => fault.into_response(),
        }
    }
    let fixture = Fixture::new(ClientAuth::None);
    let server = fixture.start(Router::new().route("/read", post(read))).await;
    let request = |size: usize| {
        hyper::Request::post("/read").header("host", "localhost").body(Body::from(vec![b'x'; size])).unwrap()
    };
    let huge = ask(&server, &fixture.authority, None, request(64 * 1024)).await.unwrap();
    assert_eq!(huge, (413, "the request body is larger than 1024 bytes".to_owned()));
    let small = ask(&server, &fixture.authority, None, request(1024)).await.unwrap();
    assert_eq!(small, (200, "1024".to_owned()));
}

async fn refused(tls: ServerTls) -> String {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    serve(listener, tls, who(), CancellationToken::new()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_keeps_a_listener_from_starting_is_one_line() {
    let fixture = Fixture::new(ClientAuth::None);
    let good = &fixture.tls;
    let folder = fixture.folder.path().display();

    let missing = refused(ServerTls { certificate: fixture.folder.path().join("gone.crt"), ..good.clone() }).await;
    assert!(missing.starts_with(&format!("unable to read the certificate {folder}/gone.crt: ")), "{missing}");

    let swapped = refused(ServerTls { certificate: good.key.clone(), ..good.clone() }).await;
    assert!(swapped.contains("server.key holds none that is readable: no CERTIFICATE block"), "{swapped}");

    let (_, other) = fixture.authority.server().write(fixture.folder.path(), "other");
    let mismatch = refused(ServerTls { key: other, ..good.clone() }).await;
    assert!(mismatch.contains("other.key do not serve together: "), "{mismatch}");

    let no_ca = refused(ServerTls { client_auth: ClientAuth::Required, ..good.clone() }).await;
    assert!(no_ca.contains("clientCa is not set"), "{no_ca}");
    let idle_ca = refused(ServerTls { client_ca: Some(good.certificate.clone()), ..good.clone() }).await;
    assert!(idle_ca.contains("clientAuth is none"), "{idle_ca}");

    let endless = refused(ServerTls { key: Path::new("/dev/zero").to_owned(), ..good.clone() }).await;
    assert!(endless.contains("larger than 1 MiB"), "{endless}");

    let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let fault = bind(address).await.unwrap_err().to_string();
    assert!(fault.starts_with(&format!("unable to listen on {address}: ")), "{fault}");

    for line in [missing, swapped, mismatch, no_ca, endless, fault] {
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

#[test]
fn the_file_form_is_camel_case_and_refuses_what_it_does_not_know() {
    let tls: ServerTls =
        serde_json::from_str(r#"{"certificate": "a", "key": "b", "clientCa": "c", "clientAuth": "required"}"#).unwrap();
    assert_eq!((tls.client_auth, tls.client_ca), (ClientAuth::Required, Some("c".into())));
    let unknown = serde_json::from_str::<ServerTls>(r#"{"certificate": "a", "key": "b", "clientCA": "c"}"#);
    assert!(unknown.unwrap_err().to_string().contains("unknown field `clientCA`"));
}
