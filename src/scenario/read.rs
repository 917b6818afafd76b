//! A scenario file, read and checked.

use std::{collections::BTreeMap, io, num::NonZeroU32, path::Path, time::Duration};

use burstlet_engine::{
    model::{Bytes, MilliCpu},
    simulator::Source,
    traffic::{Factor, Traffic},
};
use serde::Deserialize;

use super::{
    ClusterSpeed, Currency, ManifestError, NodeAutoscaler, NodePrice, Pool, Reclaim, Rules, Serving, Span, StartUp,
    Workload,
    check::check,
    folder::{BUILT_IN, BuiltIn, FILE, Folder, built_in_names},
    metrics::{self, MetricSource},
};
use crate::record::RecordError;

/// Everything that a scenario's file says, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub about: String,
    /// What scales.
    pub workload: Workload,
    /// What the workload meets, already sped up and scaled.
    pub traffic: Traffic,
    /// CPU time that one request costs a pod.
    pub request_cpu: Duration,
    /// The cluster's real nodes.
    pub real_nodes: RealNodes,
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
    /// When a new revision is rolled out.
    pub updates: Vec<Duration>,
    /// How fast the cluster is.
    pub cluster: ClusterSpeed,
    /// burstlet's own settings.
    pub rules: Rules,
    /// What a pod can serve.
    pub serving: Serving,
    /// What the HPA's metrics of type Pods, Object and External follow from, by their names.
    pub metrics: BTreeMap<String, Source>,
    /// What adds and removes real nodes.
    pub node_autoscaler: Option<NodeAutoscaler>,
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
            ("updates", !self.updates.is_empty()),
            ("serving", self.serving != Serving::default()),
            ("metrics", !self.metrics.is_empty()),
            (
                "the HPA's metrics other than cpu",
                !self.workload.hpa.spec.metrics.iter().flatten().all(metrics::is_plain),
            ),
            ("nodeAutoscaler", self.node_autoscaler.is_some()),
            ("realNodes.labels", !self.real_nodes.labels.is_empty()),
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

    fn read(folder: &Folder, name: &str) -> Result<Self, ScenarioError> {
        let file = folder.path_of(name);
        let text = folder.read(name, name)?;
        let written: Written = serde_saphyr::from_str(&text)
            .map_err(|error| ScenarioError::Yaml { file: file.clone(), error: Box::new(error) })?;
        check(&written).map_err(|(field, fault)| ScenarioError::Field { file: file.clone(), field, fault })?;
        let read = |named: &String| folder.read(name, named).map(|text| (folder.path_of(named), text));
        let manifests = written.manifests.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let recorded = |named: &TrafficFile| {
            let traffic = folder.traffic(name, &named.file)?;
            Ok::<_, ScenarioError>(traffic.sped_up(named.speed).scaled(named.scale))
        };
        let traffic = recorded(&written.traffic)?;
        let metrics = written.metrics.iter().map(|(name, source)| Ok((name.clone(), source.source(recorded)?)));
        let metrics = metrics.collect::<Result<BTreeMap<_, _>, ScenarioError>>()?;
        let workload = Workload::read(&manifests)?;
        metrics::check(&workload.deployment, &workload.hpa, &metrics, &written.serving)
            .map_err(|(field, fault)| ScenarioError::Field { file: file.clone(), field, fault })?;
        let is_long = traffic.duration() + written.settle > Duration::from_hours(1);
        let usual = Duration::from_secs(if is_long { 15 } else { 1 });
        Ok(Self {
            workload,
            traffic,
            name: written.name,
            about: written.about,
            request_cpu: written.request_cpu,
            real_nodes: written.real_nodes,
            pools: written.pools,
            settle: written.settle,
            seed: written.seed.unwrap_or(1),
            warm_up: written.warm_up.map_or(Duration::from_mins(10), |span| span.0),
            sample_every: written.sample_every.map_or(usual, |span| span.0),
            updates: written.updates.into_iter().map(|span| span.0).collect(),
            cluster: written.cluster,
            rules: written.rules,
            serving: written.serving,
            metrics,
            node_autoscaler: written.node_autoscaler,
        })
    }
}

/// A scenario file as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) manifests: Vec<String>,
    pub(super) traffic: TrafficFile,
    #[serde(with = "humantime_serde")]
    pub(super) request_cpu: Duration,
    pub(super) real_nodes: RealNodes,
    pub(super) pools: Vec<Pool>,
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
    pub(super) serving: Serving,
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, MetricSource>,
    #[serde(default)]
    pub(super) node_autoscaler: Option<NodeAutoscaler>,
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
