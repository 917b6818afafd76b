//! How an emulated cloud behaves.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{FaultRates, StockStep, ZoneStock};

/// A duration drawn anew each time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Range {
    /// The least.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// The most.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

/// A token bucket of the cloud's throttle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottleRate {
    /// Calls at once after a pause.
    pub burst: u32,
    /// Calls a second in the long run.
    pub per_second: f64,
}

/// How an emulated cloud behaves. Durations are in humantime's form (`90s`); unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The whole cloud is out: every call is answered as by a server that fails.
    pub outage: bool,
    /// How long an answer takes.
    pub latency: Range,
    /// Time from creation until an instance's containers run.
    pub start_up: Range,
    /// Whether calls are throttled, at the documented rates.
    pub throttle: bool,
    /// Rates in place of the documented ones, by action.
    pub throttle_rates: BTreeMap<String, ThrottleRate>,
    /// Chances of mishaps, by action; `*` is every action that is not named.
    pub faults: BTreeMap<String, FaultRates>,
    /// Of 1,000 instances, how many are accepted and then find no machine.
    pub late_failures_per_mille: u16,
    /// Machines and addresses, by zone; a zone that is not named has no limit.
    pub zones: BTreeMap<String, ZoneStock>,
    /// Changes of stock to come, in any order.
    pub stock_schedule: Vec<StockStep>,
    /// How many instances may stand at a time in the whole account.
    pub quota_instances: Option<u64>,
    /// How much CPU may stand at a time in the whole account, in vCPU.
    pub quota_cpu: Option<u64>,
    /// Time from the notice that a spot instance is taken back until it is.
    #[serde(with = "humantime_serde")]
    pub reclaim_notice: Duration,
    /// CPU that each container uses, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory that each container uses, in bytes.
    pub memory_bytes: u64,
    /// Seconds that the cloud's clock is ahead of this machine's; negative where it is behind.
    pub clock_skew_seconds: i64,
    /// Seed of latencies and chances.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            outage: false,
            latency: Range::default(),
            start_up: Range { min: Duration::from_secs(1), max: Duration::from_secs(2) },
            throttle: true,
            throttle_rates: BTreeMap::new(),
            faults: BTreeMap::new(),
            late_failures_per_mille: 0,
            zones: BTreeMap::new(),
            stock_schedule: Vec::new(),
            quota_instances: None,
            quota_cpu: None,
            reclaim_notice: Duration::from_mins(3),
            cpu_millis: 100,
            memory_bytes: 64 << 20,
            clock_skew_seconds: 0,
            seed: 1,
        }
    }
}

impl Settings {
    /// Chances of mishaps of an action.
    pub fn faults_of(&self, action: &str) -> FaultRates {
        self.faults.get(action).or_else(|| self.faults.get("*")).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_documented() {
        let text = "outage: true\nstartUp: {min: 1s, max: 90s}\nzones: {a: {instances: 5}}\n\
                    faults: {CreateContainerGroup: {lostPerMille: 200}}\nstockSchedule: [{after: 2m, zone: a, instances: 0}]";
        let settings: Settings = serde_saphyr::from_str(text).unwrap();
        assert!(settings.outage && settings.throttle);
        assert_eq!(settings.start_up.max, Duration::from_secs(90));
        assert_eq!(settings.faults_of("CreateContainerGroup").lost_per_mille, 200);
        assert_eq!(settings.faults_of("Other").lost_per_mille, 0);
        assert!(serde_saphyr::from_str::<Settings>("outrage: true").is_err());
    }
}
