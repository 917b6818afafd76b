//! Quantities as the API server reads them: what they are worth depends on how they are written, at the edges.
//!
//! Upstream (`k8s.io/apimachinery/pkg/api/resource`) keeps short ones as a 64-bit number with a power of ten, and others as
//! a decimal rounded away from zero to whole billionths. The two differ in how they round and overflow; so they do here.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use super::arithmetic::{low_word, to_f64, wide_to_f64};
use crate::model::{Bytes, MilliCpu};

/// A metric's value, in thousandths, as upstream's controller counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MilliValue(pub i64);

impl From<MilliCpu> for MilliValue {
    fn from(cpu: MilliCpu) -> Self {
        Self(i64::try_from(cpu.0).unwrap_or(i64::MAX))
    }
}

impl From<Bytes> for MilliValue {
    fn from(memory: Bytes) -> Self {
        Self(i64::try_from(memory.0).unwrap_or(i64::MAX).saturating_mul(1_000))
    }
}

/// A Kubernetes quantity, of either sign: `500m`, `2`, `1.5Gi`, `3e2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    amount: Amount,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// `value` × 10^`scale`.
    Short { value: i64, scale: i32 },
    /// `unscaled` × 10^-`scale`; not zero, it has a scale of 9 or 0.
    Long { unscaled: i128, scale: i32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DecimalSi,
    DecimalExponent,
    BinarySi,
}

/// A text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form.
    #[error("{0:?} is no quantity; write for example 500m, 2, 1.5Gi or 3e2")]
    Form(String),
    /// A suffix that Kubernetes does not know.
    #[error("{0:?} has a suffix that is none of n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent")]
    Suffix(String),
    /// Over 38 digits.
    #[error("{0:?} is out of range; 29 digits before the point are read")]
    Range(String),
}

impl Quantity {
    /// What it is worth in thousandths, rounded away from zero; as wrong as upstream's where 64 bits do not hold it.
    pub fn milli_value(self) -> MilliValue {
        MilliValue(match self.amount {
            Amount::Short { value, scale } if scale < -3 => divided(value, scale.abs_diff(-3)),
            Amount::Short { value, scale } => multiplied(value, scale.abs_diff(-3)),
            Amount::Long { unscaled: 0, .. } => 0,
            Amount::Long { unscaled, scale: 0 } => low_word(unscaled).wrapping_mul(1_000),
            Amount::Long { unscaled, .. } => {
                // 10^-9 to 10^-3.
                const STEP: i64 = 1_000_000;
                if unscaled < i128::from(i64::MAX) {
                    let value = low_word(unscaled);
                    value / STEP + i64::from(value % STEP != 0)
                } else {
                    low_word(unscaled / i128::from(STEP)).wrapping_add(i64::from(unscaled % i128::from(STEP) != 0))
                }
            }
        })
    }

    /// The float that upstream takes for it.
    pub fn as_f64(self) -> f64 {
        match self.amount {
            Amount::Short { value, scale } => to_f64(value) * power_of_ten(scale),
            Amount::Long { unscaled, scale } => wide_to_f64(unscaled) * power_of_ten(scale.saturating_neg()),
        }
    }

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.unscaled() > 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.unscaled() < 0
    }

    /// Its number and the power of ten that it is multiplied by.
    fn parts(self) -> (i128, i32) {
        match self.amount {
            Amount::Short { value, scale } => (value.into(), scale),
            Amount::Long { unscaled, scale } => (unscaled, scale.saturating_neg()),
        }
    }

    fn unscaled(self) -> i128 {
        self.parts().0
    }

    /// The whole number that it is, if it is one.
    fn whole(self) -> Option<i128> {
        let (number, exponent) = self.parts();
        let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        if exponent >= 0 { number.checked_mul(factor) } else { (number % factor == 0).then_some(number / factor) }
    }
}

/// Divides by a power of ten, away from zero.
fn divided(value: i64, power: u32) -> i64 {
    let Some(divisor) = 10_i64.checked_pow(power) else { return value.signum() };
    let remainder = value % divisor;
    value / divisor + remainder.signum()
}

/// Multiplies by a power of ten; what does not fit wraps where upstream multiplies at once, and is 0 where it does so step
/// by step.
fn multiplied(value: i64, power: u32) -> i64 {
    match power {
        0 => value,
        1 | 2 | 3 | 6 | 9 if value == i64::MIN => 0,
        1 | 2 | 3 | 6 | 9 => value.wrapping_mul(10_i64.pow(power)),
        _ if value == 0 => 0,
        _ => 10_i64.checked_pow(power).and_then(|factor| value.checked_mul(factor)).unwrap_or(0),
    }
}

/// The float nearest to the power as upstream's library has it.
fn power_of_ten(exponent: i32) -> f64 {
    const ONES: [f64; 32] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31,
    ];
    const ABOVE: [f64; 10] = [1e0, 1e32, 1e64, 1e96, 1e128, 1e160, 1e192, 1e224, 1e256, 1e288];
    let size = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    match (exponent >= 0, ABOVE.get(size / 32)) {
        (true, Some(above)) if size <= 308 => above * ONES[size % 32],
        (true, _) => f64::INFINITY,
        // No quantity is kept in less than billionths.
        (false, Some(_)) if size < 32 => 1.0 / ONES[size],
        (false, _) => 0.0,
    }
}

/// A quantity's text, taken apart.
struct Text<'a> {
    negative: bool,
    /// Without leading zeros; `0` where nothing is left.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    /// Whether not even a zero is written.
    bare: bool,
}

impl<'a> Text<'a> {
    /// Upstream's scanner: laxer than its own grammar, so that `-` and `.` are 0.
    fn split(text: &'a str) -> Option<Self> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        if text.is_empty() {
            return None;
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let rest = unsigned.trim_start_matches('0');
        let (whole, rest) = rest.split_at(digits(rest));
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        let exponent = rest.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let bare = !unsigned.starts_with('0') && whole.is_empty() && fraction.is_empty();
        let whole = if whole.is_empty() { "0" } else { whole };
        (digits(exponent) == exponent.len()).then_some(Self { negative, whole, fraction, suffix: rest, bare })
    }
}

/// A suffix as base and exponent.
fn interpreted(suffix: &str) -> Option<(Format, i32)> {
    let decimal = |exponent| Some((Format::DecimalSi, exponent));
    let binary = |exponent| Some((Format::BinarySi, exponent));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            Some((Format::DecimalExponent, exponent))
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parts = Text::split(text).ok_or_else(|| QuantityError::Form(text.to_owned()))?;
        let (format, exponent) = interpreted(parts.suffix).ok_or_else(|| QuantityError::Suffix(text.to_owned()))?;
        match short(&parts, format, exponent) {
            Some(quantity) => Ok(quantity),
            None if parts.bare => Err(QuantityError::Form(text.to_owned())),
            None => long(&parts, format, exponent).ok_or_else(|| QuantityError::Range(text.to_owned())),
        }
    }
}

/// The quantity as a short amount, if upstream would have it so.
fn short(text: &Text<'_>, format: Format, exponent: i32) -> Option<Quantity> {
    let length = |part: &str| i32::try_from(part.len()).ok();
    let (whole, fraction) = (length(text.whole)?, length(text.fraction)?);
    let (precision, factor, scale) = match format {
        Format::DecimalSi | Format::DecimalExponent => (18 - whole - fraction, 1, exponent),
        Format::BinarySi if fraction == 0 => (14 - whole - exponent * 3 / 10, 1_i64 << exponent, 0),
        Format::BinarySi => return None,
    };
    let scale = scale.checked_sub(fraction)?;
    if precision < 0 || scale < -9 {
        return None;
    }
    let digits = format!("{}{}", text.whole, text.fraction).parse::<i64>().ok()?;
    let value = digits.checked_mul(factor)?;
    let value = if text.negative { -value } else { value };
    Some(Quantity { amount: Amount::Short { value, scale }, format })
}

/// The quantity as a long amount: away from zero to billionths, binary ones at most what 64 bits hold.
fn long(text: &Text<'_>, format: Format, exponent: i32) -> Option<Quantity> {
    const LARGEST: i128 = i64::MAX as i128;
    const BILLION: i128 = 1_000_000_000;
    let digits = format!("{}{}", text.whole, text.fraction).parse::<i128>().ok()?;
    let fraction = i32::try_from(text.fraction.len()).ok()?;
    let is_binary = format == Format::BinarySi;
    let (unscaled, scale) = match format {
        Format::BinarySi => (digits.checked_mul(1_i128 << exponent), fraction),
        Format::DecimalSi | Format::DecimalExponent => (Some(digits), fraction.checked_sub(exponent)?),
    };
    let billionths = unscaled.and_then(|unscaled| billionths(unscaled, scale));
    // Up to 19 places, what 128 bits do not hold is above the largest.
    let is_above = is_binary && billionths.map_or(fraction <= 19, |billionths| billionths > LARGEST * BILLION);
    let (unscaled, scale) = if is_above { (LARGEST, 0) } else { (billionths?, 9) };
    let format = if is_binary && !is_above && unscaled < BILLION { Format::DecimalSi } else { format };
    let unscaled = if text.negative { -unscaled } else { unscaled };
    Some(Quantity { amount: Amount::Long { unscaled, scale }, format })
}

/// `unscaled` × 10^-`scale` in billionths, rounded up.
fn billionths(unscaled: i128, scale: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(scale.abs_diff(9));
    match (scale > 9, factor) {
        _ if unscaled == 0 => Some(0),
        (true, Some(divisor)) => Some(unscaled / divisor + i128::from(unscaled % divisor != 0)),
        (true, None) => Some(1),
        (false, factor) => unscaled.checked_mul(factor?),
    }
}

impl fmt::Display for Quantity {
    /// In the canonical form: no fraction, the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        if self.unscaled() == 0 {
            return write!(f, "0");
        }
        if let (Format::BinarySi, Some(mut whole)) = (self.format, self.whole())
            && whole.abs() >= 1024
        {
            let mut power = 0;
            while whole % 1024 == 0 && power < 6 {
                whole /= 1024;
                power += 1;
            }
            return write!(f, "{whole}{}", BINARY[power]);
        }
        let (mut number, mut exponent) = self.parts();
        while number % 10 == 0 {
            number /= 10;
            exponent += 1;
        }
        while exponent % 3 != 0 {
            number *= 10;
            exponent -= 1;
        }
        match (self.format, exponent) {
            (_, 0) => write!(f, "{number}"),
            (Format::DecimalExponent, _) => write!(f, "{number}e{exponent}"),
            (_, -9) => write!(f, "{number}n"),
            (_, -6) => write!(f, "{number}u"),
            (_, -3) => write!(f, "{number}m"),
            (_, 3) => write!(f, "{number}k"),
            (_, 6) => write!(f, "{number}M"),
            (_, 9) => write!(f, "{number}G"),
            (_, 12) => write!(f, "{number}T"),
            (_, 15) => write!(f, "{number}P"),
            (_, 18) => write!(f, "{number}E"),
            // Upstream has no suffix for it, and leaves it out.
            (_, _) => write!(f, "{number}"),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, as a text or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.trim().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                // An exponent keeps long numbers short.
                self.visit_str(&format!("{number:e}"))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milli(text: &str) -> i64 {
        text.parse::<Quantity>().unwrap().milli_value().0
    }

    #[test]
    fn thousandths_round_away_from_zero() {
        for (text, expected) in [
            ("1", 1_000),
            ("250m", 250),
            ("0.1", 100),
            (".5", 500),
            ("1n", 1),
            ("-1n", -1),
            ("1.0001", 1_001),
            ("-1.0001", -1_001),
            ("2e1", 20_000),
            ("2E1", 20_000),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("+3", 3_000),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }

    #[test]
    fn what_upstreams_scanner_lets_through_is_zero() {
        for text in ["-", "+", ".", "m", "0", "000", "-0", "0e9", "Ki"] {
            assert_eq!(milli(text), 0, "{text}");
        }
    }

    #[test]
    fn what_64_bits_do_not_hold_is_as_wrong_as_upstream() {
        // A power of ten at once wraps, one step by step is 0; a negative long amount rounds towards plus infinity.
        assert_eq!(milli("10E"), 0);
        assert_eq!(milli("1e30"), 0);
        assert_eq!(milli("999999999999999999"), 3_875_820_019_684_211_736);
        assert_eq!(milli("-0.00050000000000000001"), 1);
        assert_eq!(milli("16Ei"), -1_000);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", " 1", "1 Gi", "1.2.3", "--1", "1Zi", "e", "1e", "1mm", "NaN", "1e99999999999"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
        assert!(matches!("1".repeat(40).parse::<Quantity>(), Err(QuantityError::Range(_))));
    }

    #[test]
    fn tolerances_are_the_floats_that_people_write() {
        for (text, expected) in [("0.1", 0.1), ("100m", 0.1), ("0.05", 0.05), ("0", 0.0), ("1", 1.0), ("1.5", 1.5)] {
            let value = text.parse::<Quantity>().unwrap().as_f64();
            assert!((value - expected).abs() < f64::EPSILON, "{text}: {value}");
        }
    }

    #[test]
    fn the_canonical_form_has_no_fraction() {
        for (text, expected) in [
            ("-0.5", "-500m"),
            ("0m", "0"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("2048Ki", "2Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("-1n", "-1n"),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), expected, "{text}");
        }
    }
}
