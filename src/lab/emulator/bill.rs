//! The cloud's own bill: CPU and memory by the time that an instance is charged for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Moment;

/// Prices, in millionths of a millionth of the currency so that sums are exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// Such as `CNY`.
    pub currency: String,
    /// For one vCPU and second.
    pub cpu_second_pico: u64,
    /// For one GiB of memory and second.
    pub gib_second_pico: u64,
}

/// What one instance costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillItem {
    /// Thousandths of a vCPU.
    pub cpu_milli: u64,
    /// MiB of memory.
    pub memory_mib: u64,
    /// How long it has been charged for.
    #[serde(with = "humantime_serde")]
    pub charged: Duration,
    /// What that costs.
    pub cost: f64,
    /// Whether it is charged no more.
    pub is_closed: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    cpu_milli: u64,
    memory_mib: u64,
    price: Price,
    from: Moment,
    until: Option<Moment>,
}

impl Entry {
    fn item(&self, now: Moment) -> BillItem {
        let charged = self.until.unwrap_or(now).saturating_sub(self.from);
        // Thousandths of a vCPU times milliseconds are millionths of vCPU-seconds.
        let cpu = u128::from(self.cpu_milli) * charged.as_millis() * u128::from(self.price.cpu_second_pico) / 1_000_000;
        let memory =
            u128::from(self.memory_mib) * charged.as_millis() * u128::from(self.price.gib_second_pico) / (1024 * 1000);
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let cost = (cpu + memory) as f64 / 1e12;
        BillItem {
            cpu_milli: self.cpu_milli,
            memory_mib: self.memory_mib,
            charged,
            cost,
            is_closed: self.until.is_some(),
        }
    }
}

/// What each instance costs.
#[derive(Debug, Default)]
pub struct Bill {
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Bill {
    /// Begins to charge for `id`.
    pub fn open(&self, id: &str, cpu_milli: u64, memory_mib: u64, price: &Price, from: Moment) {
        let entry = Entry { cpu_milli, memory_mib, price: price.clone(), from, until: None };
        self.entries().insert(id.to_owned(), entry);
    }

    /// Ends the charge for `id`; a second end changes nothing.
    pub fn close(&self, id: &str, at: Moment) {
        if let Some(entry) = self.entries().get_mut(id) {
            entry.until.get_or_insert(at);
        }
    }

    /// What each instance has cost until `now`.
    pub fn items(&self, now: Moment) -> BTreeMap<String, BillItem> {
        self.entries().iter().map(|(id, entry)| (id.clone(), entry.item(now))).collect()
    }

    /// The sums until `now`, by currency.
    pub fn totals(&self, now: Moment) -> BTreeMap<String, f64> {
        let mut totals = BTreeMap::new();
        for entry in self.entries().values() {
            *totals.entry(entry.price.currency.clone()).or_default() += entry.item(now).cost;
        }
        totals
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_costs_what_its_size_and_time_cost() {
        let bill = Bill::default();
        let price = Price { currency: "CNY".to_owned(), cpu_second_pico: 49_000_000, gib_second_pico: 6_130_000 };
        bill.open("a", 2000, 4096, &price, Duration::from_secs(10));
        bill.close("a", Duration::from_secs(110));
        bill.close("a", Duration::from_secs(999));
        let item = &bill.items(Duration::from_secs(500))["a"];
        // 100 s of 2 vCPU and 4 GiB.
        assert!((item.cost - (0.0098 + 0.002_452)).abs() < 1e-12, "{item:?}");
        assert!((bill.totals(Duration::ZERO)["CNY"] - item.cost).abs() < 1e-12);
    }
}
