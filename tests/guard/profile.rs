//! An ECI profile that comes, changes while a burst runs, and goes. A part of the story in `coexist`.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    coexist::remove,
    support::{Bench, Wanted, annotation, eventually_else, tier},
};

const NAMESPACE: &str = "profiled";
const SPECS: &str = "k8s.aliyun.com/eci-use-specs";
const LABEL: &str = "example.com/profile";
const MINUTE: Duration = Duration::from_mins(1);

/// What every pod of the namespace gets.
fn gives(word: &str, specs: &str) -> Value {
    let of = json!({"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}});
    json!({"name": word, "namespaceSelector": of, "effect": {"labels": {LABEL: word}, "annotations": {SPECS: specs}}})
}

/// Writes the profile as ECI keeps it.
fn write(bench: &Bench, selectors: &Value) {
    bench.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "eci-profile", "namespace": "kube-system"},
        "data": {"selectors": selectors.to_string()},
    }));
}

fn word(pod: &Pod) -> Option<&str> {
    pod.labels().get(LABEL).map(String::as_str)
}

fn words(pods: &[Pod]) -> BTreeMap<String, Option<&str>> {
    pods.iter().map(|pod| (pod.name_any(), word(pod))).collect()
}

/// Waits until a pod that were created now would get this label.
async fn followed(bench: &Bench, wanted: Option<&str>) {
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "no", "uid": "no", "controller": true}]);
    let spec = json!({"containers": [{"name": "main", "image": "none"}]});
    let metadata = json!({"name": "shown", "namespace": NAMESPACE, "ownerReferences": owner});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    eventually_else(&format!("pods get {wanted:?}"), MINUTE, || async {
        let output = bench.kubectl_with(&["create", "--dry-run=server", "--output", "json", "--filename", "-"], &pod);
        let shown: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        if shown["metadata"]["labels"][LABEL].as_str() == wanted { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    // The leader has a watch of its own.
    sleep(Duration::from_secs(1)).await;
}

pub(crate) async fn an_eci_profile_changes_while_a_burst_runs(bench: &Bench) {
    bench.namespace(NAMESPACE, &json!({})).await;
    write(bench, &json!([gives("one", "1-2Gi")]));
    followed(bench, Some("one")).await;
    bench.deploy(NAMESPACE, &Wanted::new("web", Some("2"), 4)).await;
    let first = bench.runs(NAMESPACE, 2, 2).await;
    assert!(first.iter().all(|pod| (word(pod), annotation(pod, SPECS)) == (Some("one"), Some("1-2Gi"))));

    bench.scale(NAMESPACE, "web", 14).await;
    write(bench, &json!([gives("two", "2-4Gi")]));
    followed(bench, Some("two")).await;
    let amid = bench.runs(NAMESPACE, 2, 12).await;
    let is_whole = |pod: &Pod| {
        matches!((word(pod), annotation(pod, SPECS)), (Some("one"), Some("1-2Gi")) | (Some("two"), Some("2-4Gi")))
    };
    assert!(amid.iter().all(is_whole), "one version of it each: {:?}", words(&amid));
    bench.scale(NAMESPACE, "web", 16).await;
    let after = bench.runs(NAMESPACE, 2, 14).await;
    let (before, now) = (words(&amid), words(&after));
    assert!(before.iter().all(|(pod, had)| now.get(pod) == Some(had)), "what runs stays as it is: {before:?}, {now:?}");
    assert!(now.iter().all(|(pod, has)| before.contains_key(pod) || *has == Some("two")), "{before:?}, {now:?}");
    println!("an ECI profile changed while 14 pods burst: those that came after have what it gives now");

    it_governs(bench).await;
    let gone = ["delete", "configmap", "eci-profile", "--namespace", "kube-system"];
    assert!(bench.stand.cluster().kubectl(gone).unwrap().status.success());
    followed(bench, None).await;
    bench.scale(NAMESPACE, "web", 17).await;
    let last = bench.runs(NAMESPACE, 2, 15).await;
    assert_eq!(last.iter().filter(|pod| word(pod).is_none()).count(), 1, "{:?}", words(&last));
    println!("without the profile the next pod gets nothing");
    remove(bench, NAMESPACE).await;
}

/// What it gives may be what makes pods burst: a workload without a word of burstlet's.
async fn it_governs(bench: &Bench) {
    let mut eci = gives("two", "2-4Gi");
    eci["objectSelector"] = json!({"matchLabels": {"app": "other"}});
    eci["effect"]["labels"]["alibabacloud.com/eci"] = json!("true");
    write(bench, &json!([eci, gives("three", "4-8Gi")]));
    followed(bench, Some("three")).await;
    bench.deploy(NAMESPACE, &Wanted::new("other", None, 2)).await;
    let pods = bench.runs(NAMESPACE, 2, 16).await;
    let others = || pods.iter().filter(|pod| pod.labels()["app"] == "other");
    assert!(others().count() == 2 && others().all(|pod| tier(pod) == Some("burst")), "{:?}", words(&pods));
    let told = bench.burstlet(&["explain", "deployment/other", "--namespace", NAMESPACE]);
    assert!(told.contains("mode Always"), "{told}");
    println!("a workload without any annotation bursts by what the profile gives its pods");
    bench.deployments(NAMESPACE).delete("other", &kube::api::DeleteParams::background()).await.unwrap();
    bench.runs(NAMESPACE, 2, 14).await;
}
