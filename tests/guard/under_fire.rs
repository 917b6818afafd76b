//! Thousands of pods on virtual nodes while the leading replica is killed, the API server restarts and etcd hangs: no
//! node goes `NotReady`, no instance is lost or doubled.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use burstlet::lab::{
    cluster::{ClusterOptions, Component},
    stand::{Replica, Scheduler, StandOptions},
};
use futures::StreamExt;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::support::{Bench, POOL, eventually_else, options};

/// How many pods stand; `FIRE_PODS` names another number.
const PODS: usize = 3000;
/// Pods that come, and as many that go, at each blow.
const CHURN: usize = 100;
const CONNECTIONS: usize = 50;
/// Longest until another replica keeps the nodes: half of what Kubernetes gives them.
const TAKEOVER: Duration = Duration::from_secs(25);
/// For what takes as long as the control plane makes it.
const PATIENCE: Duration = Duration::from_mins(10);
const ETCD_HANGS: Duration = Duration::from_secs(30);

struct Fire {
    bench: Bench,
    pods: Api<Pod>,
    wanted: BTreeSet<usize>,
    next: usize,
    not_ready: Arc<Mutex<Vec<String>>>,
}

/// Notes every virtual node that is seen not Ready.
async fn watch_nodes(client: Client, not_ready: Arc<Mutex<Vec<String>>>) {
    let ours = watcher::Config::default().labels(&format!("burstlet.dev/pool={POOL}"));
    let mut nodes = std::pin::pin!(watcher(Api::<Node>::all(client), ours).default_backoff().applied_objects());
    while let Some(node) = nodes.next().await {
        let Ok(node) = node else { continue };
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready =
            conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True");
        if !ready {
            not_ready.lock().unwrap().push(node.name_any());
        }
    }
}

impl Fire {
    async fn create(&mut self, count: usize) {
        let numbers: Vec<usize> = (self.next..self.next + count).collect();
        self.next += count;
        futures::stream::iter(&numbers)
            .for_each_concurrent(CONNECTIONS, async |number| self.create_one(*number).await)
            .await;
        self.wanted.extend(numbers);
    }

    async fn create_one(&self, number: usize) {
        let pod = json!({
            "metadata": {"name": format!("pod-{number}")},
            "spec": {"nodeName": format!("burstlet-{POOL}-{}", number % 2), "automountServiceAccountToken": false,
                     "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
                     "containers": [{"name": "main", "image": "none"}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let name = pod.name_any();
        eventually_else(&format!("{name} is created"), PATIENCE, || async {
            match self.pods.create(&PostParams::default(), &pod).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    async fn delete(&mut self, count: usize) {
        let numbers: Vec<usize> = self.wanted.iter().copied().take(count).collect();
        self.wanted.retain(|number| !numbers.contains(number));
        futures::stream::iter(&numbers)
            .for_each_concurrent(CONNECTIONS, async |number| {
                let name = format!("pod-{number}");
                eventually_else(&format!("{name} is deleted"), PATIENCE, || async {
                    match self.pods.delete(&name, &DeleteParams::default()).await {
                        Ok(_) => Ok(()),
                        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                        Err(error) => Err(error.to_string()),
                    }
                })
                .await;
            })
            .await;
    }

    /// Pods come and go, so that the blow finds calls under way.
    async fn churn(&mut self) {
        self.delete(CHURN).await;
        self.create(CHURN).await;
    }

    /// Every pod runs, no other is there, each has one instance, and no node was ever lost.
    async fn stands(&self, after: &str) {
        let running = ListParams::default().fields("status.phase=Running");
        let cloud = self.bench.stand.cloud(POOL).unwrap();
        let begun = Instant::now();
        eventually_else(&format!("all pods run after {after}"), PATIENCE, || async {
            let list = async |params: &ListParams| match self.pods.list_metadata(params).await {
                Ok(list) => Ok(list.items.iter().map(ResourceExt::name_any).collect::<HashSet<_>>()),
                Err(error) => Err(error.to_string()),
            };
            let (all, running) = (list(&ListParams::default()).await?, list(&running).await?);
            let alive: u64 = cloud.audit().values().map(|audit| audit.alive).sum();
            let wanted: HashSet<String> = self.wanted.iter().map(|number| format!("pod-{number}")).collect();
            if all == wanted && running == wanted && alive == wanted.len() as u64 {
                return Ok(());
            }
            Err(format!("{} pods, {} running, {alive} instances, of {}", all.len(), running.len(), wanted.len()))
        })
        .await;
        let audit = cloud.audit();
        assert!(audit.values().all(|audit| audit.created == 1), "an instance was doubled");
        assert_eq!(audit.len(), self.next, "one instance for each pod that ever was");
        let lost = self.not_ready.lock().unwrap().clone();
        assert!(lost.is_empty(), "nodes went NotReady: {lost:?}");
        println!("after {after}: all as it should be within {:.1} s", begun.elapsed().as_secs_f64());
    }

    /// Which of the replicas leads.
    async fn leader(&self, replicas: &[Replica]) -> usize {
        let leases: Api<Lease> = Api::namespaced(self.bench.client.clone(), "burstlet-system");
        eventually_else("a replica leads", PATIENCE, || async {
            let lease = leases.get_opt("burstlet").await.map_err(|error| error.to_string())?;
            let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
            let leads = |replica: &Replica| holder.contains(&format!("-{}-", replica.process_id().unwrap()));
            replicas.iter().position(leads).ok_or(holder)
        })
        .await
    }

    /// Waits until all node leases were renewed after `since`, and tells how long that took.
    async fn renewed(&self, since: Timestamp, within: Duration) -> Duration {
        let leases: Api<Lease> = Api::namespaced(self.bench.client.clone(), "kube-node-lease");
        let begun = Instant::now();
        eventually_else("the nodes' leases are renewed", within, || async {
            for number in 0..2 {
                let lease =
                    leases.get(&format!("burstlet-{POOL}-{number}")).await.map_err(|error| error.to_string())?;
                let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0);
                if renewed.is_none_or(|renewed| renewed <= since) {
                    return Err(format!("node {number}: {renewed:?}"));
                }
            }
            Ok(())
        })
        .await;
        begun.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_pods_outlive_their_kubelet_the_api_server_and_a_hung_etcd() {
    let count = std::env::var("FIRE_PODS").ok().and_then(|pods| pods.parse().ok()).unwrap_or(PODS);
    let quick = options(Scheduler::ClustersOwn);
    let cluster = ClusterOptions { raised_client_limits: true, ..quick.cluster.clone() };
    let bench = Bench::start(StandOptions { cluster, ..quick }).await;
    bench.namespace("fire", &json!({})).await;
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guard-fire.log");
    let _ = std::fs::remove_file(&log);
    let binary = Path::new(env!("CARGO_BIN_EXE_burstlet"));
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let replica = bench.stand.run_process(binary, &log).await;
        replicas.push(replica.unwrap_or_else(|error| panic!("{error}; see {}", log.display())));
    }
    bench.stand.point_services(&[replicas[0].ports(), replicas[1].ports()]);
    let pods = bench.pods_of("fire");
    let mut fire = Fire { bench, pods, wanted: BTreeSet::new(), next: 0, not_ready: Arc::default() };
    fire.renewed(Timestamp::UNIX_EPOCH, PATIENCE).await;
    let watching = tokio::spawn(watch_nodes(fire.bench.client.clone(), Arc::clone(&fire.not_ready)));
    fire.create(count).await;
    fire.stands("the beginning").await;

    let leader = fire.leader(&replicas).await;
    fire.churn().await;
    let killed = Timestamp::now();
    replicas[leader].kill();
    let took = fire.renewed(killed, TAKEOVER).await;
    println!("killed to both nodes' leases renewed: {:.1} s", took.as_secs_f64());
    fire.churn().await;
    fire.stands("kill -9 of the leader").await;

    fire.churn().await;
    fire.bench.stand.cluster().stop_component(Component::ApiServer).await.unwrap();
    fire.bench.stand.cluster().start_component(Component::ApiServer).await.unwrap();
    fire.churn().await;
    fire.stands("a restart of the API server").await;

    fire.churn().await;
    fire.bench.stand.cluster().pause(Component::Etcd).unwrap();
    tokio::time::sleep(ETCD_HANGS).await;
    fire.bench.stand.cluster().resume(Component::Etcd).unwrap();
    fire.churn().await;
    fire.stands("30 s without etcd").await;

    watching.abort();
    drop(replicas);
    fire.bench.stop().await;
}
