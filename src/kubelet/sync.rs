//! What to do for one pod next: a pure state machine.
//!
//! Two sides report: the API server says what the pod is, the provider says what its instance is. Both may be late,
//! repeat themselves or be silent; calls to either may fail after taking effect. [`Pair`] holds the last word of each
//! side and what is in flight, and [`Pair::next`] answers the one call that brings them together. The rules:
//!
//! - one pod, one instance: nothing is created before the first list of instances, for a pod that ever had an
//!   instance, or for one that has ended;
//! - a pod on its way out is never written to, except to give it its final phase where finalizers keep it;
//! - an instance without a pod is deleted only when the pod is proven gone;
//! - one call at a time for a pod.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use super::{backoff::Backoff, digest::Digest, resolve::Unresolved};
use crate::provider::{ContainerReport, Instance, InstanceState, ProviderError};

/// A moment, as time since the kubelet started.
pub(crate) type Moment = Duration;

/// Numbers what is learned in the order in which it is learned, so that a list that began earlier cannot overrule it.
pub(crate) type Sequence = u64;

/// Time that a provider has, beyond the grace, to end an instance before it is asked again.
const DELETION_PATIENCE: Duration = Duration::from_mins(1);

/// What a container waits for whose variables or volumes are not to be had, in the kubelet's word for it.
pub(crate) const UNRESOLVED: &str = "CreateContainerConfigError";

/// Lists in a row that must lack an instance before it counts as lost.
const PROOF: u8 = 2;

/// A pod's phase, as far as the kubelet tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A pod's status in short: what the API server shows, or what it should show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) phase: Phase,
    pub(crate) ready: bool,
    pub(crate) ip: Option<IpAddr>,
    /// Why a pending pod's containers wait, in one word; empty for other phases.
    pub(crate) waits_for: &'static str,
    /// What is told of single containers, where the provider knows them apart.
    pub(crate) containers: Digest,
}

impl Report {
    pub(crate) const PENDING: Self =
        Self { phase: Phase::Pending, ready: false, ip: None, waits_for: "", containers: Digest::NONE };
}

/// The pod as the API server last showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, read from one object")]
pub(crate) struct PodView {
    /// Resource version, to tell older views from newer ones; 0 where it is no number.
    pub(crate) version: u64,
    pub(crate) report: Report,
    /// Grace of a pod being deleted.
    pub(crate) deletion: Option<Duration>,
    /// Finalizers keep the pod after its deletion, and their owners read its phase.
    pub(crate) has_finalizers: bool,
    /// Readiness gates of others are all open.
    pub(crate) gates_open: bool,
    /// The pod gets no instance here.
    pub(crate) held: bool,
    /// Containers are restarted when they end, so that ending is failing.
    pub(crate) restarts_always: bool,
}

/// What is known of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodFact {
    /// Nothing yet: only its instance is known.
    Unknown,
    /// It stands in the API server.
    Live(PodView),
    /// It is proven to be gone, for ever: its UID will not come back.
    Gone,
}

/// What is known of the pod's instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InstanceFact {
    /// None has been seen, and none was asked for.
    Absent,
    /// A call to create it failed in a way that may have created it.
    Maybe,
    /// It stands.
    Present {
        state: InstanceState,
        ip: Option<IpAddr>,
        /// Empty where the provider does not know them apart.
        containers: Arc<[ContainerReport]>,
    },
    /// There was one and it is no more.
    Gone,
}

/// The next call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask the provider for an instance.
    Create,
    /// Ask the provider to end the instance.
    DeleteInstance { grace: Duration },
    /// Write this status to the API server.
    WriteStatus(Report),
    /// Remove the pod object from the API server.
    DeletePod,
    /// Ask the API server whether the pod of an instance still stands.
    VerifyPod,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created(Instance),
    CreateFailed(ProviderError),
    /// What the pod refers to is not there, or not to be had: the provider was not asked.
    Unresolved(Unresolved),
    InstanceDeleted {
        grace: Duration,
    },
    StatusWritten {
        report: Report,
        version: u64,
    },
    PodDeleted,
    /// The pod's object with this UID exists.
    PodFound(PodView),
    /// The API server has no pod with this UID.
    PodMissing,
    /// The call failed and is worth repeating; `after` where the other side named a time.
    Failed {
        after: Option<Duration>,
    },
    /// So it did, for a reason that has nothing to do with this pod.
    Down {
        after: Option<Duration>,
    },
}

/// What is known of the whole, not of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct World {
    /// The provider has listed its instances at least once.
    pub(crate) instances_listed: bool,
    /// The API server has listed its pods at least once.
    pub(crate) pods_listed: bool,
}

/// A pod and its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) pod: PodFact,
    pub(crate) instance: InstanceFact,
    pub(crate) in_flight: bool,
    /// When the instance was last heard of or asked for.
    touched: Sequence,
    /// Grace that the provider was asked to end the instance with.
    ending: Option<Duration>,
    pod_deleted: bool,
    /// Views older than this do not know of the kubelet's own last write.
    written: u64,
    /// Why the provider refuses to create, in one word.
    refusal: &'static str,
    /// The refusal stands in no status yet, and writing one does not wait for the next try.
    refusal_is_news: bool,
    /// Stands for what is missing, so that the same is told once.
    lacks: u64,
    /// Lists in a row that lacked the instance.
    missed: u8,
    failures: u8,
    not_before: Moment,
}

impl Default for Pair {
    fn default() -> Self {
        Self {
            pod: PodFact::Unknown,
            instance: InstanceFact::Absent,
            in_flight: false,
            touched: 0,
            ending: None,
            pod_deleted: false,
            written: 0,
            refusal: "",
            refusal_is_news: false,
            lacks: 0,
            missed: 0,
            failures: 0,
            not_before: Duration::ZERO,
        }
    }
}

impl Pair {
    /// Takes in what the API server shows. Older views than the known one change nothing.
    pub(crate) fn see_pod(&mut self, view: PodView) {
        match &mut self.pod {
            PodFact::Gone => {}
            PodFact::Live(known) if view.version < known.version => {}
            PodFact::Live(known) => {
                if known.deletion.is_none() && view.deletion.is_some() {
                    self.not_before = Duration::ZERO;
                }
                // The kubelet's own write is newer than this view, which shows everything but that write.
                let report = if view.version < self.written { known.report.clone() } else { view.report.clone() };
                *known = PodView { report, ..view };
            }
            PodFact::Unknown => self.pod = PodFact::Live(view),
        }
    }

    /// The pod with this UID is no more. As with a deletion that begins, what was put off was another call than the next.
    pub(crate) fn lose_pod(&mut self) {
        if matches!(&self.pod, PodFact::Live(view) if view.deletion.is_none()) {
            self.not_before = Duration::ZERO;
        }
        self.pod = PodFact::Gone;
    }

    /// The pod was not in a complete list although it should be: whether it is gone must be asked.
    pub(crate) fn doubt_pod(&mut self) {
        if matches!(self.pod, PodFact::Live(_)) {
            self.pod = PodFact::Unknown;
            self.not_before = Duration::ZERO;
        }
    }

    /// Takes in what the provider says of the instance, at `at`.
    pub(crate) fn see_instance(&mut self, at: Sequence, instance: &Instance) {
        // A list that began before the last change tells of containers as they were then.
        let is_newest = at >= self.touched;
        self.touched = self.touched.max(at);
        self.missed = 0;
        let rank = |state: &InstanceState| match state {
            InstanceState::Pending => 0,
            InstanceState::Running => 1,
            InstanceState::Succeeded | InstanceState::Failed { .. } => 2,
        };
        match &mut self.instance {
            // Late word of an instance that has already gone.
            InstanceFact::Gone => {}
            // States only go forward; what seems to go back was sent earlier.
            InstanceFact::Present { state, .. } if rank(&instance.state) < rank(state) => {}
            InstanceFact::Present { state, ip, containers } => {
                state.clone_from(&instance.state);
                *ip = instance.ip.or(*ip);
                if is_newest && **containers != *instance.containers {
                    *containers = instance.containers.as_slice().into();
                }
            }
            fact => {
                let containers = instance.containers.as_slice().into();
                *fact = InstanceFact::Present { state: instance.state.clone(), ip: instance.ip, containers };
            }
        }
    }

    /// The provider says that the instance is no more.
    pub(crate) fn lose_instance(&mut self, at: Sequence) {
        self.touched = at;
        self.instance = InstanceFact::Gone;
        self.not_before = Duration::ZERO;
    }

    /// A list of instances that began at `began` has no instance for this pod. An instance that nobody asked to end
    /// must be missing twice: a provider that forgets everything for a moment must not cost every pod.
    pub(crate) fn miss_instance(&mut self, began: Sequence) {
        if self.touched >= began || self.in_flight {
            return;
        }
        self.missed = self.missed.saturating_add(1);
        match self.instance {
            InstanceFact::Present { .. } | InstanceFact::Maybe if self.ending.is_some() => self.lose_instance(began),
            InstanceFact::Present { .. } if self.missed >= PROOF => self.lose_instance(began),
            // What might have been created has not been.
            InstanceFact::Maybe => self.instance = InstanceFact::Absent,
            InstanceFact::Present { .. } | InstanceFact::Absent | InstanceFact::Gone => {}
        }
    }

    /// Another list soon would settle whether the instance is lost.
    pub(crate) fn is_suspect(&self) -> bool {
        let PodFact::Live(view) = &self.pod else { return false };
        match self.instance {
            InstanceFact::Present { .. } => self.missed > 0,
            InstanceFact::Absent => view.report.phase == Phase::Running && self.missed < PROOF,
            InstanceFact::Maybe | InstanceFact::Gone => false,
        }
    }

    /// Nothing is left to do or to know.
    pub(crate) fn is_settled(&self) -> bool {
        !self.in_flight
            && matches!(self.pod, PodFact::Gone)
            && matches!(self.instance, InstanceFact::Absent | InstanceFact::Gone)
    }

    /// The moment before which nothing is tried again.
    pub(crate) fn not_before(&self) -> Moment {
        self.not_before
    }

    /// The call to make at `now`, if any. Does not look at [`Pair::not_before`].
    pub(crate) fn wanted(&self, world: World) -> Option<Action> {
        match &self.pod {
            PodFact::Unknown => world.pods_listed.then_some(Action::VerifyPod),
            PodFact::Gone => match self.instance {
                InstanceFact::Present { .. } | InstanceFact::Maybe => {
                    Some(Action::DeleteInstance { grace: Duration::ZERO })
                }
                InstanceFact::Absent | InstanceFact::Gone => None,
            },
            PodFact::Live(view) => match view.deletion {
                Some(grace) => self.wanted_deleting(view, grace, world),
                None => self.wanted_live(view, world),
            },
        }
    }

    /// The call to make at `now`, if any.
    pub(crate) fn next(&self, now: Moment, world: World) -> Option<Action> {
        if self.in_flight {
            return None;
        }
        let action = self.wanted(world)?;
        // A shorter grace than the one in force does not wait for the longer one to pass.
        let hastened = matches!(action, Action::DeleteInstance { grace } if self.ending.is_some_and(|e| grace < e));
        let news = self.refusal_is_news && matches!(action, Action::WriteStatus(_));
        (hastened || news || now >= self.not_before).then_some(action)
    }

    fn wanted_deleting(&self, view: &PodView, grace: Duration, world: World) -> Option<Action> {
        match &self.instance {
            InstanceFact::Present { state, ip, containers } if view.has_finalizers && state.is_finished() => {
                let ended = report_of(view, state, *ip, containers).filter(|_| !view.report.phase.is_final());
                Some(ended.map_or(Action::DeleteInstance { grace }, Action::WriteStatus))
            }
            InstanceFact::Present { .. } | InstanceFact::Maybe => Some(Action::DeleteInstance { grace }),
            InstanceFact::Absent if !world.instances_listed && !view.held => None,
            InstanceFact::Absent | InstanceFact::Gone => {
                if view.has_finalizers && !view.report.phase.is_final() {
                    return Some(Action::WriteStatus(Report { phase: Phase::Failed, ..Report::PENDING }));
                }
                // Grace 0 means that the deletion is done and only finalizers are waited for.
                let done = self.pod_deleted || (view.has_finalizers && grace.is_zero());
                (!done).then_some(Action::DeletePod)
            }
        }
    }

    fn wanted_live(&self, view: &PodView, world: World) -> Option<Action> {
        if view.report.phase.is_final() || view.held {
            return None;
        }
        let wanted = match &self.instance {
            InstanceFact::Absent if !world.instances_listed => return None,
            InstanceFact::Absent | InstanceFact::Maybe => {
                if view.report.phase == Phase::Running {
                    // It ran, so it had its instance.
                    if self.missed < PROOF {
                        return None;
                    }
                    Report { phase: Phase::Failed, ..Report::PENDING }
                } else if !self.refusal.is_empty() && view.report.waits_for != self.refusal {
                    Report { waits_for: self.refusal, ..Report::PENDING }
                } else {
                    return Some(Action::Create);
                }
            }
            InstanceFact::Gone => Report { phase: Phase::Failed, ..Report::PENDING },
            InstanceFact::Present { state, ip, containers } => report_of(view, state, *ip, containers)?,
        };
        (wanted != view.report).then_some(Action::WriteStatus(wanted))
    }

    /// Notes that a call was made at `at`.
    pub(crate) fn begin(&mut self, at: Sequence, action: &Action) {
        self.in_flight = true;
        match action {
            Action::Create | Action::DeleteInstance { .. } => self.touched = at,
            Action::WriteStatus(_) => self.refusal_is_news = false,
            Action::DeletePod | Action::VerifyPod => {}
        }
    }

    /// Takes in how the call in flight ended. Answers whether it is a refusal that nobody has been told of yet.
    pub(crate) fn finish(&mut self, at: Sequence, now: Moment, backoff: &Backoff, seed: u64, outcome: Outcome) -> bool {
        self.in_flight = false;
        let mut is_news = false;
        let retry = match outcome {
            Outcome::Created(instance) => {
                self.see_instance(at, &instance);
                self.refusal = "";
                self.lacks = 0;
                None
            }
            Outcome::CreateFailed(error) => {
                self.touched = at;
                let (news, after) = self.refuse(&error);
                is_news = news;
                Some(after)
            }
            Outcome::Unresolved(error) => {
                is_news = self.lack(&error);
                self.failures = self.failures.saturating_add(1);
                // What is missing may be made at any moment, and asking costs the provider nothing.
                let backoff = Backoff { most: backoff.most.min(Backoff::UNRESOLVED), ..*backoff };
                self.not_before = now + backoff.delay(self.failures.into(), seed);
                return is_news;
            }
            Outcome::InstanceDeleted { grace } => {
                self.touched = at;
                self.ending = Some(grace);
                self.failures = 0;
                self.not_before =
                    if self.instance == InstanceFact::Gone { Duration::ZERO } else { now + grace + DELETION_PATIENCE };
                return false;
            }
            Outcome::StatusWritten { report, version } => {
                self.written = self.written.max(version);
                if let PodFact::Live(view) = &mut self.pod
                    && view.version <= version
                {
                    view.report = report;
                }
                None
            }
            Outcome::PodDeleted => {
                self.pod_deleted = true;
                None
            }
            Outcome::PodFound(view) => {
                self.see_pod(view);
                None
            }
            Outcome::PodMissing => {
                self.lose_pod();
                None
            }
            Outcome::Failed { after } | Outcome::Down { after } => Some(after),
        };
        match retry {
            // Between refusals, a written status is no success.
            None if !self.refusal.is_empty() => {}
            None => {
                self.failures = 0;
                self.not_before = Duration::ZERO;
            }
            Some(after) => {
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + backoff.delay(self.failures.into(), seed).max(after.unwrap_or_default());
            }
        }
        is_news
    }

    /// Takes in that the pod cannot be resolved; answers whether that is to be told.
    fn lack(&mut self, error: &Unresolved) -> bool {
        // One lost call is nothing to tell people about, nor is the moment in which the API server does not know yet that
        // the pod is the node's.
        let passing = matches!(error, Unresolved::Unreadable(_) | Unresolved::Forbidden(_));
        if passing && self.failures == 0 {
            return false;
        }
        self.refusal_is_news |= self.refusal != UNRESOLVED;
        self.refusal = UNRESOLVED;
        let lacks = BuildHasherDefault::<DefaultHasher>::default().hash_one(error);
        std::mem::replace(&mut self.lacks, lacks) != lacks
    }

    /// Takes in a refusal to create; answers whether it is to be told, and the least time to wait.
    fn refuse(&mut self, error: &ProviderError) -> (bool, Option<Duration>) {
        // One lost or throttled call is nothing to tell people about.
        let passing = matches!(error, ProviderError::Unavailable(_) | ProviderError::Throttled { .. });
        let mut is_news = false;
        if !passing || self.failures > 0 {
            is_news = self.refusal != error.kind();
            self.refusal_is_news |= is_news;
            self.refusal = error.kind();
        }
        let after = match error {
            ProviderError::Unavailable(_) => {
                if self.instance == InstanceFact::Absent {
                    self.instance = InstanceFact::Maybe;
                }
                None
            }
            ProviderError::Throttled { retry_after, .. } => *retry_after,
            _ if error.is_retryable() => None,
            // Only a person can help; asking often would only cost calls.
            _ => Some(Backoff::HOPELESS),
        };
        (is_news, after)
    }
}

/// The status that an instance in `state` gives its pod; `None` while there is nothing to say.
fn report_of(
    view: &PodView,
    state: &InstanceState,
    ip: Option<IpAddr>,
    containers: &[ContainerReport],
) -> Option<Report> {
    let phase = match state {
        InstanceState::Pending if containers.is_empty() => return None,
        InstanceState::Pending => Phase::Pending,
        InstanceState::Running => Phase::Running,
        InstanceState::Succeeded if !view.restarts_always => Phase::Succeeded,
        InstanceState::Succeeded | InstanceState::Failed { .. } => Phase::Failed,
    };
    let running = phase == Phase::Running;
    let ip = ip.or(view.report.ip);
    let ready = running && view.gates_open && containers.iter().all(|container| container.is_ready);
    // What is not known is left as it was written.
    let containers = if containers.is_empty() { view.report.containers } else { Digest::of_reports(containers) };
    Some(Report { phase, ready, ip, waits_for: "", containers })
}
