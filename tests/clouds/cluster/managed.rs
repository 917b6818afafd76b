//! A node that ECI manages, with the kubeconfig of `burstlet vnode create --service-account`: it may do what a virtual node
//! must, by the API server's own word, and nothing that would make it an administrator.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use burstlet::lab::emulator::Cloud;
use serde_json::{Value, json};

use super::Bench;

const ACCOUNT: &str = "system:serviceaccount:kube-system:vnode";

/// `burstlet ARGS`, whose home is `home`.
fn burstlet(home: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    command.args(args).env("HOME", home);
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn story(bench: &Bench) {
    bench.said(&["apply", "--filename", concat!(env!("CARGO_MANIFEST_DIR"), "/docs/install/vnode-role.yaml")]);
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "testsecret").unwrap();
    let (secret, own) = (secret.to_str().unwrap(), bench.stand.cluster().kubeconfig().to_str().unwrap());
    let address = bench.emulator.address();
    let settings = ["--region-id", "cn-hangzhou", "--access-key-id", "testid", "--access-key-secret-file", secret];
    let places = ["--vswitch-id", "vsw-a", "--security-group-id", "sg-1", "--kubeconfig", own, "--endpoint", &address];
    let context = [&["vnode", "config", "set-context", "default"][..], &settings, &places].concat();
    burstlet(home.path(), &context);
    let created = burstlet(home.path(), &["vnode", "create", "--service-account", "kube-system/vnode"]);
    let created: Value = serde_json::from_str(&created).unwrap();
    let id = created["VirtualNodeId"].as_str().unwrap();

    let given = bench.cloud.asked(id).unwrap()["KubeConfig"].clone();
    let file = home.path().join("given");
    fs::write(&file, BASE64_STANDARD.decode(given).unwrap()).unwrap();
    let file = format!("--kubeconfig={}", file.display());
    let given = |args: &[&str]| -> Output { bench.kubectl(&[args, &[file.as_str()]].concat()) };
    let who = String::from_utf8(given(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]).stdout);
    assert_eq!(who.unwrap(), ACCOUNT);
    let may = |verb: &str, what: &str| {
        let (what, part) = what.split_once('/').unwrap_or((what, ""));
        given(&["auth", "can-i", verb, what, "--all-namespaces", &format!("--subresource={part}")]).status.success()
    };
    for (verb, what) in [
        ("create", "nodes"),
        ("patch", "nodes/status"),
        ("update", "leases.coordination.k8s.io"),
        ("watch", "pods"),
        ("patch", "pods/status"),
        ("delete", "pods"),
        ("get", "configmaps"),
        ("create", "events"),
    ] {
        assert!(may(verb, what), "it must {verb} {what}");
    }
    for (verb, what) in [
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "deployments.apps"),
        ("delete", "namespaces"),
        ("update", "secrets"),
        ("create", "secrets"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io"),
        ("impersonate", "users"),
    ] {
        assert!(!may(verb, what), "it may {verb} {what}");
    }

    // By it the node joins, as ECI's own kubelet would have it join; and goes with its end.
    let name = format!("cn-hangzhou.{id}");
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"type": "virtual-kubelet"}}});
    let node_file = home.path().join("node.json");
    fs::write(&node_file, node.to_string()).unwrap();
    let joined = given(&["create", "--filename", node_file.to_str().unwrap()]);
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    burstlet(home.path(), &["vnode", "delete", &name]);
    assert!(bench.cloud.asked(id).is_none());
    assert!(!bench.kubectl(&["get", "node", &name]).status.success(), "the node stays");
    bench.said(&["delete", "--filename", concat!(env!("CARGO_MANIFEST_DIR"), "/docs/install/vnode-role.yaml")]);
    assert!(!given(&["get", "nodes"]).status.success(), "its token outlives its account");
    bench.say("a managed node has a kubeconfig of lesser permissions");
}
