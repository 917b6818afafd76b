//! What others want of the same pods: constraints, volumes, quotas, other webhooks, dry runs, choices of the user's own, and a
//! node autoscaler. Affinity, deletion cost and disruption budgets are in `own_scheduler`.

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

use crate::support::{
    Bench, POOL, Wanted, annotation, eventually_else, is_gated, is_virtual, line, node, options, reason, tier,
};

const MINUTE: Duration = Duration::from_mins(1);
const OTHER_GATE: &str = "example.com/hold";

/// One cluster for all, a namespace each.
#[tokio::test(flavor = "multi_thread")]
async fn burstlet_lives_beside_what_others_want_of_the_same_pods() {
    let bench = Bench::start(options(Scheduler::Dedicated)).await;
    let replica = bench.run_here().await;
    hard_hostname_anti_affinity(&bench).await;
    hard_zone_spread(&bench).await;
    a_volume_that_waits_for_its_first_consumer(&bench).await;
    a_quota_that_refuses_some(&bench).await;
    dry_runs(&bench).await;
    the_users_scheduler_and_node(&bench).await;
    placed_by_hand(&bench).await;
    another_webhook(&bench).await;
    a_node_autoscaler_has_its_time(&bench).await;
    replica.stop().await.unwrap();
    bench.stop().await;
}

/// Waits until the pods are as they should be; each is told where they are not.
async fn pods_until(bench: &Bench, namespace: &str, what: &str, are: impl Fn(&[Pod]) -> bool) -> Vec<Pod> {
    eventually_else(what, MINUTE, || async {
        let pods = bench.pods(namespace).await;
        if are(&pods) { Ok(pods) } else { Err(format!("{:#?}", pods.iter().map(line).collect::<Vec<_>>())) }
    })
    .await
}

fn is_on_real(pod: &Pod) -> bool {
    node(pod).is_some_and(|node| !is_virtual(node))
}

async fn remove(bench: &Bench, namespace: &str) {
    bench.deployments(namespace).delete("web", &DeleteParams::background()).await.unwrap();
    bench.runs(namespace, 0, 0).await;
}

/// One pod a host: virtual nodes are no host, so they take any number. Scaled at once, as an HPA to its maximum.
async fn hard_hostname_anti_affinity(bench: &Bench) {
    bench.namespace("apart", &json!({})).await;
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    bench.deploy("apart", &Wanted { pod_spec: json!({"affinity": apart}), ..Wanted::new("web", Some("3"), 3) }).await;
    bench.runs("apart", 3, 0).await;
    bench.scale("apart", "web", 20).await;
    bench.runs("apart", 3, 17).await;
    println!("hard hostname anti-affinity, base 3, scaled to 20: 3 on real nodes, 17 burst");
    remove(bench, "apart").await;
}

/// Virtual nodes have no zone, so a hard spread over zones keeps pods off them: they wait, and are told what would help.
async fn hard_zone_spread(bench: &Bench) {
    bench.namespace("zones", &json!({})).await;
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]);
    let spec = json!({"topologySpreadConstraints": spread});
    bench.deploy("zones", &Wanted { pod_spec: spec, ..Wanted::new("web", Some("3"), 20) }).await;
    let says =
        "the spread over topology.kubernetes.io/zone (DoNotSchedule) excludes virtual nodes; ScheduleAnyway would not";
    pods_until(bench, "zones", "3 run, 17 wait and say why", |pods| {
        let waits = pods.iter().filter(|pod| is_gated(pod) && reason(pod).contains(says)).count();
        (pods.iter().filter(|pod| is_on_real(pod)).count(), waits) == (3, 17)
    })
    .await;
    let told = bench.burstlet(&["explain", "deployment/web", "--namespace", "zones"]);
    assert!(told.contains(says), "{told}");
    println!("zone spread maxSkew 1, base 3 of 20: 17 wait, and explain names the constraint and the fix");
    remove(bench, "zones").await;
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
    let instances = || bench.stand.cloud(POOL).unwrap().audit().len();
    let before = instances();
    let owner = serde_json::to_value(&pods[0].metadata.owner_references).unwrap();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
    let template = Wanted::new("web", None, 0).object("Deployment")["spec"]["template"].clone();
    pod["spec"] = template["spec"].clone();
    pod["metadata"] = json!({"namespace": "dry", "ownerReferences": owner, "labels": {"app": "other"}});
    for number in 0..5 {
        pod["metadata"]["name"] = json!(format!("dry-{number}"));
        let arguments = ["create", "--dry-run=server", "--output", "json", "--filename", "-"];
        let output = bench.kubectl_with(&arguments, &pod);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["spec"]["schedulingGates"][0]["name"], "burstlet.dev/placement", "{shown}");
    }
    // The next real one is placed as the third, not as an eighth.
    bench.scale("dry", "web", 4).await;
    let after = bench.runs("dry", 2, 2).await;
    assert!(after.iter().all(|pod| !pod.name_any().starts_with("dry-")));
    assert_eq!(instances(), before + 1, "one instance for the one pod");
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

/// A node autoscaler in little: pods that fit nowhere for 20 s get a node, and the policy gives it 40 s (of 60 s and 90 s).
async fn a_node_autoscaler_has_its_time(bench: &Bench) {
    bench.namespace("grows", &json!({})).await;
    let close = async |closed: bool, count: u32| {
        for index in 0..count {
            let patch = Patch::Merge(json!({"spec": {"unschedulable": closed}}));
            let nodes = Api::<Node>::all(bench.client.clone());
            nodes.patch(&real_node_name(index), &PatchParams::default(), &patch).await.unwrap();
        }
    };
    close(true, 4).await;
    let annotations = json!({"burstlet.dev/base": "2", "burstlet.dev/move-on-after": "40s"});
    bench.deploy("grows", &Wanted { annotations, ..Wanted::new("web", None, 2) }).await;
    let short = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut refused = conditions.filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
        let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
        let mut kept = tolerations.filter(|one| one.key.as_deref() == Some("virtual-kubelet.io/provider"));
        refused.next().is_some() && kept.next().is_none()
    };
    pods_until(bench, "grows", "both are plain pods that an autoscaler sees fit nowhere", |pods| {
        pods.len() == 2 && pods.iter().all(short)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(bench.pods("grows").await.iter().all(short), "still plain pods");
    close(false, 1).await;
    let pods = bench.runs("grows", 2, 0).await;
    assert!(pods.iter().all(|pod| tier(pod) == Some("base")), "{:#?}", pods.iter().map(line).collect::<Vec<_>>());
    println!("a node came after 20 s of the 40 s that it was given: the base went there, nothing burst");
    close(false, 4).await;
}
