//! What others want of the same pods: volumes, quotas, other webhooks, dry runs, choices of the user's own; hard constraints
//! (`constrained`), a node autoscaler (`autoscaler`), other products' marks (`opt_in`), an ECI profile (`profile`). Affinity, deletion cost and disruption budgets
//! are in `own_scheduler`.

use std::{net::SocketAddr, time::Duration};

use axum::{Json, Router, body::Bytes, routing::post};
use burstlet::{
    lab::{
        cluster::CertificateRequest,
        stand::{Scheduler, real_node_name},
    },
    serve::{self, ClientAuth, Protocols, ServerTls},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::{
        DynamicObject,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    autoscaler, constrained, opt_in, profile,
    support::{
        Bench, POOL, Wanted, annotation, eventually_else, is_gated, is_virtual, line, node, options, reason, tier,
    },
};

const MINUTE: Duration = Duration::from_mins(1);
const OTHER_GATE: &str = "example.com/hold";

/// One cluster for all, a namespace each; what takes long runs beside the rest.
#[tokio::test(flavor = "multi_thread")]
async fn burstlet_lives_beside_what_others_want_of_the_same_pods() {
    let mut options = options(Scheduler::Dedicated);
    // The fifth is the node autoscaler's.
    options.real_nodes.count = 5;
    options.cluster.metrics_server = true;
    options.cluster.hpa_sync = Duration::from_secs(5);
    let bench = Bench::start(options).await;
    let replica = bench.run_here().await;
    autoscaler::begins(&bench).await;
    constrained::load(&bench);
    let one_by_one = async {
        a_volume_that_waits_for_its_first_consumer(&bench).await;
        a_quota_that_refuses_some(&bench).await;
        dry_runs(&bench).await;
        the_users_scheduler_and_node(&bench).await;
        placed_by_hand(&bench).await;
        another_webhook(&bench).await;
        constrained::required_node_affinity(&bench).await;
        profile::an_eci_profile_changes_while_a_burst_runs(&bench).await;
    };
    tokio::join!(
        autoscaler::a_node_autoscaler_has_its_time(&bench),
        constrained::hard_hostname_anti_affinity(&bench),
        constrained::hard_zone_spread(&bench),
        opt_in::marks_of_other_products(&bench),
        one_by_one,
    );
    replica.stop().await.unwrap();
    bench.stop().await;
}

/// Waits until the pods are as they should be; each is told where they are not.
pub(crate) async fn pods_until(bench: &Bench, namespace: &str, what: &str, are: impl Fn(&[Pod]) -> bool) -> Vec<Pod> {
    eventually_else(what, MINUTE, || async {
        let pods = bench.pods(namespace).await;
        if are(&pods) { Ok(pods) } else { Err(format!("{:#?}", pods.iter().map(line).collect::<Vec<_>>())) }
    })
    .await
}

pub(crate) fn is_on_real(pod: &Pod) -> bool {
    node(pod).is_some_and(|node| !is_virtual(node))
}

pub(crate) async fn remove(bench: &Bench, namespace: &str) {
    bench.deployments(namespace).delete("web", &DeleteParams::background()).await.unwrap();
    bench.runs(namespace, 0, 0).await;
}

async fn a_volume_that_waits_for_its_first_consumer(bench: &Bench) {
    bench.namespace("volume", &json!({})).await;
    bench.apply(&json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "by-hand"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    }));
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [real_node_name(1)]});
    let capacity = json!({"storage": "1Gi"});
    bench.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"capacity": capacity, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
                 "local": {"path": "/disk"},
                 "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}},
    }));
    bench.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "volume"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand", "resources": {"requests": capacity}},
    }));
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let wanted = Wanted { pod_spec: json!({"volumes": volumes}), ..Wanted::new("web", Some("1"), 2) };
    bench.deploy("volume", &wanted).await;
    let pods = pods_until(bench, "volume", "one runs at its volume, one waits and says why", |pods| {
        let waits =
            |pod: &&Pod| is_gated(pod) && reason(pod).contains("volume data (persistentVolumeClaim) needs a real node");
        (pods.iter().filter(|pod| is_on_real(pod)).count(), pods.iter().filter(waits).count()) == (1, 1)
    })
    .await;
    let home = pods.iter().find(|pod| is_on_real(pod)).and_then(node);
    assert_eq!(home, Some(real_node_name(1).as_str()), "where the volume is");
    println!("WaitForFirstConsumer: the base pod at its volume, the next one waits and says why");
    remove(bench, "volume").await;
}

/// Creations that the quota refuses are none: what stands is counted, and later ones are placed as if nothing had been.
async fn a_quota_that_refuses_some(bench: &Bench) {
    bench.namespace("quota", &json!({})).await;
    let quota = |pods: &str| {
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "quota"},
               "spec": {"hard": {"pods": pods}}})
    };
    bench.apply(&quota("5"));
    bench.deploy("quota", &Wanted::new("web", Some("2"), 8)).await;
    bench.runs("quota", 2, 3).await;
    bench.apply(&quota("8"));
    bench.runs("quota", 2, 6).await;
    println!("a quota of 5 pods: 2 + 3 of 8 run; raised to 8: 2 + 6");
    remove(bench, "quota").await;
}

/// What a dry run shows is what would be, and nothing is counted or made.
async fn dry_runs(bench: &Bench) {
    bench.namespace("dry", &json!({})).await;
    bench.deploy("dry", &Wanted::new("web", Some("2"), 3)).await;
    let pods = bench.runs("dry", 2, 1).await;
    let audit = || bench.stand.cloud(POOL).unwrap().audit();
    let owner = serde_json::to_value(&pods[0].metadata.owner_references).unwrap();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
    let template = Wanted::new("web", None, 0).object("Deployment")["spec"]["template"].clone();
    pod["spec"] = template["spec"].clone();
    pod["metadata"] = json!({"namespace": "dry", "ownerReferences": owner, "labels": {"app": "other"}});
    let mut uids = Vec::new();
    for number in 0..5 {
        pod["metadata"]["name"] = json!(format!("dry-{number}"));
        let arguments = ["create", "--dry-run=server", "--output", "json", "--filename", "-"];
        let output = bench.kubectl_with(&arguments, &pod);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["spec"]["schedulingGates"][0]["name"], "burstlet.dev/placement", "{shown}");
        uids.push(shown["metadata"]["uid"].as_str().unwrap().to_owned());
    }
    // The next real one is placed as the third, not as an eighth.
    bench.scale("dry", "web", 4).await;
    let after = bench.runs("dry", 2, 2).await;
    assert!(after.iter().all(|pod| !pod.name_any().starts_with("dry-")));
    assert!(uids.iter().all(|uid| !audit().contains_key(uid)), "no instance for a pod that was only shown");
    println!("5 dry runs show the gate, and leave neither a count nor an instance");
    remove(bench, "dry").await;
}

async fn the_users_scheduler_and_node(bench: &Bench) {
    bench.namespace("chosen", &json!({})).await;
    let by = json!({"schedulerName": "of-the-user"});
    bench.deploy("chosen", &Wanted { pod_spec: by, ..Wanted::new("web", Some("1"), 2) }).await;
    let pods = pods_until(bench, "chosen", "both are let go to the user's scheduler", |pods| {
        pods.len() == 2 && pods.iter().all(|pod| !is_gated(pod) && tier(pod).is_some())
    })
    .await;
    for pod in &pods {
        assert_eq!(pod.spec.as_ref().unwrap().scheduler_name.as_deref(), Some("of-the-user"));
        assert_eq!(node(pod), None, "nobody else binds it: {}", line(pod));
    }
    remove(bench, "chosen").await;
    bench.namespace("pinned", &json!({})).await;
    let at = json!({"nodeName": real_node_name(2)});
    bench.deploy("pinned", &Wanted { pod_spec: at, ..Wanted::new("web", Some("1"), 3) }).await;
    for pod in bench.runs("pinned", 3, 0).await {
        assert_eq!((node(&pod), tier(&pod)), (Some(real_node_name(2).as_str()), None), "{}", line(&pod));
    }
    println!("the user's schedulerName stays, and the user's nodeName is where the pods run");
    remove(bench, "pinned").await;
}

/// Without a policy: by the pool's label and a toleration, or by the virtual node's name.
async fn placed_by_hand(bench: &Bench) {
    bench.namespace("by-hand", &json!({})).await;
    let toleration = json!([{"key": "virtual-kubelet.io/provider", "operator": "Exists", "effect": "NoSchedule"}]);
    let selected = json!({"nodeSelector": {"burstlet.dev/pool": POOL}, "tolerations": toleration});
    bench.deploy("by-hand", &Wanted { pod_spec: selected, ..Wanted::new("web", None, 2) }).await;
    for pod in bench.runs("by-hand", 0, 2).await {
        assert_eq!((tier(&pod), annotation(&pod, "burstlet.dev/pool")), (None, None), "{}", line(&pod));
    }
    remove(bench, "by-hand").await;
    let nodes = Api::<Node>::all(bench.client.clone()).list(&ListParams::default()).await.unwrap();
    let virtual_node = nodes.items.iter().map(ResourceExt::name_any).find(|name| is_virtual(name)).unwrap();
    let named = json!({"nodeName": virtual_node, "tolerations": toleration});
    bench.deploy("by-hand", &Wanted { pod_spec: named, ..Wanted::new("web", None, 1) }).await;
    bench.runs("by-hand", 0, 1).await;
    println!("placed by hand on virtual nodes: by nodeSelector and toleration, and by nodeName");
    remove(bench, "by-hand").await;
}

/// Adds a label, and a gate before or after burstlet's.
async fn second_webhook(body: Bytes) -> Json<Value> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(&body).unwrap();
    let request: AdmissionRequest<DynamicObject> = review.try_into().unwrap();
    let pod = request.object.as_ref().unwrap();
    let gates = pod.data.pointer("/spec/schedulingGates").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = vec![json!({"name": OTHER_GATE})];
    all.extend(gates.into_iter().filter(|gate| gate["name"] != OTHER_GATE));
    let patch = json!([
        {"op": "add", "path": "/metadata/labels/seen", "value": "yes"},
        {"op": "add", "path": "/spec/schedulingGates", "value": all},
    ]);
    let response = AdmissionResponse::from(&request).with_patch(serde_json::from_value(patch).unwrap()).unwrap();
    Json(serde_json::to_value(response.into_review()).unwrap())
}

async fn another_webhook(bench: &Bench) {
    bench.namespace("twice", &json!({})).await;
    let stop = CancellationToken::new();
    let address = listen(bench, &stop).await;
    let authority = std::fs::read_to_string(bench.stand.cluster().ca()).unwrap();
    let hook = json!({
        "name": "second.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "clientConfig": {"url": format!("https://{address}/"), "caBundle": base64(authority.as_bytes())},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "twice"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    });
    bench.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "second"}, "webhooks": [hook],
    }));
    bench.deploy("twice", &Wanted::new("web", Some("1"), 3)).await;
    let gates = |pod: &Pod| {
        let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.clone()).unwrap_or_default();
        gates.into_iter().map(|gate| gate.name).collect::<Vec<_>>()
    };
    let pods = pods_until(bench, "twice", "burstlet's gate is off, the other's stays", |pods| {
        pods.len() == 3 && pods.iter().all(|pod| tier(pod).is_some() && gates(pod) == [OTHER_GATE])
    })
    .await;
    assert_eq!(pods.iter().filter(|pod| tier(pod) == Some("base")).count(), 1);
    assert!(pods.iter().all(|pod| pod.labels().get("seen").is_some()));
    for pod in &pods {
        let open = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
        bench.pods_of("twice").patch(&pod.name_any(), &PatchParams::default(), &open).await.unwrap();
    }
    bench.runs("twice", 1, 2).await;
    println!("a second webhook with a gate of its own: both gates are kept apart, base 1 of 3 holds");
    let gone = ["delete", "mutatingwebhookconfiguration", "second"];
    assert!(bench.stand.cluster().kubectl(gone).unwrap().status.success());
    remove(bench, "twice").await;
    stop.cancel();
}

async fn listen(bench: &Bench, stop: &CancellationToken) -> SocketAddr {
    let files = bench.stand.cluster().issue(&CertificateRequest::server("second", &[])).unwrap();
    let tls = ServerTls {
        certificate: files.certificate,
        key: files.key,
        client_ca: None,
        client_auth: ClientAuth::default(),
        protocols: Protocols::default(),
    };
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::serve(listener, tls, Router::new().route("/", post(second_webhook)), stop.clone()));
    address
}

fn base64(bytes: &[u8]) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).unwrap()
}
