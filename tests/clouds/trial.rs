//! A provider on its emulator, under faults: every pod gets one instance, none is left over, and the money is right.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use burstlet::{
    lab::emulator::{Cloud, Emulator, FaultRates, Ground, Options, Range, Settings, ZoneStock},
    provider::{
        Exec, Instance, InstanceChange, InstanceState, LogOptions, Owner, Provider, ProviderError, Streams,
        clouds::places::REMEMBERED,
    },
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, duplex},
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};

use crate::conformance::Subject;

/// A cloud that answers, and what it stands on.
pub(crate) struct Answering {
    pub(crate) ground: Arc<Ground>,
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) emulator: Emulator,
}

impl Answering {
    pub(crate) async fn start(ground: Arc<Ground>, cloud: Arc<dyn Cloud>) -> Self {
        let emulator = Emulator::start(&Options::default(), ground.clone(), cloud.clone()).await.unwrap();
        Self { ground, cloud, emulator }
    }

    /// Instances that run or will.
    pub(crate) fn live(&self) -> Vec<Value> {
        let all = self.cloud.instances();
        let phases = all.as_object().unwrap().values().cloned();
        phases.filter(|one| ["pending", "running"].contains(&one["phase"].as_str().unwrap())).collect()
    }
}

/// A cloud that starts instances at once.
pub(crate) fn prompt() -> Settings {
    let start_up = Range { min: Duration::from_millis(50), max: Duration::from_millis(200) };
    Settings { start_up, throttle: false, ..Settings::default() }
}

pub(crate) fn owner(uid: &str) -> Owner {
    Owner {
        cluster: "lab".to_owned(),
        node: "node-0".to_owned(),
        namespace: "default".to_owned(),
        name: format!("web-{uid}"),
        uid: uid.to_owned(),
    }
}

/// One container that asks for 1 vCPU and 2 GiB.
pub(crate) fn pod() -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "nginx",
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}}),
    )
    .unwrap()
}

/// Tries until it works, as the kubelet does.
async fn insist<T, F: Future<Output = Result<T, ProviderError>>>(mut call: impl FnMut() -> F) -> T {
    let mut pause = Duration::from_millis(20);
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// A container's log as it stands.
pub(crate) async fn log(provider: &impl Provider, owner: &Owner, options: LogOptions) -> String {
    let pieces = provider.logs(owner, "app", &options).await.unwrap().collect::<Vec<_>>().await;
    pieces.into_iter().map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect()
}

/// Exit code, output and errors of a command that hears `input`.
pub(crate) async fn exec(
    provider: &impl Provider,
    owner: &Owner,
    command: &[&str],
    input: &'static str,
    tty: bool,
) -> (Result<i32, ProviderError>, String, String) {
    let command = command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let ((out, mut stdout), (err, mut stderr)) = (duplex(1 << 16), duplex(1 << 16));
    let streams = Streams {
        stdin: (!input.is_empty()).then(|| Box::pin(input.as_bytes()) as _),
        stdout: Some(Box::pin(out)),
        stderr: (!tty).then(|| Box::pin(err) as _),
        tty,
        resize: None,
    };
    let exit = provider.exec(owner, Exec { container: "app".to_owned(), command, streams }).await.map(|exit| exit.code);
    let (mut told, mut warned) = (String::new(), String::new());
    stdout.read_to_string(&mut told).await.unwrap();
    stderr.read_to_string(&mut warned).await.unwrap();
    (exit, told, warned)
}

/// What a watch has told, by UID.
pub(crate) struct Watched {
    changes: mpsc::Receiver<InstanceChange>,
    pub(crate) seen: BTreeMap<String, Instance>,
    pub(crate) gone: BTreeMap<String, Owner>,
}

impl Watched {
    /// Watches for ever, again where a watch ends.
    pub(crate) fn start<P: Provider + Clone>(provider: &P) -> Self {
        let (sender, changes) = mpsc::channel(64);
        let provider = provider.clone();
        tokio::spawn(async move {
            while !sender.is_closed() {
                let _ = provider.watch("lab", sender.clone()).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { changes, seen: BTreeMap::new(), gone: BTreeMap::new() }
    }

    /// Takes changes until `enough`.
    pub(crate) async fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !enough(self) {
            match tokio::time::timeout_at(deadline, self.changes.recv()).await {
                Ok(Some(InstanceChange::Changed(instance))) => {
                    self.seen.insert(instance.owner.uid.clone(), instance);
                }
                Ok(Some(InstanceChange::Gone(owner))) => {
                    self.seen.remove(&owner.uid);
                    self.gone.insert(owner.uid.clone(), owner);
                }
                Ok(Some(InstanceChange::Watching)) => {}
                Ok(None) | Err(_) => {
                    panic!("{what} did not happen; {} are seen, {} gone", self.seen.len(), self.gone.len())
                }
            }
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.seen.values().filter(|instance| instance.state == InstanceState::Running).count()
    }
}

/// Prices of one second of the pod's size in the cloud's currency.
pub(crate) struct Cost {
    pub(crate) currency: &'static str,
    pub(crate) per_second: f64,
}

/// One answer in five is lost and one request in five arrives twice, for `creation` and, at a tenth, all others.
pub(crate) fn disturb(ground: &Ground, creation: &str) {
    let creations = FaultRates { failed_per_mille: 50, lost_per_mille: 200, twice_per_mille: 200 };
    let others = FaultRates { failed_per_mille: 20, lost_per_mille: 20, twice_per_mille: 20 };
    ground.change(|settings| {
        settings.faults = BTreeMap::from([(creation.to_owned(), creations), ("*".to_owned(), others)]);
    });
}

/// `count` pods come and go under faults.
pub(crate) async fn come_and_go<P: Provider + Clone>(
    provider: &P,
    at: &Answering,
    creation: &str,
    count: usize,
    cost: Cost,
) {
    disturb(&at.ground, creation);
    let mut watched = Watched::start(provider);
    let uids = (0..count).map(|at| format!("{at:08x}-5555-4444-8888-000000000000")).collect::<Vec<_>>();
    let mut creations = JoinSet::new();
    for uid in uids.clone() {
        let (provider, ground) = (provider.clone(), at.ground.clone());
        creations.spawn(async move {
            let (owner, pod) = (owner(&uid), pod());
            insist(|| provider.create(&owner, &pod)).await;
            (uid, ground.clock.now())
        });
    }
    let began = creations.join_all().await.into_iter().collect::<BTreeMap<_, _>>();
    watched.until("every pod runs", |watched| watched.running() == count).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while at.live().len() > count {
        assert!(Instant::now() < deadline, "{} instances for {count} pods", at.live().len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(at.live().len(), count, "an instance was lost");

    at.ground.clock.advance(Duration::from_hours(2));
    let mut deletions = JoinSet::new();
    for uid in uids {
        let (provider, ground) = (provider.clone(), at.ground.clone());
        deletions.spawn(async move {
            let owner = owner(&uid);
            insist(|| provider.delete(&owner, Duration::from_secs(1))).await;
            (uid, ground.clock.now())
        });
    }
    let ended = deletions.join_all().await.into_iter().collect::<BTreeMap<_, _>>();
    watched.until("every instance is gone", |watched| watched.gone.len() == count).await;
    assert_eq!(at.live(), Vec::<Value>::new(), "orphans are left");

    let seconds = began.iter().map(|(uid, began)| ended[uid].saturating_sub(*began).as_secs_f64()).sum::<f64>();
    let (counted, billed) = (seconds * cost.per_second, at.ground.bill.totals(at.ground.clock.now())[cost.currency]);
    assert!((counted / billed - 1.0).abs() < 0.01, "{counted} was counted, and {billed} is billed");
}

/// Lets the time pass for which a shortage is remembered.
async fn forget_shortages() {
    tokio::time::pause();
    tokio::time::advance(REMEMBERED).await;
    tokio::time::resume();
}

/// The first of two places has nothing (`none`) and is left for the next, is remembered, and is come back to. On one thread,
/// whose clock can be put forward.
pub(crate) async fn leaves_a_place_and_comes_back(
    provider: &impl Provider,
    at: &Answering,
    creation: &str,
    (first, second): (&str, &str),
    none: ZoneStock,
) {
    let zone_of = |uid: &str| {
        let live = at.live();
        let one =
            live.iter().find(|one| one["name"].as_str().unwrap().ends_with(uid)).unwrap_or_else(|| panic!("{uid}"));
        one["zone"].as_str().unwrap().to_owned()
    };
    at.ground.change(|settings| settings.zones = [(first.to_owned(), none)].into());
    for uid in ["u-1", "u-2"] {
        provider.create(&owner(uid), &pod()).await.unwrap();
        assert_eq!(zone_of(uid), second);
    }
    assert_eq!(at.ground.calls()[creation].arrived, 3, "the empty place was asked once");
    at.ground.change(|settings| settings.zones.clear());
    provider.create(&owner("u-3"), &pod()).await.unwrap();
    assert_eq!(zone_of("u-3"), second, "remembered for a while");
    forget_shortages().await;
    provider.create(&owner("u-4"), &pod()).await.unwrap();
    assert_eq!(zone_of("u-4"), first, "come back to");
}

/// Pods spread over two places, neither of which gets less than a quarter of them.
pub(crate) async fn spreads(provider: &impl Provider, at: &Answering) {
    for number in 0..16 {
        provider.create(&owner(&format!("{number:08x}-5555-4444-8888-000000000000")), &pod()).await.unwrap();
    }
    let mut zones = BTreeMap::<String, u32>::new();
    at.live().iter().for_each(|one| *zones.entry(one["zone"].as_str().unwrap().to_owned()).or_default() += 1);
    assert!(zones.len() == 2 && zones.values().all(|count| *count >= 4), "{zones:?}");
}

/// A provider and its second self for the conformance suite. Instances are known by names that end with the pod's UID.
pub(crate) fn subject<P: Provider>(at: Answering, provider: P, restarted: P) -> Subject {
    let cloud = at.cloud.clone();
    let created = move || {
        let mut counts = BTreeMap::new();
        for instance in cloud.instances().as_object().unwrap().values() {
            let name = instance["name"].as_str().unwrap();
            let uid = ["u-1", "good", "bad"].into_iter().find(|uid| name.ends_with(uid)).unwrap_or(name);
            *counts.entry(uid.to_owned()).or_default() += 1;
        }
        counts
    };
    Subject {
        provider: Arc::new(provider),
        restarted: Arc::new(restarted),
        created: Box::new(created),
        ends_with,
        _cloud: Box::new(at),
    }
}

fn ends_with(code: i32) -> Pod {
    serde_json::from_value(json!({"spec": {"restartPolicy": "Never", "containers": [
        {"name": "app", "image": "busybox", "command": ["sh", "-c", format!("sleep 0.2; exit {code}")]},
    ]}}))
    .unwrap()
}

/// The conformance suite but for usage, which these clouds do not tell, and for pods that are no pods, which each cloud's
/// own tests have.
macro_rules! conforms_but_for_usage {
    ($subject:expr) => {
        $crate::trial::conforms_but_for_usage! { @each $subject;
            a_pod_gets_one_instance_that_runs_and_goes
            creating_again_answers_the_same_instance
            another_process_adopts_and_deletes
            instances_of_other_clusters_are_not_seen
            deleting_what_does_not_exist_is_success
            an_end_has_its_exit_code
            a_watch_tells_what_happens_from_its_first_word_on
            a_provider_takes_what_it_says_it_has_and_nothing_else
        }
    };
    (@each $subject:expr; $($rule:ident)*) => {
        mod conformance {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $rule() {
                    let subject: $crate::conformance::Subject = $subject.await;
                    $crate::conformance::$rule(subject).await;
                }
            )*
        }
    };
}

pub(crate) use conforms_but_for_usage;
