//! What a scenario may set on the simulated cloud.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the cloud behaves. May be changed while instances run; what has started keeps what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Time from creation to running.
    pub start_up: StartUp,
    /// Time that containers take to stop once asked; never more than the grace they are given.
    #[serde(with = "humantime_serde")]
    pub stop: Duration,
    /// Calls to create, of 1,000, that answer `Unavailable`; half of them have taken effect.
    pub failures_per_mille: u16,
    /// Most instances at a time; no limit where it is missing.
    pub stock: Option<u64>,
    /// CPU that an instance uses until [`super::Cloud::set_cpu`] says otherwise, in thousandths of a core. At least 1,
    /// because metrics-server takes a zero counter for a missing one.
    pub cpu_millis: u64,
    /// Memory of every instance, in bytes.
    pub memory_bytes: u64,
    /// Seed of latencies and failures.
    pub seed: u64,
    /// Second part of the instances' addresses: 10.`network`.0.0/16.
    pub network: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start_up: StartUp::default(),
            stop: Duration::ZERO,
            failures_per_mille: 0,
            stock: None,
            cpu_millis: 1,
            memory_bytes: 32 << 20,
            seed: 0,
            network: 200,
        }
    }
}

/// A range that start-up times are drawn from; equal ends make them fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartUp {
    /// Shortest.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// Longest.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl StartUp {
    /// Every instance takes exactly this long.
    pub fn fixed(latency: Duration) -> Self {
        Self { min: latency, max: latency }
    }
}

/// A failure planned for one of the next calls to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Refused: no stock.
    NoStock,
    /// Refused: quota exceeded.
    QuotaExceeded,
    /// Refused: too many calls.
    Throttled,
    /// Refused: the pod can never run here.
    Invalid,
    /// Refused: bad credentials.
    Unauthorized,
    /// Nothing happens and nothing useful is answered.
    Unavailable,
    /// The instance is created, but the answer says `Unavailable`.
    LostAnswer,
    /// The instance is created, and its containers fail instead of running.
    StartFails,
}

/// Whose CPU use a scenario sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CpuTarget {
    /// The instance of one pod, by UID.
    Pod(String),
    /// Every instance there is, and those to come.
    All,
}
