//! What the metrics that an HPA asks for are in a replay.

use std::collections::{BTreeMap, BTreeSet};

use burstlet_engine::{model::Bytes, simulator::Source, traffic::Traffic};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec},
    core::v1::Container,
};
use serde::Deserialize;

use super::{Serving, read::TrafficFile};

/// What a metric of type Pods, Object or External follows from, as it is written.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected requestRate, servedRate, inFlight, or {file: queue.csv}")]
pub(super) enum MetricSource {
    Followed(Followed),
    Recorded(TrafficFile),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Followed {
    RequestRate,
    ServedRate,
    InFlight,
}

/// The memory that one pod uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Memory {
    /// Without requests.
    pub idle: Bytes,
    /// What each request adds while it is served or waits.
    #[serde(default)]
    pub per_request: Bytes,
}

impl MetricSource {
    /// The source, whose file `read` reads.
    pub(super) fn source<E>(&self, read: impl Fn(&TrafficFile) -> Result<Traffic, E>) -> Result<Source, E> {
        Ok(match self {
            Self::Followed(Followed::RequestRate) => Source::RequestRate,
            Self::Followed(Followed::ServedRate) => Source::ServedRate,
            Self::Followed(Followed::InFlight) => Source::InFlight,
            Self::Recorded(file) => Source::Recorded(read(file)?),
        })
    }
}

/// Checks that a replay knows each metric that the HPA asks for, and that nothing else is told. A fault's field and what is
/// allowed.
pub(super) fn check(
    deployment: &Deployment,
    hpa: &HorizontalPodAutoscaler,
    metrics: &BTreeMap<String, Source>,
    serving: &Serving,
) -> Result<(), (String, String)> {
    let names: Vec<&str> = containers(deployment).iter().map(|container| container.name.as_str()).collect();
    let lacks = |container: &str| (!names.contains(&container)).then(|| format!("there are only {}", names.join(", ")));
    if let Some((name, there)) = serving.container.as_deref().and_then(|name| Some((name, lacks(name)?))) {
        return Err((
            "serving.container".to_owned(),
            format!("no container of the Deployment is named {name}; {there}"),
        ));
    }
    let hpa_name = hpa.metadata.name.as_deref().unwrap_or_default();
    let mut asked = BTreeSet::new();
    for (index, metric) in hpa.spec.metrics.iter().flatten().enumerate() {
        let fault = |told: String| {
            let field = format!("HorizontalPodAutoscaler {hpa_name}: spec.metrics[{index}]");
            Err((field, told))
        };
        let resource = metric.resource.as_ref().map(|resource| (&resource.name, None));
        let of_container = metric.container_resource.as_ref();
        match resource.or_else(|| of_container.map(|of| (&of.name, Some(of.container.as_str())))) {
            Some((name, _)) if name == "memory" && serving.memory.is_none() => {
                return fault(
                    "memory is not known; set serving.memory, for example {idle: 100Mi, perRequest: 1Mi}".into(),
                );
            }
            Some((name, _)) if name != "cpu" && name != "memory" => {
                return fault(format!("resource {name} is not simulated; cpu and memory are"));
            }
            Some((_, Some(container))) => {
                if let Some(there) = lacks(container) {
                    return fault(format!("no container of the Deployment is named {container}; {there}"));
                }
            }
            _ => {}
        }
        if let Some(name) = custom(metric) {
            asked.insert(name);
            if !metrics.contains_key(name) {
                return fault(format!(
                    "{} metric {name} is not known; say under metrics what it follows from, for example \
                     {{{name}: requestRate}}, servedRate, inFlight or {{file: {name}.csv}}",
                    metric.type_
                ));
            }
        }
    }
    match metrics.keys().find(|name| !asked.contains(name.as_str())) {
        Some(name) => {
            Err((format!("metrics.{name}"), format!("HorizontalPodAutoscaler {hpa_name} does not ask for it")))
        }
        None => Ok(()),
    }
}

/// The name of a metric of type Pods, Object or External.
fn custom(metric: &MetricSpec) -> Option<&str> {
    let pods = metric.pods.as_ref().map(|pods| &pods.metric);
    let object = metric.object.as_ref().map(|object| &object.metric);
    let external = metric.external.as_ref().map(|external| &external.metric);
    pods.or(object).or(external).map(|metric| metric.name.as_str())
}

/// Whether a cluster with metrics-server alone tells all that the HPA asks for as a replay does.
pub(super) fn are_plain(hpa: &HorizontalPodAutoscaler) -> bool {
    let is_cpu = |metric: &MetricSpec| metric.resource.as_ref().is_some_and(|resource| resource.name == "cpu");
    hpa.spec.metrics.iter().flatten().all(is_cpu)
}

pub(super) fn containers(deployment: &Deployment) -> &[Container] {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.map_or(&[], |pod| &pod.containers)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burstlet_engine::{model::MilliCpu, simulator, traffic::Rate};

    use super::super::{
        Scenario,
        folder::{BUILT_IN, FILE},
    };
    use super::*;

    const CPU: &str = "  - type: Resource\n    resource:\n      name: cpu\n      target: {type: Utilization, averageUtilization: 60}\n";
    const QUEUE: &str =
        "  - type: External\n    external: {metric: {name: queue}, target: {type: AverageValue, averageValue: 30}}\n";

    /// The built-in default with this metric instead of CPU, and these lines more in its scenario.
    fn scenario(metric: &str, lines: &str) -> Result<Scenario, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in BUILT_IN[0].files {
            let mut text = (*text).replace(CPU, metric);
            if *name == FILE {
                text += lines;
            }
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::write(folder.path().join("queue.csv"), "seconds,requests_per_second\n0,90\n60,600\n120,30\n").unwrap();
        let path = folder.path().to_str().unwrap();
        Scenario::open(path).map_err(|error| error.to_string().replace(path, "DIR"))
    }

    fn peak(scenario: &Scenario) -> u32 {
        simulator::run(&scenario.setup().unwrap()).unwrap().workloads[0].summary.peak
    }

    #[test]
    fn a_scenario_says_what_its_metrics_follow_from() {
        let followed = |metric: &str, source: &str| {
            let metric = format!(
                "  - type: Pods\n    pods: {{metric: {{name: {metric}}}, target: {{type: AverageValue, averageValue: 8}}}}\n"
            );
            scenario(&metric, &format!("metrics: {{hits: {source}}}\n")).map(|scenario| peak(&scenario))
        };
        // A plateau of 132 requests a second, of which a pod is to have eight.
        assert_eq!(followed("hits", "requestRate"), Ok(17));
        assert_eq!(followed("hits", "servedRate"), Ok(17));
        assert_eq!(
            followed("hits", "clicks").unwrap_err(),
            "DIR/scenario.yaml: expected requestRate, servedRate, inFlight, or {file: queue.csv} at line 18, column 17"
        );
    }

    #[test]
    fn a_recorded_metric_is_read_beside_the_traffic_and_drives_the_replay() {
        let scenario = scenario(QUEUE, "metrics: {queue: {file: queue.csv, scale: 0.5}}\n").unwrap();
        let Source::Recorded(queue) = &scenario.workloads[0].metrics["queue"] else { unreachable!() };
        assert_eq!(queue.peak(), Rate::new(300.0).unwrap());
        assert_eq!(peak(&scenario), 10, "300 waiting, 30 for each pod");
        assert_eq!(scenario.only_simulated(), ["metrics of the HPA other than cpu"]);
    }

    #[test]
    fn the_container_that_serves_is_the_first_or_the_one_named() {
        let metric =
            CPU.replace("Resource\n    resource:", "ContainerResource\n    containerResource:\n      container: web");
        let scenario = scenario(&metric, "serving: {container: web, memory: {idle: 64Mi}}\n").unwrap();
        let workload = &scenario.setup().unwrap().workloads[0];
        assert_eq!(workload.containers[0].requests.cpu, MilliCpu(200));
        assert_eq!(workload.serving.memory.unwrap().idle, Bytes(64 << 20));
        assert_eq!(peak(&scenario), 20);
    }

    #[test]
    fn what_a_replay_cannot_know_is_refused_with_what_to_write() {
        let memory = CPU.replace("name: cpu", "name: memory");
        let disk = CPU.replace("name: cpu", "name: ephemeral-storage");
        let sidecar =
            CPU.replace("Resource\n    resource:", "ContainerResource\n    containerResource:\n      container: proxy");
        for (metric, lines, told) in [
            (
                QUEUE,
                "",
                "HorizontalPodAutoscaler web: spec.metrics[0]: External metric queue is not known; say under metrics what \
                 it follows from, for example {queue: requestRate}, servedRate, inFlight or {file: queue.csv}",
            ),
            (
                &memory,
                "",
                "HorizontalPodAutoscaler web: spec.metrics[0]: memory is not known; set serving.memory, for example \
                 {idle: 100Mi, perRequest: 1Mi}",
            ),
            (
                &disk,
                "",
                "HorizontalPodAutoscaler web: spec.metrics[0]: resource ephemeral-storage is not simulated; cpu and memory \
                 are",
            ),
            (
                &sidecar,
                "",
                "HorizontalPodAutoscaler web: spec.metrics[0]: no container of the Deployment is named proxy; there are \
                 only web",
            ),
            (
                CPU,
                "serving: {container: proxy}\n",
                "serving.container: no container of the Deployment is named proxy; there are only web",
            ),
            (CPU, "metrics: {queue: inFlight}\n", "metrics.queue: HorizontalPodAutoscaler web does not ask for it"),
        ] {
            assert_eq!(scenario(metric, lines).unwrap_err(), format!("DIR/scenario.yaml: {told}"));
        }
    }
}
