//! The base of a workload: how many of its pods belong on real nodes.

use std::{fmt, str::FromStr};

/// How many pods of a revision belong on real nodes.
///
/// Written as people write it in the `burstlet.dev/base` annotation: a number (`3`) or a percentage (`30%`).
///
/// ```
/// use burstlet_engine::policy::Base;
///
/// let base: Base = "30%".parse()?;
/// assert_eq!(base.of(10), 3);
/// assert_eq!(base.of(11), 4, "percentages round up");
/// # Ok::<(), burstlet_engine::policy::BaseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base(Form);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Count(u32),
    Percent(u8),
}

/// Why a text is no base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// Neither a number nor a percentage.
    #[error("{0:?} is neither a number of pods nor a percentage; write for example 3 or 30%")]
    Malformed(String),
    /// Below zero.
    #[error("{0:?} is negative; the least base is 0")]
    Negative(String),
    /// A percentage over 100.
    #[error("{0:?} is over 100%; a base cannot be larger than its workload")]
    OverWhole(String),
    /// More pods than a workload can have.
    #[error("{0:?} is more than {max} pods", max = i32::MAX)]
    TooLarge(String),
}

impl BaseError {
    /// The fault as one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Negative(_) => "negative",
            Self::OverWhole(_) => "over-100-percent",
            Self::TooLarge(_) => "too-large",
        }
    }
}

impl Base {
    /// A base of so many pods, whatever the workload's size.
    pub fn count(pods: u32) -> Self {
        Self(Form::Count(pods))
    }

    /// How many of `wanted` replicas belong on real nodes; percentages round up.
    pub fn of(self, wanted: u32) -> u32 {
        match self.0 {
            Form::Count(pods) => pods,
            Form::Percent(percent) => {
                let share = (u64::from(wanted) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(u32::MAX)
            }
        }
    }

    /// How many of `wanted` replicas it allows where it is a cap; percentages round down, so that a base of 50% and a
    /// cap of 50% make a whole.
    pub fn at_most(self, wanted: u32) -> u32 {
        match self.0 {
            Form::Count(pods) => pods,
            Form::Percent(percent) => u32::try_from(u64::from(wanted) * u64::from(percent) / 100).unwrap_or(u32::MAX),
        }
    }

    /// Whether the base grows with the workload, so that the wanted replicas must be known to tell it.
    pub fn is_share(self) -> bool {
        matches!(self.0, Form::Percent(_))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Form::Count(pods) => write!(f, "{pods}"),
            Form::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Base {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<Self, BaseError> {
        let quoted = || text.chars().take(40).collect::<String>();
        let trimmed = text.trim();
        let (digits, is_percent) = match trimmed.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (trimmed, false),
        };
        let (digits, is_negative) = match digits.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (digits, false),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BaseError::Malformed(quoted()));
        }
        if is_negative {
            return Err(BaseError::Negative(quoted()));
        }
        // Digits alone fail to parse only by being too many.
        let number = digits.parse::<u32>().unwrap_or(u32::MAX);
        match (is_percent, u8::try_from(number)) {
            (true, Ok(percent @ 0..=100)) => Ok(Self(Form::Percent(percent))),
            (true, _) => Err(BaseError::OverWhole(quoted())),
            (false, _) if i32::try_from(number).is_err() => Err(BaseError::TooLarge(quoted())),
            (false, _) => Ok(Self(Form::Count(number))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_base_at_every_size() {
        let base: Base = " 3 ".parse().unwrap();
        assert_eq!([base.of(0), base.of(3), base.of(100)], [3, 3, 3]);
    }

    #[test]
    fn a_percentage_rounds_up_as_a_base_and_down_as_a_cap() {
        let base: Base = "30%".parse().unwrap();
        assert_eq!([base.of(0), base.of(1), base.of(10), base.of(11)], [0, 1, 3, 4]);
        assert_eq!("100%".parse::<Base>().unwrap().of(u32::MAX), u32::MAX);
        assert_eq!([base.at_most(0), base.at_most(1), base.at_most(10), base.at_most(11)], [0, 0, 3, 3]);
    }

    #[test]
    fn what_is_no_base_is_refused_by_its_fault() {
        let fault = |text: &str| text.parse::<Base>().unwrap_err();
        for text in ["", "%", "three", "3.5", "1e3", "0x3", "+3", "3 %", "٣", "--1"] {
            assert_eq!(fault(text), BaseError::Malformed(text.to_owned()), "{text}");
        }
        assert_eq!(fault("-1"), BaseError::Negative("-1".to_owned()));
        assert_eq!(fault("-5%"), BaseError::Negative("-5%".to_owned()));
        assert_eq!(fault("101%"), BaseError::OverWhole("101%".to_owned()));
        assert_eq!(fault("2147483648"), BaseError::TooLarge("2147483648".to_owned()));
        assert_eq!(fault("99999999999999999999"), BaseError::TooLarge("99999999999999999999".to_owned()));
    }
}
