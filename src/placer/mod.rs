//! The placer: feeds the engine from the watches and carries its actions out, on the leading replica only.
//!
//! It begins with lists of its own, read after the lease was won, so that it knows every write of the leader before it.

mod about;
mod board;
mod by_pod;
mod look;
mod metrics;
mod misplaced;
mod patch;
mod pool_events;
mod readiness;
mod status;
mod write;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use burstlet_engine::{
    model::{Capabilities, ObjectName, Pod, PodRef, PodUid, PoolName, RevisionId, Timestamp},
    placement::{Action, Annotated, Controller, Event, Kind, Outcome, Placement, Reason},
    policy::{Fault, Settings, resolve::Note},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Client, core::ApiResource};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use board::{Board, Decided, Moment, Sight};
use by_pod::ByPod;
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
        pod::{Patchable, SlimPod, patchable},
    },
    telemetry::Events,
    watch::{EngineWatch, Leadership, Sighting, engine_events, misplaced_bases},
};

const POD: &str = "Pod";
/// What the placer does, as its Events have it.
const ACTION: &str = "Place";
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

/// What a patch of a gated pod must know.
struct Gated {
    created: Timestamp,
    patchable: Patchable,
}

/// The placer at work.
struct Desk {
    placer: Placer,
    placement: Placement,
    gated: ByPod<Gated>,
    misplaced: MisplacedBases,
    readiness: Readiness,
    statuses: Statuses,
    pool_events: PoolEvents,
    writes: JoinSet<()>,
    permits: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
    events: Events,
}

impl Desk {
    fn new(placer: Placer, answers: mpsc::Sender<Answer>) -> Self {
        let mut desk = Self {
            placement: Placement::new(placer.settings.clone())
                .living_in(&placer.namespace)
                .looking()
                .awaiting_profile(),
            gated: ByPod::default(),
            misplaced: MisplacedBases::default(),
            readiness: Readiness::default(),
            statuses: Statuses::default(),
            pool_events: PoolEvents::default(),
            writes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(WRITES)),
            answers,
            events: Events::new(placer.client.clone()),
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
                (Event::Pod(pod), Some(patchable)) => {
                    self.gated.set(&pod.uid, Gated { created: pod.created, patchable });
                }
                (Event::Pod(Pod { uid, .. }) | Event::PodGone(uid), _) => self.gated.forget(uid),
                (Event::Begin(Kind::Pod), _) => self.gated.begin(),
                (Event::Finish(Kind::Pod), _) => self.gated.finish(),
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

    fn sight(&mut self, sighting: Sighting) {
        let misplaced = self.misplaced.see(sighting);
        self.tell_misplaced(misplaced);
    }

    fn tell_misplaced(&mut self, misplaced: Option<MisplacedBase>) {
        if let Some(MisplacedBase { kind, uid, name }) = misplaced {
            let about = ObjectReference { uid: Some(uid), ..about::object(about::api_version(kind), kind, &name) };
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
        let (about, events) = (about::pool(&pool, uid), self.events.clone());
        self.writes.spawn(async move {
            if is_trouble {
                events.warn(&about, ACTION, reason, &text).await;
            } else {
                events.tell(&about, ACTION, reason, &text).await;
            }
        });
    }

    fn decide(&mut self) {
        for action in self.placement.decide(now()) {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Place { pod, placing, extras, reason } => {
                self.decided(&pod, &reason);
                match self.gated.get(&pod.uid) {
                    Some(Gated { created, patchable }) => {
                        self.placer.metrics.waited(now().since(*created).as_secs_f64());
                        let at = jiff::Timestamp::now();
                        let patch = patch::place(&pod.uid, patchable, &placing, &extras, &reason, at);
                        let patch = patch::record(patch, self.decision(&pod.uid).as_ref());
                        self.send(pod, Write::Place(patch), None);
                    }
                    None => self.placement.settle(&pod.uid, Outcome::Refused, now()),
                }
            }
            Action::Explain { pod, reason } => {
                if let Some(Gated { patchable, .. }) = self.gated.get(&pod.uid) {
                    self.decided(&pod, &reason);
                    let patch = patch::explain(&pod.uid, patchable, &reason);
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
        let (permits, answers, events) = (self.permits.clone(), self.answers.clone(), self.events.clone());
        Courier { client, leadership, metrics, permits, answers, events }
    }

    fn warn(&mut self, object: Annotated, fault: &Fault) {
        self.publish_fault(about::annotated(object, &self.placer.foreign), fault.to_string());
    }

    fn note(&mut self, object: Annotated, note: &Note) {
        let (about, note) = (about::annotated(object, &self.placer.foreign), note.to_string());
        let (kind, namespace, name) = (&about.kind, &about.namespace, &about.name);
        tracing::warn!(kind, namespace, name, note, "a policy is not as it was meant");
        self.warn_of(about, "PolicyProblem", note);
    }

    fn publish_fault(&mut self, about: ObjectReference, fault: String) {
        let (kind, namespace, name) = (&about.kind, &about.namespace, &about.name);
        tracing::warn!(kind, namespace, name, fault, "an annotation is left aside");
        self.warn_of(about, "InvalidBase", fault);
    }

    fn warn_of(&mut self, about: ObjectReference, reason: &'static str, note: String) {
        let events = self.events.clone();
        self.writes.spawn(async move { events.warn(&about, ACTION, reason, &note).await });
    }
}

/// What one write needs beside the loop.
struct Courier {
    client: Client,
    leadership: watch::Receiver<Leadership>,
    metrics: PlacerMetrics,
    permits: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
    events: Events,
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
            self.events.tell(&about::pod(&pod), ACTION, reason.word(), &reason.to_string()).await;
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}
