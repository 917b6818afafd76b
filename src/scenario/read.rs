//! A scenario file, read and checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use burstlet_engine::{
    model::{Bytes, MilliCpu},
    traffic::{Factor, Traffic},
};
use serde::Deserialize;

use super::{
    Currency, ManifestError, NodePrice, Percent, Pool, Reclaim, Span, StartUp, Throttle, Workload,
    folder::{BUILT_IN, BuiltIn, FILE, Folder, built_in_names},
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

/// How fast the cluster's own components are; left out, as Kubernetes comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterSpeed {
    /// How often the HPA looks.
    pub hpa_sync: Option<Span>,
    /// How often metrics-server reads the pods' counters.
    pub metrics_resolution: Option<Span>,
    /// Limit on the ReplicaSet controller's requests.
    pub creations: Option<Throttle>,
    /// Limit on kube-scheduler's bindings.
    pub bindings: Option<Throttle>,
}

/// burstlet's own settings; left out, as its configuration has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// How long real nodes get to take a base pod before the pool may.
    pub move_on_after: Option<Span>,
    /// How long the base must have had room before a pod returns.
    pub move_back_after: Option<Span>,
    /// Least time between two returns.
    pub cool_down: Option<Span>,
}

/// What a pod can serve, and how patient requests are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Serving {
    /// Time that one request takes a pod; left out, its CPU time.
    pub request_time: Option<Span>,
    /// Requests that a pod serves at once.
    pub concurrency: Option<NonZeroU32>,
    /// A request that waits longer is late.
    pub late_after: Span,
    /// A request that would wait longer is unserved.
    pub give_up_after: Span,
    /// From a pod's containers running until it is Ready.
    pub ready_after: StartUp,
    /// From a pod's deletion until its containers have stopped.
    pub stop: Span,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            request_time: None,
            concurrency: None,
            late_after: Span(Duration::from_secs(1)),
            give_up_after: Span(Duration::from_secs(10)),
            ready_after: StartUp::default(),
            stop: Span(Duration::ZERO),
        }
    }
}

/// What adds and removes real nodes, as cluster-autoscaler does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAutoscaler {
    /// Most real nodes.
    pub max: u32,
    /// From asking for a node until it takes pods.
    pub boot: StartUp,
    /// How often it looks.
    #[serde(default = "every_ten_seconds")]
    pub scan: Span,
    /// How long a node is hardly used before it goes.
    #[serde(default = "ten_minutes")]
    pub scale_down_after: Span,
    /// A node whose pods request less of its CPU than this is hardly used.
    #[serde(default = "half")]
    pub utilization: Percent,
}

fn every_ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

fn ten_minutes() -> Span {
    Span(Duration::from_mins(10))
}

fn half() -> Percent {
    Percent::of_millionths(500_000)
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
        let traffic = folder.traffic(name, &written.traffic.file)?;
        let traffic = traffic.sped_up(written.traffic.speed).scaled(written.traffic.scale);
        let is_long = traffic.duration() + written.settle > Duration::from_hours(1);
        let usual = Duration::from_secs(if is_long { 15 } else { 1 });
        Ok(Self {
            workload: Workload::read(&manifests)?,
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
            node_autoscaler: written.node_autoscaler,
        })
    }
}

/// A scenario file as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    about: String,
    manifests: Vec<String>,
    traffic: TrafficFile,
    #[serde(with = "humantime_serde")]
    request_cpu: Duration,
    real_nodes: RealNodes,
    pools: Vec<Pool>,
    #[serde(with = "humantime_serde")]
    settle: Duration,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    warm_up: Option<Span>,
    #[serde(default)]
    sample_every: Option<Span>,
    #[serde(default)]
    updates: Vec<Span>,
    #[serde(default)]
    cluster: ClusterSpeed,
    #[serde(default)]
    rules: Rules,
    #[serde(default)]
    serving: Serving,
    #[serde(default)]
    node_autoscaler: Option<NodeAutoscaler>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrafficFile {
    file: String,
    /// How much faster than recorded it runs.
    #[serde(default)]
    speed: Factor,
    /// What every rate is multiplied with.
    #[serde(default)]
    scale: Factor,
}

/// A fault's field and what is allowed.
fn check(written: &Written) -> Result<(), (String, String)> {
    let refuse = |field: &str, fault: &str| Err((field.to_owned(), fault.to_owned()));
    if written.name.is_empty() {
        return refuse("name", "empty; give the scenario a name");
    }
    if written.about.is_empty() || written.about.contains('\n') {
        return refuse("about", "it must be one line that says what the scenario shows");
    }
    if written.manifests.is_empty() {
        return refuse("manifests", "empty; name the files of the Deployment and the HPA");
    }
    if written.request_cpu.is_zero() || written.request_cpu > Duration::from_hours(1) {
        return refuse("requestCpu", "allowed are more than 0s and up to 1h");
    }
    if written.pools.is_empty() {
        return refuse("pools", "empty; the overflow needs at least one pool");
    }
    check_start_up("realNodes.startUp", &written.real_nodes.start_up)?;
    check_simulated(written)?;
    let mut names = BTreeSet::new();
    let currency = written.pools.first().map(|pool| &pool.price.currency);
    for (index, pool) in written.pools.iter().enumerate() {
        check_start_up(&format!("pools[{index}].startUp"), &pool.start_up)?;
        check_behaviour(&format!("pools[{index}]"), pool)?;
        if !names.insert(&pool.name) {
            return Err((format!("pools[{index}].name"), format!("{} names two pools; names must differ", pool.name)));
        }
        if let Some(first) = currency.filter(|first| **first != pool.price.currency) {
            let fault = format!("{}, but the first pool's is {first}; all must be the same", pool.price.currency);
            return Err((format!("pools[{index}].price.currency"), fault));
        }
    }
    Ok(())
}

/// What only a simulation plays.
fn check_simulated(written: &Written) -> Result<(), (String, String)> {
    let refuse = |field: &str, fault: String| Err((field.to_owned(), fault));
    let Written { serving, cluster, node_autoscaler, real_nodes, .. } = written;
    check_start_up("serving.readyAfter", &serving.ready_after)?;
    if serving.give_up_after < serving.late_after {
        let fault = format!("{:?} is less than lateAfter {:?}", serving.give_up_after.0, serving.late_after.0);
        return refuse("serving.giveUpAfter", fault);
    }
    let spans = [
        ("serving.requestTime", serving.request_time),
        ("sampleEvery", written.sample_every),
        ("cluster.hpaSync", cluster.hpa_sync),
        ("cluster.metricsResolution", cluster.metrics_resolution),
        ("nodeAutoscaler.scan", node_autoscaler.as_ref().map(|autoscaler| autoscaler.scan)),
    ];
    for (field, span) in spans {
        if span.is_some_and(|span| !SPANS.contains(&span.0)) {
            return refuse(field, "allowed are 1ms to 24h".to_owned());
        }
    }
    if written.warm_up.is_some_and(|span| span.0 > Duration::from_hours(24)) {
        return refuse("warmUp", "allowed are 0s to 24h".to_owned());
    }
    if let Some(autoscaler) = node_autoscaler {
        check_start_up("nodeAutoscaler.boot", &autoscaler.boot)?;
        let (max, count) = (autoscaler.max, real_nodes.count);
        if max < count.get() {
            return refuse("nodeAutoscaler.max", format!("{max} is less than realNodes.count {count}"));
        }
    }
    Ok(())
}

fn check_behaviour(field: &str, pool: &Pool) -> Result<(), (String, String)> {
    let mut end = Duration::ZERO;
    for (index, out) in pool.stock_outs.iter().enumerate() {
        let field = format!("{field}.stockOuts[{index}]");
        if out.until <= out.from {
            return Err((field, format!("until {:?} is not after from {:?}", out.until.0, out.from.0)));
        }
        if out.from.0 < end {
            return Err((field, format!("from {:?} lies before the end of the one before, {end:?}", out.from.0)));
        }
        end = out.until.0;
    }
    Ok(())
}

/// Periods of what comes again and again.
const SPANS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

fn check_start_up(field: &str, start_up: &StartUp) -> Result<(), (String, String)> {
    let StartUp { min, max, .. } = start_up;
    if min > max {
        return Err((field.to_owned(), format!("min {min:?} is more than max {max:?}")));
    }
    if !start_up.quantiles().is_sorted() {
        return Err((format!("{field}.between"), "the quantiles must rise from min to max".to_owned()));
    }
    Ok(())
}
