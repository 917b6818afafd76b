//! Pools and nodes of a scenario.

use std::{fmt, num::NonZeroU32, time::Duration};

use burstlet_engine::model::PoolName;
use serde::Deserialize;

use crate::api::pool::PoolSpec;

/// A pool, as its VirtualPool and the scenario say together, run by the simulated provider.
#[derive(Debug, Clone, PartialEq)]
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
    pub stock: Option<u32>,
    /// What it charges.
    pub price: Price,
    /// Instances that the account may run at once.
    pub quota: Option<u32>,
    /// Calls to create that the provider takes.
    pub throttle: Option<Throttle>,
    /// Times of little stock, in order.
    pub stock_outs: Vec<StockOut>,
    /// How instances are taken back.
    pub reclaim: Reclaim,
    /// Its VirtualPool, where the manifests have one.
    pub object: Option<Box<PoolSpec>>,
}

/// A length of time, written as `90s` or `10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "humantime_serde")] pub Duration);

/// So many calls a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// The rate.
    pub per_second: NonZeroU32,
    /// The burst.
    pub burst: u32,
}

/// A time of little stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockOut {
    /// From when on.
    pub from: Span,
    /// Until when.
    pub until: Span,
    /// Instances that the pool can run meanwhile.
    #[serde(default)]
    pub left: u32,
}

/// How a pool takes spot instances back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reclaim {
    /// Chance of each instance in each hour.
    pub per_hour: Percent,
    /// Waves that take many at once.
    pub waves: Vec<Wave>,
}

/// A wave of reclaims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// When.
    pub at: Span,
    /// Which share of the instances.
    pub share: Percent,
}

/// A share of 0 to 100 percent, written as `12.5%` or as a number of percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "Written")]
pub struct Percent(u32);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl Percent {
    /// A share of so many millionths, all of it at most.
    pub fn of_millionths(millionths: u32) -> Self {
        Self(millionths.min(1_000_000))
    }

    /// The share in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl TryFrom<Written> for Percent {
    type Error = String;

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    fn try_from(written: Written) -> Result<Self, String> {
        let (number, text) = match written {
            Written::Number(number) => (Some(number), number.to_string()),
            Written::Text(text) => (text.strip_suffix('%').and_then(|digits| digits.parse().ok()), text),
        };
        match number {
            Some(number) if (0.0..=100.0).contains(&number) => Ok(Self((number * 10_000.0).round() as u32)),
            _ => Err(format!("{:?} is no share; write 0% to 100%", shortened(&text))),
        }
    }
}

/// What a real node costs, in the pools' currency.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePrice {
    /// For one hour.
    pub hour: UnitPrice,
}

/// How long something takes to start: evenly spread from `min` to `max`, or as was measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartUp {
    /// The quickest.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// The slowest.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// Evenly spaced quantiles between the two.
    #[serde(default)]
    pub between: Vec<Span>,
}

impl StartUp {
    /// All quantiles, evenly spaced, from the quickest to the slowest.
    pub fn quantiles(&self) -> Vec<Duration> {
        let between = self.between.iter().map(|span| span.0);
        std::iter::once(self.min).chain(between).chain([self.max]).collect()
    }
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

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_second, gib_second, currency } = self;
        write!(f, "{} a core and {} a GiB, in {currency}", cpu_second.0, gib_second.0)
    }
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
