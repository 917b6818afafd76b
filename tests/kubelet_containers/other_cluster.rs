//! Pods of one cluster as pods of another: kubectl through both API servers, and what travels along.

use burstlet::provider::kubernetes::OtherCluster;
use k8s_openapi::api::{
    authentication::v1::TokenReview,
    core::v1::{ConfigMap, Namespace, Secret, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};

use super::*;

const THERE: &str = "burst";
const USER: &str = "burstlet-here";

/// The namespace of the other cluster, with the documented role for the pool's user and no more.
async fn welcome(there: &Trial) -> std::path::PathBuf {
    let client = &there.client;
    let namespace = json!({"metadata": {"name": THERE}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/install/other-cluster-role.yaml");
    let role: Role = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let roles: Api<Role> = Api::namespaced(client.clone(), THERE);
    roles.create(&PostParams::default(), &role).await.unwrap();
    let binding = json!({
        "metadata": {"name": "burstlet"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.name_any()},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), THERE);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), THERE);
    eventually("the namespace has its account", async || accounts.get_opt("default").await.unwrap()).await;
    there.cluster.kubeconfig_for(USER, None).unwrap()
}

fn pool(kubeconfig: &std::path::Path) -> OtherCluster {
    let settings = json!({
        "kubeconfig": {"file": {"path": kubeconfig}}, "namespace": THERE, "nodeSelector": {"type": "virtual-kubelet"},
        "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
    });
    OtherCluster::new(serde_json::from_value(settings).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_another_cluster_are_reached_by_kubectl_through_both_api_servers() {
    let there = Trial::start(true).await;
    let provider = Arc::new(pool(&welcome(&there).await));
    let options = ClusterOptions { metrics_server: false, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    let own = cluster.client();
    let here = Trial::over(cluster, own, true, provider, tempfile::tempdir().unwrap()).await;

    the_sidecars_account_reads_what_kube_proxy_must_and_nothing_else(&here);
    what_a_pod_refers_to_travels_along_and_goes_with_it(&here, &there).await;
    everything(&here).await;
    here.end().await;
    there.end().await;
}

/// Here for the sake of a control plane that runs anyway.
fn the_sidecars_account_reads_what_kube_proxy_must_and_nothing_else(here: &Trial) {
    here.said(&["create", "namespace", "burstlet-system"]);
    here.said(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/docs/install/kube-proxy-role.yaml")]);
    let may = |verb: &str, what: &str| {
        let account = "--as=system:serviceaccount:burstlet-system:burstlet-kube-proxy";
        here.kubectl(&["auth", "can-i", verb, what, "--all-namespaces", account]).status.success()
    };
    for what in ["services", "endpointslices.discovery.k8s.io", "nodes", "servicecidrs.networking.k8s.io"] {
        assert!(may("list", what) && may("watch", what), "{what}");
        assert!(!may("create", what) && !may("patch", what) && !may("delete", what), "{what}");
    }
    for what in ["secrets", "configmaps", "pods", "serviceaccounts", "namespaces", "leases.coordination.k8s.io"] {
        assert!(!may("get", what) && !may("list", what) && !may("create", what), "{what}");
    }
    // kubectl takes what follows a slash for a name.
    for (verb, what, part) in
        [("create", "serviceaccounts", "token"), ("create", "pods", "exec"), ("get", "nodes", "proxy")]
    {
        let account = "--as=system:serviceaccount:burstlet-system:burstlet-kube-proxy";
        let part = format!("--subresource={part}");
        let asked = ["auth", "can-i", verb, what, &part, "--all-namespaces", account];
        assert!(!here.kubectl(&asked).status.success(), "{verb} {what} {part}");
    }
}

async fn what_a_pod_refers_to_travels_along_and_goes_with_it(here: &Trial, there: &Trial) {
    let remote: Api<Pod> = Api::namespaced(there.client.clone(), THERE);
    let secrets: Api<Secret> = Api::namespaced(there.client.clone(), THERE);
    let foreign = json!({"metadata": {"name": "theirs", "labels": {"burstlet.dev/cluster": "trial"}},
        "spec": {"containers": [{"name": "a", "image": "i"}]}});
    remote.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();

    let maps: Api<ConfigMap> = Api::default_namespaced(here.client.clone());
    let map = json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "red"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let pod = json!({
        "metadata": {"name": "whole", "labels": {"app": "whole"}},
        "spec": {"nodeName": NODE, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "none", "command": ["sleep", "600"],
                "env": [{"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOUR"}}},
                        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "COST", "value": "5$"}],
                "volumeMounts": [{"name": "map", "mountPath": "/etc/map"}, {"name": "vault", "mountPath": "/etc/vault"}]}],
            "volumes": [{"name": "map", "configMap": {"name": "settings"}},
                        {"name": "vault", "projected": {"sources": [
                            {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}]}}]},
    });
    here.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    here.phase("whole", "Running").await;
    let said =
        here.said(&["exec", "whole", "--", "sh", "-c", "echo $COLOUR $WHO $COST; cat $BURSTLET_ROOT/etc/map/COLOUR"]);
    assert_eq!(said, "red whole 5$\nred");
    let token = here.said(&["exec", "whole", "--", "sh", "-c", "cat $BURSTLET_ROOT/etc/vault/token"]);
    is_the_pods_own(here, &token).await;
    let uid = here.pods.get("whole").await.unwrap().uid().unwrap();
    let name = format!("whole-{uid}");
    let standing = remote.get(&name).await.unwrap();
    assert!(!standing.labels().contains_key("app"), "a controller there could adopt it");
    let secret = secrets.get(&format!("{name}-files")).await.unwrap();
    assert_eq!(secret.owner_references()[0].uid, standing.uid().unwrap());

    let changed = Patch::Merge(json!({"data": {"COLOUR": "blue"}}));
    maps.patch("settings", &PatchParams::default(), &changed).await.unwrap();
    eventually("the file follows its ConfigMap through both clusters", async || {
        let said = here.said(&["exec", "whole", "--", "sh", "-c", "cat $BURSTLET_ROOT/etc/map/COLOUR"]);
        (said == "blue").then_some(())
    })
    .await;

    here.pods.delete("whole", &DeleteParams::default()).await.unwrap();
    eventually("the pod is gone here", async || here.pods.get_opt("whole").await.unwrap().is_none().then_some(()))
        .await;
    assert!(remote.get_opt(&name).await.unwrap().is_none(), "gone here before it was gone there");
    eventually("its Secret goes with it", async || {
        secrets.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    remote.get("theirs").await.expect("what is not ours is left alone");
}

/// The token is one of this cluster, for the audience that was asked for and none other, and of this pod.
async fn is_the_pods_own(here: &Trial, token: &str) {
    let reviews: Api<TokenReview> = Api::all(here.client.clone());
    let review = async |audience: &str| {
        let review = json!({"metadata": {}, "spec": {"token": token, "audiences": [audience]}});
        let review = reviews.create(&PostParams::default(), &serde_json::from_value(review).unwrap()).await.unwrap();
        review.status.unwrap()
    };
    let known = review("vault").await;
    assert_eq!(known.authenticated, Some(true), "{known:?}");
    let user = known.user.unwrap();
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:default:default"));
    assert_eq!(user.extra.unwrap()["authentication.kubernetes.io/pod-name"], ["whole"]);
    assert_ne!(review("shop").await.authenticated, Some(true), "it is good for others, too");
}
