//! CPU and memory as Kubernetes writes them.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
    str::FromStr,
};

use serde::Deserialize;

/// CPU in thousandths of a core; written as a Kubernetes quantity (`200m`, `2`, `0.5`), fractions round up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Cpu(u64);

/// Memory in bytes; written as a Kubernetes quantity (`256Mi`, `4Gi`, `1e9`), fractions round up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Memory(u64);

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Kubernetes quantity; write for example 200m or 2 for CPU, 256Mi or 4Gi for memory")]
pub struct QuantityError(String);

impl Cpu {
    /// So many thousandths of a core.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Thousandths of a core.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Billionths of a core, as the kubelet's summary has them.
    pub const fn nano_cores(self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}

impl Memory {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, 1000).map(Self)
    }
}

impl FromStr for Memory {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, 1).map(Self)
    }
}

impl TryFrom<String> for Cpu {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl TryFrom<String> for Memory {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cpu {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

impl Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// How many units `text` is, with `units` of them to one; rounded up, as the API server does.
fn parse(text: &str, units: u128) -> Result<u64, QuantityError> {
    exact(text, units).ok_or_else(|| QuantityError(text.chars().take(40).collect()))
}

fn exact(text: &str, units: u128) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = format!("{whole}{fraction}").parse::<u128>().ok()?;
    let (times, over) = multiplier(suffix)?;
    let over = over.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    u64::try_from(number.checked_mul(times)?.checked_mul(units)?.div_ceil(over)).ok()
}

/// What a suffix multiplies with, as a fraction.
fn multiplier(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_in_every_form_and_rounds_up() {
        for (text, millis) in
            [("200m", 200), ("2", 2000), ("0.5", 500), (".5", 500), ("1.", 1000), ("1u", 1), ("1e-1", 100), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(Cpu::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn memory_is_read_in_every_form() {
        for (text, bytes) in
            [("256Mi", 256 << 20), ("4Gi", 4 << 30), ("1e9", 1_000_000_000), ("1.5k", 1500), ("2E3", 2000)]
        {
            assert_eq!(text.parse(), Ok(Memory::from_bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", ".", "m", "-1", "1.2.3", "1 Gi", "1gi", "1e99", "99999999999999999999E", "five"] {
            assert_eq!(text.parse::<Memory>(), Err(QuantityError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn cpu_converts_to_the_summarys_unit() {
        assert_eq!(Cpu::from_millis(120).nano_cores(), 120_000_000);
    }
}
