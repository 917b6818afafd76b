//! `burstlet explain`.

use std::collections::BTreeMap;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;

use crate::{
    api::{
        decision::{Decision, Step},
        kinds::controller,
        names,
    },
    cli::{
        output::table,
        workload::{self, AskedArgs, Kind, Named},
    },
    run::config::Config,
};

/// Why pods are where they are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    name: String,
    /// The policy that holds now, where one does.
    policy: Option<String>,
    /// What holds people should know of.
    notes: Vec<String>,
    /// Pods by place: `real`, a pool, `waiting`.
    places: BTreeMap<String, usize>,
    /// Of a workload: those that wait, and one for each place.
    pods: Vec<ExplainedPod>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplainedPod {
    name: String,
    place: String,
    node: Option<String>,
    /// The instance that runs it, where a cloud tells of one: its size, and what that was rounded up from.
    instance: Option<String>,
    reason: String,
    decided_at: Option<String>,
    /// What each place of the policy said, as the leader recorded it.
    steps: Vec<Step>,
}

pub(super) async fn explain(args: AskedArgs) -> anyhow::Result<()> {
    let client = args.cluster.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let marked = workload::marked(&client, &namespace, &args.workload).await?;
    let (policies, _) = workload::policies(&client, &args.burstlet_namespace).await?;
    let found = policies.resolve(&marked.asked(), &Config::default_settings());
    let mut notes: Vec<_> = found.notes.iter().map(ToString::to_string).collect();
    if let Some(base) = found.governed.as_ref().and_then(|governed| governed.policy.base.pods) {
        let autoscalers = workload::autoscalers(&client, &namespace).await;
        notes.extend(workload::bases_above(&autoscalers, &args.workload.kind, &args.workload.name, base));
    }
    let pods = pods(&client, &namespace, &args.workload, marked.uid.as_deref()).await?;
    let mut places = BTreeMap::new();
    for pod in &pods {
        *places.entry(place(pod)).or_default() += 1;
    }
    let policy = found.governed.map(|governed| match governed.policy.name {
        Some(name) => format!("{name}, mode {}", governed.policy.mode),
        None => format!("annotations, mode {}", governed.policy.mode),
    });
    let explained =
        Explained { name: format!("{namespace}/{}", args.workload.name), policy, notes, places, pods: telling(&pods) };
    args.output.print(&explained, text)
}

/// The pods that are meant, but for those on their way out.
async fn pods(client: &Client, namespace: &str, named: &Named, uid: Option<&str>) -> anyhow::Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    if named.kind == Kind::Pod {
        return Ok(vec![api.get(&named.name).await.with_context(|| format!("unable to read pod {}", named.name))?]);
    }
    let controllers = workload::controllers(client, namespace, uid.unwrap_or_default()).await?;
    let mut all = api.list(&ListParams::default()).await.context("unable to list its pods")?.items;
    let is_its = |pod: &Pod| controller(&pod.metadata).is_some_and(|owner| controllers.contains(&owner.uid));
    all.retain(is_its);
    all.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(all)
}

/// Where a pod is, in a word.
pub(super) fn place(pod: &Pod) -> String {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    if gates.is_some_and(|gates| gates.iter().any(|gate| gate.name == names::GATE)) {
        return "waiting".to_owned();
    }
    let annotation = |name: &str| pod.annotations().get(name).map(String::as_str);
    match (annotation(names::TIER), annotation(names::POOL)) {
        (Some(names::TIER_BURST), Some(pool)) => pool.to_owned(),
        (Some(names::TIER_BASE_SHORT), Some(pool)) => format!("real, or {pool}"),
        _ => "real".to_owned(),
    }
}

/// All pods that wait for another reason, and the first of each place.
fn telling(pods: &[Pod]) -> Vec<ExplainedPod> {
    let mut told = BTreeMap::new();
    for pod in pods {
        let explained = explained(pod);
        let key = match explained.place.as_str() {
            "waiting" => (explained.place.clone(), explained.reason.clone()),
            place => (place.to_owned(), String::new()),
        };
        told.entry(key).or_insert(explained);
    }
    told.into_values().collect()
}

fn explained(pod: &Pod) -> ExplainedPod {
    let annotation = |name: &str| pod.annotations().get(name).cloned();
    let reason =
        annotation(names::REASON).unwrap_or_else(|| "burstlet said nothing of it: it is a plain pod".to_owned());
    ExplainedPod {
        name: pod.name_any(),
        place: place(pod),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        instance: annotation(names::INSTANCE_ID).map(|id| {
            let size = annotation(names::INSTANCE_SIZE).map(|size| format!(", {size}")).unwrap_or_default();
            format!("{id}{size}")
        }),
        reason,
        decided_at: annotation(names::DECIDED_AT),
        steps: Decision::of(pod).map(|decision| decision.steps).unwrap_or_default(),
    }
}

fn text(explained: &Explained) -> String {
    use std::fmt::Write;

    let mut text = format!("{}\n", explained.name);
    let policy = explained.policy.as_deref().unwrap_or("none: its pods are plain pods on real nodes");
    // Writing to a String does not fail.
    let _ = writeln!(text, "policy: {policy}");
    for note in &explained.notes {
        let _ = writeln!(text, "note:   {note}");
    }
    let places: Vec<_> = explained.places.iter().map(|(place, pods)| format!("{place} {pods}")).collect();
    let _ = writeln!(text, "pods:   {}", if places.is_empty() { "none".to_owned() } else { places.join(", ") });
    for pod in &explained.pods {
        let node = pod.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let at = pod.decided_at.as_ref().map(|at| format!(", decided at {at}")).unwrap_or_default();
        let _ = write!(text, "\npod {}: {}{node}{at}\n  {}\n", pod.name, pod.place, pod.reason);
        if let Some(instance) = &pod.instance {
            let _ = writeln!(text, "  instance {instance}");
        }
        let rows = pod.steps.iter().map(|step| {
            let took = if step.took { "took it" } else { "passed" };
            [format!("  {}", step.place), took.to_owned(), step.why.clone()]
        });
        if !pod.steps.is_empty() {
            text.push_str(&table(&["  PLACE", "", "WHY"], rows));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, annotations: &serde_json::Value, gated: bool) -> Pod {
        let held_by = if gated { json!([{"name": names::GATE}]) } else { json!([]) };
        let pod = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"containers": [], "schedulingGates": held_by}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn one_pod_of_each_place_and_each_reason_to_wait_is_told() {
        let decision = r#"{"mode":"AfterBase","steps":[{"place":"base","took":false,"why":"full: 3 of 3"},{"place":"pool eci","took":true,"why":"has room"}]}"#;
        let burst = json!({"burstlet.dev/tier": "burst", "burstlet.dev/pool": "eci", "burstlet.dev/decision": decision,
                "burstlet.dev/instance-id": "eci-1", "burstlet.dev/instance-size": "3 vCPU, 5 GiB rounded up to 4 vCPU, 8 GiB"});
        let pods = [
            pod("a", &json!({"burstlet.dev/tier": "base", "burstlet.dev/reason": "base: 1 of 3"}), false),
            pod("b", &json!({"burstlet.dev/tier": "base"}), false),
            pod("c", &burst, false),
            pod("d", &json!({"burstlet.dev/reason": "no stock"}), true),
            pod("e", &json!({"burstlet.dev/reason": "no stock"}), true),
            pod("f", &json!({"burstlet.dev/reason": "no room"}), true),
        ];
        let told = telling(&pods);
        assert_eq!(told.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["c", "a", "f", "d"]);
        assert_eq!(told[0].steps[0].why, "full: 3 of 3");
        let shown =
            Explained { name: "shop/web".to_owned(), policy: None, notes: vec![], places: BTreeMap::new(), pods: told };
        let shown = text(&shown);
        assert!(shown.contains("pod c: eci") && shown.contains("full: 3 of 3"), "{shown}");
        assert!(shown.contains("instance eci-1, 3 vCPU, 5 GiB rounded up to 4 vCPU, 8 GiB"), "{shown}");
    }
}
