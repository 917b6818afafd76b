//! A scenario file, read and checked.

use std::{collections::BTreeMap, io, num::NonZeroU32, path::Path, time::Duration};

use burstlet_engine::{
    model::{Bytes, MilliCpu, ObjectName, Timestamp},
    policy::{Base, Marks, Spec},
    simulator::Source,
    traffic::{Factor, Traffic, Zone, moment},
};
use serde::Deserialize;

use super::{
    ClusterSpeed, Currency, ManifestError, NodeAutoscaler, NodePrice, Pool, Reclaim, Rules, Serving, Span, StartUp,
    Taint, Workload,
    check::check,
    driven::{drive, governed},
    folder::{BUILT_IN, BuiltIn, FILE, Folder, built_in_names},
    manifests::Manifests,
    metrics::{self, MetricSource},
    pools::{self, Behaviour},
    template::left_out,
};
use crate::record::RecordError;

/// Everything that a scenario's file says, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub about: String,
    /// What scales, and what drives it; at least one.
    pub workloads: Vec<Driven>,
    /// The marks of namespaces that the manifests have.
    pub namespaces: BTreeMap<String, Marks>,
    /// The BurstPolicies of the manifests.
    pub policies: BTreeMap<ObjectName, Spec>,
    /// When the traffic begins, as budgets and windows go.
    pub starts_at: Timestamp,
    /// The cluster's real nodes.
    pub real_nodes: RealNodes,
    /// Real nodes of other kinds, which nothing adds or removes.
    pub other_nodes: Vec<RealNodes>,
    /// Where it may burst to; at least one, names unique, one currency.
    pub pools: Vec<Pool>,
    /// How long to watch after the traffic's end.
    pub settle: Duration,
    /// The seed of all that is random in a simulation.
    pub seed: u64,
    /// How long a simulation meets the first rate before the start.
    pub warm_up: Duration,
    /// Time between two samples of a simulation.
    pub sample_every: Duration,
    /// How fast the cluster is.
    pub cluster: ClusterSpeed,
    /// burstlet's own settings.
    pub rules: Rules,
    /// What adds and removes real nodes.
    pub node_autoscaler: Option<NodeAutoscaler>,
}

/// A workload, and what drives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Driven {
    /// What scales.
    pub workload: Workload,
    /// What it meets, already sped up and scaled.
    pub traffic: Traffic,
    /// CPU time that one request costs a pod.
    pub request_cpu: Duration,
    /// What a pod can serve.
    pub serving: Serving,
    /// What the HPA's metrics of type Pods, Object and External follow from, by their names.
    pub metrics: BTreeMap<String, Source>,
    /// When a new revision is rolled out.
    pub updates: Vec<Duration>,
}

/// A scenario of one workload that a real control plane can play.
#[derive(Debug, Clone, PartialEq)]
pub struct Alone {
    /// The whole of it.
    pub scenario: Scenario,
    /// Its workload.
    pub driven: Driven,
    /// The base by annotation.
    pub base: Base,
}

/// The real nodes of a scenario, all alike.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RealNodes {
    /// How many.
    pub count: NonZeroU32,
    /// CPU of each.
    pub cpu: MilliCpu,
    /// Memory of each.
    pub memory: Bytes,
    /// Pods that each takes.
    pub pods: NonZeroU32,
    /// How long a pod takes from bound to Ready.
    pub start_up: StartUp,
    /// Labels of each.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints of each.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Zones in which they stand, by turns.
    #[serde(default)]
    pub zones: Vec<String>,
    /// What each costs.
    #[serde(default)]
    pub price: Option<NodePrice>,
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// No built-in scenario and no file of that name.
    #[error("no scenario {name:?}; give the path of a scenario file or of its folder, or one of {}", built_in_names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A file cannot be read.
    #[error("{file}: unable to read: {error}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A file that the scenario names is not part of it.
    #[error("{file}: names {missing:?}, which is not in its folder; there are {present}")]
    Missing {
        /// The scenario file.
        file: String,
        /// The file named.
        missing: String,
        /// The files there are.
        present: String,
    },
    /// Not YAML, or not of a scenario's shape.
    #[error("{file}: {}", error.without_snippet())]
    Yaml {
        /// The scenario file.
        file: String,
        /// What is wrong, with line and column.
        error: Box<serde_saphyr::Error>,
    },
    /// The traffic cannot be used.
    #[error(transparent)]
    Traffic(#[from] RecordError),
    /// The manifests cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A field that is well-formed and yet cannot work.
    #[error("{file}: {field}: {fault}")]
    Field {
        /// The scenario file.
        file: String,
        /// Path of the field.
        field: String,
        /// What is wrong and what is allowed.
        fault: String,
    },
    /// More than a real control plane is given to play.
    #[error("{name}: {what}; burstlet replay simulates it")]
    OnlySimulated {
        /// The scenario.
        name: String,
        /// What it has.
        what: String,
    },
}

impl Scenario {
    /// Name of the scenario that `burstlet demo` runs when none is named.
    pub const DEFAULT: &str = "flash-crowd";

    /// Opens a built-in scenario by its name, else a scenario file or a folder that holds a `scenario.yaml`. Built-in
    /// names come first; write `./flash-crowd` for a folder of that name.
    pub fn open(name: &str) -> Result<Self, ScenarioError> {
        if let Some(built_in) = BUILT_IN.iter().find(|built_in| built_in.name == name) {
            return Self::read(&Folder::BuiltIn(built_in), FILE);
        }
        let path = Path::new(name);
        if path.is_dir() {
            Self::read(&Folder::OnDisk(path.to_owned()), FILE)
        } else if let (true, Some(file)) = (path.exists(), path.file_name().and_then(|file| file.to_str())) {
            Self::read(&Folder::OnDisk(path.parent().unwrap_or(Path::new("")).to_owned()), file)
        } else {
            Err(ScenarioError::Unknown { name: name.to_owned() })
        }
    }

    /// Names and one-line descriptions of the built-in scenarios.
    pub fn built_in() -> Result<Vec<(String, String)>, ScenarioError> {
        let open = |built_in: &BuiltIn| Self::open(built_in.name).map(|scenario| (scenario.name, scenario.about));
        BUILT_IN.iter().map(open).collect()
    }

    /// Currency of every price.
    pub fn currency(&self) -> Option<&Currency> {
        self.pools.first().map(|pool| &pool.price.currency)
    }

    /// Fields of it that only a simulation plays.
    pub fn only_simulated(&self) -> Vec<&'static str> {
        let has = |test: fn(&Pool) -> bool| self.pools.iter().any(test);
        let fields = [
            ("updates", self.workloads.iter().any(|driven| !driven.updates.is_empty())),
            ("serving", self.workloads.iter().any(|driven| driven.serving != Serving::default())),
            (
                "metrics of the HPA other than cpu",
                !self.workloads.iter().all(|driven| metrics::are_plain(&driven.workload.hpa)),
            ),
            ("nodeAutoscaler", self.node_autoscaler.is_some()),
            ("realNodes.labels", !self.real_nodes.labels.is_empty()),
            ("realNodes.taints", !self.real_nodes.taints.is_empty()),
            ("realNodes.zones", !self.real_nodes.zones.is_empty()),
            ("otherNodes", !self.other_nodes.is_empty()),
            ("realNodes.price", self.real_nodes.price.is_some()),
            ("pools[].quota", has(|pool| pool.quota.is_some())),
            ("pools[].throttle", has(|pool| pool.throttle.is_some())),
            ("pools[].stockOuts", has(|pool| !pool.stock_outs.is_empty())),
            ("pools[].reclaim", has(|pool| pool.reclaim != Reclaim::default())),
            ("cluster.creations", self.cluster.creations.is_some()),
            ("cluster.bindings", self.cluster.bindings.is_some()),
        ];
        fields.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
    }

    /// What its manifests say and a replay leaves out, by file, object and field.
    pub fn left_out(&self) -> Vec<String> {
        let of = |driven: &Driven| {
            let Workload { at, deployment, .. } = &driven.workload;
            let name = deployment.metadata.name.clone().unwrap_or_default();
            let told = move |field| format!("{at}: Deployment {name}: {field}");
            left_out(deployment).into_iter().map(told).collect::<Vec<_>>()
        };
        self.workloads.iter().flat_map(of).collect()
    }

    /// The scenario as a real control plane can play it.
    pub fn alone(self) -> Result<Alone, ScenarioError> {
        let refuse = |what: &str| {
            let what = format!("a real control plane plays one workload with a base by annotation; this has {what}");
            Err(ScenarioError::OnlySimulated { name: self.name.clone(), what })
        };
        let has_objects = self.pools.iter().any(|pool| pool.object.is_some());
        if !self.policies.is_empty() || !self.namespaces.is_empty() || has_objects {
            return refuse("objects beside the Deployment and its HPA");
        }
        let [driven] = self.workloads.as_slice() else {
            return refuse(&format!("{} workloads", self.workloads.len()));
        };
        let Some(base) = driven.workload.base else { return refuse("no such base") };
        Ok(Alone { driven: driven.clone(), base, scenario: self })
    }

    /// Length of the longest traffic.
    pub fn duration(&self) -> Duration {
        self.workloads.iter().map(|driven| driven.traffic.duration()).max().unwrap_or_default()
    }

    fn read(folder: &Folder, name: &str) -> Result<Self, ScenarioError> {
        let file = folder.path_of(name);
        let text = folder.read(name, name)?;
        let written: Written = serde_saphyr::from_str(&text)
            .map_err(|error| ScenarioError::Yaml { file: file.clone(), error: Box::new(error) })?;
        check(&written).map_err(|(field, fault)| ScenarioError::Field { file: file.clone(), field, fault })?;
        let read = |named: &String| folder.read(name, named).map(|text| (folder.path_of(named), text));
        let manifests = written.manifests.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let manifests = Manifests::read(&manifests)?;
        let refuse = |(field, fault)| ScenarioError::Field { file: file.clone(), field, fault };
        let pools = pools::settle(written.pools.clone(), &manifests).map_err(refuse)?;
        manifests.judge(&pools::known(&pools))?;
        let read = |traffic: &TrafficFile| {
            let read = folder.traffic(name, &traffic.file)?;
            Ok(read.sped_up(traffic.speed).scaled(traffic.scale))
        };
        let workloads = drive(&written, &manifests, read, &refuse)?;
        let longest = workloads.iter().map(|driven| driven.traffic.duration()).max().unwrap_or_default();
        let is_long = longest + written.settle > Duration::from_hours(1);
        let usual = Duration::from_secs(if is_long { 15 } else { 1 });
        let scenario = Self {
            workloads,
            namespaces: manifests.namespaces.iter().map(|(name, found)| (name.clone(), found.object.clone())).collect(),
            policies: manifests.specs(),
            starts_at: written.starts_at.as_ref().map_or(MIDNIGHT, |moment| moment.0),
            name: written.name,
            about: written.about,
            real_nodes: written.real_nodes,
            other_nodes: written.other_nodes,
            pools,
            settle: written.settle,
            seed: written.seed.unwrap_or(1),
            warm_up: written.warm_up.map_or(Duration::from_mins(10), |span| span.0),
            sample_every: written.sample_every.map_or(usual, |span| span.0),
            cluster: written.cluster,
            rules: written.rules,
            node_autoscaler: written.node_autoscaler,
        };
        governed(&scenario, &manifests, written.starts_at.is_some())?;
        Ok(scenario)
    }
}

/// When the traffic begins where nobody said: at the beginning of a day, so that budgets are whole.
const MIDNIGHT: Timestamp = Timestamp::from_millis(86_400_000);

/// A scenario file as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) manifests: Vec<String>,
    #[serde(default)]
    pub(super) traffic: Option<TrafficFile>,
    #[serde(default)]
    pub(super) request_cpu: Option<Span>,
    #[serde(default)]
    pub(super) workloads: Option<Vec<WrittenWorkload>>,
    #[serde(default)]
    pub(super) starts_at: Option<Moment>,
    pub(super) real_nodes: RealNodes,
    #[serde(default)]
    pub(super) other_nodes: Vec<RealNodes>,
    pub(super) pools: Vec<Behaviour>,
    #[serde(with = "humantime_serde")]
    pub(super) settle: Duration,
    #[serde(default)]
    pub(super) seed: Option<u64>,
    #[serde(default)]
    pub(super) warm_up: Option<Span>,
    #[serde(default)]
    pub(super) sample_every: Option<Span>,
    #[serde(default)]
    pub(super) updates: Vec<Span>,
    #[serde(default)]
    pub(super) cluster: ClusterSpeed,
    #[serde(default)]
    pub(super) rules: Rules,
    #[serde(default)]
    pub(super) serving: Option<Serving>,
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, MetricSource>,
    #[serde(default)]
    pub(super) node_autoscaler: Option<NodeAutoscaler>,
}

/// An entry of `workloads`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrittenWorkload {
    /// Name of its Deployment, as `namespace/name`, or without a namespace as kubectl would apply it.
    pub(super) deployment: String,
    pub(super) traffic: TrafficFile,
    #[serde(default)]
    pub(super) request_cpu: Option<Span>,
    #[serde(default)]
    pub(super) serving: Option<Serving>,
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, MetricSource>,
    #[serde(default)]
    pub(super) updates: Vec<Span>,
}

/// A moment, written as `2026-03-02T08:00:00+08:00`; without a zone it is UTC's.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Moment(Timestamp);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shortened: String = text.chars().take(40).collect();
        let fault = || format!("{shortened:?} is no moment; write for example 2026-03-02T08:00:00+08:00");
        moment(&text, Zone::UTC).map(Self).ok_or_else(fault)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrafficFile {
    file: String,
    /// How much faster than recorded it runs.
    #[serde(default)]
    speed: Factor,
    /// What every rate is multiplied with.
    #[serde(default)]
    scale: Factor,
}
