//! `burstlet record --prometheus` over HTTPS: a certificate of an authority of one's own, and a bearer token.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    thread,
};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A counter that rises by five a second, as Prometheus answers.
const ANSWER: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"hits_total"},"values":[[1000,"0"],[1015,"75"],[1030,"150"],[1045,"225"]]}]}}"#;

/// A server on a thread of its own that asks for the token `secret`; its port, and its authority's certificate.
fn server(name: &str) -> (u16, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], secret).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Who does not trust the certificate goes away amid the handshake.
            let _ = answer(StreamOwned::new(session, connection.unwrap()));
        }
    });
    (port, authority.pem())
}

fn answer(stream: impl Read + Write) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut is_allowed, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        is_allowed |= line.trim().eq_ignore_ascii_case("authorization: Bearer secret");
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let (status, body) =
        if is_allowed { ("200 OK", ANSWER) } else { ("401 Unauthorized", r#"{"status":"error","error":"no token"}"#) };
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    reader.get_mut().write_all((head + body).as_bytes())?;
    reader.get_mut().flush()
}

#[test]
fn a_query_over_https_trusts_the_authority_that_is_named_and_sends_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let (port, authority) = server("own");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (own, token) = (file("ca.pem", &authority), file("token", "secret\n"));
    let (_, other) = server("other");
    let other = file("other.pem", &other);
    let record = |authority: Option<&Path>, token: Option<&Path>| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
        let url = format!("https://127.0.0.1:{port}");
        command.args([
            "record",
            "--prometheus",
            &url,
            "--query",
            "hits_total",
            "--from",
            "now-1m",
            "--summary",
            "--json",
        ]);
        for (flag, path) in [("--ca-file", authority), ("--token-file", token)] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        command.output().unwrap()
    };
    let recorded = record(Some(&own), Some(&token));
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&recorded.stdout).unwrap();
    assert_eq!(summary["requests"].as_f64().map(f64::round), Some(225.0), "{summary}");
    let refused = |output: Output| {
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(record(Some(&own), None)).contains("answered 401: no token"));
    for authority in [None, Some(other.as_path())] {
        let told = refused(record(authority, Some(&token)));
        assert!(told.contains("no answer: ") && told.contains("UnknownIssuer"), "{told}");
    }
}
