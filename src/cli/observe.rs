//! `burstlet observe`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;

use crate::{
    cli::{
        ClusterArgs,
        output::{OutputArgs, table},
    },
    provider::clouds::http,
};

/// How burstlet's pods are labelled, as the chart makes them.
const SELECTOR: &str = "app.kubernetes.io/name=burstlet";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ObserveArgs {
    /// Address of burstlet's metrics, such as <http://127.0.0.1:9090/metrics>; else those of its pods are read through the
    /// API server
    #[arg(long, value_name = "URL")]
    metrics: Option<reqwest::Url>,
    /// Only workloads of this namespace; else of all
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// Namespace that burstlet lives in
    #[arg(long, default_value = "burstlet-system", value_name = "NAME", conflicts_with = "metrics")]
    burstlet_namespace: String,
    /// Port of its pods' metrics, where it is another one than they name `telemetry`
    #[arg(long, value_name = "PORT", conflicts_with = "metrics")]
    port: Option<u16>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What would have burst.
#[derive(Debug, PartialEq, Serialize)]
struct Observed {
    /// Since when its leader has observed; `None` where nobody leads. What had gone before, it does not know.
    since: Option<String>,
    workloads: Vec<Line>,
}

/// What a workload would have used of a pool.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    namespace: String,
    workload: String,
    pool: String,
    /// Pods that would have burst there.
    pods: u64,
    pod_minutes: u64,
    /// At the pool's present price, where it has one.
    cost: Option<f64>,
    currency: Option<String>,
}

pub(super) async fn observe(args: ObserveArgs) -> anyhow::Result<()> {
    let metrics = match &args.metrics {
        Some(url) => {
            let told = || format!("unable to read {url}");
            let client = http::client(url.as_str(), None, PATIENCE)?;
            let answer = client.get(url.clone()).send().await.with_context(told)?;
            answer.error_for_status()?.text().await.with_context(told)?
        }
        None => of_pods(&args.cluster.client().await?, &args.burstlet_namespace, args.port).await?,
    };
    let mut observed = observed(&metrics);
    observed.workloads.retain(|line| args.namespace.as_ref().is_none_or(|namespace| line.namespace == *namespace));
    args.output.print(&observed, text)
}

/// The metrics of all of burstlet's pods; only the leader's tell of anything observed.
async fn of_pods(client: &Client, namespace: &str, port: Option<u16>) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels(SELECTOR)).await.context("unable to list burstlet's pods")?;
    let mut all = String::new();
    // The scheduler's pods carry the label, too, and tell no metrics of burstlet's.
    for (pod, port) in pods.iter().filter_map(|pod| Some((pod, port.or_else(|| telemetry_port(pod))?))) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}:{port}/proxy/metrics", pod.name_any());
        let request = ::http::Request::get(path).body(Vec::new())?;
        match client.request_text(request).await {
            Ok(text) => all.push_str(&text),
            Err(error) => eprintln!("{}: unable to read its metrics: {error}", pod.name_any()),
        }
    }
    anyhow::ensure!(
        !all.is_empty(),
        "no pod labelled {SELECTOR} in {namespace} tells metrics; name its address with --metrics"
    );
    Ok(all)
}

fn telemetry_port(pod: &Pod) -> Option<u16> {
    let ports =
        pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let mut named = ports.filter(|port| port.name.as_deref() == Some("telemetry"));
    named.next().and_then(|port| u16::try_from(port.container_port).ok())
}

fn observed(metrics: &str) -> Observed {
    let mut lines = BTreeMap::<[String; 3], Line>::new();
    let mut since = None;
    for (name, labels, value) in metrics.lines().filter_map(sample) {
        if name == "burstlet_observed_since_seconds" && value > 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
            let second = jiff::Timestamp::from_second(value as i64);
            since = second.ok().map(|second| second.to_string());
        }
        let label = |key: &str| labels.get(key).map(|value| (*value).to_owned()).unwrap_or_default();
        let key = ["namespace", "workload", "pool"].map(label);
        let [namespace, workload, pool] = key.clone();
        let line = || Line { namespace, workload, pool, ..Line::default() };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let count = value as u64;
        match name {
            "burstlet_observed_pods" => lines.entry(key).or_insert_with(line).pods = count,
            "burstlet_observed_pod_minutes" => lines.entry(key).or_insert_with(line).pod_minutes = count,
            "burstlet_observed_cost" => {
                let line = lines.entry(key).or_insert_with(line);
                (line.cost, line.currency) = (Some(value), Some(label("currency")));
            }
            _ => {}
        }
    }
    Observed { since, workloads: lines.into_values().collect() }
}

/// Name, labels and value of a line of metrics. Names of Kubernetes objects need no escapes.
fn sample(line: &str) -> Option<(&str, BTreeMap<&str, &str>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    Some((name, pairs.map(|(key, value)| (key, value.trim_matches('"'))).collect(), value.parse().ok()?))
}

fn text(observed: &Observed) -> String {
    let Some(since) = &observed.since else {
        return "no leader tells what it observed: burstlet's placer does not run, or does not lead yet\n".to_owned();
    };
    if observed.workloads.is_empty() {
        return format!("since {since}, when this leader began, no workload in mode Observe would have burst\n");
    }
    let rows = observed.workloads.iter().map(|line| {
        let cost = match (line.cost, &line.currency) {
            (Some(cost), Some(currency)) => format!("{cost:.4} {currency}"),
            _ => "no price".to_owned(),
        };
        let Line { namespace, workload, pool, pods, pod_minutes, .. } = line;
        [namespace.clone(), workload.clone(), pool.clone(), pods.to_string(), pod_minutes.to_string(), cost]
    });
    let header = ["NAMESPACE", "WORKLOAD", "POOL", "PODS", "POD-MINUTES", "COST"];
    format!(
        "since {since}, when this leader began, would have burst (without what had gone before):\n{}",
        table(&header, rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# HELP burstlet_observed_pods Pods.\n\
        burstlet_observed_pods{namespace=\"shop\",pool=\"eci\",workload=\"web\"} 4\n\
        burstlet_observed_pod_minutes{namespace=\"shop\",pool=\"eci\",workload=\"web\"} 90\n\
        burstlet_observed_cost{currency=\"CNY\",namespace=\"shop\",pool=\"eci\",workload=\"web\"} 1.25\n\
        burstlet_observed_since_seconds 60\n\
        other_total 3\n";

    #[test]
    fn what_would_have_burst_is_read_from_the_leaders_metrics() {
        let found = observed(METRICS);
        let [line] = found.workloads.as_slice() else { panic!("{found:?}") };
        assert_eq!((line.pods, line.pod_minutes, line.cost), (4, 90, Some(1.25)));
        let shown = text(&found);
        assert!(shown.starts_with("since 1970-01-01T00:01:00Z, when this leader began, would have burst"), "{shown}");
        assert!(shown.contains("web") && shown.contains("1.2500 CNY"), "{shown}");
        assert!(text(&observed("burstlet_observed_since_seconds 60")).contains("no workload in mode Observe"));
    }

    #[test]
    fn a_standby_has_observed_nothing() {
        assert_eq!(observed("burstlet_observed_since_seconds 0\n").since, None);
    }
}
