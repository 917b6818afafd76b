//! Every kind that scales pods keeps its base: StatefulSet, Job, `CronJob`, and what other API groups bring. A bare ReplicaSet's is
//! in `own_scheduler`.

use std::{collections::BTreeSet, time::Duration};

use burstlet::{api::kinds::ForeignKind, lab::stand::Scheduler};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::DeleteParams};
use serde_json::{Value, json};

use crate::support::{Bench, POOL, Wanted, eventually_else, is_running, is_virtual, line, node, options, reason, tier};

const MINUTE: Duration = Duration::from_mins(1);

/// One cluster for all, a namespace each.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_that_scales_pods_keeps_its_base() {
    let bench = Bench::start(options(Scheduler::ClustersOwn)).await;
    other_groups(&bench).await;
    let kinds = [("Fleet", "fleets", "Pods"), ("Squad", "squads", "ReplicaSets")].map(|(kind, resource, owns)| {
        json!({"apiVersion": "example.com/v1", "kind": kind, "resource": resource, "owns": owns})
    });
    let kinds: Vec<ForeignKind> = serde_json::from_value(json!(kinds)).unwrap();
    let replica = bench.stand.run_here_with(&kinds).await.unwrap_or_else(|error| panic!("{error}"));
    stateful_set(&bench).await;
    job(&bench).await;
    cron_job(&bench).await;
    pods_of_another_group(&bench).await;
    replica_sets_of_another_group(&bench).await;
    replica.stop().await.unwrap();
    bench.stop().await;
}

/// The names of pods on real nodes.
fn at_home(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter(|pod| node(pod).is_some_and(|node| !is_virtual(node))).map(ResourceExt::name_any).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// The ordinals below the base stand on real nodes, whichever pod was there first.
async fn stateful_set(bench: &Bench) {
    bench.namespace("db", &json!({})).await;
    let mut set = Wanted::new("db", Some("2"), 5).object("StatefulSet");
    set["metadata"]["namespace"] = json!("db");
    set["spec"]["serviceName"] = json!("db");
    bench.apply(&set);
    let pods = bench.runs("db", 2, 3).await;
    assert_eq!(at_home(&pods), names(["db-0", "db-1"]), "OrderedReady, base 2");

    for ordinal in ["db-0", "db-3"] {
        let before = pods.iter().find(|pod| pod.name_any() == ordinal).unwrap().uid();
        bench.pods_of("db").delete(ordinal, &DeleteParams::default()).await.unwrap();
        eventually_else(&format!("{ordinal} is made anew"), MINUTE, || async {
            let pods = bench.pods("db").await;
            let anew = pods.iter().find(|pod| pod.name_any() == ordinal && pod.uid() != before && is_running(pod));
            anew.map(|_| ()).ok_or_else(|| format!("{:#?}", pods.iter().map(line).collect::<Vec<_>>()))
        })
        .await;
        let pods = bench.runs("db", 2, 3).await;
        assert_eq!(at_home(&pods), names(["db-0", "db-1"]), "after {ordinal} was deleted");
    }
    set["spec"]["replicas"] = json!(3);
    bench.apply(&set);
    let pods = bench.runs("db", 2, 1).await;
    assert_eq!(at_home(&pods), names(["db-0", "db-1"]), "scale-in takes the highest ordinals");
    let told = bench.burstlet(&["explain", "statefulset/db", "--namespace", "db"]);
    assert!(told.contains(&format!("{POOL} 1, real 2")), "{told}");
    println!("StatefulSet of 5, base 2: ordinals 0 and 1 on real nodes, also after a deletion and a scale-in");
}

fn job_object(kind: &str, name: &str, base: Option<&str>) -> Value {
    let wanted = Wanted::new("batch", base, 0).object("Deployment");
    let mut template = wanted["spec"]["template"].clone();
    template["spec"]["restartPolicy"] = json!("Never");
    let spec = json!({"parallelism": 6, "completions": 40, "template": template});
    let metadata = json!({"name": name, "namespace": "batch", "annotations": wanted["metadata"]["annotations"]});
    let spec = match kind {
        "CronJob" => {
            // Written on the Jobs' template.
            json!({"schedule": "0 0 1 1 *", "suspend": true,
                   "jobTemplate": {"metadata": {"annotations": {"burstlet.dev/base": "50%"}}, "spec": spec}})
        }
        _ => spec,
    };
    json!({"apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

async fn job(bench: &Bench) {
    bench.namespace("batch", &json!({})).await;
    bench.apply(&job_object("Job", "sums", Some("2")));
    let pods = bench.runs("batch", 2, 4).await;
    let told = bench.burstlet(&["explain", "job/sums", "--namespace", "batch"]);
    assert!(told.contains(&format!("{POOL} 4, real 2")), "{told}");
    // Room in the base: a Job's pods are never moved, for an eviction would count as a failure. The next one fills it.
    let base = at_home(&pods);
    bench.pods_of("batch").delete(base.first().unwrap(), &DeleteParams::default()).await.unwrap();
    let pods = bench.runs("batch", 2, 4).await;
    assert!(!at_home(&pods).contains(base.first().unwrap()), "{base:?}");
    let status = bench.burstlet(&["status", "--namespace", "batch", "--output", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["workloads"][0]["name"], "sums");
    assert_eq!((&status["workloads"][0]["wanted"], &status["workloads"][0]["real"]), (&json!(6), &json!(2)));
    let deleted = bench.stand.cluster().kubectl(["delete", "job", "sums", "--namespace", "batch"]).unwrap();
    assert!(deleted.status.success());
    bench.runs("batch", 0, 0).await;
    println!("Job of 6 beside each other, base 2: 2 on real nodes, 4 burst");
}

async fn cron_job(bench: &Bench) {
    bench.apply(&job_object("CronJob", "nightly", None));
    let create = ["create", "job", "by-hand", "--from", "cronjob/nightly", "--namespace", "batch"];
    assert!(bench.stand.cluster().kubectl(create).unwrap().status.success());
    let pods = bench.runs("batch", 3, 3).await;
    let burst = pods.iter().find(|pod| tier(pod) == Some("burst")).unwrap();
    assert_eq!(reason(burst), "burst: the base of 3 is full; pool eci takes it", "50% of 6");
    let told = bench.burstlet(&["explain", "cronjob/nightly", "--namespace", "batch"]);
    assert!(told.contains(&format!("{POOL} 3, real 3")), "{told}");
    let status = bench.burstlet(&["status", "--namespace", "batch"]);
    assert!(status.contains("nightly"), "{status}");
    println!("CronJob with 50% on its Jobs' template, a Job by hand: 3 on real nodes, 3 burst");
}

/// Two kinds of another API group, and leave for burstlet to read them.
async fn other_groups(bench: &Bench) {
    for (kind, plural) in [("Fleet", "fleets"), ("Squad", "squads")] {
        let replicas = json!({"type": "integer"});
        let part = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"replicas": replicas}});
        let schema = json!({"type": "object", "properties": {"spec": part, "status": part}});
        let scale = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
        bench.apply(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                              "subresources": {"scale": scale}}]},
        }));
    }
    let rule =
        json!({"apiGroups": ["example.com"], "resources": ["fleets", "squads"], "verbs": ["get", "list", "watch"]});
    let api_version = "rbac.authorization.k8s.io/v1";
    bench.apply(
        &json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": {"name": "foreign"}, "rules": [rule]}),
    );
    bench.apply(&json!({
        "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "foreign"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "foreign"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "burstlet"}],
    }));
    // Served a moment after it was taken.
    for plural in ["fleets", "squads"] {
        eventually_else("the kind is served", MINUTE, || async {
            let output = bench.stand.cluster().kubectl(["get", &format!("{plural}.example.com")]).unwrap();
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        })
        .await;
    }
}

/// An object of the kind, and what names it as the owner.
fn scaled(bench: &Bench, kind: &str, plural: &str, namespace: &str, base: &str, replicas: u32) -> Value {
    bench.apply(&json!({
        "apiVersion": "example.com/v1", "kind": kind,
        "metadata": {"name": "one", "namespace": namespace, "annotations": {"burstlet.dev/base": base}},
        "spec": {"replicas": replicas},
    }));
    let get = [
        "get",
        &format!("{plural}.example.com"),
        "one",
        "--namespace",
        namespace,
        "--output",
        "jsonpath={.metadata.uid}",
    ];
    let uid = String::from_utf8(bench.stand.cluster().kubectl(get).unwrap().stdout).unwrap();
    json!({"apiVersion": "example.com/v1", "kind": kind, "name": "one", "uid": uid, "controller": true})
}

/// A kind whose objects own pods themselves; its controller is the test.
async fn pods_of_another_group(bench: &Bench) {
    bench.namespace("fleet", &json!({})).await;
    let owner = scaled(bench, "Fleet", "fleets", "fleet", "50%", 4);
    let template = Wanted::new("fleet", None, 0).object("Deployment")["spec"]["template"].clone();
    let make = |number: u32| {
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        pod["metadata"]["name"] = json!(format!("one-{number}"));
        pod["metadata"]["namespace"] = json!("fleet");
        pod["metadata"]["ownerReferences"] = json!([owner]);
        bench.apply(&pod);
    };
    (0..4).for_each(make);
    let pods = bench.runs("fleet", 2, 2).await;
    assert!(pods.iter().all(|pod| tier(pod).is_some()));
    let told = bench.burstlet(&["explain", "fleet.example.com/one", "--namespace", "fleet"]);
    assert!(told.contains(&format!("{POOL} 2, real 2")), "{told}");
    // What is wanted is read afresh for those that come with a scale-out, as a share is one of it.
    scaled(bench, "Fleet", "fleets", "fleet", "50%", 8);
    (4..8).for_each(make);
    bench.runs("fleet", 4, 4).await;
    println!("a kind of another API group that owns 4, then 8 pods, base 50%: half of them on real nodes, half burst");
}

/// A kind whose objects own ReplicaSets: the annotation on it governs them.
async fn replica_sets_of_another_group(bench: &Bench) {
    bench.namespace("squad", &json!({})).await;
    let owner = scaled(bench, "Squad", "squads", "squad", "1", 3);
    let mut set = Wanted::new("one-a", None, 3).object("ReplicaSet");
    set["metadata"]["namespace"] = json!("squad");
    set["metadata"]["ownerReferences"] = json!([owner]);
    bench.apply(&set);
    bench.runs("squad", 1, 2).await;
    println!("a kind of another API group that owns a ReplicaSet of 3, base 1: 1 on real nodes, 2 burst");
}
