//! Thousands of pods on the virtual nodes of two pools, which two replicas share, while one of them is killed and another
//! comes, the API server restarts and etcd hangs: no node goes `NotReady`, no instance is lost or doubled.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use burstlet::lab::{
    cluster::{ClusterOptions, Component},
    stand::{Replica, Scheduler, SimulatedPool, StandOptions},
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
const POOLS: [&str; 2] = [POOL, "aux"];
const NODES: [&str; 4] = ["burstlet-eci-0", "burstlet-eci-1", "burstlet-aux-0", "burstlet-aux-1"];
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
    let ours = watcher::Config::default().labels("burstlet.dev/pool");
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
            "spec": {"nodeName": NODES[number % NODES.len()], "automountServiceAccountToken": false,
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
        let clouds = POOLS.map(|pool| self.bench.stand.cloud(pool).unwrap());
        let begun = Instant::now();
        eventually_else(&format!("all pods run after {after}"), PATIENCE, || async {
            let list = async |params: &ListParams| match self.pods.list_metadata(params).await {
                Ok(list) => Ok(list.items.iter().map(ResourceExt::name_any).collect::<HashSet<_>>()),
                Err(error) => Err(error.to_string()),
            };
            let (all, running) = (list(&ListParams::default()).await?, list(&running).await?);
            let alive: u64 = clouds.iter().flat_map(|cloud| cloud.audit()).map(|(_, audit)| audit.alive).sum();
            let wanted: HashSet<String> = self.wanted.iter().map(|number| format!("pod-{number}")).collect();
            if all == wanted && running == wanted && alive == wanted.len() as u64 {
                return Ok(());
            }
            Err(format!("{} pods, {} running, {alive} instances, of {}", all.len(), running.len(), wanted.len()))
        })
        .await;
        let audits = clouds.iter().flat_map(|cloud| cloud.audit()).collect::<Vec<_>>();
        assert!(audits.iter().all(|(_, audit)| audit.created == 1), "an instance was doubled");
        assert_eq!(audits.len(), self.next, "one instance for each pod that ever was");
        let lost = self.not_ready.lock().unwrap().clone();
        assert!(lost.is_empty(), "nodes went NotReady: {lost:?}");
        println!("after {after}: all as it should be within {:.1} s", begun.elapsed().as_secs_f64());
    }

    /// Which of the replicas keeps each pool's nodes, once each keeps one.
    async fn spread(&self, replicas: &[Replica]) -> [usize; 2] {
        let leases: Api<Lease> = Api::namespaced(self.bench.client.clone(), "burstlet-system");
        let begun = Instant::now();
        let spread = eventually_else("the pools are spread over the replicas", PATIENCE, || async {
            let mut keepers = [None; 2];
            for (pool, keeper) in POOLS.iter().zip(&mut keepers) {
                let lease =
                    leases.get_opt(&format!("burstlet-pool-{pool}")).await.map_err(|error| error.to_string())?;
                let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
                let keeps = |replica: &Replica| holder.contains(&format!("-{}-", replica.process_id().unwrap()));
                *keeper = replicas.iter().position(keeps);
            }
            match keepers {
                [Some(one), Some(other)] if one != other => Ok([one, other]),
                _ => Err(format!("{keepers:?}")),
            }
        })
        .await;
        println!("the pools are spread after {:.1} s more", begun.elapsed().as_secs_f64());
        spread
    }

    /// Waits until all node leases were renewed after `since`, and tells how long that took.
    async fn renewed(&self, since: Timestamp, within: Duration) -> Duration {
        let leases: Api<Lease> = Api::namespaced(self.bench.client.clone(), "kube-node-lease");
        let begun = Instant::now();
        eventually_else("the nodes' leases are renewed", within, || async {
            for node in NODES {
                let lease = leases.get(node).await.map_err(|error| error.to_string())?;
                let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0);
                if renewed.is_none_or(|renewed| renewed <= since) {
                    return Err(format!("{node}: {renewed:?}"));
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
    let aux = SimulatedPool { name: POOLS[1].to_owned(), ..quick.pools[0].clone() };
    let pools = vec![quick.pools[0].clone(), aux];
    let bench = Bench::start(StandOptions { cluster, pools, ..quick }).await;
    bench.namespace("fire", &json!({})).await;
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guard-fire.log");
    let _ = std::fs::remove_file(&log);
    let binary = Path::new(env!("CARGO_BIN_EXE_burstlet"));
    let start = async |bench: &Bench| {
        let replica = bench.stand.run_process(binary, &log).await;
        replica.unwrap_or_else(|error| panic!("{error}; see {}", log.display()))
    };
    let mut replicas = vec![start(&bench).await, start(&bench).await];
    bench.stand.point_services(&[replicas[0].ports(), replicas[1].ports()]);
    let pods = bench.pods_of("fire");
    let mut fire = Fire { bench, pods, wanted: BTreeSet::new(), next: 0, not_ready: Arc::default() };
    fire.renewed(Timestamp::UNIX_EPOCH, PATIENCE).await;
    let watching = tokio::spawn(watch_nodes(fire.bench.client.clone(), Arc::clone(&fire.not_ready)));
    // Meanwhile the replica that came second asks the first for a pool.
    fire.create(count).await;
    // The one that leads, too: the other asked for the last pool by name.
    let [_, keeper] = fire.spread(&replicas).await;
    fire.stands("the beginning").await;

    fire.churn().await;
    let killed = Timestamp::now();
    replicas[keeper].kill();
    let took = fire.renewed(killed, TAKEOVER).await;
    println!("killed to all nodes' leases renewed: {:.1} s", took.as_secs_f64());
    fire.churn().await;
    fire.stands("kill -9 of a replica").await;

    replicas[keeper] = start(&fire.bench).await;
    fire.bench.stand.point_services(&[replicas[0].ports(), replicas[1].ports()]);
    fire.churn().await;
    fire.spread(&replicas).await;
    fire.stands("a pool was handed over to a new replica").await;

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
