//! Money in whole units of 10⁻¹⁸, so that sums are exact and the same on every machine.

use std::ops::{Add, AddAssign};

use crate::model::Resources;

/// An amount, in 10⁻¹⁸ of the scenario's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Money(u128);

/// What something costs a millisecond, in 10⁻¹⁸ of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PerMilli(u128);

impl Money {
    /// The amount in the currency, rounded to six places.
    #[allow(clippy::cast_precision_loss, reason = "53 bits hold nine thousand million with six places")]
    pub fn rounded(self) -> f64 {
        (self.0.saturating_add(500_000_000_000) / 1_000_000_000_000) as f64 / 1e6
    }

    /// The part of it that `part` is of `whole`; all of it where `whole` is nothing.
    #[must_use]
    pub fn share(self, part: u128, whole: u128) -> Self {
        // Both are shortened alike, so that the product fits.
        let shift = (128 - whole.leading_zeros()).saturating_sub(32);
        let product = self.0.saturating_mul(part >> shift);
        Self(product.checked_div(whole >> shift).unwrap_or(self.0))
    }
}

impl PerMilli {
    /// The price of these resources, given the prices of a core and of a GiB for one second. Prices are taken to twelve
    /// places; what is negative or no number counts as nothing.
    pub fn of_resources(requests: Resources, core_second: f64, gib_second: f64) -> Self {
        let cpu = u128::from(requests.cpu.0) * trillionths(core_second);
        let memory = (u128::from(requests.memory.0) * trillionths(gib_second) * 1_000) >> 30;
        Self(cpu + memory)
    }

    /// The price of something that costs so much an hour.
    pub fn of_hour(price: f64) -> Self {
        Self(trillionths(price) * 1_000_000 / 3_600_000)
    }

    /// What `count` of these cost for so many milliseconds.
    #[must_use]
    pub fn times(self, count: u128, millis: u64) -> Money {
        Money(self.0 * count * u128::from(millis))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, and that is meant")]
fn trillionths(price: f64) -> u128 {
    u128::from((price * 1e12).round() as u64)
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, MilliCpu};

    #[test]
    fn a_pod_costs_what_its_requests_cost_over_time() {
        let requests = Resources { cpu: MilliCpu(500), memory: Bytes(2 << 30) };
        let rate = PerMilli::of_resources(requests, 0.000_049, 0.000_006_13);
        // (0.5 × 0.000049 + 2 × 0.00000613) × 3600 s × 10 pods
        assert!((rate.times(10, 3_600_000).rounded() - 1.32336).abs() < 1e-9);
        assert!((PerMilli::of_hour(0.36).times(3, 1_800_000).rounded() - 0.54).abs() < 1e-6);
    }

    #[test]
    fn a_share_is_pro_rata_and_all_where_there_is_no_whole() {
        let money = PerMilli::of_hour(3.6).times(1, 3_600_000);
        assert!((money.share(1, 4).rounded() - 0.9).abs() < 1e-9);
        assert_eq!(money.share(0, 0), money);
        assert!((money.share(u128::MAX / 2, u128::MAX).rounded() - 1.8).abs() < 1e-6);
    }
}
