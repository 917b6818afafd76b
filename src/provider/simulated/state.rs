//! The cloud's state and rules, without I/O: calls and moments come in, changes go out.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::{CpuTarget, EXIT_CODE, Fault, RUN_FOR, Settings, clock::Moment, dice::Dice};
use crate::provider::{Instance, InstanceChange, InstanceId, InstanceState, Owner, ProviderError, Stock, Usage};

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// It was made.
    Created,
    /// It is no more.
    Ended,
}

/// One line of the cloud's append-only record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, since the cloud was made.
    pub at: Duration,
    /// The pod's UID.
    pub uid: Arc<str>,
    /// What happened.
    pub event: AuditEvent,
}

/// What the record says of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Instances ever made for the pod: more than one breaks the promise.
    pub created: u64,
    /// Instances that exist now.
    pub alive: u64,
}

#[derive(Debug)]
struct Simulated {
    instance: Instance,
    serial: u64,
    cpu_millis: u64,
    cpu_used: Duration,
    cpu_since: Moment,
    run_for: Option<Duration>,
    exit_code: i32,
    start_fails: bool,
    stopping: bool,
}

impl Simulated {
    fn cpu_at(&self, now: Moment) -> Duration {
        let elapsed = now.saturating_sub(self.cpu_since);
        let nanos = elapsed.as_nanos().saturating_mul(u128::from(self.cpu_millis)) / 1000;
        self.cpu_used + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn set_cpu(&mut self, now: Moment, millis: u64) {
        self.cpu_used = self.cpu_at(now);
        self.cpu_since = now;
        self.cpu_millis = millis.max(1);
    }
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Start,
    Finish,
    Stop,
}

/// Everything the cloud knows.
#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    dice: Dice,
    instances: BTreeMap<Arc<str>, Simulated>,
    timers: BTreeMap<(Moment, u64), (Arc<str>, u64, Due)>,
    faults: VecDeque<Fault>,
    addresses: HashSet<Ipv4Addr>,
    next_address: u16,
    serial: u64,
    record: Vec<AuditEntry>,
    measured: Option<Moment>,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            dice: Dice::new(settings.seed),
            settings,
            instances: BTreeMap::new(),
            timers: BTreeMap::new(),
            faults: VecDeque::new(),
            addresses: HashSet::new(),
            next_address: 0,
            serial: 0,
            record: Vec::new(),
            measured: None,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn set_settings(&mut self, settings: Settings) {
        if settings.seed != self.settings.seed {
            self.dice = Dice::new(settings.seed);
        }
        self.settings = settings;
    }

    pub(super) fn plan(&mut self, count: usize, fault: Fault) {
        self.faults.extend(std::iter::repeat_n(fault, count));
    }

    /// Creates the pod's instance or answers the one that stands. Changes are appended to `changes`.
    pub(super) fn create(
        &mut self,
        now: Moment,
        owner: &Owner,
        pod: &Pod,
        changes: &mut Vec<InstanceChange>,
    ) -> Result<Instance, ProviderError> {
        let fault = self.draw_fault();
        if let Some(refusal) = fault.and_then(refusal) {
            return Err(refusal);
        }
        let instance = match self.instances.get(owner.uid.as_str()) {
            Some(standing) => standing.instance.clone(),
            None => self.start(now, owner, pod, fault == Some(Fault::StartFails), changes)?,
        };
        if fault == Some(Fault::LostAnswer) {
            return Err(ProviderError::Unavailable("simulated: the answer was lost".to_owned()));
        }
        Ok(instance)
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        if let Some(planned) = self.faults.pop_front() {
            return Some(planned);
        }
        if self.dice.chance(self.settings.failures_per_mille) {
            return Some(if self.dice.chance(500) { Fault::LostAnswer } else { Fault::Unavailable });
        }
        None
    }

    fn start(
        &mut self,
        now: Moment,
        owner: &Owner,
        pod: &Pod,
        start_fails: bool,
        changes: &mut Vec<InstanceChange>,
    ) -> Result<Instance, ProviderError> {
        if self.stock().instances == Some(0) {
            return Err(ProviderError::NoStock("simulated: every machine is taken".to_owned()));
        }
        let run_for = annotation(pod, RUN_FOR)
            .map(|text| humantime::parse_duration(text).map_err(|e| invalid(RUN_FOR, text, &e)))
            .transpose()?;
        let exit_code = annotation(pod, EXIT_CODE)
            .map(|text| text.parse::<i32>().map_err(|e| invalid(EXIT_CODE, text, &e)))
            .transpose()?;

        self.serial += 1;
        let serial = self.serial;
        let uid: Arc<str> = owner.uid.as_str().into();
        let instance = Instance {
            id: InstanceId(format!("sim-{serial:08}")),
            owner: owner.clone(),
            state: InstanceState::Pending,
            ip: self.take_address().map(IpAddr::V4),
            containers: Vec::new(),
        };
        let simulated = Simulated {
            instance: instance.clone(),
            serial,
            cpu_millis: self.settings.cpu_millis.max(1),
            cpu_used: Duration::ZERO,
            cpu_since: now,
            run_for,
            exit_code: exit_code.unwrap_or(0),
            start_fails,
            stopping: false,
        };
        self.instances.insert(Arc::clone(&uid), simulated);
        self.record.push(AuditEntry { at: now, uid: Arc::clone(&uid), event: AuditEvent::Created });

        let latency = self.dice.between(self.settings.start_up.min, self.settings.start_up.max);
        if latency.is_zero() {
            self.fire(now, &uid, serial, Due::Start, changes);
        } else {
            changes.push(InstanceChange::Changed(instance.clone()));
            self.timers.insert((now + latency, timer_key(serial, Due::Start)), (Arc::clone(&uid), serial, Due::Start));
        }
        Ok(self.instances.get(&uid).map_or(instance, |s| s.instance.clone()))
    }

    /// Ends the pod's instance once its containers have stopped.
    pub(super) fn delete(&mut self, now: Moment, owner: &Owner, grace: Duration, changes: &mut Vec<InstanceChange>) {
        let Some((uid, _)) = self.instances.get_key_value(owner.uid.as_str()) else {
            changes.push(InstanceChange::Gone(owner.clone()));
            return;
        };
        let uid = Arc::clone(uid);
        let Some(simulated) = self.instances.get_mut(&uid) else { return };
        simulated.stopping = true;
        let serial = simulated.serial;
        let runs = simulated.instance.state == InstanceState::Running;
        let stop = if runs { self.settings.stop.min(grace) } else { Duration::ZERO };
        if stop.is_zero() {
            self.fire(now, &uid, serial, Due::Stop, changes);
        } else {
            self.timers.insert((now + stop, timer_key(serial, Due::Stop)), (uid, serial, Due::Stop));
        }
    }

    /// The moment at which something happens by itself next.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets everything happen that is due by `now`.
    pub(super) fn advance(&mut self, now: Moment, changes: &mut Vec<InstanceChange>) {
        while let Some(entry) = self.timers.first_entry() {
            let at = entry.key().0;
            if at > now {
                return;
            }
            let (uid, serial, due) = entry.remove();
            self.fire(at, &uid, serial, due, changes);
        }
    }

    fn fire(&mut self, now: Moment, uid: &Arc<str>, serial: u64, due: Due, changes: &mut Vec<InstanceChange>) {
        let Some(simulated) = self.instances.get_mut(uid).filter(|s| s.serial == serial) else { return };
        match due {
            Due::Start if simulated.stopping => {}
            Due::Start if simulated.start_fails => {
                simulated.instance.state = InstanceState::Failed {
                    reason: "StartError".to_owned(),
                    message: "simulated: the containers could not be started".to_owned(),
                    exit_code: 128,
                };
                changes.push(InstanceChange::Changed(simulated.instance.clone()));
            }
            Due::Start => {
                simulated.instance.state = InstanceState::Running;
                simulated.cpu_since = now;
                changes.push(InstanceChange::Changed(simulated.instance.clone()));
                if let Some(run_for) = simulated.run_for {
                    let key = timer_key(serial, Due::Finish);
                    self.timers.insert((now + run_for, key), (Arc::clone(uid), serial, Due::Finish));
                }
            }
            Due::Finish => {
                simulated.instance.state = match simulated.exit_code {
                    0 => InstanceState::Succeeded,
                    exit_code => InstanceState::Failed {
                        reason: "Error".to_owned(),
                        message: format!("simulated: exit code {exit_code}"),
                        exit_code,
                    },
                };
                changes.push(InstanceChange::Changed(simulated.instance.clone()));
            }
            Due::Stop => {
                if let Some(ended) = self.instances.remove(uid) {
                    if let Some(IpAddr::V4(address)) = ended.instance.ip {
                        self.addresses.remove(&address);
                    }
                    self.record.push(AuditEntry { at: now, uid: Arc::clone(uid), event: AuditEvent::Ended });
                    changes.push(InstanceChange::Gone(ended.instance.owner));
                }
            }
        }
    }

    /// Ends an instance without anyone asking, as a reclaimed spot machine does.
    pub(super) fn reclaim(&mut self, now: Moment, uid: &str, changes: &mut Vec<InstanceChange>) {
        if let Some((uid, simulated)) = self.instances.get_key_value(uid) {
            let (uid, serial) = (Arc::clone(uid), simulated.serial);
            self.fire(now, &uid, serial, Due::Stop, changes);
        }
    }

    /// Ends an instance's containers as if they had exited.
    pub(super) fn finish(&mut self, now: Moment, uid: &str, exit_code: i32, changes: &mut Vec<InstanceChange>) {
        let Some((uid, simulated)) = self.instances.get_key_value(uid) else { return };
        let (uid, serial) = (Arc::clone(uid), simulated.serial);
        self.instances.entry(Arc::clone(&uid)).and_modify(|simulated| simulated.exit_code = exit_code);
        self.fire(now, &uid, serial, Due::Finish, changes);
    }

    pub(super) fn list(&self, cluster: &str) -> Vec<Instance> {
        self.of(cluster).map(|s| s.instance.clone()).collect()
    }

    pub(super) fn measured(&self) -> Option<Moment> {
        self.measured
    }

    pub(super) fn usage(&mut self, now: Moment, cluster: &str) -> Vec<Usage> {
        self.measured = Some(now);
        self.of(cluster)
            .filter(|s| s.instance.state == InstanceState::Running)
            .map(|s| Usage {
                uid: s.instance.owner.uid.clone(),
                cpu: s.cpu_at(now).max(Duration::from_millis(1)),
                cpu_nano_cores: s.cpu_millis * 1_000_000,
                memory_bytes: self.settings.memory_bytes,
            })
            .collect()
    }

    fn of<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a Simulated> {
        self.instances.values().filter(move |s| s.instance.owner.cluster == cluster)
    }

    pub(super) fn stock(&self) -> Stock {
        let taken = self.instances.len() as u64;
        Stock { instances: self.settings.stock.map(|limit| limit.saturating_sub(taken)) }
    }

    pub(super) fn set_cpu(&mut self, now: Moment, target: &CpuTarget, millis: u64) {
        match target {
            CpuTarget::Pod(uid) => {
                if let Some(simulated) = self.instances.get_mut(uid.as_str()) {
                    simulated.set_cpu(now, millis);
                }
            }
            CpuTarget::All => {
                self.settings.cpu_millis = millis.max(1);
                self.instances.values_mut().for_each(|s| s.set_cpu(now, millis));
            }
        }
    }

    pub(super) fn record(&self) -> &[AuditEntry] {
        &self.record
    }

    pub(super) fn audit(&self) -> BTreeMap<String, Audit> {
        let mut by_uid: HashMap<&Arc<str>, Audit> = HashMap::new();
        for entry in &self.record {
            let audit = by_uid.entry(&entry.uid).or_default();
            match entry.event {
                AuditEvent::Created => {
                    audit.created += 1;
                    audit.alive += 1;
                }
                AuditEvent::Ended => audit.alive -= 1,
            }
        }
        by_uid.into_iter().map(|(uid, audit)| (uid.to_string(), audit)).collect()
    }

    /// The next free address of the /16, in order; `None` when all are taken.
    fn take_address(&mut self) -> Option<Ipv4Addr> {
        for _ in 0..=u16::MAX {
            self.next_address = self.next_address.wrapping_add(1);
            let [high, low] = self.next_address.to_be_bytes();
            let address = Ipv4Addr::new(10, self.settings.network, high, low);
            if low != 0 && low != 255 && self.addresses.insert(address) {
                return Some(address);
            }
        }
        None
    }
}

/// Timers of one instance differ in kind, those of different instances in serial number.
fn timer_key(serial: u64, due: Due) -> u64 {
    serial * 4
        + match due {
            Due::Start => 0,
            Due::Finish => 1,
            Due::Stop => 2,
        }
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn invalid(key: &str, text: &str, problem: &dyn std::fmt::Display) -> ProviderError {
    ProviderError::Invalid(format!("annotation {key}: {text:?} cannot be read: {problem}"))
}

fn refusal(fault: Fault) -> Option<ProviderError> {
    let text = "simulated: planned failure".to_owned();
    match fault {
        Fault::NoStock => Some(ProviderError::NoStock(text)),
        Fault::QuotaExceeded => Some(ProviderError::QuotaExceeded(text)),
        Fault::Throttled => Some(ProviderError::Throttled { message: text, retry_after: None }),
        Fault::Invalid => Some(ProviderError::Invalid(text)),
        Fault::Unauthorized => Some(ProviderError::Unauthorized(text)),
        Fault::Unavailable => Some(ProviderError::Unavailable(text)),
        Fault::LostAnswer | Fault::StartFails => None,
    }
}
