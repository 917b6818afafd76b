//! `burstlet status`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use burstlet_engine::policy::spec::Budget;
use clap::Args;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Node, Pod},
};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{
        kinds::{controller, cron_job_of},
        names, node,
    },
    cli::{
        ClusterArgs,
        explain::place,
        output::{OutputArgs, table},
        workload,
    },
};

/// Objects that are asked for at a time.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Only workloads of this namespace
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// Namespace that burstlet lives in
    #[arg(long, default_value = "burstlet-system", value_name = "NAME")]
    burstlet_namespace: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How burstlet's part of a cluster stands.
#[derive(Debug, Serialize)]
struct Status {
    workloads: Vec<Workload>,
    budgets: Vec<BudgetLine>,
    pools: Vec<Pool>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Workload {
    namespace: String,
    kind: String,
    name: String,
    /// Replicas that it shall have, where that is known.
    wanted: Option<i32>,
    real: usize,
    /// Pods by pool.
    pools: BTreeMap<String, usize>,
    waiting: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetLine {
    of: String,
    per_hour: Option<String>,
    per_day: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Pool {
    name: String,
    nodes: usize,
    ready: usize,
    pods: usize,
    quota: Option<u32>,
    health: String,
}

pub(super) async fn status(args: StatusArgs) -> anyhow::Result<()> {
    let client = args.cluster.client().await?;
    let pods: Vec<Pod> = all(&client, args.namespace.as_deref()).await?;
    let scalers = scalers(&client, args.namespace.as_deref()).await?;
    let nodes: Vec<Node> = Api::all(client.clone())
        .list(&ListParams::default().labels(names::POOL))
        .await
        .context("unable to list nodes")?
        .items;
    let (_, policies) = workload::policies(&client, &args.burstlet_namespace).await?;
    let virtual_pools = workload::pools(&client).await?;
    let of = |name: String, budget: &Option<Budget>| {
        let Budget { per_hour, per_day, .. } = budget.clone()?;
        Some(BudgetLine { of: name, per_hour, per_day })
    };
    let policy_name = |policy: &crate::api::policy::BurstPolicy| {
        format!("BurstPolicy {}/{}", policy.namespace().unwrap_or_default(), policy.name_any())
    };
    let budgets = policies.iter().filter_map(|policy| of(policy_name(policy), &policy.spec.budget));
    let pool_budgets =
        virtual_pools.iter().filter_map(|pool| of(format!("VirtualPool {}", pool.name_any()), &pool.spec.budget));
    let quotas =
        virtual_pools.iter().map(|pool| (pool.name_any(), pool.spec.quota.as_ref().and_then(|quota| quota.pods)));
    let status = Status {
        workloads: workloads(&pods, &scalers),
        budgets: budgets.chain(pool_budgets).collect(),
        pools: pools(&pods, &nodes, quotas.collect()),
    };
    let is_wide = args.output.is_wide();
    args.output.print(&status, |status| text(status, is_wide))
}

/// All objects of a namespace, or of all.
async fn all<K>(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await.with_context(|| format!("unable to list {}", K::plural(&())))?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// Whether burstlet has a hand in a pod.
fn is_governed(pod: &Pod) -> bool {
    pod.annotations().contains_key(names::TIER) || place(pod) == "waiting"
}

/// Namespace, kind and name.
type Key = (String, String, String);

/// What is known of an object that scales pods.
#[derive(Debug, Default)]
struct Scaler {
    wanted: Option<i32>,
    /// Kind and name of what scales it in turn.
    owner: Option<(String, String)>,
}

type Scalers = BTreeMap<Key, Scaler>;

async fn scalers(client: &Client, namespace: Option<&str>) -> anyhow::Result<Scalers> {
    let mut found = Scalers::new();
    note(&mut found, &all::<Deployment>(client, namespace).await?, |one| {
        Some(one.spec.as_ref()?.replicas.unwrap_or(1))
    });
    note(&mut found, &all::<ReplicaSet>(client, namespace).await?, |one| {
        Some(one.spec.as_ref()?.replicas.unwrap_or(1))
    });
    note(&mut found, &all::<StatefulSet>(client, namespace).await?, |one| {
        Some(one.spec.as_ref()?.replicas.unwrap_or(1))
    });
    note(&mut found, &all::<Job>(client, namespace).await?, |one| {
        let spec = one.spec.as_ref()?;
        Some(spec.parallelism.unwrap_or(1).min(spec.completions.unwrap_or(i32::MAX)))
    });
    note(&mut found, &all::<CronJob>(client, namespace).await?, |_| None);
    Ok(found)
}

fn note<K: Resource<DynamicType = ()>>(found: &mut Scalers, objects: &[K], wanted: impl Fn(&K) -> Option<i32>) {
    for object in objects {
        let owner = cron_job_of(object.meta()).or_else(|| controller(object.meta()));
        let owner = owner.map(|owner| (owner.kind.clone(), owner.name.clone()));
        let key = (object.namespace().unwrap_or_default(), K::kind(&()).into_owned(), object.name_any());
        found.insert(key, Scaler { wanted: wanted(object), owner });
    }
}

fn workloads(pods: &[Pod], scalers: &Scalers) -> Vec<Workload> {
    let mut found: BTreeMap<Key, Workload> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_governed(pod) && pod.metadata.deletion_timestamp.is_none()) {
        let namespace = pod.namespace().unwrap_or_default();
        let by = controller(&pod.metadata).map(|owner| (owner.kind.clone(), owner.name.clone()));
        let (kind, name) = by.unwrap_or_else(|| ("Pod".to_owned(), pod.name_any()));
        let of = scalers.get(&(namespace.clone(), kind.clone(), name.clone())).and_then(|one| one.owner.clone());
        let (kind, name) = of.unwrap_or((kind, name));
        let id = (namespace, kind, name);
        let line = found.entry(id.clone()).or_insert_with(|| Workload {
            wanted: scalers.get(&id).and_then(|one| one.wanted),
            namespace: id.0,
            kind: id.1,
            name: id.2,
            ..Workload::default()
        });
        match place(pod).as_str() {
            "waiting" => line.waiting += 1,
            place if place.starts_with("real") => line.real += 1,
            pool => *line.pools.entry(pool.to_owned()).or_default() += 1,
        }
    }
    found.into_values().collect()
}

fn pools(pods: &[Pod], nodes: &[Node], quotas: BTreeMap<String, Option<u32>>) -> Vec<Pool> {
    let mut found: BTreeMap<String, Pool> = BTreeMap::new();
    let mut pool_of_node = BTreeMap::new();
    for (name, quota) in quotas {
        found.insert(name.clone(), Pool { name, quota, ..Pool::default() });
    }
    for node in nodes {
        let Some(pool) = node::pool(node) else { continue };
        let line = found.entry(pool.to_string()).or_insert_with(|| Pool { name: pool.to_string(), ..Pool::default() });
        line.nodes += 1;
        line.ready += usize::from(node::is_ready(node));
        pool_of_node.insert(node.name_any(), pool.to_string());
    }
    for pod in pods {
        let on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if let Some(line) = on.and_then(|node| pool_of_node.get(node)).and_then(|pool| found.get_mut(pool)) {
            line.pods += 1;
        }
    }
    for line in found.values_mut() {
        line.health = match (line.nodes, line.ready) {
            (0, _) => "no virtual node".to_owned(),
            (nodes, ready) if nodes == ready => "ok".to_owned(),
            (nodes, ready) => format!("{} of {nodes} virtual nodes not ready", nodes - ready),
        };
    }
    found.into_values().collect()
}

fn text(status: &Status, is_wide: bool) -> String {
    let pools: BTreeSet<_> = status.workloads.iter().flat_map(|workload| workload.pools.keys()).collect();
    let upper: Vec<_> = pools.iter().map(|pool| pool.to_uppercase()).collect();
    let mut header = vec!["NAMESPACE", "KIND", "WORKLOAD", "WANTED", "REAL"];
    header.extend(upper.iter().map(String::as_str));
    header.push("WAITING");
    let rows = status.workloads.iter().map(|workload| {
        let wanted = workload.wanted.map_or("?".to_owned(), |wanted| wanted.to_string());
        let Workload { namespace, kind, name, real, .. } = workload;
        let mut row = vec![namespace.clone(), kind.clone(), name.clone(), wanted, real.to_string()];
        row.extend(pools.iter().map(|pool| workload.pools.get(*pool).copied().unwrap_or(0).to_string()));
        row.push(workload.waiting.to_string());
        row
    });
    let mut text = if status.workloads.is_empty() {
        "burstlet has no pods in its hands\n".to_owned()
    } else {
        table(&header, rows)
    };
    if !status.budgets.is_empty() {
        let none = || "-".to_owned();
        let rows = status.budgets.iter().map(|line| {
            [line.of.clone(), line.per_hour.clone().unwrap_or_else(none), line.per_day.clone().unwrap_or_else(none)]
        });
        text.push('\n');
        text.push_str(&table(&["BUDGET OF", "PER HOUR", "PER DAY"], rows));
    }
    let rows = status.pools.iter().map(|pool| {
        let quota = pool.quota.map_or("-".to_owned(), |quota| quota.to_string());
        let mut row = vec![pool.name.clone(), pool.nodes.to_string()];
        if is_wide {
            row.push(pool.ready.to_string());
        }
        row.extend([pool.pods.to_string(), quota, pool.health.clone()]);
        row
    });
    let header: &[&str] = if is_wide {
        &["POOL", "NODES", "READY", "PODS", "QUOTA", "HEALTH"]
    } else {
        &["POOL", "NODES", "PODS", "QUOTA", "HEALTH"]
    };
    text.push('\n');
    text.push_str(&table(header, rows));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, tier: &str, pool: Option<&str>) -> Pod {
        let mut annotations = json!({"burstlet.dev/tier": tier});
        if let Some(pool) = pool {
            annotations["burstlet.dev/pool"] = json!(pool);
        }
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true});
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "annotations": annotations, "ownerReferences": [owner]},
            "spec": {"containers": [], "nodeName": pool.map(|_| "v")},
        }))
        .unwrap()
    }

    #[test]
    fn pods_are_counted_by_their_deployment_and_place() {
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]);
        let set: ReplicaSet = serde_json::from_value(
            json!({"metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": owner}}),
        )
        .unwrap();
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": 4, "selector": {}, "template": {}},
        }))
        .unwrap();
        let pods = [pod("a", "base", None), pod("b", "burst", Some("eci")), pod("c", "burst", Some("eci"))];
        let mut scalers = Scalers::new();
        note(&mut scalers, &[set], |_| None);
        note(&mut scalers, &[deployment], |one: &Deployment| one.spec.as_ref()?.replicas);
        let found = workloads(&pods, &scalers);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind.as_str(), found[0].name.as_str()), ("Deployment", "web"));
        assert_eq!((found[0].name.as_str(), found[0].wanted, found[0].real), ("web", Some(4), 1));
        assert_eq!(found[0].pools, [("eci".to_owned(), 2)].into());
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "v", "labels": {"type": "virtual-kubelet", "burstlet.dev/pool": "eci"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .unwrap();
        let pools = pools(&pods, &[node], [("eci".to_owned(), Some(9)), ("kci".to_owned(), None)].into());
        assert_eq!((pools[0].pods, pools[0].health.as_str(), pools[1].health.as_str()), (2, "ok", "no virtual node"));
        let shown = text(&Status { workloads: found, budgets: vec![], pools }, false);
        assert!(shown.contains("shop") && shown.contains("ECI"), "{shown}");
    }
}
