//! CPU and memory, in whole units, parsed as Kubernetes writes them.

use std::{
    ops::{Add, AddAssign, SubAssign},
    str::FromStr,
};

use serde::Deserialize;

/// CPU, in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct MilliCpu(pub u64);

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes(pub u64);

/// What a pod requests, or what a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Resources {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
}

impl Resources {
    /// Whether both fit into `room`.
    pub fn fits(self, room: Self) -> bool {
        self.cpu <= room.cpu && self.memory <= room.memory
    }

    /// What is left of these after `taken`; zero where more is taken than there is.
    #[must_use]
    pub fn less(self, taken: Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_sub(taken.cpu.0)),
            memory: Bytes(self.memory.0.saturating_sub(taken.memory.0)),
        }
    }

    /// How many times `each` fits into these; `u64::MAX` where it asks for nothing.
    pub fn holds(self, each: Self) -> u64 {
        let cpu = self.cpu.0.checked_div(each.cpu.0);
        let memory = self.memory.0.checked_div(each.memory.0);
        cpu.unwrap_or(u64::MAX).min(memory.unwrap_or(u64::MAX))
    }

    /// The larger of each, as Kubernetes takes init containers against containers.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }
}

impl Add for Resources {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        self.cpu.0 = self.cpu.0.saturating_add(other.cpu.0);
        self.memory.0 = self.memory.0.saturating_add(other.memory.0);
    }
}

impl SubAssign for Resources {
    fn sub_assign(&mut self, other: Self) {
        *self = self.less(other);
    }
}

/// A text that is no Kubernetes quantity of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Kubernetes quantity; write for example 200m or 2 for CPU, 256Mi or 4Gi for memory")]
pub struct QuantityError(String);

impl FromStr for MilliCpu {
    type Err = QuantityError;

    /// Rounds up to a whole thousandth, as the API server does.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        scaled(text, 1_000).map(Self).ok_or_else(|| QuantityError(text.to_owned()))
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    /// Rounds up to a whole byte.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        scaled(text, 1).map(Self).ok_or_else(|| QuantityError(text.to_owned()))
    }
}

impl TryFrom<String> for MilliCpu {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl TryFrom<String> for Bytes {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

/// `text` times `scale`, rounded up; `None` where it is no non-negative quantity.
///
/// The grammar is that of `k8s.io/apimachinery/pkg/api/resource`: a decimal number and a binary suffix (`Ki`…), a
/// decimal one (`m`, `k`…) or an exponent (`e3`).
fn scaled(text: &str, scale: u128) -> Option<u64> {
    let number_ends = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_ends);
    let (multiplier, divisor) = factor(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse::<u128>().ok()?;
    let ten = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let divisor = ten.checked_mul(divisor)?;
    let scaled = digits.checked_mul(multiplier)?.checked_mul(scale)?.div_ceil(divisor);
    u64::try_from(scaled).ok()
}

/// A suffix as a fraction.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let power = |base: u128, exponent: u32| base.checked_pow(exponent);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, power(10, 9)?),
        "u" => (1, power(10, 6)?),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (power(10, 6)?, 1),
        "G" => (power(10, 9)?, 1),
        "T" => (power(10, 12)?, 1),
        "P" => (power(10, 15)?, 1),
        "E" => (power(10, 18)?, 1),
        "Ki" => (power(1024, 1)?, 1),
        "Mi" => (power(1024, 2)?, 1),
        "Gi" => (power(1024, 3)?, 1),
        "Ti" => (power(1024, 4)?, 1),
        "Pi" => (power(1024, 5)?, 1),
        "Ei" => (power(1024, 6)?, 1),
        exponent => match exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()? {
            tens @ 0.. => (power(10, tens.unsigned_abs())?, 1),
            tens => (1, power(10, tens.unsigned_abs())?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_writes_them() {
        for (text, milli) in [("250m", 250), ("1", 1_000), ("1.5", 1_500), (".5", 500), ("2e1", 20_000), ("1u", 1)] {
            assert_eq!(text.parse::<MilliCpu>(), Ok(MilliCpu(milli)), "{text}");
        }
        for (text, bytes) in [("512Mi", 512 << 20), ("1G", 1_000_000_000), ("1.5Ki", 1_536), ("1e3", 1_000), ("1m", 1)]
        {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_scarcer_bounds_how_many_fit() {
        let room = Resources { cpu: MilliCpu(1_000), memory: Bytes(500) };
        assert_eq!(room.holds(Resources { cpu: MilliCpu(300), memory: Bytes(100) }), 3);
        assert_eq!(room.holds(Resources { cpu: MilliCpu(0), memory: Bytes(100) }), 5);
        assert_eq!(room.holds(Resources::default()), u64::MAX);
    }

    #[test]
    fn what_is_no_quantity_is_refused_without_overflow() {
        for text in ["", ".", "m", "-1", "+1", "1 Gi", "1.2.3", "1Zi", "1e99", "99999999999E", "1e-99", "NaN"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
}
