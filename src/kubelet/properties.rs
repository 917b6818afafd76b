//! The index against a model of the API server and of a provider, under random orders of events, duplicates, lost
//! answers, broken watches, slow lists and crashes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::json;

use super::{
    backoff::Backoff,
    index::{Finished, Index, Job, Limits, Now},
    resolve::{Missing, ObjectKind, Unresolved},
    sync::{Action, Outcome, Phase, Report, Sequence},
};
use crate::provider::{Instance, InstanceChange, InstanceId, InstanceState, Owner, ProviderError};

const CLUSTER: &str = "here";
const NODE: &str = "virtual";

#[derive(Debug, Clone)]
struct PodModel {
    name: String,
    version: u64,
    phase: Phase,
    ready: bool,
    ip: Option<IpAddr>,
    waits_for: &'static str,
    deletion: Option<u64>,
    finalizer: bool,
    daemon: bool,
}

impl PodModel {
    fn object(&self, uid: &str) -> Pod {
        let mut meta =
            json!({"name": self.name, "namespace": "ns", "uid": uid, "resourceVersion": self.version.to_string()});
        if let Some(grace) = self.deletion {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            meta["deletionGracePeriodSeconds"] = json!(grace);
        }
        if self.finalizer {
            meta["finalizers"] = json!(["example.com/counted"]);
        }
        if self.daemon {
            meta["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": true}]);
        }
        let waiting = json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                              "state": {"waiting": {"reason": self.waits_for}}}]);
        serde_json::from_value(json!({
            "metadata": meta,
            "spec": {"nodeName": NODE, "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": format!("{:?}", self.phase), "podIP": self.ip.map(|ip| ip.to_string()),
                       "conditions": [{"type": "Ready", "status": if self.ready { "True" } else { "False" }}],
                       "containerStatuses": if self.waits_for.is_empty() { json!([]) } else { waiting }},
        }))
        .unwrap()
    }
}

/// A call that is on its way; with `answer`, it has taken effect.
struct Call {
    job: Job,
    answer: Option<Finished>,
}

struct Listing {
    began: Sequence,
    snapshot: Option<Vec<Instance>>,
}

struct Trial {
    now: Duration,
    serial: u64,
    pods: BTreeMap<String, PodModel>,
    pod_events: VecDeque<Event<Pod>>,
    instances: BTreeMap<String, Instance>,
    ever_created: BTreeSet<String>,
    changes: VecDeque<InstanceChange>,
    index: Index,
    listed: bool,
    calls: Vec<Call>,
    /// Creations that a killed kubelet had sent; they may still arrive.
    ghosts: Vec<Owner>,
    listing: Option<Listing>,
    /// The provider answers nothing, though some calls take effect.
    down: bool,
}

/// The pod refers to a ConfigMap that does not exist.
fn lacking(name: &str) -> Outcome {
    let missing = Missing { kind: ObjectKind::ConfigMap, name: name.to_owned(), key: None };
    Outcome::Unresolved(Unresolved::Missing(vec![missing]))
}

fn new_index() -> Index {
    let backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(30) };
    Index::new(CLUSTER, [Arc::from(NODE)], true, backoff, Limits { provider: 2, api: 2 })
}

impl Trial {
    fn new() -> Self {
        Self {
            now: Duration::ZERO,
            serial: 0,
            pods: BTreeMap::new(),
            pod_events: VecDeque::new(),
            instances: BTreeMap::new(),
            ever_created: BTreeSet::new(),
            changes: VecDeque::new(),
            index: new_index(),
            listed: false,
            calls: Vec::new(),
            ghosts: Vec::new(),
            listing: None,
            down: false,
        }
    }

    fn clock(&self) -> Now {
        Now { since: self.now, unix: i64::try_from(self.now.as_secs()).unwrap() }
    }

    fn step(&mut self, op: u8, arg: u8) {
        let pick = usize::from(arg);
        match op {
            0 | 1 => self.create_pod(arg),
            2 => self.delete_pod(pick),
            3 => self.force_delete(pick),
            4..=6 => self.deliver_pod_event(true),
            7 => self.deliver_pod_event(false),
            8 => self.relist_pods(),
            9 | 10 => self.deliver_change(true),
            11 => self.deliver_change(false),
            12 => self.changes.clear(),
            13..=15 => self.start_call(),
            16..=18 => self.take_effect(pick, arg % 5),
            19..=21 => self.answer(pick),
            22..=24 => self.list_instances(),
            25 | 26 => self.now += Duration::from_millis(u64::from(arg) * 200),
            27 => self.crash(),
            28 | 29 => self.progress(pick),
            30 => self.reclaim(pick),
            31 => self.ghost_arrives(),
            32 => self.down = !self.down,
            _ => self.touch_pod(pick),
        }
    }

    fn create_pod(&mut self, arg: u8) {
        let name = format!("pod-{}", arg % 4);
        if self.pods.values().any(|p| p.name == name) {
            return;
        }
        self.add_pod(name, arg & 0x30 == 0x30, arg & 0xC0 == 0xC0);
    }

    fn add_pod(&mut self, name: String, finalizer: bool, daemon: bool) {
        self.serial += 1;
        let pod = PodModel {
            name,
            version: self.serial,
            phase: Phase::Pending,
            ready: false,
            ip: None,
            waits_for: "",
            deletion: None,
            finalizer,
            daemon,
        };
        let uid = format!("uid-{}", self.serial);
        self.pod_events.push_back(Event::Apply(pod.object(&uid)));
        self.pods.insert(uid, pod);
    }

    fn uid(&self, pick: usize) -> Option<String> {
        (!self.pods.is_empty()).then(|| self.pods.keys().nth(pick % self.pods.len()).cloned()).flatten()
    }

    fn change_pod(&mut self, uid: &str, change: impl FnOnce(&mut PodModel)) {
        self.serial += 1;
        let pod = self.pods.get_mut(uid).unwrap();
        change(pod);
        pod.version = self.serial;
        self.pod_events.push_back(Event::Apply(pod.object(uid)));
    }

    fn remove_pod(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.serial += 1;
            self.pod_events.push_back(Event::Delete(PodModel { version: self.serial, ..pod }.object(uid)));
        }
    }

    fn delete_pod(&mut self, pick: usize) {
        let Some(uid) = self.uid(pick) else { return };
        if self.pods[&uid].phase.is_final() && !self.pods[&uid].finalizer {
            return self.remove_pod(&uid);
        }
        self.change_pod(&uid, |pod| pod.deletion = Some(pod.deletion.unwrap_or(30).min(30)));
    }

    fn force_delete(&mut self, pick: usize) {
        let Some(uid) = self.uid(pick) else { return };
        if self.pods[&uid].finalizer {
            self.change_pod(&uid, |pod| pod.deletion = Some(0));
        } else {
            self.remove_pod(&uid);
        }
    }

    /// Someone else writes to the pod.
    fn touch_pod(&mut self, pick: usize) {
        if let Some(uid) = self.uid(pick) {
            self.change_pod(&uid, |pod| pod.ready = false);
        }
    }

    fn deliver_pod_event(&mut self, once: bool) {
        let event = if once { self.pod_events.pop_front() } else { self.pod_events.front().cloned() };
        if let Some(event) = event {
            self.index.apply(event, self.clock());
        }
    }

    fn relist_pods(&mut self) {
        self.pod_events.clear();
        self.index.apply(Event::Init, self.clock());
        for (uid, pod) in &self.pods {
            let now = self.clock();
            self.index.apply(Event::InitApply(pod.object(uid)), now);
        }
        self.index.apply(Event::InitDone, self.clock());
    }

    fn deliver_change(&mut self, once: bool) {
        let change = if once { self.changes.pop_front() } else { self.changes.front().cloned() };
        if let Some(change) = change {
            self.index.apply_change(change, self.clock());
        }
    }

    fn start_call(&mut self) {
        let Some(job) = self.index.next_job(self.now) else { return };
        let pod = self.pods.get(&*job.uid);
        match &job.action {
            Action::Create => assert!(self.listed, "created before the first list of instances"),
            Action::DeleteInstance { .. } => {
                assert!(pod.is_none_or(|p| p.deletion.is_some()), "the instance of a live pod is deleted");
            }
            Action::DeletePod => {
                assert!(pod.is_none_or(|p| p.deletion.is_some()), "a live pod is deleted");
            }
            Action::WriteStatus(_) | Action::VerifyPod => {}
        }
        self.calls.push(Call { job, answer: None });
    }

    /// Mode 0: refused before it takes effect; 1: takes effect, but the answer is lost; otherwise all is well.
    fn take_effect(&mut self, pick: usize, mode: u8) {
        let waiting: Vec<usize> = (0..self.calls.len()).filter(|i| self.calls[*i].answer.is_none()).collect();
        let Some(&number) = (!waiting.is_empty()).then(|| &waiting[pick % waiting.len()]) else { return };
        let (action, owner) = (self.calls[number].job.action.clone(), self.calls[number].job.owner.clone());
        let is_silent = self.down && matches!(action, Action::Create | Action::DeleteInstance { .. });
        let mode = if is_silent { mode % 2 } else { mode };
        let outcome = if mode == 0 { None } else { Some(self.call(&action, &owner)) };
        let lost = || match action {
            Action::Create => Finished::Call(Outcome::CreateFailed(ProviderError::Unavailable("lost".to_owned()))),
            _ => Finished::Call(Outcome::Down { after: None }),
        };
        self.calls[number].answer = Some(match outcome {
            Some(outcome) if mode > 1 => outcome,
            _ if is_silent => lost(),
            None if action == Action::Create && pick.is_multiple_of(3) => Finished::Call(lacking("settings")),
            None if action == Action::Create && pick.is_multiple_of(2) => {
                Finished::Call(Outcome::CreateFailed(ProviderError::NoStock("none".to_owned())))
            }
            _ => lost(),
        });
    }

    fn call(&mut self, action: &Action, owner: &Owner) -> Finished {
        let uid = &owner.uid;
        Finished::Call(match action {
            Action::Create => {
                let pod = self.pods.get(uid);
                assert!(pod.is_none_or(|p| !p.phase.is_final()), "a pod that has ended runs again");
                assert!(pod.is_none_or(|p| !p.daemon), "a held pod got an instance");
                Outcome::Created(self.create_instance(owner))
            }
            Action::DeleteInstance { grace } => {
                self.instances.remove(uid);
                self.changes.push_back(InstanceChange::Gone(owner.clone()));
                Outcome::InstanceDeleted { grace: *grace }
            }
            Action::WriteStatus(report) => self.write_status(uid, report),
            Action::DeletePod => {
                match self.pods.get(uid) {
                    Some(pod) if pod.finalizer => self.change_pod(uid, |pod| pod.deletion = Some(0)),
                    _ => self.remove_pod(uid),
                }
                Outcome::PodDeleted
            }
            Action::VerifyPod => match self.pods.get(uid) {
                Some(pod) => return Finished::Pod(Box::new(pod.object(uid))),
                None => Outcome::PodMissing,
            },
        })
    }

    fn create_instance(&mut self, owner: &Owner) -> Instance {
        if let Some(standing) = self.instances.get(&owner.uid) {
            return standing.clone();
        }
        assert!(self.ever_created.insert(owner.uid.clone()), "a second instance for {}", owner.uid);
        let ip = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(self.serial % 250).unwrap())));
        let id = InstanceId(format!("i-{}", owner.uid));
        let instance = Instance { id, owner: owner.clone(), state: InstanceState::Pending, ip, containers: Vec::new() };
        self.instances.insert(owner.uid.clone(), instance.clone());
        self.changes.push_back(InstanceChange::Changed(instance.clone()));
        instance
    }

    fn write_status(&mut self, uid: &str, report: &Report) -> Outcome {
        let Some(pod) = self.pods.get(uid) else { return Outcome::Failed { after: None } };
        // The same again is what follows a lost answer.
        assert!(!pod.phase.is_final() || pod.phase == report.phase, "an ended pod becomes another");
        assert!(pod.phase != Phase::Running || report.phase != Phase::Pending, "a running pod goes back to pending");
        let report = report.clone();
        self.change_pod(uid, |pod| {
            pod.phase = report.phase;
            pod.ready = report.ready;
            pod.ip = report.ip.or(pod.ip);
            pod.waits_for = report.waits_for;
        });
        Outcome::StatusWritten { report, version: self.serial }
    }

    fn answer(&mut self, pick: usize) {
        let done: Vec<usize> = (0..self.calls.len()).filter(|i| self.calls[*i].answer.is_some()).collect();
        let Some(&number) = (!done.is_empty()).then(|| &done[pick % done.len()]) else { return };
        let call = self.calls.swap_remove(number);
        self.index.finish(&call.job.uid, call.answer.unwrap(), self.clock());
    }

    /// Begins a list, or takes its snapshot, or ends it.
    fn list_instances(&mut self) {
        match self.listing.take() {
            None => self.listing = Some(Listing { began: self.index.begin_list(), snapshot: None }),
            Some(Listing { began, snapshot: None }) => {
                self.listing = Some(Listing { began, snapshot: Some(self.instances.values().cloned().collect()) });
            }
            Some(Listing { began, snapshot: Some(instances) }) => {
                self.index.end_list(began, &instances, self.clock());
                self.listed = true;
            }
        }
    }

    fn crash(&mut self) {
        let sent = self.calls.drain(..).filter(|c| c.job.action == Action::Create && c.answer.is_none());
        self.ghosts.extend(sent.map(|c| c.job.owner));
        self.index = new_index();
        self.listed = false;
        self.listing = None;
        self.pod_events.clear();
        self.changes.clear();
        self.now += Duration::from_secs(1);
    }

    fn ghost_arrives(&mut self) {
        if let Some(owner) = self.ghosts.pop()
            && !self.ever_created.contains(&owner.uid)
        {
            self.create_instance(&owner);
        }
    }

    fn progress(&mut self, pick: usize) {
        let Some(uid) = self.instances.keys().nth(pick % self.instances.len().max(1)).cloned() else { return };
        let instance = self.instances.get_mut(&uid).unwrap();
        instance.state = match instance.state {
            InstanceState::Pending => InstanceState::Running,
            InstanceState::Running if pick.is_multiple_of(3) => InstanceState::Succeeded,
            _ => return,
        };
        self.changes.push_back(InstanceChange::Changed(instance.clone()));
    }

    /// The provider takes an instance away whose pod is known to run.
    fn reclaim(&mut self, pick: usize) {
        let Some(uid) = self.uid(pick) else { return };
        if self.pods[&uid].phase == Phase::Running
            && let Some(instance) = self.instances.remove(&uid)
        {
            self.changes.push_back(InstanceChange::Gone(instance.owner));
        }
    }

    /// Lets everything that is due happen, without faults.
    fn settle(&mut self) {
        self.down = false;
        while !self.ghosts.is_empty() {
            self.ghost_arrives();
        }
        for _ in 0..12 {
            self.relist_pods();
            (0..6).for_each(|_| self.list_instances());
            for _ in 0..200 {
                while !self.pod_events.is_empty() {
                    self.deliver_pod_event(true);
                }
                while !self.changes.is_empty() {
                    self.deliver_change(true);
                }
                self.start_call();
                self.take_effect(0, 4);
                self.answer(0);
                self.finalize();
                if self.calls.is_empty() && self.pod_events.is_empty() && self.changes.is_empty() {
                    break;
                }
            }
            self.now += Duration::from_secs(400);
        }
    }

    /// The finalizers' owner lets ended pods go.
    fn finalize(&mut self) {
        let ended = |(_, p): &(&String, &PodModel)| p.finalizer && p.deletion == Some(0) && p.phase.is_final();
        let ended: Vec<String> = self.pods.iter().filter(ended).map(|(uid, _)| uid.clone()).collect();
        for uid in &ended {
            self.remove_pod(uid);
        }
    }

    fn check_settled(&mut self) {
        assert!(self.calls.is_empty() && self.index.next_job(self.now).is_none(), "never comes to rest");
        for (uid, pod) in &self.pods {
            assert_eq!(pod.deletion, None, "{uid} is never removed");
            let instance = self.instances.get(uid);
            match instance.map(|i| &i.state) {
                _ if pod.daemon => assert!(instance.is_none() && pod.phase == Phase::Pending),
                Some(InstanceState::Pending) => assert_eq!(pod.phase, Phase::Pending, "{uid}"),
                Some(InstanceState::Running) => {
                    assert!(pod.phase == Phase::Running && pod.ready && pod.ip.is_some(), "{uid}: {pod:?}");
                }
                Some(_) => assert_eq!(pod.phase, Phase::Succeeded, "{uid}"),
                None => assert!(pod.phase.is_final(), "{uid} has no instance: {pod:?}"),
            }
        }
        for uid in self.instances.keys() {
            assert!(self.pods.contains_key(uid), "the instance of {uid} outlives its pod");
        }
        let counts = self.index.counts();
        assert_eq!((counts.pods, counts.orphans), (self.pods.len(), 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_one_pod_has_one_instance_and_all_comes_to_rest(
        steps in prop::collection::vec((0_u8..35, any::<u8>()), 0..250)
    ) {
        let mut trial = Trial::new();
        for (op, arg) in steps {
            trial.step(op, arg);
        }
        trial.settle();
        trial.check_settled();
    }
}

#[test]
fn a_pod_costs_one_creation_one_status_and_one_delete() {
    let mut trial = Trial::new();
    trial.relist_pods();
    (0..3).for_each(|_| trial.list_instances());
    trial.create_pod(0);
    let mut seen = Vec::new();
    let mut run = |trial: &mut Trial| {
        for _ in 0..20 {
            trial.deliver_pod_event(true);
            trial.deliver_change(true);
            trial.start_call();
            seen.extend(trial.calls.last().map(|call| call.job.action.clone()));
            trial.take_effect(0, 4);
            trial.answer(0);
        }
    };
    run(&mut trial);
    trial.progress(0);
    run(&mut trial);
    trial.delete_pod(0);
    run(&mut trial);
    let kinds: Vec<&str> = seen
        .iter()
        .map(|action| match action {
            Action::Create => "create",
            Action::DeleteInstance { .. } => "end",
            Action::WriteStatus(_) => "status",
            Action::DeletePod => "delete",
            Action::VerifyPod => "verify",
        })
        .collect();
    assert_eq!(kinds, ["create", "status", "end", "delete"]);
    assert!(trial.pods.is_empty() && trial.instances.is_empty());
}

#[test]
fn a_successor_of_the_same_name_gets_its_own_instance_and_keeps_it() {
    let mut trial = Trial::new();
    trial.relist_pods();
    (0..3).for_each(|_| trial.list_instances());
    trial.create_pod(0);
    trial.settle();
    trial.force_delete(0);
    trial.create_pod(0);
    trial.settle();
    trial.check_settled();
    assert_eq!(trial.instances.keys().collect::<Vec<_>>(), trial.pods.keys().collect::<Vec<_>>());
    assert_eq!(trial.ever_created.len(), 2);
}

#[test]
fn a_refused_pod_says_so_once_and_waits_longer_each_time() {
    let mut trial = Trial::new();
    trial.relist_pods();
    (0..3).for_each(|_| trial.list_instances());
    trial.create_pod(0);
    let mut creates = 0;
    let mut statuses = 0;
    // Ten minutes without stock, looked at every 100 ms.
    for _ in 0..6000 {
        trial.deliver_pod_event(true);
        trial.start_call();
        if let Some(call) = trial.calls.pop() {
            let refused = Outcome::CreateFailed(ProviderError::NoStock("none".to_owned()));
            let outcome = match &call.job.action {
                Action::Create => {
                    creates += 1;
                    refused
                }
                Action::WriteStatus(report) => {
                    statuses += 1;
                    trial.write_status(&call.job.owner.uid, report)
                }
                other => panic!("{other:?}"),
            };
            trial.index.finish(&call.job.uid, Finished::Call(outcome), trial.clock());
        }
        trial.now += Duration::from_millis(100);
    }
    assert_eq!(statuses, 1);
    assert!((15..40).contains(&creates), "{creates}");
}

/// A pod whose creation has been refused for 45 s, and its next try is some way off.
fn refused(error: &ProviderError) -> Trial {
    let mut trial = Trial::new();
    trial.relist_pods();
    (0..3).for_each(|_| trial.list_instances());
    trial.create_pod(0);
    // Not so often that all calls to the provider stop.
    for _ in 0..45 {
        trial.deliver_pod_event(true);
        trial.start_call();
        if let Some(call) = trial.calls.pop() {
            let outcome = match &call.job.action {
                Action::Create => Outcome::CreateFailed(error.clone()),
                Action::WriteStatus(report) => trial.write_status(&call.job.owner.uid, report),
                other => panic!("{other:?}"),
            };
            trial.index.finish(&call.job.uid, Finished::Call(outcome), trial.clock());
        }
        trial.now += Duration::from_secs(1);
    }
    trial
}

#[test]
fn a_deleted_pod_that_nobody_can_run_goes_without_waiting_for_its_next_try() {
    let mut trial = refused(&ProviderError::Invalid("too large".to_owned()));
    trial.delete_pod(0);
    trial.deliver_pod_event(true);
    trial.start_call();
    assert_eq!(trial.calls.last().map(|call| &call.job.action), Some(&Action::DeletePod));
}

#[test]
fn what_may_stand_of_a_pod_that_is_gone_is_ended_without_waiting_for_its_next_try() {
    let mut trial = refused(&ProviderError::Unavailable("no answer".to_owned()));
    trial.force_delete(0);
    trial.deliver_pod_event(true);
    trial.start_call();
    let action = trial.calls.last().map(|call| &call.job.action);
    assert_eq!(action, Some(&Action::DeleteInstance { grace: Duration::ZERO }));
}

#[test]
fn a_pod_that_lacks_something_says_what_once_and_is_looked_after_soon_again() {
    let mut trial = Trial::new();
    trial.relist_pods();
    (0..3).for_each(|_| trial.list_instances());
    trial.create_pod(0);
    let (mut tries, mut statuses, mut notices) = (Vec::new(), Vec::new(), Vec::new());
    for tenth in 0..3000_u32 {
        trial.deliver_pod_event(true);
        trial.start_call();
        if let Some(call) = trial.calls.pop() {
            let outcome = match &call.job.action {
                Action::Create => {
                    tries.push(trial.now);
                    // Halfway, it lacks another one.
                    lacking(if tenth < 1500 { "first" } else { "second" })
                }
                Action::WriteStatus(report) => {
                    statuses.push(report.waits_for);
                    trial.write_status(&call.job.owner.uid, report)
                }
                other => panic!("{other:?}"),
            };
            let notice = trial.index.finish(&call.job.uid, Finished::Call(outcome), trial.clock());
            notices.extend(notice.map(|(_, notice)| (notice.reason, notice.text)));
        }
        trial.now += Duration::from_millis(100);
    }
    assert_eq!(statuses, ["CreateContainerConfigError"]);
    let reasons: Vec<_> = notices.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, ["MandatoryConfigMapNotFound"; 2], "{notices:?}");
    assert!(notices[0].1.contains("first") && notices[1].1.contains("second"), "{notices:?}");
    let longest = tries.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap();
    assert!(longest <= Duration::from_secs(26), "{longest:?}");
}

/// Calls to the provider, by the moment at which they began, while the trial runs for `time`.
fn run_for(trial: &mut Trial, time: Duration) -> Vec<Duration> {
    let end = trial.now + time;
    let mut calls = Vec::new();
    while trial.now < end {
        while !trial.pod_events.is_empty() {
            trial.deliver_pod_event(true);
        }
        while !trial.changes.is_empty() {
            trial.deliver_change(true);
        }
        for _ in 0..4 {
            let before = trial.calls.len();
            trial.start_call();
            if trial.calls.len() > before
                && let Some(call) = trial.calls.last()
                && matches!(call.job.action, Action::Create | Action::DeleteInstance { .. })
            {
                calls.push(trial.now);
            }
            if let Some(Action::WriteStatus(report)) = trial.calls.last().map(|call| &call.job.action) {
                assert!(!report.phase.is_final(), "a pod is failed");
            }
            trial.take_effect(0, 4);
            trial.answer(0);
        }
        if !trial.down && trial.now.as_millis().is_multiple_of(30_000) {
            (0..3).for_each(|_| trial.list_instances());
        }
        trial.now += Duration::from_millis(100);
    }
    calls
}

#[test]
fn an_outage_of_an_hour_loses_nothing_and_is_found_out_by_few_calls() {
    let mut trial = Trial::new();
    (0..2).for_each(|number| trial.create_pod(number));
    trial.settle();
    trial.progress(0);
    trial.progress(1);
    trial.settle();
    let standing = trial.instances.clone();
    assert_eq!(standing.len(), 2);

    trial.down = true;
    (0..40).for_each(|number| trial.add_pod(format!("late-{number}"), false, false));
    let calls = run_for(&mut trial, Duration::from_mins(30));
    let ending = standing.keys().next().unwrap();
    trial.change_pod(ending, |pod| pod.deletion = Some(30));
    let later = run_for(&mut trial, Duration::from_mins(30));
    assert_eq!(trial.instances, standing, "what ran runs");
    assert_eq!(trial.pods.len(), 42, "a pod that goes stays until its instance has gone");
    assert!(trial.pods.values().all(|pod| !pod.phase.is_final()), "no pod was given up, so none is replaced");
    let begun = calls[0];
    let at_first = calls.iter().filter(|at| **at < begun + Duration::from_secs(5)).count();
    // 42 pods of their own, each at up to every two minutes, would have made some thousand.
    assert!(at_first <= 10, "{at_first} calls at once");
    let all = calls.len() + later.len();
    assert!((40..90).contains(&all), "{all} calls in an hour");
    let pauses = later.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let (least, most) =
        pauses.fold((Duration::MAX, Duration::ZERO), |(least, most), pause| (least.min(pause), most.max(pause)));
    assert!(least >= Duration::from_secs(59) && most <= Duration::from_secs(76), "{least:?} to {most:?}");

    trial.down = false;
    run_for(&mut trial, Duration::from_mins(4));
    assert_eq!((trial.pods.len(), trial.instances.len()), (41, 41), "all is as it should be soon after");
    assert_eq!(trial.ever_created.len(), 42, "one instance for each pod that ever was");
    trial.settle();
    trial.check_settled();
}
