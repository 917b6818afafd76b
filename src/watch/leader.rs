//! Leader election by a Lease: one replica decides, the others stand by.
//!
//! The rules are those of client-go's leader election: a holder renews well before its lease ends and stops writing
//! before anyone else may take it; a candidate trusts no clock but its own, and takes a lease that it has seen
//! unchanged for as long as the lease lasts.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// Who elects, and how patiently.
#[derive(Debug, Clone)]
pub struct ElectionSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// This replica's name; no two replicas share one.
    pub identity: String,
    /// How long a lease lasts without renewal.
    pub duration: Duration,
    /// How often it is renewed, or looked at.
    pub renew: Duration,
}

/// Whether this replica leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Another replica leads, or none.
    Standby,
    /// This replica leads, and must not begin a write after this moment unless it has renewed.
    Leader {
        /// The end of its right to write.
        until: Instant,
    },
}

impl Leadership {
    /// Whether a write may begin now.
    pub fn may_write(self) -> bool {
        matches!(self, Self::Leader { until } if Instant::now() < until)
    }
}

/// Why an election cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// The settings leave no time to renew.
    #[error(
        "the lease of {duration:?} is too short for renewals every {renew:?}; make it at least three times as long"
    )]
    TooShort {
        /// The lease's duration.
        duration: Duration,
        /// The time between renewals.
        renew: Duration,
    },
}

/// One replica's part in the election.
#[derive(Debug)]
pub struct Election {
    settings: ElectionSettings,
    api: Api<Lease>,
    sighting: Option<Sighting>,
}

/// A version of the Lease that another replica holds, and since when it has stood so, by our clock.
#[derive(Debug)]
struct Sighting {
    version: Option<String>,
    since: Instant,
}

/// What to do about the Lease as it stands.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Write our name into it, for the first time or again.
    Hold,
    /// It is another's.
    Wait,
}

impl Election {
    /// Prepares to take part.
    pub fn new(client: Client, settings: ElectionSettings) -> Result<Self, ElectionError> {
        let (duration, renew) = (settings.duration, settings.renew);
        if duration < renew * 3 {
            return Err(ElectionError::TooShort { duration, renew });
        }
        Ok(Self { api: Api::namespaced(client, &settings.namespace), settings, sighting: None })
    }

    /// Takes part until `stop`, telling in `leadership` what holds; then gives the Lease back, so that a standby need
    /// not wait for its end.
    pub async fn run(mut self, leadership: watch::Sender<Leadership>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let began = Instant::now();
            let held = match timeout(self.settings.renew, self.attempt()).await {
                Ok(Ok(held)) => Some(held),
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.settings.lease, "unable to read or write the lease");
                    None
                }
                Err(_) => {
                    tracing::warn!(lease = self.settings.lease, "the lease was not answered for in time");
                    None
                }
            };
            // The right to write ends a third before anyone else may take the lease: time for writes under way.
            let until = began + self.settings.duration * 2 / 3;
            leadership.send_if_modified(|current| {
                let next = match held {
                    Some(true) => Leadership::Leader { until },
                    None if current.may_write() => *current,
                    Some(false) | None => Leadership::Standby,
                };
                std::mem::replace(current, next) != next
            });
            let pause = if held.is_some() { self.settings.renew } else { self.settings.renew / 4 };
            let _ = timeout(pause, stop.cancelled()).await;
        }
        if leadership.send_replace(Leadership::Standby) != Leadership::Standby {
            self.give_back().await;
        }
    }

    /// Whether the Lease is ours after this.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.settings.lease).await? else {
            let written = self
                .api
                .create(
                    &PostParams::default(),
                    &self.ours(ObjectMeta { name: Some(self.settings.lease.clone()), ..ObjectMeta::default() }, 0),
                )
                .await;
            return settled(written);
        };
        match self.next(&lease, Instant::now()) {
            Step::Wait => Ok(false),
            Step::Hold => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
                let changes_hands = !self.is_ours(&lease);
                let renewed = self.ours(lease.metadata, transitions + i32::from(changes_hands));
                settled(self.api.replace(&self.settings.lease, &PostParams::default(), &renewed).await)
            }
        }
    }

    fn next(&mut self, lease: &Lease, now: Instant) -> Step {
        let spec = lease.spec.as_ref();
        let is_free = spec.and_then(|spec| spec.holder_identity.as_deref()).is_none_or(str::is_empty);
        if is_free || self.is_ours(lease) {
            self.sighting = None;
            return Step::Hold;
        }
        let version = lease.metadata.resource_version.clone();
        let since = match &self.sighting {
            Some(sighting) if sighting.version == version => sighting.since,
            _ => now,
        };
        self.sighting = Some(Sighting { version, since });
        let lasts = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = lasts.map_or(self.settings.duration, Duration::from_secs);
        if now.duration_since(since) >= lasts { Step::Hold } else { Step::Wait }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(&self.settings.identity)
    }

    /// The Lease with our name in it. The resource version in `metadata` makes the write fail if another was faster.
    fn ours(&self, metadata: ObjectMeta, transitions: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let seconds = self.settings.duration.as_secs().max(1);
        let spec = LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    async fn give_back(&self) {
        let freed = async {
            let mut lease = self.api.get(&self.settings.lease).await?;
            if self.is_ours(&lease)
                && let Some(spec) = &mut lease.spec
            {
                spec.holder_identity = None;
                self.api.replace(&self.settings.lease, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(self.settings.renew, freed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "unable to give the lease back; a standby waits for its end"),
            Err(_) => tracing::warn!("unable to give the lease back in time; a standby waits for its end"),
        }
    }
}

/// A conflict says that another replica was faster.
fn settled(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(identity: &str) -> Election {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let settings = ElectionSettings {
            namespace: "burstlet-system".to_owned(),
            lease: "burstlet".to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(8),
            renew: Duration::from_secs(2),
        };
        Election::new(Client::try_from(config).unwrap(), settings).unwrap()
    }

    fn version(mut lease: Lease, version: &str) -> Lease {
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[tokio::test]
    async fn another_replicas_lease_is_taken_once_it_stood_unchanged_for_its_duration() {
        let mut candidate = election("b");
        let lease = version(election("a").ours(ObjectMeta::default(), 0), "1");
        let start = Instant::now();
        assert_eq!(candidate.next(&lease, start), Step::Wait);
        assert_eq!(candidate.next(&lease, start + Duration::from_secs(7)), Step::Wait);
        let renewed = version(lease.clone(), "2");
        assert_eq!(candidate.next(&renewed, start + Duration::from_secs(8)), Step::Wait);
        assert_eq!(candidate.next(&renewed, start + Duration::from_secs(15)), Step::Wait);
        assert_eq!(candidate.next(&renewed, start + Duration::from_secs(16)), Step::Hold);
    }

    #[tokio::test]
    async fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut lease = election("a").ours(ObjectMeta::default(), 0);
        lease.spec.as_mut().unwrap().holder_identity = None;
        assert_eq!(election("b").next(&lease, Instant::now()), Step::Hold);
    }

    #[tokio::test]
    async fn a_lease_without_time_to_renew_is_refused() {
        let client = election("a").api.into_client();
        let settings = ElectionSettings { duration: Duration::from_secs(5), ..election("a").settings };
        let refused = Election::new(client, settings).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the lease of 5s is too short for renewals every 2s; make it at least three times as long"
        );
    }
}
