//! The placer: feeds the engine from the watches and carries its actions out, on the leading replica only.
//!
//! It begins with lists of its own, read after the lease was won, so that it knows every write of the leader before it.

mod board;
mod look;
mod metrics;
mod misplaced;
mod patch;
mod pool_events;
mod readiness;
mod status;
mod write;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use burstlet_engine::{
    model::{Capabilities, ObjectName, PodRef, PodUid, PoolName, RevisionId, Timestamp},
    placement::{Action, Annotated, Controller, Event, Kind, Outcome, Placement, Reason},
    policy::{Fault, Settings, resolve::Note},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client,
    core::ApiResource,
    runtime::events::{Event as Notice, EventType, Recorder, Reporter},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use board::{Board, Decided, Moment, Sight};
pub use metrics::PlacerMetrics;
use misplaced::{MisplacedBase, MisplacedBases};
use pool_events::{PoolEvent, PoolEvents};
use readiness::Readiness;
use status::Statuses;
use write::Write;

use crate::{
    api::{
        decision::Decision,
        kinds::ForeignKinds,
        misplaced::Misplaced,
        names,
        pod::{Patchable, SlimPod, patchable},
        pool,
    },
    watch::{EngineWatch, Leadership, Sighting, engine_events, misplaced_bases},
};

const POD: &str = "Pod";
/// Writes under way at once.
const WRITES: usize = 64;
/// Events taken in before the next decision, at most: a decision is never far from what it is made on.
const BATCH: usize = 256;
/// How often the engine is asked without an event: what only time changes.
const TICK: Duration = Duration::from_millis(500);

/// What pools' providers last told.
pub type Stocks = BTreeMap<PoolName, ProviderNews>;

/// What a pool's provider last told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderNews {
    /// Instances that it can still create, where it tells a number.
    pub free: Option<u64>,
    /// What is wrong with it, for so long that it is no glitch.
    pub fault: Option<Box<str>>,
    /// Why the provider cannot be used as the pool's object has it now; what ran before goes on.
    pub unusable: Option<Box<str>>,
}

/// What the placer works with.
#[derive(Clone)]
pub struct Placer {
    /// To the API server.
    pub client: Client,
    /// The cluster's defaults.
    pub settings: Settings,
    /// What the providers of the configuration's pools have; those of VirtualPools come with them.
    pub capabilities: BTreeMap<PoolName, Capabilities>,
    /// burstlet's own namespace, where policies for all stand.
    pub namespace: String,
    /// Kinds of other API groups that scale pods.
    pub foreign: ForeignKinds,
    /// Whether this replica may write.
    pub leadership: watch::Receiver<Leadership>,
    /// Live stock.
    pub stocks: watch::Receiver<Stocks>,
    /// What it counts.
    pub metrics: PlacerMetrics,
    /// What it shows.
    pub board: Board,
}

/// What became of one action.
enum Answer {
    Settled { pod: PodUid, outcome: Outcome },
    Looked(Box<Event>),
}

impl Placer {
    /// Places pods until `stop`. Writes under way are given up then; what they did, the next leader's lists show.
    pub async fn run(self, stop: CancellationToken) {
        let (mut events, watches) = engine_events(&self.client, &self.foreign);
        let (mut sightings, other_watches) = misplaced_bases(&self.client);
        let (answer_sender, mut answers) = mpsc::channel(WRITES);
        self.metrics.begins();
        let metrics = self.metrics.clone();
        let mut desk = Desk::new(self, answer_sender);
        let mut batch = Vec::with_capacity(BATCH);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                count = events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    desk.take_in(batch.drain(..));
                }
                Some(sighting) = sightings.recv() => {
                    desk.sight(sighting);
                    continue;
                }
                Some(answer) = answers.recv() => desk.hear(answer),
                Ok(()) = desk.placer.stocks.changed() => desk.restock(),
                _ = tick.tick() => {
                    desk.measure();
                    desk.tell_statuses();
                }
                Some(_) = desk.writes.join_next() => continue,
            }
            desk.decide();
        }
        desk.placer.board.clear();
        metrics.ends();
        drop((watches, other_watches));
    }
}

/// The placer at work.
struct Desk {
    placer: Placer,
    placement: Placement,
    /// What patches must know of gated pods.
    gated: HashMap<PodUid, Patchable>,
    /// When they were created.
    born: HashMap<PodUid, Timestamp>,
    misplaced: MisplacedBases,
    readiness: Readiness,
    statuses: Statuses,
    pool_events: PoolEvents,
    writes: JoinSet<()>,
    permits: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
    recorder: Recorder,
}

impl Desk {
    fn new(placer: Placer, answers: mpsc::Sender<Answer>) -> Self {
        let reporter = Reporter { controller: names::MANAGER.to_owned(), instance: None };
        let mut desk = Self {
            placement: Placement::new(placer.settings.clone())
                .living_in(&placer.namespace)
                .looking()
                .awaiting_profile(),
            gated: HashMap::new(),
            born: HashMap::new(),
            misplaced: MisplacedBases::default(),
            readiness: Readiness::default(),
            statuses: Statuses::default(),
            pool_events: PoolEvents::default(),
            writes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(WRITES)),
            answers,
            recorder: Recorder::new(placer.client.clone(), reporter),
            placer,
        };
        for (pool, capabilities) in desk.placer.capabilities.clone() {
            desk.placement.apply(Event::Capabilities { pool, capabilities }, now());
        }
        desk.restock();
        desk
    }

    fn take_in(&mut self, batch: impl Iterator<Item = EngineWatch>) {
        let now = now();
        for EngineWatch { event, gated, has_misplaced_base, about } in batch {
            self.statuses.see(&event, about);
            let misplaced = match &event {
                Event::Pod(pod) => {
                    self.misplaced.set(POD, pod.uid.as_str(), has_misplaced_base.then(|| pod.name.clone()))
                }
                Event::PodGone(uid) => self.misplaced.set(POD, uid.as_str(), None),
                Event::Begin(Kind::Pod) => self.misplaced.begin(POD),
                Event::Finish(Kind::Pod) => self.misplaced.finish(POD),
                _ => None,
            };
            self.tell_misplaced(misplaced);
            self.await_ready(&event, now);
            match (&event, gated) {
                (Event::Pod(pod), Some(gated)) => {
                    self.born.insert(pod.uid.clone(), pod.created);
                    self.gated.insert(pod.uid.clone(), gated);
                }
                (Event::Pod(pod), None) => self.forget(&pod.uid),
                (Event::PodGone(uid), _) => self.forget(uid),
                _ => {}
            }
            self.placement.apply(event, now);
        }
    }

    fn await_ready(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Pod(pod) => {
                if let Some((tier, after)) = self.readiness.see(pod, now) {
                    self.placer.metrics.was_ready(tier, after);
                }
            }
            Event::PodGone(uid) => self.readiness.forget(uid),
            Event::Begin(Kind::Pod) => self.readiness.begin(),
            Event::Finish(Kind::Pod) => self.readiness.finish(),
            _ => {}
        }
    }

    fn forget(&mut self, uid: &PodUid) {
        self.born.remove(uid);
        self.gated.remove(uid);
    }

    fn sight(&mut self, sighting: Sighting) {
        let misplaced = self.misplaced.see(sighting);
        self.tell_misplaced(misplaced);
    }

    fn tell_misplaced(&mut self, misplaced: Option<MisplacedBase>) {
        if let Some(MisplacedBase { kind, uid, name }) = misplaced {
            let about = ObjectReference { uid: Some(uid), ..object(api_version(kind), kind, &name) };
            self.publish_fault(about, Misplaced::of(kind).told_of(kind));
        }
    }

    fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Settled { pod, outcome } => self.placement.settle(&pod, outcome, now()),
            Answer::Looked(event) => self.placement.apply(*event, now()),
        }
    }

    fn restock(&mut self) {
        let stocks = self.placer.stocks.borrow_and_update().clone();
        for (pool, ProviderNews { free, fault, .. }) in stocks {
            self.placement.apply(Event::Stock { pool: pool.clone(), free }, now());
            self.placement.apply(Event::Health { pool, fault }, now());
        }
    }

    fn measure(&self) {
        self.placer.metrics.show(&self.placement, &self.misplaced);
        if self.placement.is_synced() {
            self.placer.metrics.show_money(&self.placement, now());
            self.placer.board.show(&self.placement, now());
        }
    }

    /// Writes onto policies and pools how they stand, where that has changed.
    fn tell_statuses(&mut self) {
        let may_write = self.placer.leadership.borrow().may_write();
        if !may_write || !self.placement.is_synced() {
            return;
        }
        let (stocks, now) = (self.placer.stocks.borrow().clone(), tokio::time::Instant::now());
        if !self.statuses.is_due(now) {
            return;
        }
        let pools = self.placement.pool_reports();
        for event in self.pool_events.look(&pools, &stocks, now) {
            self.tell_of_pool(event);
        }
        for write in self.statuses.due(&self.placement, &pools, &stocks, now) {
            let (client, permits) = (self.placer.client.clone(), self.permits.clone());
            self.writes.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return };
                write.send(&client).await;
            });
        }
    }

    /// A pool of the configuration has no object, and its log line alone.
    fn tell_of_pool(&mut self, PoolEvent { pool, is_trouble, reason, text }: PoolEvent) {
        tracing::info!(%pool, reason, "the pool {text}");
        let Some(uid) = self.statuses.uid_of_pool(&pool) else { return };
        let about = ObjectReference {
            api_version: Some(format!("{}/{}", names::GROUP, names::VERSION)),
            kind: Some(pool::KIND.to_owned()),
            name: Some(pool.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let recorder = self.recorder.clone();
        let kind = if is_trouble { EventType::Warning } else { EventType::Normal };
        self.writes.spawn(async move { notify(&recorder, &about, kind, reason, &text).await });
    }

    fn decide(&mut self) {
        for action in self.placement.decide(now()) {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        let of = |gated: &HashMap<PodUid, Patchable>, pod: &PodRef| gated.get(&pod.uid).cloned();
        match action {
            Action::Place { pod, placing, extras, reason } => {
                self.decided(&pod, &reason);
                if let Some(born) = self.born.get(&pod.uid) {
                    self.placer.metrics.waited(now().since(*born).as_secs_f64());
                }
                match of(&self.gated, &pod) {
                    Some(known) => {
                        let patch = patch::place(&pod.uid, &known, &placing, &extras, &reason, jiff::Timestamp::now());
                        let patch = patch::record(patch, self.decision(&pod.uid).as_ref());
                        self.send(pod, Write::Place(patch), None);
                    }
                    None => self.placement.settle(&pod.uid, Outcome::Refused, now()),
                }
            }
            Action::Explain { pod, reason } => {
                if let Some(known) = of(&self.gated, &pod) {
                    self.decided(&pod, &reason);
                    let patch = patch::explain(&pod.uid, &known, &reason);
                    let patch = patch::record(patch, self.decision(&pod.uid).as_ref());
                    self.send(pod, Write::Patch(patch), Some(reason));
                }
            }
            Action::Evict { pod, reason } => {
                self.decided(&pod, &reason);
                self.send(pod, Write::Evict, Some(reason));
            }
            Action::MoveOn { pod, pool, tier, extras, reason } => {
                self.decided(&pod, &reason);
                let decision = self.decision(&pod.uid);
                self.send_move_on(pod, reason, move |uid, known, reason| {
                    patch::record(patch::move_on(uid, known, &pool, &tier, &extras, reason), decision.as_ref())
                });
            }
            Action::Look { revision, name, controller, arrivals } => self.look(revision, name, controller, arrivals),
            Action::Warn { object, fault } => self.warn(object, &fault),
            Action::Note { object, note } => self.note(object, &note),
        }
    }

    fn decided(&self, pod: &PodRef, reason: &Reason) {
        self.placer.metrics.decided(reason);
        self.placer.board.decided(now(), &pod.name, reason);
    }

    /// What each place said, as the engine recorded it.
    fn decision(&self, pod: &PodUid) -> Option<Decision> {
        self.placement.explain(pod).map(Decision::from)
    }

    /// Carries a write out beside the loop, and settles it.
    fn send(&mut self, pod: PodRef, write: Write, notice: Option<Reason>) {
        let courier = self.courier();
        self.writes.spawn(async move {
            let Ok(_permit) = courier.permits.acquire().await else { return };
            let outcome = courier.write(&pod, &write).await;
            // The engine waits for no answer to an explanation.
            let is_awaited = !matches!(write, Write::Patch(_));
            courier.report(pod, outcome, is_awaited, notice).await;
        });
    }

    /// Rare, and the pod is no longer gated: what the patch must know is read afresh.
    fn send_move_on(
        &mut self,
        pod: PodRef,
        reason: Reason,
        patch: impl FnOnce(&PodUid, &Patchable, &Reason) -> serde_json::Value + Send + 'static,
    ) {
        let courier = self.courier();
        self.writes.spawn(async move {
            let Ok(_permit) = courier.permits.acquire().await else { return };
            let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
            let api = Api::<SlimPod>::namespaced_with(courier.client.clone(), &pod.name.namespace, &resource);
            let outcome = match api.get(&pod.name.name).await {
                Ok(found) => {
                    let patch = patch(&pod.uid, &patchable(&found), &reason);
                    courier.write(&pod, &Write::Patch(patch)).await
                }
                Err(error) => {
                    tracing::debug!(%error, pod = %pod.name, "unable to read a pod that shall move on");
                    Some(Outcome::Refused)
                }
            };
            courier.report(pod, outcome, true, Some(reason)).await;
        });
    }

    /// Reads a revision afresh, beside the loop. It waits for no permit: decisions wait for it.
    fn look(&mut self, revision: RevisionId, name: ObjectName, controller: Controller, arrivals: u64) {
        let (client, answers) = (self.placer.client.clone(), self.answers.clone());
        let foreign = self.placer.foreign.clone();
        self.writes.spawn(async move {
            let found = look::look(&client, &revision, &name, controller, &foreign).await;
            let _ = answers.send(Answer::Looked(Box::new(Event::Looked { revision, arrivals, found }))).await;
        });
    }

    fn courier(&self) -> Courier {
        let Placer { client, leadership, metrics, .. } = self.placer.clone();
        let (permits, answers, recorder) = (self.permits.clone(), self.answers.clone(), self.recorder.clone());
        Courier { client, leadership, metrics, permits, answers, recorder }
    }

    fn warn(&mut self, object: Annotated, fault: &Fault) {
        self.publish_fault(annotated(object, &self.placer.foreign), fault.to_string());
    }

    fn note(&mut self, object: Annotated, note: &Note) {
        let (about, note) = (annotated(object, &self.placer.foreign), note.to_string());
        let (kind, namespace, name) = (&about.kind, &about.namespace, &about.name);
        tracing::warn!(kind, namespace, name, note, "a policy is not as it was meant");
        let recorder = self.recorder.clone();
        self.writes.spawn(async move {
            notify(&recorder, &about, EventType::Warning, "PolicyProblem", &note).await;
        });
    }

    fn publish_fault(&mut self, about: ObjectReference, fault: String) {
        let (kind, namespace, name) = (&about.kind, &about.namespace, &about.name);
        tracing::warn!(kind, namespace, name, fault, "an annotation is left aside");
        let recorder = self.recorder.clone();
        self.writes.spawn(async move {
            notify(&recorder, &about, EventType::Warning, "InvalidBase", &fault).await;
        });
    }
}

/// What one write needs beside the loop.
struct Courier {
    client: Client,
    leadership: watch::Receiver<Leadership>,
    metrics: PlacerMetrics,
    permits: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
    recorder: Recorder,
}

impl Courier {
    async fn write(&self, pod: &PodRef, write: &Write) -> Option<Outcome> {
        write::write(&self.client, pod, write, &self.leadership).await
    }

    /// Tells the engine (where it waits for that) and people what became of a write; nothing where it was given up.
    async fn report(&self, pod: PodRef, outcome: Option<Outcome>, is_awaited: bool, notice: Option<Reason>) {
        let Some(outcome) = outcome else { return };
        self.metrics.wrote(outcome);
        if is_awaited {
            let _ = self.answers.send(Answer::Settled { pod: pod.uid.clone(), outcome }).await;
        }
        if let Some(reason) = notice
            && outcome == Outcome::Applied
        {
            let about = reference(&pod);
            notify(&self.recorder, &about, EventType::Normal, reason.word(), &reason.to_string()).await;
        }
    }
}

async fn notify(recorder: &Recorder, about: &ObjectReference, kind: EventType, word: &str, text: &str) {
    let notice = Notice {
        type_: kind,
        reason: word.to_owned(),
        note: Some(text.to_owned()),
        action: "Place".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&notice, about).await {
        tracing::debug!(%error, "unable to publish an event");
    }
}

fn reference(pod: &PodRef) -> ObjectReference {
    ObjectReference { uid: Some(pod.uid.to_string()), ..object("v1", POD, &pod.name) }
}

fn annotated(carrier: Annotated, foreign: &ForeignKinds) -> ObjectReference {
    match carrier {
        Annotated::Namespace(name) => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(name),
            ..ObjectReference::default()
        },
        Annotated::Workload { kind, name, uid } => {
            let foreign = foreign.iter().find(|foreign| *foreign.kind == *kind);
            let api_version = foreign.map_or_else(|| api_version(&kind), |foreign| &foreign.api_version);
            ObjectReference { uid: Some(uid), ..object(api_version, &kind, &name) }
        }
    }
}

fn object(api_version: &str, kind: &str, name: &ObjectName) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(name.namespace.to_string()),
        name: Some(name.name.to_string()),
        ..ObjectReference::default()
    }
}

fn api_version(kind: &str) -> &'static str {
    match kind {
        POD => "v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "apps/v1",
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}
