//! Mishaps on the way of a call.

use serde::{Deserialize, Serialize};

use crate::provider::simulated::dice::Dice;

/// Chances of mishaps of one action, each of 1,000 calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaultRates {
    /// The server fails before it does anything.
    pub failed_per_mille: u16,
    /// The call takes effect, and its answer is lost: the connection ends without one.
    pub lost_per_mille: u16,
    /// The request arrives twice; the second delivery's answer is the one that comes back.
    pub twice_per_mille: u16,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mishap {
    pub(super) failed: bool,
    pub(super) lost: bool,
    pub(super) twice: bool,
}

impl Mishap {
    pub(super) fn draw(rates: FaultRates, dice: &mut Dice) -> Self {
        Self {
            failed: dice.chance(rates.failed_per_mille),
            lost: dice.chance(rates.lost_per_mille),
            twice: dice.chance(rates.twice_per_mille),
        }
    }
}
