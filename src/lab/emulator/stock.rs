//! What a zone has, at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Moment, Settings};

/// What a zone has for this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ZoneStock {
    /// Instances that may stand there at a time; no limit where missing.
    pub instances: Option<u64>,
    /// Addresses that each subnet of the zone has; what the subnet's size gives where missing.
    pub addresses: Option<u64>,
}

/// A change of a zone's stock, at its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StockStep {
    /// When, since the emulator was started.
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    /// The zone.
    pub zone: String,
    /// Instances that may stand there from then on; no limit where missing.
    pub instances: Option<u64>,
}

impl Settings {
    /// How many instances may stand in `zone` at `now`; `None` is no limit.
    pub fn stock_of(&self, zone: &str, now: Moment) -> Option<u64> {
        let steps = self.stock_schedule.iter().filter(|step| step.zone == zone && step.after <= now);
        match steps.max_by_key(|step| step.after) {
            Some(step) => step.instances,
            None => self.zones.get(zone).and_then(|zone| zone.instances),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_follows_its_schedule() {
        let step = |after, instances| StockStep { after: Duration::from_secs(after), zone: "a".to_owned(), instances };
        let mut settings =
            Settings { stock_schedule: vec![step(60, Some(7)), step(30, Some(0))], ..Settings::default() };
        settings.zones.insert("a".to_owned(), ZoneStock { instances: Some(5), addresses: None });
        let at = |seconds| settings.stock_of("a", Duration::from_secs(seconds));
        assert_eq!([at(0), at(30), at(59), at(60)], [Some(5), Some(0), Some(0), Some(7)]);
        assert_eq!(settings.stock_of("b", Duration::ZERO), None);
    }
}
