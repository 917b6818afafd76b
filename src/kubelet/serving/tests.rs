//! Certificates from an API server that is told what to do with each request.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::http::Response;
use kube::client::Body;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const PORT: u16 = 10250;
/// Lifetime of what is signed.
const LIFE: Duration = Duration::from_hours(10);

/// What becomes of a request.
#[derive(Clone, Copy)]
enum Fate {
    Signed,
    SignedForAnotherKey,
    Denied,
    Deleted,
    Waits,
}

#[derive(Default)]
struct Server {
    fates: VecDeque<Fate>,
    requests: Vec<Value>,
    /// Who asked for what.
    asked: Vec<(String, String)>,
    events: Vec<Value>,
    /// Names of nodes that burstlet's role does not name.
    unnamed: Vec<&'static str>,
    /// Nodes that stand elsewhere.
    elsewhere: Vec<&'static str>,
}

/// A public key that was asked about.
struct Asked(Vec<u8>);

impl PublicKeyData for Asked {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn signed(request: &Value, is_its_own: bool) -> String {
    let request: CertificateSigningRequest = serde_json::from_value(request.clone()).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&request.spec.request.0).unwrap();
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).unwrap();
    let key = parsed.certification_request_info.subject_pki.subject_public_key.data.to_vec();
    let mut params = CertificateParams::default();
    let now = std::time::SystemTime::now();
    (params.not_before, params.not_after) = (now.into(), (now + LIFE).into());
    let ca = rcgen::Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let certificate = if is_its_own {
        params.signed_by(&Asked(key), &ca)
    } else {
        params.signed_by(&KeyPair::generate().unwrap(), &ca)
    };
    certificate.unwrap().pem()
}

impl Server {
    fn answer(&mut self, method: &str, path: &str, user: &str, body: &[u8]) -> (u16, Value) {
        let failure = |code: u16, message: &str| (code, json!({"status": "Failure", "code": code, "message": message}));
        self.asked.push((user.to_owned(), format!("{method} {path}")));
        if self.unnamed.iter().any(|node| user == format!("system:node:{node}")) {
            return failure(403, "users \"x\" is forbidden: User \"y\" cannot impersonate resource \"users\"");
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/events") {
            self.events.push(serde_json::from_slice(body).unwrap());
            return (201, self.events.last().unwrap().clone());
        }
        if path.starts_with("/api/v1/nodes/") {
            let address = if self.elsewhere.contains(&name) { "192.0.2.8" } else { "192.0.2.7" };
            let status = json!({
                "addresses": [{"type": "InternalIP", "address": address}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
            });
            return (200, json!({"metadata": {"name": name, "uid": "u"}, "status": status}));
        }
        if method == "POST" {
            let mut request: Value = serde_json::from_slice(body).unwrap();
            request["metadata"]["name"] = json!(format!("csr-{}", self.requests.len()));
            self.requests.push(request.clone());
            return (201, request);
        }
        let number: usize = name.strip_prefix("csr-").unwrap().parse().unwrap();
        let mut request = self.requests[number].clone();
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "message": "because"}]);
        match self.fates.get(number).copied().unwrap_or(Fate::Waits) {
            Fate::Deleted => return failure(404, "not found"),
            Fate::Waits => {}
            Fate::Denied => request["status"] = json!({"conditions": condition("Denied")}),
            fate => {
                let certificate = signed(&request, matches!(fate, Fate::Signed));
                let certificate = k8s_openapi::ByteString(certificate.into_bytes());
                request["status"] = json!({"conditions": condition("Approved"), "certificate": certificate});
            }
        }
        (200, request)
    }
}

fn client(server: &Arc<Mutex<Server>>) -> Client {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(axum::body::Body::new(body), 1 << 20).await.unwrap();
            let user = parts.headers.get("impersonate-user").map_or("", |user| user.to_str().unwrap());
            let (code, answer) = server.lock().unwrap().answer(parts.method.as_str(), parts.uri.path(), user, &body);
            let response = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    Client::new(service, "default")
}

/// Runs for `time` with that server; answers what is held.
async fn run(server: Server, nodes: &[&str], time: Duration) -> (Server, bool) {
    let server = Arc::new(Mutex::new(server));
    let names: Vec<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
    let held = HeldCertificate::default();
    let serving = Serving {
        client: client(&server),
        nodes: move || names.clone(),
        address: ADDRESS,
        port: PORT,
        held: held.clone(),
    };
    assert!(timeout(time, serving.keep()).await.is_err());
    let server = std::mem::take(&mut *server.lock().unwrap());
    (server, held.is_some())
}

fn fates(fates: &[Fate]) -> Server {
    Server { fates: fates.iter().copied().collect(), ..Server::default() }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stands_here_asks_as_itself_and_what_is_signed_is_served() {
    let server = Server { unnamed: vec!["a"], elsewhere: vec!["b"], ..fates(&[Fate::Signed]) };
    let (server, is_held) = run(server, &["a", "b", "c"], Duration::from_mins(1)).await;
    assert!(is_held);
    assert_eq!(server.requests.len(), 1);
    assert_eq!(server.requests[0]["metadata"]["generateName"], "c-");
    let mut users: Vec<&str> =
        server.asked.iter().filter(|(_, what)| what.contains("certificates")).map(|(user, _)| user.as_str()).collect();
    users.dedup();
    assert_eq!(users, ["system:node:c"]);
    assert!(server.events.is_empty(), "{:?}", server.events);
}

#[tokio::test(start_paused = true)]
async fn the_next_certificate_is_asked_for_when_a_fifth_of_its_life_is_left() {
    let (server, _) = run(fates(&[Fate::Signed]), &["a"], Duration::from_mins(479)).await;
    assert_eq!(server.requests.len(), 1);
    let (server, _) = run(fates(&[Fate::Signed]), &["a"], Duration::from_mins(481)).await;
    assert_eq!(server.requests.len(), 2);
    let keys: Vec<&Value> = server.requests.iter().map(|request| &request["spec"]["request"]).collect();
    assert_ne!(keys[0], keys[1], "the old key is used again");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_told_of_once_with_what_approves_it() {
    let (server, is_held) = run(fates(&[Fate::Waits]), &["a"], Duration::from_hours(2)).await;
    assert!(!is_held);
    assert_eq!((server.requests.len(), server.events.len()), (1, 1), "{:?}", server.events);
    assert_eq!(server.events[0]["reason"], "ServingCertificateWaits");
    assert_eq!(server.events[0]["regarding"]["kind"], "Node");
    assert!(server.events[0]["note"].as_str().unwrap().ends_with("kubectl certificate approve csr-0"));
    assert!(server.asked.len() < 700, "{} calls in two hours", server.asked.len());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_asked_about_again_only_later() {
    let (server, is_held) = run(fates(&[Fate::Denied, Fate::Signed]), &["a"], Duration::from_mins(9)).await;
    assert_eq!((server.requests.len(), is_held), (1, false));
    assert_eq!(server.events[0]["reason"], "ServingCertificateRefused");
    let note = server.events[0]["note"].as_str().unwrap();
    assert!(note.ends_with("the request csr-0 was denied: because"), "{note}");
    let (server, is_held) = run(fates(&[Fate::Denied, Fate::Signed]), &["a"], Duration::from_mins(11)).await;
    assert_eq!((server.requests.len(), is_held), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_somebody_deletes_is_made_again_and_a_foreign_certificate_is_not_served() {
    let (server, is_held) = run(fates(&[Fate::Deleted, Fate::Signed]), &["a"], Duration::from_mins(1)).await;
    assert_eq!((server.requests.len(), is_held), (2, true));
    let (server, is_held) = run(fates(&[Fate::SignedForAnotherKey]), &["a"], Duration::from_mins(1)).await;
    assert_eq!((server.requests.len(), is_held), (1, false));
    let note = server.events[0]["note"].as_str().unwrap();
    assert!(note.contains("is not usable: it does not serve with its key"), "{note}");
}

#[test]
fn a_certificate_that_is_over_does_not_keep_the_signer_busy() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let left = |from: i64, until: i64| until_renewal(Validity { from, until }, now).as_secs();
    assert_eq!(left(1_000_000, 1_001_000), 800);
    assert_eq!(left(999_000, 999_500), SOON.as_secs());
}
