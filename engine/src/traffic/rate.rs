//! Requests per second, and the factors that change them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Requests per second: finite, not negative, at most [`Rate::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rate(f64);

/// Why a number is no rate.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is no rate; allowed are 0 to {max} requests per second", max = Rate::MAX.0)]
pub struct RateError(f64);

impl Rate {
    /// No requests.
    pub const ZERO: Self = Self(0.0);

    /// More than any one workload meets; a larger number in a recording is a fault of the recording.
    pub const MAX: Self = Self(1e9);

    /// A rate of so many requests per second.
    pub fn new(per_second: f64) -> Result<Self, RateError> {
        // Adding zero turns -0 into 0, so that no output says "-0".
        if (0.0..=Self::MAX.0).contains(&per_second) { Ok(Self(per_second + 0.0)) } else { Err(RateError(per_second)) }
    }

    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// This rate times `factor`, never above [`Rate::MAX`].
    #[must_use]
    pub fn times(self, factor: Factor) -> Self {
        Self((self.0 * factor.0).min(Self::MAX.0))
    }
}

impl TryFrom<f64> for Rate {
    type Error = RateError;

    fn try_from(per_second: f64) -> Result<Self, RateError> {
        Self::new(per_second)
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests/s", self.0)
    }
}

/// By how much traffic is scaled or sped up: 0.001 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Factor(f64);

/// Why a number is no factor.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is no factor; allowed are {min} to {max}", min = Factor::MIN, max = Factor::MAX)]
pub struct FactorError(f64);

impl Factor {
    /// Leaves things as they are.
    pub const ONE: Self = Self(1.0);

    /// The least factor; zero or less would leave no traffic, or no end of it.
    pub const MIN: f64 = 0.001;

    /// The largest factor.
    pub const MAX: f64 = 1000.0;

    /// A factor of `number`.
    pub fn new(number: f64) -> Result<Self, FactorError> {
        if (Self::MIN..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(FactorError(number)) }
    }

    /// The factor as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Factor {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<f64> for Factor {
    type Error = FactorError;

    fn try_from(number: f64) -> Result<Self, FactorError> {
        Self::new(number)
    }
}

impl From<Factor> for f64 {
    fn from(factor: Factor) -> Self {
        factor.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_finite_and_not_negative() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1.1e9] {
            assert!(Rate::new(number).is_err(), "{number}");
        }
        assert!(Rate::new(-0.0).unwrap().per_second().is_sign_positive());
        assert_eq!(
            Rate::new(-1.0).unwrap_err().to_string(),
            "-1 is no rate; allowed are 0 to 1000000000 requests per second"
        );
    }

    #[test]
    fn a_factor_is_positive_and_bounded() {
        for number in [f64::NAN, f64::INFINITY, 0.0, -1.0, 0.0009, 1000.1] {
            assert!(Factor::new(number).is_err(), "{number}");
        }
        assert_eq!(Factor::new(0.0).unwrap_err().to_string(), "0 is no factor; allowed are 0.001 to 1000");
    }

    #[test]
    fn a_scaled_rate_is_still_a_rate() {
        let double = Factor::new(2.0).unwrap();
        assert_eq!(Rate::new(1.5).unwrap().times(double), Rate::new(3.0).unwrap());
        assert_eq!(Rate::MAX.times(double), Rate::MAX);
    }
}
