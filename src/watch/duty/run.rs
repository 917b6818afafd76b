//! Takes part for one replica: reads the Leases, does what [`Book`] says, tells the [`Roster`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Duty, Leadership, Moment, Roster,
    rules::{Book, Record, Rules, Step},
};
use crate::api::names;

/// Who would like to have a Lease.
const ASKED_BY: &str = "burstlet.dev/asked-by";
/// How often it is looked whether the work has ended here, once it is asked to.
const ENDING: Duration = Duration::from_millis(20);

/// Who takes part, and how patiently.
#[derive(Debug, Clone)]
pub struct DutySettings {
    /// Namespace of the Leases.
    pub namespace: String,
    /// This replica's name; no two replicas share one.
    pub identity: String,
    /// How long a Lease lasts without renewal.
    pub duration: Duration,
    /// How often it is renewed, or looked at.
    pub renew: Duration,
}

/// Why nobody can take part so.
#[derive(Debug, thiserror::Error)]
pub enum DutyError {
    /// The settings leave no time to renew.
    #[error(
        "the lease of {duration:?} is too short for renewals every {renew:?}; make it at least three times as long"
    )]
    TooShort {
        /// A Lease's duration.
        duration: Duration,
        /// The time between renewals.
        renew: Duration,
    },
}

/// One replica's part.
#[derive(Debug)]
pub struct Duties {
    settings: DutySettings,
    api: Api<Lease>,
    book: Book,
    roster: Roster,
    began: Instant,
}

/// How a write ended.
enum Written {
    Held(Duty, Moment),
    Passed(Duty, String),
    /// It changes nothing here, or nobody knows.
    Nothing,
}

impl Duties {
    /// Prepares to take part.
    pub fn new(client: Client, settings: DutySettings, roster: Roster) -> Result<Self, DutyError> {
        let DutySettings { namespace, identity, duration, renew } = &settings;
        if *duration < *renew * 3 {
            return Err(DutyError::TooShort { duration: *duration, renew: *renew });
        }
        // A Lease tells its duration in seconds, and others wait as long as it tells.
        let lasts = Duration::from_secs(duration.as_secs());
        let book = Book::new(Rules { identity: identity.clone(), lasts, renew: *renew });
        Ok(Self { api: Api::namespaced(client, namespace), settings, book, roster, began: Instant::now() })
    }

    /// Takes part in what `duties` names until `stop`; then gives back what is held once its work has ended, so that others
    /// need not wait for the Leases' end.
    pub async fn run(mut self, mut duties: watch::Receiver<BTreeSet<Duty>>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let began = self.now();
            let wanted = duties.borrow_and_update().clone();
            self.roster.know(&wanted);
            let looked = self.look(&wanted).await;
            self.tell();
            let pause = match looked {
                Some(Change::Taken) => continue,
                Some(Change::None) => self.book.next_look(began).saturating_sub(self.now()),
                None => self.settings.renew / 4,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause.max(ENDING)) => {}
                Ok(()) = duties.changed() => {}
            }
        }
        self.end().await;
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// One look, and what follows from it; `None` where the API server did not answer.
    async fn look(&mut self, duties: &BTreeSet<Duty>) -> Option<Change> {
        let leases = self.read(duties).await?;
        let records =
            leases.iter().map(|(duty, lease)| (duty.clone(), record(lease, self.settings.duration))).collect();
        let now = self.now();
        let steps = self.book.look(now, duties, &self.roster.at_work(), &records);
        // What must end is told before anything waits for its end.
        self.tell();
        let written = join_all(steps.into_iter().map(|step| self.write(step, &leases))).await;
        let mut change = Change::None;
        for written in written {
            match written {
                Written::Held(duty, began) => {
                    if self.book.until(&duty).is_none() {
                        tracing::info!(lease = duty.lease(), "this replica takes over");
                        change = Change::Taken;
                    }
                    self.book.hold(&duty, began);
                }
                Written::Passed(duty, to) => self.book.pass(&duty, &to, self.now()),
                Written::Nothing => {}
            }
        }
        Some(change)
    }

    async fn read(&self, duties: &BTreeSet<Duty>) -> Option<BTreeMap<Duty, Lease>> {
        let listed = match timeout(self.settings.renew, self.api.list(&ListParams::default())).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => {
                tracing::warn!(%error, "unable to read the leases");
                return None;
            }
            Err(_) => {
                tracing::warn!("the leases were not told in time");
                return None;
            }
        };
        let mut by_name: BTreeMap<String, Lease> = listed.into_iter().map(|lease| (lease.name_any(), lease)).collect();
        Some(duties.iter().filter_map(|duty| Some((duty.clone(), by_name.remove(duty.lease())?))).collect())
    }

    /// Takes a step. A version in the way says that another replica was faster; what it wrote is seen at the next look.
    async fn write(&self, step: Step, leases: &BTreeMap<Duty, Lease>) -> Written {
        let began = self.now();
        let (duty, lease) = match &step {
            Step::Hold(duty) => (duty, self.ours(duty, leases.get(duty), self.book.leaves(duty))),
            Step::Ask(duty) | Step::HandOver(duty, _) => {
                let Some(mut lease) = leases.get(duty).cloned() else { return Written::Nothing };
                if let Step::HandOver(_, to) = &step {
                    lease.annotations_mut().remove(ASKED_BY);
                    self.name(&mut lease, to);
                } else {
                    lease.annotations_mut().insert(ASKED_BY.to_owned(), self.settings.identity.clone());
                }
                (duty, lease)
            }
        };
        let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
        let call = async {
            if lease.metadata.resource_version.is_some() {
                self.api.replace(duty.lease(), &params, &lease).await
            } else {
                self.api.create(&params, &lease).await
            }
        };
        match (timeout(self.settings.renew, call).await, &step) {
            (Ok(Ok(_)), Step::Hold(duty)) => Written::Held(duty.clone(), began),
            (Ok(Ok(_)), Step::HandOver(duty, to)) => {
                tracing::info!(lease = duty.lease(), %to, "handed over: this replica had more to do");
                Written::Passed(duty.clone(), to.clone())
            }
            // A wish on the Lease, too, is in the way: the next look tells whose it is.
            (Ok(Err(kube::Error::Api(status))), _) if matches!(status.code, 404 | 409) => Written::Nothing,
            (Ok(Err(error)), _) => {
                tracing::warn!(%error, lease = duty.lease(), "unable to write the lease");
                Written::Nothing
            }
            (Err(_), _) => {
                tracing::warn!(lease = duty.lease(), "the lease was not answered for in time");
                Written::Nothing
            }
            (Ok(Ok(_)), Step::Ask(_)) => Written::Nothing,
        }
    }

    /// The Lease with our name in it. The version in its metadata makes the write fail if another was faster.
    fn ours(&self, duty: &Duty, read: Option<&Lease>, leaves: bool) -> Lease {
        let mut lease = read.cloned().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(duty.lease().to_owned()), ..ObjectMeta::default() },
            spec: None,
        });
        lease.labels_mut().insert("app.kubernetes.io/managed-by".to_owned(), names::MANAGER.to_owned());
        if !leaves {
            lease.annotations_mut().remove(ASKED_BY);
        }
        self.name(&mut lease, &self.settings.identity);
        lease
    }

    fn name(&self, lease: &mut Lease, holder: &str) {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        let changes_hands = spec.holder_identity.as_deref() != Some(holder);
        if changes_hands {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |transitions| transitions + 1));
        }
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds = i32::try_from(self.settings.duration.as_secs()).ok();
        spec.renew_time = Some(now);
    }

    /// Tells the roster what holds now.
    fn tell(&self) {
        let now = self.now();
        self.roster.tell(|duty| match self.book.until(duty) {
            Some(until) if now < until => (Leadership::Leader { until: self.began + until }, self.book.leaves(duty)),
            _ => (Leadership::Standby, false),
        });
    }

    /// Waits for the end of the work under way, as long as the right to do it lasts, and gives back what has ended.
    async fn end(&mut self) {
        let held = self.roster.all().into_iter().filter(|duty| self.book.until(duty).is_some());
        let held: BTreeSet<Duty> = held.collect();
        let last = held.iter().filter_map(|duty| self.book.until(duty)).max().unwrap_or_default();
        while self.now() < last && !self.roster.at_work().is_disjoint(&held) {
            sleep(ENDING).await;
        }
        self.roster.tell(|_| (Leadership::Standby, false));
        let busy = self.roster.at_work();
        let Some(leases) = self.read(&held.difference(&busy).cloned().collect()).await else { return };
        join_all(leases.into_iter().map(|(duty, lease)| self.give_back(duty, lease))).await;
    }

    async fn give_back(&self, duty: Duty, mut lease: Lease) {
        let Some(spec) = lease.spec.as_mut() else { return };
        if spec.holder_identity.as_ref() != Some(&self.settings.identity) {
            return;
        }
        spec.holder_identity = None;
        let params = PostParams::default();
        match timeout(self.settings.renew, self.api.replace(duty.lease(), &params, &lease)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, %duty, "unable to give the lease back; others wait for its end"),
            Err(_) => tracing::warn!(%duty, "unable to give the lease back in time; others wait for its end"),
        }
    }
}

/// What a look changed.
enum Change {
    /// There may be more to take.
    Taken,
    None,
}

fn record(lease: &Lease, usually: Duration) -> Record {
    let spec = lease.spec.as_ref();
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        renewed: renewed.map(|at| at.0.to_string()).unwrap_or_default(),
        lasts: lasts.map_or(usually, Duration::from_secs),
        asked_by: lease.annotations().get(ASKED_BY).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_without_time_to_renew_is_refused() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let settings = DutySettings {
            namespace: "burstlet-system".to_owned(),
            identity: "a".to_owned(),
            duration: Duration::from_secs(5),
            renew: Duration::from_secs(2),
        };
        let refused = Duties::new(client, settings, Roster::default()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the lease of 5s is too short for renewals every 2s; make it at least three times as long"
        );
    }
}
