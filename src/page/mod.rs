//! The live page: how workloads, pools, virtual nodes and money stand, with the last decisions and the last hour.
//!
//! Read-only. Who looks shows a client certificate, a bearer token, or (in a browser) a token as password, and must be
//! allowed to `get` the path `/burstlet`, a non-resource URL of the API server's RBAC. The leader shows; the others say
//! that they stand by.

mod chart;
mod html;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use kube::Client;

pub use html::page;

use crate::{
    kubelet::server::auth::{Auth, Caller, Verdict},
    placer::Board,
};

/// What RBAC must allow to `get`.
pub const PATH: &str = "/burstlet";

/// Time until a browser asks again where nobody leads yet.
const AGAIN: &str = "2";

/// The page for those who may see it; `client` reviews tokens and permissions.
pub fn router(board: Board, client: Client) -> Router {
    let auth = Arc::new(Auth::new(client));
    open(board).layer(middleware::from_fn_with_state(auth, guard))
}

/// The page for whoever reaches it: on loopback, for trials.
pub fn open(board: Board) -> Router {
    Router::new().route("/", get(show)).route("/{*any}", get(nowhere)).with_state(board)
}

async fn nowhere() -> Response {
    (StatusCode::NOT_FOUND, "there is one page, at /\n").into_response()
}

async fn show(State(board): State<Board>) -> Response {
    let Some(sight) = board.look() else {
        let text = "this replica stands by; another one leads, and shows the page: \
                    kubectl get lease burstlet -o jsonpath={.spec.holderIdentity} in burstlet's namespace names it\n";
        let mut answer = (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(AGAIN));
        // A Service gives the next connection to another replica.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer.headers_mut().insert("refresh", HeaderValue::from_static(AGAIN));
        return answer;
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, page(&sight)).into_response()
}

/// Nothing from elsewhere, and no script but the page's own.
fn policy() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, html::SCRIPT.as_bytes());
    let script = BASE64_STANDARD.encode(digest.as_ref());
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
}

async fn guard(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    let caller = match Caller::of(&request) {
        Caller::Nobody => password(&request).map_or(Caller::Nobody, Caller::Token),
        known => known,
    };
    match auth.check_path(caller, PATH).await {
        Verdict::Allowed => next.run(request).await,
        Verdict::Unknown => {
            let asks = "Basic realm=\"burstlet: any name, and as password a token that kubectl create token gives\"";
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, asks)], "Unauthorized\n").into_response()
        }
        Verdict::Denied(who) => {
            let text = format!("Forbidden: {who} may not get the path {PATH}; bind it the ClusterRole burstlet-page\n");
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Verdict::Undecided(error) => {
            tracing::warn!(%error, "the API server could not be asked who may see the page");
            (StatusCode::INTERNAL_SERVER_ERROR, "the API server could not be asked\n").into_response()
        }
    }
}

/// The token that a browser sends as the password of any user.
fn password(request: &Request) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(encoded.trim()).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(password.trim()).filter(|password| !password.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;

    fn request(authorization: Option<&str>) -> Request {
        let mut builder = Request::builder().uri("/");
        if let Some(value) = authorization {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        builder.body(Body::empty()).unwrap()
    }

    /// An API server that knows the token `good`, and lets `jane` see.
    fn client(allowed: bool) -> Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect_bytes().await.unwrap();
            let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
            review["status"] = if path.ends_with("tokenreviews") {
                let known = review["spec"]["token"] == "good";
                serde_json::json!({"authenticated": known, "user": {"username": "jane", "groups": ["viewers"]}})
            } else {
                assert_eq!(review["spec"]["nonResourceAttributes"], serde_json::json!({"path": PATH, "verb": "get"}));
                assert_eq!(
                    (&review["spec"]["user"], &review["spec"]["groups"][0]),
                    (&"jane".into(), &"viewers".into())
                );
                serde_json::json!({"allowed": allowed})
            };
            let body = kube::client::Body::from(serde_json::to_vec(&review).unwrap());
            Ok::<_, std::convert::Infallible>(http::Response::builder().status(201).body(body).unwrap())
        });
        Client::new(service, "default")
    }

    async fn status(allowed: bool, authorization: Option<&str>) -> u16 {
        let router = router(Board::default(), client(allowed));
        router.oneshot(request(authorization)).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn only_who_is_known_and_allowed_gets_through() {
        let basic = |password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("anyone:{password}")));
        assert_eq!(status(true, None).await, 401);
        assert_eq!(status(true, Some("Bearer bad")).await, 401);
        assert_eq!(status(true, Some(&basic("bad"))).await, 401);
        assert_eq!(status(false, Some("Bearer good")).await, 403);
        // Nobody leads here: let through, and told so.
        assert_eq!(status(true, Some("Bearer good")).await, 503);
        assert_eq!(status(true, Some(&basic("good"))).await, 503);
    }

    #[tokio::test]
    async fn a_page_brings_a_policy_that_allows_its_own_script_alone() {
        let board = Board::seen(crate::placer::Sight::default());
        let answer = open(board).oneshot(request(None)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("script-src 'sha256-"), "{policy}");
    }
}
