//! Workloads and what drives them: each Deployment of the manifests with its traffic, and what governs it.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::{
    model::ObjectName,
    placement::HOME,
    policy::{Asked, Marks, Policies},
};

use super::{
    Scenario, ScenarioError, Serving, Span, Workload,
    manifests::{Fault, Found, Manifests},
    metrics::{self, MetricSource},
    read::{Driven, TrafficFile, Written, WrittenWorkload},
    workload::BASE_FIELD,
};
use burstlet_engine::traffic::Traffic;

/// A field of the scenario's file, and what is wrong with it.
type Refuse<'a> = &'a dyn Fn((String, String)) -> ScenarioError;

/// Each Deployment with the traffic that the scenario's file has for it, in the file's order.
pub(super) fn drive(
    written: &Written,
    manifests: &Manifests,
    read: impl Fn(&TrafficFile) -> Result<Traffic, ScenarioError>,
    refuse: Refuse<'_>,
) -> Result<Vec<Driven>, ScenarioError> {
    let all = &manifests.workloads;
    let driven = |workload: &Workload, own: Own<'_>| {
        let sources = own.metrics.iter().map(|(name, source)| Ok((name.clone(), source.source(&read)?)));
        let sources = sources.collect::<Result<BTreeMap<_, _>, ScenarioError>>()?;
        let serving = own.serving.or(written.serving.as_ref()).cloned().unwrap_or_default();
        metrics::check(&workload.deployment, &workload.hpa, &sources, &serving).map_err(refuse)?;
        Ok::<_, ScenarioError>(Driven {
            workload: workload.clone(),
            traffic: read(own.traffic)?,
            request_cpu: own.request_cpu.or(written.request_cpu).map_or(Duration::ZERO, |span| span.0),
            serving,
            metrics: sources,
            updates: own.updates.iter().map(|span| span.0).collect(),
        })
    };
    let Some(entries) = &written.workloads else {
        let (Some(traffic), [only]) = (&written.traffic, all.as_slice()) else {
            let fault = format!(
                "one recording drives one Deployment, but there are {}; write workloads, each with its traffic",
                names(all)
            );
            return Err(refuse(("traffic".to_owned(), fault)));
        };
        let own =
            Own { traffic, request_cpu: None, serving: None, metrics: &written.metrics, updates: &written.updates };
        return Ok(vec![driven(&only.object, own)?]);
    };
    let mut taken = Vec::<ObjectName>::new();
    let mut workloads = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let (namespace, name) = entry.deployment.split_once('/').unwrap_or(("default", &entry.deployment));
        let name = ObjectName::new(namespace, name);
        let refuse = |fault| refuse((format!("workloads[{index}].deployment"), fault));
        let Some(found) = all.iter().find(|found| found.object.name() == name) else {
            return Err(refuse(format!("there is no Deployment {name} in the manifests; there are {}", names(all))));
        };
        if taken.contains(&name) {
            return Err(refuse(format!("{name} stands in the list already; a Deployment has one traffic")));
        }
        taken.push(name);
        workloads.push(driven(&found.object, entry.into())?);
    }
    match all.iter().find(|found| !taken.contains(&found.object.name())) {
        None => Ok(workloads),
        Some(found) => {
            let fault =
                format!("{} ({}) has no traffic here; add it, or leave its manifest out", found.title, found.at);
            Err(refuse(("workloads".to_owned(), fault)))
        }
    }
}

/// What an entry says for its workload alone.
struct Own<'a> {
    traffic: &'a TrafficFile,
    request_cpu: Option<Span>,
    serving: Option<&'a Serving>,
    metrics: &'a BTreeMap<String, MetricSource>,
    updates: &'a [Span],
}

impl<'a> From<&'a WrittenWorkload> for Own<'a> {
    fn from(entry: &'a WrittenWorkload) -> Self {
        let WrittenWorkload { traffic, request_cpu, serving, metrics, updates, .. } = entry;
        Self { traffic, request_cpu: *request_cpu, serving: serving.as_ref(), metrics, updates }
    }
}

fn names(all: &[Found<Workload>]) -> String {
    all.iter().map(|found| found.object.name().to_string()).collect::<Vec<_>>().join(", ")
}

/// Checks what governs each workload: what burstlet would warn of and not follow is refused, and something must be
/// governed at all.
pub(super) fn governed(scenario: &Scenario, manifests: &Manifests, has_clock: bool) -> Result<(), ScenarioError> {
    let mut policies = Policies::new(HOME);
    for (name, spec) in &scenario.policies {
        // Judged already.
        let _ = policies.set(name.clone(), spec);
    }
    let (none, settings) = (Marks::default(), scenario.settings());
    let mut is_any = false;
    for found in &manifests.workloads {
        let workload = &found.object;
        let name = workload.name();
        let asked = Asked {
            namespace: &name.namespace,
            pod: &workload.pod_marks(),
            workload: &workload.marks(),
            namespace_marks: scenario.namespaces.get(&*name.namespace).unwrap_or(&none),
        };
        let resolution = policies.resolve(&asked, &settings);
        if let Some(note) = resolution.notes.first() {
            return Err(found.fault("burstlet", Fault::Refused(note.to_string())).into());
        }
        let Some(governed) = resolution.governed else { continue };
        is_any = true;
        if !governed.policy.windows.is_empty() && !has_clock {
            let policy = governed.policy.name.map_or_else(String::new, |name| format!(" {}", name.as_str()));
            let needed = format!(
                "BurstPolicy{policy} has windows, so the scenario must say when its traffic begins; write startsAt in its \
                 file, for example startsAt: 2026-03-02T08:00:00+08:00"
            );
            return Err(found.fault("burstlet", Fault::Refused(needed)).into());
        }
    }
    match manifests.workloads.first() {
        Some(first) if !is_any => {
            let needed = "nothing governs it; a number of pods or a percentage is needed, such as \"3\" or 30%, or a \
                          BurstPolicy that is for it";
            Err(first.fault(BASE_FIELD, Fault::Missing(needed)).into())
        }
        _ => Ok(()),
    }
}
