//! The provider `kubernetes` on a second control plane: conformance, and answers that are lost on the way.
//!
//! The other cluster is real; its nodes are burstlet's own virtual ones, which run processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Method, Request, Response};
use burstlet::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate, server},
    lab::cluster::{CertificateRequest, Cluster, ClusterOptions},
    provider::{
        Content, File, Owner, Provider, ProviderError,
        kubernetes::OtherCluster,
        process::{Processes, Settings},
    },
    serve::{ClientAuth, Protocols, ServerTls, serve},
};
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Namespace, Pod, Secret, ServiceAccount},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt, watcher},
};
use prometheus::Registry;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::{BoxError, Layer, Service};

use crate::conformance::{self, Subject, service};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const UID: &str = "burstlet.dev/pod-uid";
const PATIENCE: Duration = Duration::from_mins(1);

/// The other cluster, with one node that runs processes.
struct There {
    cluster: Cluster,
    _processes: Processes,
    _folder: TempDir,
    _stop: DropGuard,
}

impl There {
    async fn start() -> Self {
        let cluster = Cluster::start(ClusterOptions::default()).await.unwrap_or_else(|error| panic!("{error}"));
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::start(Settings::new(folder.path().join("pods"))).unwrap();
        let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let capacity = Capacity { cpu: Quantity("64".into()), memory: Quantity("64Gi".into()), pods: 500 };
        let node = NodeTemplate::virtual_node("there", "process", 0, capacity);
        let config = KubeletConfig::new("there", vec![node], LOCALHOST, port);
        let metrics = KubeletMetrics::register(&Registry::new()).unwrap();
        let kubelet = Kubelet::new(cluster.client(), config, Arc::new(processes.clone()), metrics);
        let request = CertificateRequest { addresses: vec![LOCALHOST], ..CertificateRequest::server("kubelet", &[]) };
        let files = cluster.issue(&request).unwrap();
        let tls = ServerTls {
            certificate: files.certificate,
            key: files.key,
            client_ca: Some(cluster.ca().to_owned()),
            client_auth: ClientAuth::Optional,
            protocols: Protocols::Http1,
        };
        let stop = CancellationToken::new();
        let router = server::router(vec![kubelet.handle()], cluster.client());
        tokio::spawn(serve(listener, tls, router, stop.clone()));
        let stopped = stop.clone();
        tokio::spawn(async move { kubelet.run(stopped).await });
        Self { cluster, _processes: processes, _folder: folder, _stop: stop.drop_guard() }
    }

    /// A namespace of its own, which has its account.
    async fn namespace(&self, name: &str) {
        let client = self.cluster.client();
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(client, name);
        eventually("the namespace has its account", async || accounts.get_opt("default").await.unwrap().is_some())
            .await;
    }

    fn provider(&self, namespace: &str, client: Client) -> OtherCluster {
        let settings = json!({
            "kubeconfig": {"file": {"path": self.cluster.kubeconfig()}}, "namespace": namespace,
            "nodeSelector": {"type": "virtual-kubelet"},
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
        });
        OtherCluster::with_client(serde_json::from_value(settings).unwrap(), client).unwrap()
    }

    async fn subject(&self, namespace: &str) -> Subject {
        self.namespace(namespace).await;
        let seen = Seen::start(self.cluster.client(), namespace).await;
        let created = {
            let seen = seen.clone();
            move || seen.counts()
        };
        Subject {
            provider: Arc::new(self.provider(namespace, self.cluster.client())),
            restarted: Arc::new(self.provider(namespace, self.cluster.client())),
            created: Box::new(created),
            ends_with,
            _cloud: Box::new(()),
        }
    }
}

fn ends_with(code: i32) -> Pod {
    serde_json::from_value(json!({"spec": {"restartPolicy": "Never", "containers": [
        {"name": "app", "image": "none", "command": ["sh", "-c", format!("sleep 0.2; exit {code}")]},
    ]}}))
    .unwrap()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// Every pod that a namespace has ever had, as its own API server tells: the UID of the pod at home, and its own.
#[derive(Clone)]
struct Seen {
    pods: Api<Pod>,
    all: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Seen {
    async fn start(client: Client, namespace: &str) -> Self {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let seen = Self { pods: pods.clone(), all: Arc::default() };
        let (watching, (begun, begins)) = (seen.clone(), tokio::sync::oneshot::channel::<()>());
        tokio::spawn(async move {
            let mut begun = Some(begun);
            let mut events = watcher(pods, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::InitDone) => drop(begun.take()),
                    Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => watching.note(&pod),
                    _ => {}
                }
            }
        });
        // Dropped is as good as sent.
        let _ = begins.await;
        seen
    }

    fn note(&self, pod: &Pod) {
        let home = pod.labels().get(UID).cloned().unwrap_or_default();
        self.all.lock().unwrap().insert((home, pod.uid().unwrap()));
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        // The watch may be behind what stands now.
        let list = || tokio::runtime::Handle::current().block_on(self.pods.list(&ListParams::default()));
        tokio::task::block_in_place(list).unwrap().iter().for_each(|pod| self.note(pod));
        let mut counts = BTreeMap::new();
        for (home, _) in &*self.all.lock().unwrap() {
            *counts.entry(home.clone()).or_default() += 1;
        }
        counts
    }
}

/// Loses answers: of three creations and patches one is answered, one is made and its answer lost, one never arrives.
#[derive(Clone, Default)]
struct Lossy(Arc<AtomicU64>);

impl<S> Layer<S> for Lossy {
    type Service = Losing<S>;

    fn layer(&self, inner: S) -> Losing<S> {
        Losing { inner, turn: self.0.clone() }
    }
}

#[derive(Clone)]
struct Losing<S> {
    inner: S,
    turn: Arc<AtomicU64>,
}

impl<S, B> Service<Request<Body>> for Losing<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let writes = matches!(*request.method(), Method::POST | Method::PATCH);
        // Scattered: in step with the calls of one creation, it would never let all of them through.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let turn = if writes { turn % 3 } else { 0 };
        if turn == 1 {
            return Box::pin(async { Err("never arrived".into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if turn == 2 { Err("its answer is lost".into()) } else { Ok(answer) }
        })
    }
}

async fn lossy(there: &There) -> Client {
    let kubeconfig = Kubeconfig::read_from(there.cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    ClientBuilder::try_from(config).unwrap().with_layer(&Lossy::default()).build()
}

/// One other cluster for all: it takes longer to start than any of the rules.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_keeps_the_rules_also_where_answers_are_lost() {
    let there = There::start().await;
    tokio::join!(
        crate::conformance::conforms_together!(there;
            a_pod_gets_one_instance_that_runs_and_goes
            creating_again_answers_the_same_instance
            another_process_adopts_and_deletes
            instances_of_other_clusters_are_not_seen
            deleting_what_does_not_exist_is_success
            an_end_has_its_exit_code
            a_watch_tells_what_happens_from_its_first_word_on
            running_instances_tell_their_usage
            a_provider_takes_what_it_says_it_has_and_nothing_else
        ),
        pods_come_and_go_where_answers_are_lost(&there),
        what_is_not_ours_is_left_alone(&there),
        a_quota_there_is_the_stock(&there),
    );
    there.cluster.stop().await.unwrap();
}

async fn pods_come_and_go_where_answers_are_lost(there: &There) {
    const PODS: usize = 24;
    there.namespace("lossy").await;
    let seen = Seen::start(there.cluster.client(), "lossy").await;
    let provider = Arc::new(there.provider("lossy", lossy(there).await));
    let file = File { data: b"red".to_vec(), mode: 0o644 };
    let files = BTreeMap::from([("COLOUR".to_owned(), file)]);
    let content = Content { volumes: BTreeMap::from([("map".to_owned(), files)]), registries: Vec::new() };
    let owners: Vec<Owner> = (0..PODS).map(|number| conformance::owner("here", &format!("u-{number}"))).collect();
    let mut pod = service();
    pod.spec.as_mut().unwrap().volumes =
        serde_json::from_value(json!([{"name": "map", "configMap": {"name": "settings"}}])).unwrap();
    let creations = owners.iter().map(|owner| {
        let (provider, pod, content) = (provider.clone(), pod.clone(), content.clone());
        async move { insist(async || provider.create_with(owner, &pod, &content).await.map(drop)).await }
    });
    futures::future::join_all(creations).await;
    let listed = provider.list("here").await.unwrap();
    let uids: BTreeSet<_> = listed.iter().map(|instance| instance.owner.uid.as_str()).collect();
    assert_eq!((listed.len(), uids.len()), (PODS, PODS));
    // What a lost answer left unowned is handed over by the lists that follow.
    let secrets: Api<Secret> = Api::namespaced(there.cluster.client(), "lossy");
    eventually("every Secret belongs to its pod", async || {
        provider.list("here").await.unwrap();
        let secrets = secrets.list(&ListParams::default()).await.unwrap();
        secrets.items.len() == PODS && secrets.iter().all(|secret| secret.owner_references().len() == 1)
    })
    .await;
    let deletions = owners.iter().map(|owner| {
        let provider = provider.clone();
        async move { insist(async || provider.delete(owner, Duration::ZERO).await).await }
    });
    futures::future::join_all(deletions).await;
    eventually("every pod is gone", async || provider.list("here").await.unwrap().is_empty()).await;
    eventually("every Secret is gone", async || secrets.list(&ListParams::default()).await.unwrap().items.is_empty())
        .await;
    assert!(seen.counts().values().all(|created| *created == 1), "{:?}", seen.counts());
    assert_eq!(seen.counts().len(), PODS);
}

/// Tries until it works, as the kubelet does.
async fn insist(mut call: impl AsyncFnMut() -> Result<(), ProviderError>) {
    while let Err(error) = call().await {
        assert!(error.is_retryable(), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn what_is_not_ours_is_left_alone(there: &There) {
    there.namespace("foreign").await;
    let provider = there.provider("foreign", there.cluster.client());
    let owner = conformance::owner("here", "u-1");
    let pods: Api<Pod> = Api::namespaced(there.cluster.client(), "foreign");
    let theirs = json!({"metadata": {"name": "web-u-1-u-1", "labels": {UID: "u-1", "burstlet.dev/cluster": "here"}},
        "spec": {"containers": [{"name": "a", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let refused = provider.create(&owner, &service()).await.unwrap_err();
    assert!(matches!(&refused, ProviderError::Invalid(text) if text.contains("is not ours")), "{refused}");
    assert_eq!(provider.list("here").await.unwrap(), []);
    provider.delete(&owner, Duration::ZERO).await.unwrap();
    let exec = provider.port_forward(&owner, 80).await.err().unwrap();
    assert!(matches!(exec, ProviderError::NotFound(_)), "{exec}");
    let standing = pods.get("web-u-1-u-1").await.unwrap();
    assert!(standing.metadata.deletion_timestamp.is_none());
}

async fn a_quota_there_is_the_stock(there: &There) {
    there.namespace("bounded").await;
    let client = there.cluster.client();
    let provider = there.provider("bounded", client.clone());
    assert_eq!(provider.stock().await.unwrap().instances, None);
    let quotas: Api<k8s_openapi::api::core::v1::ResourceQuota> = Api::namespaced(client.clone(), "bounded");
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let left = async || there.provider("bounded", client.clone()).stock().await.unwrap().instances;
    eventually("the quota is counted", async || left().await == Some(1)).await;
    provider.create(&conformance::owner("here", "u-1"), &service()).await.unwrap();
    let refused = provider.create(&conformance::owner("here", "u-2"), &service()).await.unwrap_err();
    assert!(matches!(refused, ProviderError::QuotaExceeded(_)), "{refused}");
    eventually("the quota is used up", async || left().await == Some(0)).await;
}
