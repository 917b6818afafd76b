//! What a provider knows of single containers.

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEnd {
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub exit_code: i32,
    /// One word in Kubernetes' style: `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// Its last words: what it wrote to its termination message, or why it could not start.
    pub message: Option<String>,
    /// When it had begun.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerState {
    /// It does not run yet, or not again yet.
    Waiting {
        /// One word in Kubernetes' style: `PodInitializing`, `ContainerCreating`, `CrashLoopBackOff`.
        reason: String,
        /// More, for people.
        message: Option<String>,
    },
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It has ended and is not restarted.
    Ended(ContainerEnd),
}

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReport {
    /// Its name in the pod's spec.
    pub name: String,
    /// What it does now.
    pub state: ContainerState,
    /// How the run before this one ended.
    pub last: Option<ContainerEnd>,
    /// Its readiness probe passes; without one, it runs.
    pub is_ready: bool,
    /// Its startup probe has passed; without one, it runs.
    pub has_started: bool,
    /// Restarts so far.
    pub restarts: u32,
}
