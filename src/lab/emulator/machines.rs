//! Instances as they live in an emulated cloud: ordered, started, finished, reclaimed, ended, and billed all the while.
//!
//! Nothing runs by itself: what has happened by a moment is worked out when somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use serde::Serialize;

use super::{Ground, Moment, Price, program::Program};

/// What is wanted.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: String,
    /// What the caller calls it.
    pub(super) name: String,
    /// Zone, by which stock and addresses are counted.
    pub(super) zone: String,
    pub(super) cpu_milli: u64,
    pub(super) memory_mib: u64,
    pub(super) spot: bool,
    pub(super) price: Price,
    /// Least time that is charged for.
    pub(super) least_charge: Duration,
    /// How its containers end by themselves; they run for ever where it is missing.
    pub(super) job: Option<Job>,
    /// Most instances at a time where the settings say nothing.
    pub(super) default_quota: Option<u64>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortage {
    Instances(u64),
    Cpu(u64),
    Stock,
    Addresses,
}

/// How far an instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    /// Its containers have ended by themselves, with this exit code.
    Finished(i32),
    /// Accepted, and then no machine was found.
    NoMachine,
    /// Taken back.
    Reclaimed,
    /// Ended on request.
    Ended,
}

impl Phase {
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Finished(_) => "finished",
            Self::NoMachine => "noMachine",
            Self::Reclaimed => "reclaimed",
            Self::Ended => "ended",
        }
    }
}

/// How long a spot instance lives on once its end is announced.
pub(super) const NOTICE: Duration = Duration::from_mins(2);

/// One instance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    name: String,
    pub(super) zone: String,
    pub(super) cpu_milli: u64,
    pub(super) memory_mib: u64,
    pub(super) spot: bool,
    pub(super) address: Ipv4Addr,
    #[serde(with = "humantime_serde")]
    pub(super) created: Moment,
    #[serde(with = "humantime_serde")]
    pub(super) starts: Moment,
    #[serde(skip)]
    job: Option<Job>,
    #[serde(skip)]
    least_charge: Duration,
    /// No machine is found when it should start.
    fails_late: bool,
    #[serde(skip)]
    pub(super) noticed: Option<Moment>,
    #[serde(skip)]
    pub(super) ended: Option<Moment>,
}

impl Machine {
    /// When its life is over, as far as that is settled.
    pub(super) fn over_at(&self) -> Option<Moment> {
        let finished = self.job.map(|job| self.starts + job.runs);
        let failed = self.fails_late.then_some(self.starts);
        let reclaimed = self.noticed.map(|noticed| noticed + NOTICE);
        [self.ended, failed, reclaimed, finished].into_iter().flatten().min()
    }

    pub(super) fn phase(&self, now: Moment) -> Phase {
        match self.over_at().filter(|over| *over <= now) {
            None if self.starts <= now => Phase::Running,
            None => Phase::Pending,
            Some(over) if self.fails_late && over == self.starts => Phase::NoMachine,
            Some(over) if self.noticed.is_some_and(|noticed| noticed + NOTICE == over) => Phase::Reclaimed,
            Some(over) if self.ended == Some(over) => Phase::Ended,
            Some(_) => Phase::Finished(self.job.map_or(0, |job| job.exit_code)),
        }
    }
}

/// All that stand or have ended.
#[derive(Debug, Default)]
pub(super) struct Machines {
    all: BTreeMap<String, Machine>,
    /// Those that may hold a machine and an address.
    live: BTreeSet<String>,
    serial: u32,
}

impl Machines {
    /// The next number of a series that never repeats.
    pub(super) fn serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Starts what is ordered, or tells what is short.
    pub(super) fn start(&mut self, ground: &Ground, order: Order) -> Result<&Machine, Shortage> {
        let now = ground.clock.now();
        self.settle(ground, now);
        self.room(ground, &order, now)?;
        let serial = self.serial();
        let settings = ground.settings();
        let fails_late = ground.chance(settings.late_failures_per_mille);
        let starts = now + ground.start_up();
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) | (serial.wrapping_mul(2) & 0x00ff_ffff));
        if !fails_late {
            ground.bill.open(&order.id, order.cpu_milli, order.memory_mib, &order.price, now);
        }
        let machine = Machine {
            name: order.name,
            zone: order.zone,
            cpu_milli: order.cpu_milli,
            memory_mib: order.memory_mib,
            spot: order.spot,
            address,
            created: now,
            starts,
            job: order.job,
            least_charge: order.least_charge,
            fails_late,
            noticed: None,
            ended: None,
        };
        self.live.insert(order.id.clone());
        Ok(self.all.entry(order.id).or_insert(machine))
    }

    fn room(&self, ground: &Ground, order: &Order, now: Moment) -> Result<(), Shortage> {
        let settings = ground.settings();
        let live = || self.live.iter().filter_map(|id| self.all.get(id));
        let standing = live().count() as u64;
        if let Some(quota) = settings.quota_instances.or(order.default_quota).filter(|quota| standing >= *quota) {
            return Err(Shortage::Instances(quota));
        }
        let cpu = live().map(|machine| machine.cpu_milli).sum::<u64>();
        if let Some(quota) = settings.quota_cpu.filter(|quota| cpu + order.cpu_milli > quota * 1000) {
            return Err(Shortage::Cpu(quota));
        }
        let in_zone = live().filter(|machine| machine.zone == order.zone).count() as u64;
        if settings.stock_of(&order.zone, now).is_some_and(|stock| in_zone >= stock) {
            return Err(Shortage::Stock);
        }
        let addresses = settings.zones.get(&order.zone).and_then(|zone| zone.addresses);
        if addresses.is_some_and(|addresses| in_zone >= addresses) {
            return Err(Shortage::Addresses);
        }
        Ok(())
    }

    /// Ends an instance; `false` where there is none that stands.
    pub(super) fn end(&mut self, ground: &Ground, id: &str) -> bool {
        let now = ground.clock.now();
        let Some(machine) = self.all.get_mut(id).filter(|machine| machine.ended.is_none()) else { return false };
        machine.ended = Some(now);
        self.settle(ground, now);
        true
    }

    /// Announces the end of a spot instance; `false` where there is none that stands.
    pub(super) fn reclaim(&mut self, ground: &Ground, id: &str) -> bool {
        let now = ground.clock.now();
        let stands =
            |machine: &&mut Machine| machine.spot && machine.noticed.is_none() && !machine.phase(now).is_over();
        let Some(machine) = self.all.get_mut(id).filter(stands) else { return false };
        machine.noticed = Some(now);
        true
    }

    pub(super) fn get(&self, id: &str) -> Option<&Machine> {
        self.all.get(id)
    }

    /// Closes the bill of those that are over by `now`.
    pub(super) fn settle(&mut self, ground: &Ground, now: Moment) {
        let all = &self.all;
        self.live.retain(|id| {
            let Some(machine) = all.get(id) else { return false };
            let Some(over) = machine.over_at().filter(|over| *over <= now) else { return true };
            ground.bill.close(id, over.max(machine.created + machine.least_charge));
            false
        });
    }

    /// What the admin endpoint shows.
    pub(super) fn shown(&self, now: Moment) -> BTreeMap<&str, serde_json::Value> {
        let shown = self.all.iter().map(|(id, machine)| {
            let mut value = serde_json::to_value(machine).unwrap_or_default();
            value["phase"] = serde_json::json!(machine.phase(now).name());
            (id.as_str(), value)
        });
        shown.collect()
    }
}

/// How containers end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) runs: Duration,
    pub(super) exit_code: i32,
}

impl Job {
    /// How a command ends, if it does.
    pub(super) fn of(command: &[String]) -> Option<Self> {
        Program::of(command, &[]).end.map(|(runs, exit_code)| Self { runs, exit_code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::emulator::{Range, Settings, StockStep, ZoneStock};

    fn order(id: &str, zone: &str) -> Order {
        let price = Price { currency: "CNY".to_owned(), cpu_second_pico: 1_000_000_000_000, gib_second_pico: 0 };
        Order {
            id: id.to_owned(),
            name: String::new(),
            zone: zone.to_owned(),
            cpu_milli: 1000,
            memory_mib: 1024,
            spot: true,
            price,
            least_charge: Duration::from_mins(1),
            job: None,
            default_quota: None,
        }
    }

    fn ground(settings: Settings) -> Ground {
        let second = Duration::from_secs(1);
        Ground::new(Settings { start_up: Range { min: second, max: second }, ..settings })
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_starts_is_reclaimed_with_notice_and_is_billed_to_its_end() {
        let ground = ground(Settings::default());
        let mut machines = Machines::default();
        machines.start(&ground, order("a", "z")).unwrap();
        let phase = |machines: &Machines| machines.get("a").unwrap().phase(ground.clock.now());
        assert_eq!(phase(&machines), Phase::Pending);
        ground.clock.advance(Duration::from_secs(10));
        assert_eq!(phase(&machines), Phase::Running);
        assert!(machines.reclaim(&ground, "a") && !machines.reclaim(&ground, "a"));
        assert_eq!(phase(&machines), Phase::Running);
        ground.clock.advance(NOTICE);
        assert_eq!(phase(&machines), Phase::Reclaimed);
        ground.clock.advance(NOTICE);
        machines.settle(&ground, ground.clock.now());
        let cost = ground.bill.totals(ground.clock.now())["CNY"];
        assert!((cost - 130.0).abs() < 0.1, "{cost}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_ends_early_is_charged_the_least() {
        let ground = ground(Settings::default());
        let mut machines = Machines::default();
        machines.start(&ground, order("a", "z")).unwrap();
        assert!(machines.end(&ground, "a") && !machines.end(&ground, "a"));
        assert!((ground.bill.totals(ground.clock.now())["CNY"] - 60.0).abs() < 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn quota_stock_and_addresses_run_out_and_come_back() {
        let steps = vec![StockStep { after: Duration::from_mins(1), zone: "a".to_owned(), instances: Some(0) }];
        let settings = Settings { quota_instances: Some(3), stock_schedule: steps, ..Settings::default() };
        let ground = ground(settings);
        let addresses = ZoneStock { instances: None, addresses: Some(1) };
        ground.change(|settings| {
            settings.zones.insert("b".to_owned(), addresses);
        });
        let mut machines = Machines::default();
        machines.start(&ground, order("1", "b")).unwrap();
        assert_eq!(machines.start(&ground, order("2", "b")).err(), Some(Shortage::Addresses));
        ground.clock.advance(Duration::from_mins(1));
        assert_eq!(machines.start(&ground, order("3", "a")).err(), Some(Shortage::Stock));
        machines.start(&ground, order("4", "c")).unwrap();
        machines.start(&ground, order("5", "c")).unwrap();
        assert_eq!(machines.start(&ground, order("6", "c")).err(), Some(Shortage::Instances(3)));
        assert!(machines.end(&ground, "1"));
        machines.start(&ground, order("7", "b")).unwrap();
    }
}
