//! Money, in whole billionths, and what a pool charges.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::model::{MilliCpu, Resources};

/// Billionths in a unit of currency: prices by the second have up to nine decimals.
const NANOS: i128 = 1_000_000_000;

/// A currency by its code, three capital letters such as `CNY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(Arc<str>);

impl Currency {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An amount of money: exact, never a float, and never below zero. Prints and reads as `120 CNY` or
/// `0.00000613 CNY`.
///
/// ```
/// use burstlet_engine::policy::Money;
///
/// let price: Money = "0.000049 CNY".parse()?;
/// assert_eq!(price.nanos(), 49_000);
/// assert_eq!(price.to_string(), "0.000049 CNY");
/// # Ok::<(), burstlet_engine::policy::MoneyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Money {
    nanos: i128,
    currency: Currency,
}

/// A text that is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a number and a currency.
    #[error("{0:?} is no amount of money; write a number and a currency, for example 120 CNY or 0.000049 USD")]
    Malformed(String),
    /// Below zero.
    #[error("{0:?} is negative; the least amount is 0")]
    Negative(String),
    /// More than nine decimals.
    #[error("{0:?} has more than nine decimals")]
    TooFine(String),
    /// More than a trillion.
    #[error("{0:?} is more than 1000000000000, the largest amount")]
    TooLarge(String),
}

impl Money {
    /// So many billionths of a unit of the currency; below zero counts as zero.
    pub fn from_nanos(nanos: i128, currency: Currency) -> Self {
        Self { nanos: nanos.max(0), currency }
    }

    /// With another amount of the same currency, whose own currency is not looked at.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self::from_nanos(self.nanos.saturating_add(other.nanos), self.currency.clone())
    }

    /// The amount in billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// Its currency.
    pub fn currency(&self) -> &Currency {
        &self.currency
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_code { Ok(Self(text.into())) } else { Err(MoneyError::Malformed(text.chars().take(40).collect())) }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let quoted = || text.chars().take(40).collect::<String>();
        let malformed = || MoneyError::Malformed(quoted());
        let (number, currency) = text.trim().split_once(' ').ok_or_else(malformed)?;
        let currency = currency.trim_start().parse().map_err(|_| malformed())?;
        let (number, is_negative) = number.strip_prefix('-').map_or((number, false), |rest| (rest, true));
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !are_digits(whole) || !are_digits(decimals) || number.ends_with('.') {
            return Err(malformed());
        }
        if is_negative {
            return Err(MoneyError::Negative(quoted()));
        }
        if decimals.len() > 9 {
            return Err(MoneyError::TooFine(quoted()));
        }
        // Digits alone fail to parse only by being too many.
        let whole = whole.parse::<i128>().unwrap_or(i128::MAX);
        let fraction = format!("{decimals:0<9}").parse::<i128>().unwrap_or_default();
        let limit = 1_000_000_000_000;
        if whole > limit || whole == limit && fraction > 0 {
            return Err(MoneyError::TooLarge(quoted()));
        }
        Ok(Self { nanos: whole * NANOS + fraction, currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.nanos % NANOS);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{fraction} {}", self.nanos / NANOS, self.currency)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a pool charges for what a pod requests, by the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// For one core, one second.
    pub cpu_second: Money,
    /// For one GiB of memory, one second; of the same currency.
    pub gib_second: Money,
}

impl Price {
    /// The currency of both.
    pub fn currency(&self) -> &Currency {
        self.cpu_second.currency()
    }

    /// What `used` costs, where CPU and memory are summed over milliseconds; rounded down to a billionth, once.
    pub fn of(&self, used: Usage) -> Money {
        let cpu = self.cpu_second.nanos.saturating_mul(signed(used.milli_cpu_millis));
        let memory = self.gib_second.nanos.saturating_mul(signed(used.byte_millis));
        // Thousandths of a core in milliseconds, and bytes in milliseconds.
        let nanos = cpu / 1_000_000 + memory / ((1 << 30) * 1_000);
        Money { nanos, currency: self.currency().clone() }
    }
}

fn signed(sum: u128) -> i128 {
    i128::try_from(sum).unwrap_or(i128::MAX)
}

/// What pods used over time, exactly: it adds up without rounding, whatever the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Pods × milliseconds.
    pub pod_millis: u128,
    /// Thousandths of a core × milliseconds.
    pub milli_cpu_millis: u128,
    /// Bytes × milliseconds.
    pub byte_millis: u128,
}

impl Usage {
    /// Adds so many pods, that request `requests` together, over so many milliseconds.
    pub fn add(&mut self, pods: u64, requests: Resources, millis: u64) {
        let Resources { cpu: MilliCpu(cpu), memory } = requests;
        let millis = u128::from(millis);
        self.pod_millis = self.pod_millis.saturating_add(u128::from(pods) * millis);
        self.milli_cpu_millis = self.milli_cpu_millis.saturating_add(u128::from(cpu) * millis);
        self.byte_millis = self.byte_millis.saturating_add(u128::from(memory.0) * millis);
    }

    /// Whole pod-minutes, rounded down.
    pub fn pod_minutes(self) -> u64 {
        u64::try_from(self.pod_millis / 60_000).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bytes;

    #[test]
    fn money_reads_and_prints_exactly() {
        for text in ["120 CNY", "0.000049 CNY", "0.00000613 USD", "0 EUR", "1000000000000 CNY"] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), text);
        }
        assert_eq!(" 1.50  CNY".parse::<Money>().unwrap().to_string(), "1.5 CNY");
    }

    #[test]
    fn what_is_no_amount_is_refused_by_its_fault() {
        let fault = |text: &str| text.parse::<Money>().unwrap_err();
        for text in ["", "5", "CNY", "5 cny", "5 CNYY", "1. CNY", ".5 CNY", "1e3 CNY", "+1 CNY", "1 2 CNY", "NaN CNY"] {
            assert_eq!(fault(text), MoneyError::Malformed(text.to_owned()), "{text}");
        }
        assert!(matches!(fault("-1 CNY"), MoneyError::Negative(_)));
        assert!(matches!(fault("0.0000000001 CNY"), MoneyError::TooFine(_)));
        for text in ["1000000000000.1 CNY", "99999999999999999999999999999999999999999999 CNY"] {
            assert!(matches!(fault(text), MoneyError::TooLarge(_)), "{text}");
        }
    }

    #[test]
    fn what_was_used_in_pieces_costs_as_much_as_in_one() {
        let price =
            Price { cpu_second: "0.000049 CNY".parse().unwrap(), gib_second: "0.00000613 CNY".parse().unwrap() };
        let mut used = Usage::default();
        for _ in 0..10 {
            used.add(1, Resources { cpu: MilliCpu(500), memory: Bytes(512 << 20) }, 200);
        }
        // Two seconds of half a core and half a GiB.
        assert_eq!(price.of(used).to_string(), "0.00005513 CNY");
        assert_eq!(used.pod_minutes(), 0);
        used.add(3, Resources::default(), 60_000);
        assert_eq!(used.pod_minutes(), 3);
    }
}
