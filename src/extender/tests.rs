use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use axum::http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// An API server with the given pod, that answers bindings with a status.
#[derive(Clone, Default)]
struct FakeApi {
    pod: Option<Value>,
    binding: u16,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FakeApi {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> axum::http::Response<Body> {
        let asked = format!("{} {}", request.method(), request.uri());
        let bytes = request.into_body().collect_bytes().await.unwrap();
        self.note(asked.clone(), serde_json::from_slice(&bytes).unwrap_or_default());
        let status = |code: u16| {
            let word = if code < 300 { "Success" } else { "Failure" };
            let reason = if code == 404 { "NotFound" } else { "" };
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": word, "reason": reason, "code": code, "message": format!("said {code}")}),
            )
        };
        let (code, answer) = match &self.pod {
            _ if asked.starts_with("POST ") => status(self.binding),
            Some(pod) => (200, pod.clone()),
            None => status(404),
        };
        axum::http::Response::builder().status(code).body(Body::from(answer.to_string())).unwrap()
    }

    fn note(&self, asked: String, body: Value) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((asked, body));
    }

    fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(asked, _)| asked.clone()).collect()
    }
}

fn pod(uid: &str, tier: &str, node: Option<&str>) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": "web-1", "namespace": "shop", "uid": uid, "annotations": {"burstlet.dev/tier": tier, "burstlet.dev/pool": "eci"}},
           "spec": {"containers": [], "nodeName": node}})
}

fn extender(api: &FakeApi) -> Router {
    let nodes = VirtualNodes::default();
    nodes.upsert("eci-1", "eci", true);
    let metrics = ExtenderMetrics::register(&prometheus::Registry::new()).unwrap();
    router(Arc::new(Extender::new(Arc::new(nodes), api.client(), metrics)))
}

async fn call(router: &Router, path: &str, body: impl Into<Body>) -> (u16, String) {
    let request = Request::post(path).body(body.into()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn bind_to(router: &Router, node: &str) -> String {
    let args = json!({"PodName": "web-1", "PodNamespace": "shop", "PodUID": "u-1", "Node": node});
    let (status, answer) = call(router, "/bind", args.to_string()).await;
    assert_eq!(status, 200);
    serde_json::from_str::<BindingResult>(&answer).unwrap().error
}

async fn filter_tier(router: &Router, tier: &str) -> String {
    let args = json!({"Pod": pod("u-1", tier, None), "Nodes": null, "NodeNames": ["a", "eci-1"]});
    call(router, "/filter", args.to_string()).await.1
}

const BINDING: &str = "POST /api/v1/namespaces/shop/pods/web-1/binding?";
const POD: &str = "GET /api/v1/namespaces/shop/pods/web-1";

#[tokio::test]
async fn every_verb_is_answered_as_kube_scheduler_asks() {
    let api = FakeApi::default();
    let router = extender(&api);
    let args = json!({"Pod": pod("u-1", "base-short", None), "Nodes": null, "NodeNames": ["a", "eci-1"]}).to_string();
    assert_eq!(call(&router, "/filter", args.clone()).await, (200, r#"{"NodeNames":["a","eci-1"]}"#.to_owned()));
    let scores = r#"[{"Host":"a","Score":10},{"Host":"eci-1","Score":0}]"#;
    assert_eq!(call(&router, "/prioritize", args).await, (200, scores.to_owned()));
    let args = json!({"Pod": pod("u-1", "burst", None), "NodeNameToVictims": null,
                      "NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "x"}], "NumPDBViolations": 0}}});
    assert_eq!(call(&router, "/preempt", args.to_string()).await, (200, r#"{"NodeNameToMetaVictims":{}}"#.to_owned()));
    let health = router.oneshot(Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn a_burst_pod_that_filter_has_seen_is_bound_by_one_write_that_carries_uid_and_pool() {
    let api = FakeApi { binding: 201, ..FakeApi::default() };
    let router = extender(&api);
    assert!(filter_tier(&router, "burst").await.starts_with(r#"{"NodeNames":["eci-1"],"#));
    assert_eq!(bind_to(&router, "eci-1").await, "");
    assert_eq!(api.asked(), [BINDING]);
    let written = api.seen.lock().unwrap()[0].1.clone();
    let metadata =
        json!({"name": "web-1", "namespace": "shop", "uid": "u-1", "annotations": {"burstlet.dev/pool": "eci"}});
    assert_eq!(written["metadata"], metadata);
    assert_eq!(written["target"], json!({"apiVersion": "v1", "kind": "Node", "name": "eci-1"}));
}

#[tokio::test]
async fn a_base_pod_gets_no_annotation_on_a_real_node_and_is_refused_on_a_virtual_one() {
    let api = FakeApi { binding: 201, pod: Some(pod("u-1", "base", None)), ..FakeApi::default() };
    let router = extender(&api);
    assert_eq!(bind_to(&router, "a").await, "");
    assert_eq!(api.asked(), [POD, BINDING], "unknown, so its tier is asked for");
    assert_eq!(api.seen.lock().unwrap()[1].1["metadata"].get("annotations"), None);
    let error = bind_to(&router, "eci-1").await;
    assert!(
        error.contains("pod shop/web-1 may not go to node eci-1: burstlet: a base pod runs on real nodes"),
        "{error}"
    );
    assert_eq!(api.asked().len(), 3, "nothing was written");
}

#[tokio::test]
async fn a_refusal_from_memory_is_checked_against_the_pod_as_it_is_now() {
    let api = FakeApi { binding: 201, pod: Some(pod("u-1", "base-short", None)), ..FakeApi::default() };
    let router = extender(&api);
    filter_tier(&router, "base").await;
    assert_eq!(bind_to(&router, "eci-1").await, "");
    assert_eq!(api.asked(), [POD, BINDING]);
}

#[tokio::test]
async fn a_conflict_is_a_success_only_where_the_same_pod_is_on_the_same_node() {
    for (found, error) in [
        (Some(pod("u-1", "burst", Some("eci-1"))), ""),
        (Some(pod("u-1", "burst", Some("eci-2"))), "is bound to node eci-2 already"),
        (Some(pod("u-1", "burst", None)), "the API server said: "),
        (Some(pod("u-2", "burst", Some("eci-1"))), "pod shop/web-1 is gone"),
        (None, "pod shop/web-1 is gone"),
    ] {
        let router = extender(&FakeApi { binding: 409, pod: found, ..FakeApi::default() });
        filter_tier(&router, "burst").await;
        let got = bind_to(&router, "eci-1").await;
        assert!(got.contains(error) && got.is_empty() == error.is_empty(), "{got}");
    }
}

#[tokio::test]
async fn an_api_error_is_told_in_the_answer() {
    let router = extender(&FakeApi { binding: 500, ..FakeApi::default() });
    filter_tier(&router, "burst").await;
    let error = bind_to(&router, "eci-1").await;
    assert!(error.contains("the API server said: ") && error.contains("said 500"), "{error}");
}

#[tokio::test]
async fn bad_bodies_are_refused_with_a_reason_and_counted() {
    let nodes = Arc::new(VirtualNodes::default());
    let registry = prometheus::Registry::new();
    let metrics = ExtenderMetrics::register(&registry).unwrap();
    let router = router(Arc::new(Extender::new(nodes, FakeApi::default().client(), metrics)));
    for path in ["/filter", "/prioritize", "/preempt", "/bind"] {
        let (status, reason) = call(&router, path, "{}").await;
        assert_eq!(status, 400);
        assert!(reason.contains(" is missing; "), "{reason}");
        let (status, reason) = call(&router, path, vec![b' '; MAX_BODY + 1]).await;
        assert_eq!((status, reason.as_str()), (413, "the request body is larger than 4194304 bytes"));
    }
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains(r#"burstlet_extender_calls_total{outcome="bad_request",verb="filter"} 2"#), "{text}");
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_or_refused(
        path in proptest::sample::select(vec!["/filter", "/prioritize", "/preempt", "/bind"]),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut body = json!({
            "Pod": pod("u-1", "burst", None), "Nodes": null, "NodeNames": ["a", "eci-1"],
            "NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "x"}], "NumPDBViolations": 0}},
            "PodName": "web-1", "PodNamespace": "shop", "PodUID": "u-1", "Node": "eci-1",
        }).to_string().into_bytes();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (status, _) = runtime.block_on(async { call(&extender(&FakeApi { binding: 201, ..FakeApi::default() }), path, body).await });
        prop_assert!(status == 200 || status == 400, "{}", status);
    }
}
