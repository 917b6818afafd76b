use axum::http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::watch::fake_api::FakeApi;

fn based_replica_set() -> FakeApi {
    let metadata = json!({"name": "web-1", "uid": "rs", "annotations": {"burstlet.dev/base": "3"}});
    let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
    FakeApi::new(&[("/apis/apps/v1/namespaces/shop/replicasets/web-1", object)])
}

fn webhooks(api: &FakeApi) -> (Router, prometheus::Registry) {
    let registry = prometheus::Registry::new();
    let metrics = AdmissionMetrics::register(&registry).unwrap();
    (
        router(Arc::new(Admission::new(
            api.client(),
            Arc::default(),
            Vec::new(),
            ForeignKinds::default(),
            Some("burstlet-scheduler".into()),
            metrics,
        ))),
        registry,
    )
}

async fn call(router: &Router, path: &str, body: impl Into<Body>) -> (u16, String) {
    let request = Request::post(path).body(body.into()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// A review as an API server sends it.
fn review(operation: &str, kind: &str, object: &Value, dry_run: bool) -> Value {
    let gvk = json!({"group": "", "version": "v1", "kind": kind});
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "call-1", "kind": gvk, "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": gvk, "namespace": "shop", "operation": operation, "userInfo": {"username": "system:admin"},
        "object": object, "oldObject": null, "dryRun": dry_run,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}}})
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "status": {},
           "spec": {"containers": [{"name": "web", "image": "web"}], "schedulerName": "default-scheduler"},
           "metadata": {"generateName": "web-1-", "namespace": "shop", "creationTimestamp": null, "ownerReferences": [
               {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "rs", "controller": true}]}})
}

async fn admitted(router: &Router, object: &Value, dry_run: bool) -> Value {
    let (status, text) = call(router, "/mutate-pods", review("CREATE", "Pod", object, dry_run).to_string()).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!((&answer["response"]["uid"], &answer["response"]["allowed"]), (&json!("call-1"), &json!(true)));
    answer["response"].clone()
}

/// The patch of an answer, which travels in base64 or as a list of bytes.
fn apply(response: &Value, mut pod: Value) -> Value {
    let bytes: Vec<u8> = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: Patch = serde_json::from_slice(&bytes).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

#[tokio::test]
async fn a_governed_pod_is_gated_once_and_a_dry_run_is_answered_alike() {
    let (router, registry) = webhooks(&based_replica_set());
    let response = admitted(&router, &pod(), false).await;
    assert_eq!(response["patchType"], "JSONPatch");
    let gated = apply(&response, pod());
    assert_eq!(gated["spec"]["schedulingGates"], json!([{"name": "burstlet.dev/placement"}]));
    assert_eq!(gated["spec"]["schedulerName"], "burstlet-scheduler");
    assert_eq!(admitted(&router, &pod(), true).await, response);
    assert_eq!(admitted(&router, &gated, false).await.get("patch"), None, "reinvoked");
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains(r#"burstlet_admission_pods_total{outcome="gated"} 2"#), "{text}");
    assert!(text.contains(r#"burstlet_admission_pods_total{outcome="already_gated"} 1"#), "{text}");
}

#[tokio::test]
async fn a_pod_is_let_through_where_nobody_governs_it_or_nobody_can_tell() {
    for (api, outcome) in [(FakeApi::new(&[]), "not_governed"), (FakeApi::failing(), "unknown")] {
        let (router, registry) = webhooks(&api);
        assert_eq!(admitted(&router, &pod(), false).await.get("patch"), None);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains(&format!("{{outcome=\"{outcome}\"}} 1")), "{text}");
    }
}

#[tokio::test]
async fn a_pod_that_is_no_candidate_costs_no_look_up() {
    let api = based_replica_set();
    let (router, _) = webhooks(&api);
    let mut bound = pod();
    bound["spec"]["nodeName"] = json!("a");
    let mut lone = pod();
    lone["metadata"]["ownerReferences"] = json!(null);
    for pod in [bound, lone] {
        assert_eq!(admitted(&router, &pod, false).await.get("patch"), None);
    }
    assert_eq!(api.asked(), [""; 0]);
}

#[tokio::test]
async fn warnings_are_given_and_nothing_is_denied() {
    let (router, _) = webhooks(&FakeApi::new(&[]));
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                        "metadata": {"name": "web", "annotations": {"burstlet.dev/base": "lots"}}, "spec": {}});
    for operation in ["CREATE", "UPDATE"] {
        let (status, text) = call(&router, "/warn", review(operation, "Deployment", &object, false).to_string()).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(true)));
        let warning = answer["response"]["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("Deployment web: burstlet.dev/base: \"lots\" is neither"), "{warning}");
    }
    let (_, text) = call(&router, "/warn", review("DELETE", "Deployment", &json!(null), false).to_string()).await;
    assert!(text.contains(r#""allowed":true"#) && !text.contains("warnings"), "{text}");
}

#[tokio::test]
async fn a_bad_body_is_refused_with_a_reason() {
    let (router, _) = webhooks(&FakeApi::new(&[]));
    for path in ["/mutate-pods", "/warn"] {
        for (body, reason) in [
            ("", "the body is no AdmissionReview: EOF"),
            ("[]", "the body is no AdmissionReview: "),
            (r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}"#, "holds no request"),
            (r#"{"kind":"AdmissionReview","apiVersion":"v1","request":{"uid":7}}"#, "invalid type: integer `7`"),
        ] {
            let (status, text) = call(&router, path, body).await;
            assert!(status == 400 && text.contains(reason), "{status} {text}");
        }
        assert_eq!(call(&router, path, vec![b' '; MAX_BODY + 1]).await.0, 413);
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_or_refused(
        path in proptest::sample::select(vec!["/mutate-pods", "/warn"]),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut body = review("CREATE", "Pod", &pod(), false).to_string().into_bytes();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (status, _) = runtime.block_on(async { call(&webhooks(&based_replica_set()).0, path, body).await });
        prop_assert!(status == 200 || status == 400, "{}", status);
    }
}
