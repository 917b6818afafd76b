//! Where a scenario's files are: in the program, or on disk.

use std::path::PathBuf;

use burstlet_engine::traffic::Traffic;

use super::ScenarioError;
use crate::record::{RecordError, read_traffic};

/// Name of the scenario file in its folder.
pub(super) const FILE: &str = "scenario.yaml";

/// A scenario that the program carries, so that it runs from any directory.
#[derive(Debug)]
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
}

macro_rules! built_in {
    ($name:literal) => {
        built_in!($name: "scenario.yaml", "workload.yaml", "traffic.csv")
    };
    ($name:literal: $($file:literal),+) => {
        BuiltIn {
            name: $name,
            files: &[$(($file, include_str!(concat!("../../simulations/", $name, "/", $file)))),+],
        }
    };
}

/// The scenarios of `simulations/`.
pub(super) static BUILT_IN: [BuiltIn; 7] = [
    built_in!("flash-crowd"),
    built_in!("daily-wave"),
    built_in!("stock-out"),
    built_in!("spot-reclaim"),
    built_in!("slow-autoscaler"),
    built_in!("rolling-update"),
    built_in!("shared-pool": "scenario.yaml", "checkout.yaml", "catalogue.yaml", "policies.yaml", "pool.yaml", "checkout.csv",
        "catalogue.csv"),
];

pub(super) fn built_in_names() -> String {
    BUILT_IN.each_ref().map(|built_in| built_in.name).join(", ")
}

/// Where a scenario's files are.
pub(super) enum Folder {
    BuiltIn(&'static BuiltIn),
    OnDisk(PathBuf),
}

impl Folder {
    /// How errors name a file.
    pub(super) fn path_of(&self, name: &str) -> String {
        match self {
            Self::BuiltIn(built_in) => format!("built-in {}/{name}", built_in.name),
            Self::OnDisk(folder) => folder.join(name).display().to_string(),
        }
    }

    /// The text of file `name`, which the scenario file `scenario` names.
    pub(super) fn read(&self, scenario: &str, name: &str) -> Result<String, ScenarioError> {
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

    /// The traffic of file `name`: the project's CSV, or what `burstlet record` writes; compressed or not.
    pub(super) fn traffic(&self, scenario: &str, name: &str) -> Result<Traffic, ScenarioError> {
        match self {
            Self::BuiltIn(_) => {
                let text = self.read(scenario, name)?;
                let file = self.path_of(name);
                Traffic::read(text.as_bytes()).map_err(|error| RecordError::Traffic { file, error }.into())
            }
            Self::OnDisk(folder) => Ok(read_traffic(&folder.join(name))?),
        }
    }
}
