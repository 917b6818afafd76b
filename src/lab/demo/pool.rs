//! Pools and nodes of a scenario.

use std::{fmt, num::NonZeroU32, time::Duration};

use burstlet_engine::model::PoolName;
use serde::Deserialize;

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
