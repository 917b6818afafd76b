//! Pools and nodes of a scenario.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A pool's name: a DNS label, as virtual nodes are named after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PoolName(String);

/// Why a text is no pool name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pool name; allowed are up to 40 of a-z, 0-9 and -, with a letter first and no - at the end")]
pub struct PoolNameError(String);

impl PoolName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolName {
    type Err = PoolNameError;

    fn from_str(text: &str) -> Result<Self, PoolNameError> {
        let is_label = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.ends_with('-')
            && text.len() <= 40;
        if is_label { Ok(Self(text.to_owned())) } else { Err(PoolNameError(text.chars().take(60).collect())) }
    }
}

impl TryFrom<String> for PoolName {
    type Error = PoolNameError;

    fn try_from(text: String) -> Result<Self, PoolNameError> {
        text.parse()
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A pool as a scenario has it, run by the simulated provider.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// The pool's name.
    pub name: PoolName,
    /// Virtual nodes that stand for it.
    pub nodes: NonZeroU32,
    /// Pods that one virtual node takes.
    pub pods_per_node: NonZeroU32,
    /// From creation of an instance to running.
    pub start_up: StartUp,
    /// Instances that the pool can run at once; left out, nothing but its nodes bounds it.
    #[serde(default)]
    pub stock: Option<u32>,
    /// What it charges.
    pub price: Price,
}

/// How long something takes to start: evenly spread from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartUp {
    /// The quickest.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// The slowest.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

/// What a pool charges for what a pod requests, from its binding until it is gone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    /// Price of one core for one second.
    pub cpu_second: UnitPrice,
    /// Price of one GiB of memory for one second.
    pub gib_second: UnitPrice,
    /// Currency of both.
    pub currency: Currency,
}

/// Money for one unit: finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct UnitPrice(f64);

impl UnitPrice {
    /// The price as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for UnitPrice {
    type Error = String;

    fn try_from(price: f64) -> Result<Self, String> {
        if (0.0..=1e9).contains(&price) {
            Ok(Self(price))
        } else {
            Err(format!("{price} is no price; allowed are 0 to 1000000000"))
        }
    }
}

/// A currency by its three capital letters, such as `CNY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Currency(String);

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(text))
        } else {
            Err(format!("{:?} is no currency; write its three capital letters, such as CNY", shortened(&text)))
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_name_can_begin_a_nodes_name() {
        assert!("eci-spot2".parse::<PoolName>().is_ok());
        for text in ["", "Eci", "2eci", "eci-", "eci_spot", "eci.spot", "ëci", &"e".repeat(41)] {
            assert!(text.parse::<PoolName>().is_err(), "{text}");
        }
    }
}
