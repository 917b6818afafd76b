//! The kubelet API's certificate, requested of the cluster: `burstlet run` with the documented roles and no more, and kubectl
//! through an API server that verifies kubelets by the cluster's CA.

use burstlet::{
    placer::Board,
    run::{
        Run, RunError,
        config::{Component, Config},
        providers,
    },
};
use k8s_openapi::api::{
    certificates::v1::CertificateSigningRequest,
    core::v1::{Event, Namespace},
};
use kube::{ResourceExt, api::ListParams};
use tokio::task::JoinHandle;

use super::*;

/// A cluster on which burstlet may do what it must.
async fn start() -> Trial {
    let options = ClusterOptions { metrics_server: false, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    let client = cluster.client();
    content::install(&client).await;
    let namespace = json!({"metadata": {"name": "burstlet-system"}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    let (pods, stop) = (Api::default_namespaced(client.clone()), CancellationToken::new());
    Trial { cluster, client, pods, port: 0, processes: None, stop, folder: tempfile::tempdir().unwrap() }
}

/// The kubelet of a replica, which runs until its token is cancelled.
async fn replica(trial: &Trial, identity: &str) -> (CancellationToken, JoinHandle<Result<(), RunError>>) {
    let tls = json!({"requested": true, "clientCa": trial.cluster.ca(), "clientAuth": "optional"});
    let provider = json!({"process": {"folder": trial.folder.path().join(identity)}});
    let config = json!({
        "clusterId": "trial",
        "kubelet": {"listen": "127.0.0.1:0", "address": "127.0.0.1", "tls": tls},
        "pools": [{"name": "lab", "cpu": "8", "memory": "8Gi", "provider": provider}],
    });
    let mut config: Config = serde_json::from_value(config).unwrap();
    config.allows_host_processes = true;
    let client = trial.cluster.client_for(content::USER, None).await.unwrap();
    let run = Run {
        providers: providers(&config, &client).unwrap(),
        client,
        registry: Registry::new(),
        config,
        components: [Component::Kubelet].into(),
        identity: identity.to_owned(),
        board: Board::default(),
    };
    let stop = trial.stop.child_token();
    (stop.clone(), tokio::spawn(run.until(stop)))
}

/// The request that nobody has answered yet.
async fn request(trial: &Trial) -> CertificateSigningRequest {
    let requests: Api<CertificateSigningRequest> = Api::all(trial.client.clone());
    eventually("a certificate is asked for", async || {
        let requests = requests.list(&ListParams::default()).await.unwrap();
        let is_new = |request: &CertificateSigningRequest| {
            request.status.as_ref().is_none_or(|status| status.conditions.iter().flatten().next().is_none())
        };
        requests.items.into_iter().find(is_new)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_certificate_opens_logs_and_exec_once_somebody_approves_it() {
    let trial = start().await;
    let (first, ended) = replica(&trial, "first").await;
    let asked = request(&trial).await;
    assert_eq!(asked.spec.signer_name, "kubernetes.io/kubelet-serving");
    assert_eq!(asked.spec.username.as_deref(), Some("system:node:burstlet-lab-0"));
    assert!(asked.spec.groups.iter().flatten().any(|group| group == "system:nodes"));

    // Pods run without it, and nobody can look into them.
    trial.run("web", shell("echo hello; while :; do sleep 1; done")).await;
    let refused = trial.kubectl(&["logs", "web"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("tls:"), "{error}");

    trial.said(&["certificate", "deny", &asked.name_any()]);
    let events: Api<Event> = Api::default_namespaced(trial.client.clone());
    let told = eventually("the node tells of the denial", async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        events.into_iter().find(|event| event.reason.as_deref() == Some("ServingCertificateRefused"))
    })
    .await;
    assert_eq!(told.involved_object.name.as_deref(), Some(NODE));
    let note = told.message.unwrap();
    assert!(note.contains(&format!("the request {} was denied", asked.name_any())), "{note}");

    // A replica that takes over has a key of its own, and asks anew.
    first.cancel();
    ended.await.unwrap().unwrap();
    let (_, second) = replica(&trial, "second").await;
    let anew = request(&trial).await;
    assert_ne!(anew.spec.request, asked.spec.request);
    trial.said(&["certificate", "approve", &anew.name_any()]);
    trial.run("again", shell("echo hello; while :; do sleep 1; done")).await;
    eventually("kubectl reads the log", async || {
        let output = trial.kubectl(&["logs", "again"]);
        (output.status.success() && output.stdout == b"hello\n").then_some(())
    })
    .await;
    assert_eq!(trial.said(&["exec", "again", "--", "echo", "there"]), "there\n");
    trial.stop.cancel();
    second.await.unwrap().unwrap();
    trial.end().await;
}
