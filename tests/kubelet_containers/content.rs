//! What pods refer to: read as their node, by an identity that may read no Secret itself.

use axum::http::Request;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Event, Secret, ServiceAccount},
    rbac::v1::PolicyRule,
};
use kube::{
    api::{ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};

use super::*;

pub(super) const USER: &str = "burstlet";
const FILE: &str = env!("CARGO_MANIFEST_DIR");

/// Makes the roles of `docs/install/`, for this node, and binds them.
pub(super) async fn install(client: &Client) {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for file in ["role.yaml", "nodes-role.yaml"] {
        let text = std::fs::read_to_string(format!("{FILE}/docs/install/{file}")).unwrap();
        let mut role: ClusterRole = serde_saphyr::from_str(&text).unwrap();
        let users = role.rules.iter_mut().flatten().filter(|rule| rule.resources == Some(vec!["users".to_owned()]));
        users.for_each(|rule| rule.resource_names = Some(vec![format!("system:node:{NODE}")]));
        let text = serde_json::to_string(&role).unwrap();
        // Of ConfigMaps, one by its name.
        let reads = |rule: &&PolicyRule, kind: &str| rule.resources.iter().flatten().any(|resource| resource == kind);
        let mut maps = role.rules.iter().flatten().filter(|rule| reads(rule, "configmaps"));
        let is_profile = |rule: &PolicyRule| rule.resource_names.as_deref() == Some(&["eci-profile".to_owned()]);
        assert!(!text.contains("secrets") && maps.all(is_profile), "{file}: {text}");
        let name = role.metadata.name.clone().unwrap();
        roles.create(&PostParams::default(), &role).await.unwrap();
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}],
        });
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    }
}

async fn make<K>(client: &Client, object: Value)
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Status of reading a Secret by `client`, as `node` where one is given.
async fn read(client: &Client, secret: &str, node: Option<&str>) -> u16 {
    let mut request = Request::get(format!("/api/v1/namespaces/default/secrets/{secret}"));
    if let Some(node) = node {
        request = request.header("Impersonate-User", format!("system:node:{node}"));
        request = request.header("Impersonate-Group", "system:nodes");
    }
    client.send(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

fn whole() -> Value {
    json!({
        "metadata": {"name": "whole", "labels": {"tier": "one"}},
        "spec": {
            "nodeName": NODE, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "initContainers": [{"name": "first", "image": "none", "command": ["sh", "-c", "test $COLOUR = red"],
                                "envFrom": [{"configMapRef": {"name": "settings"}}]}],
            "containers": [{"name": "main", "image": "none", "command": ["sleep", "600"],
                "resources": {"requests": {"cpu": "100m"}},
                "envFrom": [{"configMapRef": {"name": "settings"}}, {"configMapRef": {"name": "nice", "optional": true}}],
                "env": [
                    {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
                    {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
                    {"name": "ALL", "value": "$(WHO)/$(PASSWORD)/$(IP)"}],
                "volumeMounts": [{"name": "map", "mountPath": "/etc/map"}, {"name": "secret", "mountPath": "/etc/secret"},
                                 {"name": "own", "mountPath": "/etc/own"}]}],
            "volumes": [
                {"name": "map", "configMap": {"name": "settings"}},
                {"name": "secret", "secret": {"secretName": "keys", "defaultMode": 0o400}},
                {"name": "own", "projected": {"sources": [
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                    {"serviceAccountToken": {"path": "short", "audience": "shop", "expirationSeconds": 600}}]}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_what_they_refer_to_and_nobody_gets_more() {
    let options = ClusterOptions { metrics_server: false, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    install(&cluster.client()).await;
    let own = cluster.client_for(USER, None).await.unwrap();
    let trial = Trial::on(cluster, own.clone(), true).await;
    let client = &trial.client;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    eventually("the namespace has its account and CA", async || {
        accounts.get_opt("default").await.unwrap()?;
        maps.get_opt("kube-root-ca.crt").await.unwrap()
    })
    .await;

    // What is missing is named, and the pod waits without an instance.
    trial.pods.create(&PostParams::default(), &serde_json::from_value(whole()).unwrap()).await.unwrap();
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let told = async |reason: &str| {
        eventually(reason, async || {
            let events = events.list(&ListParams::default()).await.unwrap();
            let found = events.items.into_iter().find(|event| event.reason.as_deref() == Some(reason))?;
            found.message
        })
        .await
    };
    let message = told("MandatoryConfigMapNotFound").await;
    assert!(message.contains("the ConfigMap settings") && message.contains("the Secret keys"), "{message}");
    eventually("the container says what it waits for", async || {
        let status = trial.pods.get("whole").await.unwrap().status?;
        let waiting = status.container_statuses?.first()?.state.clone()?.waiting?.reason?;
        (waiting == "CreateContainerConfigError").then_some(())
    })
    .await;
    assert_eq!(trial.processes.as_ref().unwrap().list("trial").await.unwrap(), []);

    make::<Secret>(client, json!({"metadata": {"name": "keys"}, "stringData": {"password": "h$(WHO)2"}})).await;
    make::<Secret>(client, json!({"metadata": {"name": "foreign"}, "stringData": {"password": "x"}})).await;
    make::<ConfigMap>(client, json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "red"}})).await;
    trial.phase("whole", "Running").await;
    told("OptionalConfigMapNotFound").await;
    let run = |script: &str| trial.said(&["exec", "whole", "--", "sh", "-c", script]);
    let seen = run("echo $COLOUR $WHO $HOST $CPU; echo $ALL; cat etc/map/COLOUR etc/secret/password etc/own/labels");
    assert_eq!(seen, "red whole 127.0.0.1 100\nwhole/h$(WHO)2/127.0.0.1\nredh$(WHO)2tier=\"one\"");
    assert_eq!(run("stat -L -c %a etc/secret/password"), "400\n");

    // Its token is its own: the API server knows the pod by it.
    let token = run("cat var/run/secrets/kubernetes.io/serviceaccount/token");
    let mut config = Config::new(trial.cluster.api_url().parse().unwrap());
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(trial.cluster.ca_pem().as_bytes()).unwrap().to_vec()]);
    config.auth_info.token = Some(token.into());
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews");
    let request = request.header("Content-Type", "application/json").body(review.to_string().into_bytes()).unwrap();
    let user: Value = Client::try_from(config).unwrap().request(request).await.unwrap();
    let user = &user["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:default");
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["whole"]));
    assert!(run("cat etc/own/short").split('.').count() == 3, "no token for an audience");

    // What changes is seen in the files of the running container.
    maps.patch("settings", &PatchParams::default(), &Patch::Merge(json!({"data": {"COLOUR": "green"}}))).await.unwrap();
    let labels = json!({"metadata": {"labels": {"tier": "two"}}});
    trial.pods.patch("whole", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    eventually("the files follow", async || {
        (run("cat etc/map/COLOUR etc/own/labels") == "greentier=\"two\"").then_some(())
    })
    .await;

    // The node reads its own pods' Secret and no other; burstlet reads none, and is no other node.
    assert_eq!(read(&own, "keys", Some(NODE)).await, 200);
    assert_eq!(read(&own, "foreign", Some(NODE)).await, 403);
    assert_eq!(read(&own, "keys", Some("real-node-0")).await, 403);
    assert_eq!(read(&own, "keys", None).await, 403);
    trial.end().await;
}
