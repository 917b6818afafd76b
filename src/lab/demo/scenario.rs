//! Scenario files: what a demo runs, in one YAML file beside its manifests and its traffic.
//!
//! ```yaml
//! name: flash-crowd
//! about: One line of what it shows.
//! manifests: [workload.yaml]        # one Deployment and the HPA that scales it, in any number of files
//! traffic: {file: traffic.csv, speed: 1, scale: 1}
//! requestCpu: 20ms                  # CPU time that one request costs a pod
//! realNodes: {count: 3, cpu: "2", memory: 4Gi, pods: 30, startUp: {min: 500ms, max: 1500ms}}
//! pools:
//! - name: cloud
//!   nodes: 2
//!   podsPerNode: 50
//!   startUp: {min: 1500ms, max: 4s}
//!   stock: 40                       # optional: instances it can run at once
//!   price: {cpuSecond: 0.000049, gibSecond: 0.00000613, currency: CNY}
//! settle: 10s                       # how long to watch after the traffic's end
//! ```
//!
//! File names are relative to the scenario's folder. Unknown fields are refused, with line and column.

use std::{
    collections::BTreeSet,
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use burstlet_engine::{
    model::{Bytes, MilliCpu},
    traffic::{CsvError, Factor, Traffic},
};
use serde::Deserialize;

use super::{Currency, ManifestError, Pool, StartUp, Workload};

/// Everything that a demo runs, read and checked.
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
}

/// The real nodes of a scenario, all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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
    #[error("{file}: {error}")]
    Traffic {
        /// The traffic file.
        file: String,
        /// What is wrong, with its line.
        error: CsvError,
    },
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

    fn read(folder: &Folder, name: &str) -> Result<Self, ScenarioError> {
        let file = folder.path_of(name);
        let text = folder.read(name, name)?;
        let written: Written = serde_saphyr::from_str(&text)
            .map_err(|error| ScenarioError::Yaml { file: file.clone(), error: Box::new(error) })?;
        check(&written).map_err(|(field, fault)| ScenarioError::Field { file: file.clone(), field, fault })?;
        let read = |named: &String| folder.read(name, named).map(|text| (folder.path_of(named), text));
        let manifests = written.manifests.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (traffic_file, traffic) = read(&written.traffic.file)?;
        let traffic =
            Traffic::from_csv(&traffic).map_err(|error| ScenarioError::Traffic { file: traffic_file, error })?;
        Ok(Self {
            workload: Workload::read(&manifests)?,
            traffic: traffic.sped_up(written.traffic.speed).scaled(written.traffic.scale),
            name: written.name,
            about: written.about,
            request_cpu: written.request_cpu,
            real_nodes: written.real_nodes,
            pools: written.pools,
            settle: written.settle,
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
    check_start_up("realNodes.startUp", written.real_nodes.start_up)?;
    let mut names = BTreeSet::new();
    let currency = written.pools.first().map(|pool| &pool.price.currency);
    for (index, pool) in written.pools.iter().enumerate() {
        check_start_up(&format!("pools[{index}].startUp"), pool.start_up)?;
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

fn check_start_up(field: &str, StartUp { min, max }: StartUp) -> Result<(), (String, String)> {
    if min <= max { Ok(()) } else { Err((field.to_owned(), format!("min {min:?} is more than max {max:?}"))) }
}

/// Name of the scenario file in its folder.
const FILE: &str = "scenario.yaml";

/// A scenario that the program carries, so that it runs from any directory.
#[derive(Debug)]
struct BuiltIn {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! built_in {
    ($name:literal: $($file:literal),+) => {
        BuiltIn {
            name: $name,
            files: &[$(($file, include_str!(concat!("../../../simulations/", $name, "/", $file)))),+],
        }
    };
}

static BUILT_IN: [BuiltIn; 2] = [
    built_in!("flash-crowd": "scenario.yaml", "workload.yaml", "traffic.csv"),
    built_in!("daily-wave": "scenario.yaml", "workload.yaml", "traffic.csv"),
];

fn built_in_names() -> String {
    BUILT_IN.each_ref().map(|built_in| built_in.name).join(", ")
}

/// Where a scenario's files are.
enum Folder {
    BuiltIn(&'static BuiltIn),
    OnDisk(PathBuf),
}

impl Folder {
    /// How errors name a file.
    fn path_of(&self, name: &str) -> String {
        match self {
            Self::BuiltIn(built_in) => format!("built-in {}/{name}", built_in.name),
            Self::OnDisk(folder) => folder.join(name).display().to_string(),
        }
    }

    /// The text of file `name`, which the scenario file `scenario` names.
    fn read(&self, scenario: &str, name: &str) -> Result<String, ScenarioError> {
        match self {
            Self::BuiltIn(built_in) => {
                let file = built_in.files.iter().find(|(file, _)| *file == name);
                file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| ScenarioError::Missing {
                    file: self.path_of(scenario),
                    missing: name.to_owned(),
                    present: built_in.files.iter().map(|(file, _)| *file).collect::<Vec<_>>().join(", "),
                })
            }
            Self::OnDisk(folder) => std::fs::read_to_string(folder.join(name))
                .map_err(|error| ScenarioError::Read { file: self.path_of(name), error }),
        }
    }
}

#[cfg(test)]
mod tests;
