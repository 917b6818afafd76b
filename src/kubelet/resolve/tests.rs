use serde_json::{Value, json};

use super::*;
use crate::provider::{File, Tokens};

const ALL: Takes = Takes { files: true, tokens: Tokens::All, registries: true, renewals: true };

fn pod(spec: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"app": "w\"eb", "b": "2"}},
        "spec": spec,
    }))
    .unwrap()
}

fn host() -> Host {
    let allocatable = [("cpu", "8"), ("memory", "16Gi")].map(|(k, v)| (k.to_owned(), Quantity(v.to_owned())));
    Host { address: "192.0.2.1".parse().unwrap(), allocatable: allocatable.into() }
}

fn objects() -> Objects {
    let map = json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "red", "PRICE": "5$ $(APP)"},
                     "binaryData": {"logo": "/w=="}});
    let secret = json!({"metadata": {"name": "keys"}, "data": {"password": "aHVudGVyMg=="}});
    let config = r#"{"auths": {"registry.example.com": {"auth": "bWU6aHVudGVyMg=="}}}"#;
    let pull = json!({"metadata": {"name": "pull"}, "stringData": {}});
    let mut pull: Secret = serde_json::from_value(pull).unwrap();
    let data = k8s_openapi::ByteString(config.as_bytes().to_vec());
    pull.data = Some(BTreeMap::from([(".dockerconfigjson".to_owned(), data)]));
    Objects {
        config_maps: BTreeMap::from([("settings".to_owned(), serde_json::from_value(map).unwrap())]),
        secrets: BTreeMap::from([
            ("keys".to_owned(), serde_json::from_value(secret).unwrap()),
            ("pull".to_owned(), pull),
        ]),
        tokens: BTreeMap::from([(TokenNeed::new(None, Some(600)), "TOKEN".to_owned())]),
    }
}

fn resolved(spec: &Value) -> Result<Resolved, Unresolved> {
    resolve(&pod(spec), ALL, &objects(), &host())
}

fn container(env: &Value) -> Value {
    json!({"containers": [{"name": "c", "image": "i", "env": env,
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}]})
}

/// What a program sees in the end: a provider expands each value once more, knowing nothing that was left.
fn seen(resolved: &Resolved) -> Vec<(String, String)> {
    let container = &resolved.pod.spec.as_ref().unwrap().containers[0];
    assert_eq!(container.env_from, None);
    let variables = container.env.iter().flatten().map(|variable| {
        let value = variable.value.clone().unwrap_or_else(|| format!("{:?}", variable.value_from.as_ref().unwrap()));
        (variable.name.clone(), value.replace("$$", "$"))
    });
    variables.collect()
}

#[test]
fn variables_come_from_everywhere_and_the_later_overrules() {
    let spec = json!({"containers": [{"name": "c", "image": "i",
    "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "K_", "secretRef": {"name": "keys"}},
                {"configMapRef": {"name": "none", "optional": true}}],
    "env": [
        {"name": "APP", "value": "shop"},
        {"name": "COLOUR", "value": "blue"},
        {"name": "BOTH", "value": "$(APP)-$(COLOUR)-$(PRICE)-$(NONE)-$$(APP)-$5"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "none", "optional": true}}},
    ]}]});
    let resolved = resolved(&spec).unwrap();
    let seen = seen(&resolved);
    let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("COLOUR", "blue"),
        // What an object holds is not expanded.
        ("PRICE", "5$ $(APP)"),
        ("K_password", "hunter2"),
        ("APP", "shop"),
        ("BOTH", "shop-blue-5$ $(APP)-$(NONE)-$(APP)-$5"),
        ("PASSWORD", "hunter2"),
    ];
    assert_eq!(seen, expected);
    let absent: Vec<_> = resolved.absent.iter().map(|missing| (missing.to_string(), missing.reason(true))).collect();
    let expected = [
        ("the ConfigMap none".to_owned(), "OptionalConfigMapNotFound"),
        ("key none of the ConfigMap settings".to_owned(), "OptionalConfigMapKeyNotFound"),
    ];
    assert_eq!(absent, expected);
}

#[test]
fn fields_and_resources_of_the_pod_are_told() {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let resource = |name: &str, resource: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}});
    let env = json!([
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("UID", "metadata.uid"),
        field("LABEL", "metadata.labels['b']"),
        field("NO_LABEL", "metadata.labels['none']"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("HOST", "status.hostIP"),
        field("OWN", "status.podIP"),
        resource("REQUEST", "requests.cpu", "1m"),
        resource("ROUNDED", "requests.cpu", "0"),
        resource("MEMORY", "limits.memory", "1Mi"),
        resource("NODES", "limits.cpu", "1"),
    ]);
    let resolved = resolved(&container(&env)).unwrap();
    let values: Vec<_> = seen(&resolved).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        values[..7],
        ["NAME=web", "NAMESPACE=shop", "UID=u", "LABEL=2", "NO_LABEL=", "ACCOUNT=default", "HOST=192.0.2.1"]
    );
    assert!(values[7].contains("status.podIP"), "only the instance knows: {}", values[7]);
    assert_eq!(values[8..], ["REQUEST=250", "ROUNDED=1", "MEMORY=64", "NODES=8"]);
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let spec = json!({
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "gone"}}],
                        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "none"}}}]}],
        "volumes": [{"name": "v", "configMap": {"name": "lost"}},
                    {"name": "w", "secret": {"secretName": "keys", "items": [{"key": "no", "path": "x"}]}}],
    });
    let error = resolved(&spec).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not found: the ConfigMap lost, key none of the ConfigMap settings, the Secret gone, key no of the Secret keys; \
         make it, or set optional on the reference"
    );
    assert_eq!(error.reason(), "MandatoryConfigMapNotFound");
}

#[test]
fn what_a_pod_cannot_be_told_is_refused_by_its_field() {
    let wrong = |env: Value| resolved(&container(&env)).unwrap_err().to_string();
    let field = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]);
    assert!(wrong(field).starts_with("container c: env A: the field status.phase"));
    let resource = json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "cpu"}}}]);
    assert!(wrong(resource).contains("resource cpu"));
    let trust = json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [
        {"clusterTrustBundle": {"name": "b", "path": "ca"}}]}}]});
    assert!(resolved(&trust).unwrap_err().to_string().starts_with("volume v: clusterTrustBundle"));
}

fn file(text: &str, mode: u32) -> File {
    File { data: text.as_bytes().to_vec(), mode }
}

#[test]
fn volumes_become_files_with_their_modes() {
    let spec = json!({
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1500m"}}}],
        "volumes": [
            {"name": "map", "configMap": {"name": "settings"}},
            {"name": "key", "secret": {"secretName": "keys", "defaultMode": 0o400,
                                       "items": [{"key": "password", "path": "db/password", "mode": 0o440}]}},
            {"name": "own", "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}]}},
            {"name": "kube-api-access-x", "projected": {"defaultMode": 0o420, "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
                {"configMap": {"name": "settings", "items": [{"key": "COLOUR", "path": "colour"}]}},
                {"secret": {"name": "gone", "optional": true}}]}},
            {"name": "none", "secret": {"secretName": "gone", "optional": true}},
            {"name": "tmp", "emptyDir": {}},
        ],
    });
    let volumes = resolved(&spec).unwrap().content.volumes;
    let map = &volumes["map"];
    assert_eq!(map["COLOUR"], file("red", 0o644));
    assert_eq!(map["logo"].data, [0xff]);
    assert_eq!(volumes["key"], BTreeMap::from([("db/password".to_owned(), file("hunter2", 0o440))]));
    assert_eq!(volumes["own"]["labels"], file("app=\"w\\\"eb\"\nb=\"2\"", 0o644));
    assert_eq!(volumes["own"]["cpu"], file("1500", 0o644));
    assert_eq!(volumes["kube-api-access-x"]["token"], file("TOKEN", 0o420));
    assert_eq!(volumes["kube-api-access-x"]["colour"], file("red", 0o420));
    assert_eq!(volumes["none"], BTreeMap::new());
    assert!(!volumes.contains_key("tmp"));
}

#[test]
fn no_more_is_read_than_the_provider_takes() {
    let spec = json!({
        "containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "settings"}}]}],
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "key", "secret": {"secretName": "keys"}},
            {"name": "kube-api-access-x", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}}]}},
            {"name": "vault", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}},
        ],
    });
    let names = |takes| {
        let Needs { config_maps, secrets, tokens, .. } = Needs::of(&pod(&spec), takes);
        (config_maps.into_iter().collect::<Vec<_>>(), secrets.into_iter().collect::<Vec<_>>(), tokens.len())
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(ALL), (texts(&["kube-root-ca.crt", "settings"]), texts(&["keys", "pull"]), 2));
    assert_eq!(names(Takes::default()), (texts(&["settings"]), texts(&[]), 0));
    let files = Takes { files: true, ..Takes::default() };
    assert_eq!(
        names(files),
        (texts(&["settings"]), texts(&["keys"]), 0),
        "a token that nobody renews is not asked for"
    );
    let asked = Takes { tokens: Tokens::Asked, ..files };
    assert_eq!(
        names(asked),
        (texts(&["settings"]), texts(&["keys"]), 1),
        "the token that every pod has is not asked for"
    );
    let plain = json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]});
    assert!(!Needs::of(&pod(&plain), ALL).any, "a pod that refers to nothing stays as it is");
}

#[test]
fn pull_secrets_become_registry_keys() {
    let spec = json!({"containers": [], "imagePullSecrets": [{"name": "pull"}, {"name": "gone"}]});
    let keys = resolved(&spec).unwrap().content.registries;
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].server.as_str(), keys[0].user.as_str()), ("registry.example.com", "me"));
    assert_eq!(keys[0].password.reveal(), "hunter2");
}
