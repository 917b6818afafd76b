//! An extender that is down, hung, refusing or slow: what other pods feel of it (nothing), and what becomes of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request, http::StatusCode, middleware::from_fn, response::IntoResponse};
use burstlet::{
    extender::{self, Extender, ExtenderMetrics, VirtualNodes},
    lab::{
        cluster::CertificateRequest,
        stand::{SCHEDULER, Scheduler},
    },
    provider::simulated::Settings,
    serve::{self, ClientAuth, Protocols, ServerTls},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use prometheus::Registry;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Bench, POOL, Times, Wanted, annotation, created_to_bound, eventually, eventually_else, is_gated, line, node,
    options, sample, tier,
};

/// Where pods live that burstlet has nothing to do with.
const PLAIN: &str = "plain";
const PLAIN_PODS: usize = 60;
const EVERY: Duration = Duration::from_millis(50);
/// More than this is felt: a hung extender in the same scheduler cost 30 s.
const UNFELT: Duration = Duration::from_secs(2);
/// More cores than a node has beside its innocent pod.
const LARGE: &str = "3";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Connections are closed at once.
    Down,
    /// Calls are taken and not answered for 10 s.
    Hung,
    /// Every call is answered with status 500.
    Failing,
    /// Every call is answered, 300 ms late.
    Slow,
}

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Hung => "hung",
            Self::Failing => "failing",
            Self::Slow => "slow",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_in_trouble_harms_no_other_pod_and_its_own_wait() {
    let bench = Bench::start(options(Scheduler::Dedicated)).await;
    let replica = bench.run_here().await;
    bench.namespace(PLAIN, &json!({})).await;
    fill_real_nodes(&bench).await;

    let before = created_to_bound(&bench.client, PLAIN, PLAIN_PODS, EVERY).await;
    println!("created to bound, no trouble: {before}");
    for trouble in [Trouble::Down, Trouble::Hung, Trouble::Failing, Trouble::Slow] {
        suffers(&bench, trouble, replica.ports().extender, &before).await;
    }
    let metrics = replica.metrics().await.unwrap();
    println!("binds by the real extender: {}", sample(&metrics, "burstlet_extender_calls_total", &["bind", "\"ok\""]));
    replica.stop().await.unwrap();
    bench.stop().await;
}

/// One fault, from its beginning until its pods are bound.
async fn suffers(bench: &Bench, trouble: Trouble, real: SocketAddr, before: &Times) {
    let namespace = trouble.name();
    let stop = CancellationToken::new();
    bench.stand.point_extender(faulty(bench, trouble, &stop).await);
    bench.namespace(namespace, &json!({})).await;
    bench.deploy(namespace, &Wanted::new("web", Some("2"), 6)).await;
    // It fits nowhere but in the place of others, whom it would be allowed to evict: a slow extender lets it.
    let is_answering = trouble == Trouble::Slow;
    let greedy = json!({
        "priorityClassName": "high",
        "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": LARGE}}}],
    });
    if !is_answering {
        bench.deploy(namespace, &Wanted { pod_spec: greedy, ..Wanted::new("greedy", Some("1"), 1) }).await;
    }
    let all = if is_answering { 6 } else { 7 };
    eventually_else("placement decides in spite of the extender", Duration::from_mins(1), || async {
        let pods = bench.pods(namespace).await;
        let decided = pods.iter().filter(|pod| tier(pod).is_some() && !is_gated(pod)).count();
        if decided == all {
            Ok(())
        } else {
            Err(format!("{decided}: {:#?}", pods.iter().map(line).collect::<Vec<_>>()))
        }
    })
    .await;

    let during = created_to_bound(&bench.client, PLAIN, PLAIN_PODS, EVERY).await;
    println!("created to bound, extender {namespace}: {during}");
    let felt = during.quantile(0.99).saturating_sub(before.quantile(0.99));
    assert!(felt < UNFELT, "other pods felt the extender {namespace}: {felt:?} more");
    innocents_live(bench).await;
    let begin = Instant::now();
    if !is_answering {
        for pod in bench.pods(namespace).await {
            assert_eq!(node(&pod), None, "bound though the extender is {namespace}: {}", line(&pod));
        }
        // Once the extender can be asked, evicting for the sake of priority would be right.
        bench.deployments(namespace).delete("greedy", &DeleteParams::background()).await.unwrap();
        let greedy = || async { (bench.pods(namespace).await.len() == 6).then_some(()) };
        eventually("the greedy pod is gone", greedy).await;
        bench.stand.point_extender(Some(real));
    }
    let pods = bench.runs(namespace, 2, 4).await;
    println!("extender no longer {namespace}: all bound and running after {:.1} s", begin.elapsed().as_secs_f64());
    for pod in pods {
        let is_burst = node(&pod).is_some_and(|node| node.starts_with("burstlet-"));
        assert_eq!(tier(&pod), Some(if is_burst { "burst" } else { "base" }), "{}", line(&pod));
    }
    bench.stand.point_extender(Some(real));
    stop.cancel();
    Api::<Namespace>::all(bench.client.clone()).delete(namespace, &DeleteParams::default()).await.unwrap();
    let gone = || async { bench.pods(namespace).await.is_empty().then_some(()) };
    eventually("the namespace's pods are gone", gone).await;
}

/// An extender in trouble, over TLS as the real one; `None` for one that is not there.
async fn faulty(bench: &Bench, trouble: Trouble, stop: &CancellationToken) -> Option<SocketAddr> {
    let router = match trouble {
        Trouble::Down => return None,
        Trouble::Hung => Router::new().fallback(async || {
            sleep(Duration::from_secs(10)).await;
            StatusCode::SERVICE_UNAVAILABLE
        }),
        Trouble::Failing => Router::new().fallback(async || (StatusCode::INTERNAL_SERVER_ERROR, "on purpose")),
        Trouble::Slow => {
            let nodes = Arc::new(VirtualNodes::default());
            for index in 0..2 {
                nodes.upsert(&format!("burstlet-{POOL}-{index}"), POOL, true);
            }
            let metrics = ExtenderMetrics::register(&Registry::new()).unwrap();
            let extender = Extender::new(nodes, bench.client.clone(), metrics);
            extender::router(Arc::new(extender)).layer(from_fn(
                async |request: Request, next: axum::middleware::Next| {
                    sleep(Duration::from_millis(300)).await;
                    next.run(request).await.into_response()
                },
            ))
        }
    };
    let cluster = bench.stand.cluster();
    let files = cluster.issue(&CertificateRequest::server("faulty-extender", &[])).unwrap();
    let tls = ServerTls {
        certificate: files.certificate,
        key: files.key,
        client_ca: Some(cluster.ca().to_owned()),
        client_auth: ClientAuth::Required,
        protocols: Protocols::default(),
    };
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::serve(listener, tls, router, stop.clone()));
    Some(address)
}

/// Pods of low priority that leave no node room for a large one.
async fn fill_real_nodes(bench: &Bench) {
    let class = json!({"metadata": {"name": "high"}, "value": 1_000_000});
    let class: PriorityClass = serde_json::from_value(class).unwrap();
    Api::all(bench.client.clone()).create(&PostParams::default(), &class).await.unwrap();
    bench.namespace("innocent", &json!({})).await;
    for index in 0..4 {
        let pod = json!({
            "metadata": {"name": format!("innocent-{index}"), "labels": {"app": "innocent"}},
            "spec": {
                "automountServiceAccountToken": false,
                "nodeSelector": {"kubernetes.io/hostname": format!("real-{index:03}")},
                "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "2"}}}],
            },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        bench.pods_of("innocent").create(&PostParams::default(), &pod).await.unwrap();
    }
    bench.runs("innocent", 4, 0).await;
}

async fn innocents_live(bench: &Bench) {
    let pods = bench.pods("innocent").await;
    assert_eq!(pods.len(), 4, "evicted: {:?}", pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_the_extender_refuses_evicts_nobody() {
    let bench = Bench::start(options(Scheduler::Dedicated)).await;
    let replica = bench.run_here().await;
    fill_real_nodes(&bench).await;
    let cloud = bench.stand.cloud(POOL).unwrap();
    cloud.set_settings(Settings { stock: Some(0), ..cloud.settings() });
    sleep(Duration::from_secs(2)).await;

    // As placement leaves a burst pod, but with no node named: every node is a candidate for eviction.
    bench.namespace("refused", &json!({})).await;
    let pod = json!({
        "metadata": {"name": "burst", "annotations": {"burstlet.dev/tier": "burst", "burstlet.dev/pool": POOL}},
        "spec": {
            "schedulerName": SCHEDULER,
            "priorityClassName": "high",
            "automountServiceAccountToken": false,
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": LARGE}}}],
        },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    bench.pods_of("refused").create(&PostParams::default(), &pod).await.unwrap();
    let asked = eventually("kube-scheduler asks whom to evict", || async {
        let metrics = replica.metrics().await.unwrap();
        let asked = sample(&metrics, "burstlet_extender_calls_total", &["preempt"]);
        (asked > 0.0).then_some(asked)
    })
    .await;
    sleep(Duration::from_secs(3)).await;
    innocents_live(&bench).await;
    let pod = bench.pods_of("refused").get("burst").await.unwrap();
    assert_eq!(node(&pod), None);
    println!("kube-scheduler asked {asked} times whom to evict for a refused pod: nobody was");

    cloud.set_settings(Settings { stock: None, ..cloud.settings() });
    let begin = Instant::now();
    let pods = bench.runs("refused", 0, 1).await;
    assert_eq!(annotation(&pods[0], "burstlet.dev/pool"), Some(POOL));
    println!("bound and running {:.1} s after the pool had stock again", begin.elapsed().as_secs_f64());
    innocents_live(&bench).await;
    replica.stop().await.unwrap();
    bench.stop().await;
}
