//! A [`Provider`] for clouds that tell nothing by themselves: all of a cluster's instances are listed again and again,
//! and what differs is a change.
//!
//! Each cloud brings an [`Api`]; what they share is here: one creation at a time for each pod, the pool's places in
//! turn, copies taken away that a request sent twice has made, and an absence believed only when it is seen twice (an
//! item can slip through between two pages).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

use super::{
    log::{self, Reads, Window},
    places::{Order, Places},
};
use crate::{
    api::{names, pool::SubnetOrder},
    provider::{
        Content, Exec, ExitStatus, Instance, InstanceChange, InstanceId, InstanceState, LogOptions, LogStream, Owner,
        Provider, ProviderError, ReclaimNotice, Stock, Streams, Takes, Usage, capabilities::hold, lacks,
    },
};

/// How often instances are listed while some start or end, and while none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// While some start or end.
    pub busy: Duration,
    /// While nothing is expected.
    pub rest: Duration,
}

impl Pace {
    /// For clouds whose instances have to be read singly.
    pub const SLOW: Self = Self { busy: Duration::from_secs(5), rest: Duration::from_secs(30) };
}

impl Default for Pace {
    fn default() -> Self {
        Self { busy: Duration::from_secs(1), rest: Duration::from_secs(10) }
    }
}

/// An instance as a cloud lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The instance.
    pub instance: Instance,
    /// What orders copies of one pod: the moment of creation, as the cloud tells it.
    pub created: String,
    /// What the cloud says where it will take the instance back.
    pub notice: Option<String>,
}

/// Where one pod may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// In any of the pool's places.
    Any,
    /// In these of the pool's places only.
    Among(Vec<usize>),
    /// In a place that the pod names and the pool does not have.
    Own,
}

/// What one cloud can do.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// What a creation needs, made from the pod before any call.
    type Request: Send + Sync;

    /// Name in the taint and in labels.
    fn name(&self) -> &'static str;

    /// What it has of what pods ask for.
    fn capabilities(&self) -> Capabilities;

    /// The request for `pod`, or why there is none: the field and its limit.
    fn translate(&self, owner: &Owner, pod: &Pod) -> Result<Self::Request, ProviderError>;

    /// What of a pod's content the cloud takes.
    fn takes(&self) -> Takes {
        Takes::default()
    }

    /// [`Api::translate`] with the pod's content, as far as the cloud takes it.
    fn translate_with(&self, owner: &Owner, pod: &Pod, _: &Content) -> Result<Self::Request, ProviderError> {
        self.translate(owner, pod)
    }

    /// Where `request` may run.
    fn choice(&self, _request: &Self::Request) -> Choice {
        Choice::Any
    }

    /// The pod's instance, where creating twice would make two; `None` where the cloud itself prevents that.
    async fn find(&self, owner: &Owner) -> Result<Option<Found>, ProviderError>;

    /// Creates in a place of the pool; in the pod's own where it is `None`.
    async fn create(
        &self,
        owner: &Owner,
        request: &Self::Request,
        place: Option<usize>,
    ) -> Result<Instance, ProviderError>;

    /// Ends every instance of the owner's; `known` was listed or created last. None at all is success.
    async fn delete(&self, owner: &Owner, known: Option<&Instance>, grace: Duration) -> Result<(), ProviderError>;

    /// Ends one of several instances of a pod.
    async fn delete_copy(&self, copy: &Instance) -> Result<(), ProviderError>;

    /// All instances of the cluster.
    async fn list(&self, cluster: &str) -> Result<Vec<Found>, ProviderError>;

    /// The size that `request` was rounded up to, for people.
    fn size(&self, request: &Self::Request) -> String;

    /// What the cloud can tell of logs.
    fn log_reads(&self) -> Result<Reads, ProviderError> {
        Err(lacks(self.name(), "logs"))
    }

    /// The end of a container's log.
    async fn log(
        &self,
        _owner: &Owner,
        _instance: &InstanceId,
        _container: &str,
        _window: Window,
    ) -> Result<String, ProviderError> {
        Err(lacks(self.name(), "logs"))
    }

    /// Runs a command in a container.
    async fn exec(&self, _owner: &Owner, _instance: &InstanceId, _exec: Exec) -> Result<ExitStatus, ProviderError> {
        Err(lacks(self.name(), "exec"))
    }

    /// Joins a container's own streams.
    async fn attach(&self, _owner: &Owner, _container: &str, _streams: Streams) -> Result<ExitStatus, ProviderError> {
        Err(lacks(self.name(), "attach"))
    }

    /// What can still be taken.
    async fn stock(&self) -> Result<Stock, ProviderError> {
        Ok(Stock { instances: None })
    }

    /// What the instances have used, where the cloud tells.
    async fn usage(&self, _cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        Ok(Vec::new())
    }
}

/// A provider that lists; clones are the same one.
#[derive(Debug)]
pub struct Fleet<A> {
    inner: Arc<Inner<A>>,
}

impl<A> Clone for Fleet<A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<A> {
    api: A,
    places: Places,
    pace: Pace,
    /// Held while a pod's instance is created or deleted, by UID.
    locks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// What was listed or created last, by UID.
    known: Mutex<BTreeMap<String, Instance>>,
    /// Owners whose end was asked for and not seen yet, by UID.
    ending: Mutex<BTreeMap<String, Owner>>,
    /// Sizes of what was created here, by UID.
    sizes: Mutex<BTreeMap<String, String>>,
    notices: Mutex<Vec<ReclaimNotice>>,
    /// Why the last list failed, where it did.
    list_fault: Mutex<Option<ProviderError>>,
    news: Notify,
}

impl<A: Api> Fleet<A> {
    /// Instances of `api` in `places`.
    pub fn new(api: A, places: Places, pace: Pace) -> Self {
        let inner = Inner {
            api,
            places,
            pace,
            locks: Mutex::default(),
            known: Mutex::default(),
            ending: Mutex::default(),
            sizes: Mutex::default(),
            notices: Mutex::default(),
            list_fault: Mutex::default(),
            news: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The cloud behind it.
    pub fn api(&self) -> &A {
        &self.inner.api
    }

    /// What was listed or created last for the pod of this UID.
    pub fn known(&self, uid: &str) -> Option<Instance> {
        lock(&self.inner.known).get(uid).cloned()
    }

    /// Whether the pod of this UID can run here, told without a call.
    pub fn check(&self, owner: &Owner, pod: &Pod) -> Result<(), ProviderError> {
        hold(pod, &self.inner.api.capabilities())?;
        self.inner.api.translate(owner, pod).map(drop)
    }

    /// Lists, and takes copies away: of several instances of one pod the first stays.
    async fn gather(&self, cluster: &str) -> Result<BTreeMap<String, Instance>, ProviderError> {
        let listed = self.inner.api.list(cluster).await;
        *lock(&self.inner.list_fault) = listed.as_ref().err().cloned().map(ProviderError::lasting);
        let mut found = listed?;
        let notice = |found: &Found| {
            let message = found.notice.clone().filter(|_| !is_over(found))?;
            Some(ReclaimNotice { owner: found.instance.owner.clone(), message })
        };
        *lock(&self.inner.notices) = found.iter().filter_map(notice).collect();
        found.sort_by(|a, b| (is_over(a), &a.created, &a.instance.id).cmp(&(is_over(b), &b.created, &b.instance.id)));
        let mut first = BTreeMap::new();
        let mut copies = Vec::new();
        for Found { instance, .. } in found {
            match first.entry(instance.owner.uid.clone()) {
                std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(instance)),
                std::collections::btree_map::Entry::Occupied(_) => copies.push(instance),
            }
        }
        for copy in copies {
            tracing::warn!(pod = %copy.owner.name, namespace = %copy.owner.namespace, id = %copy.id, "a second instance of one pod is taken away");
            if let Err(error) = self.inner.api.delete_copy(&copy).await {
                tracing::warn!(%error, id = %copy.id, "the second instance still stands; it will be tried again");
            }
        }
        lock(&self.inner.known).clone_from(&first);
        Ok(first)
    }

    async fn create_anywhere(&self, owner: &Owner, request: &A::Request) -> Result<Instance, ProviderError> {
        let Inner { api, places, .. } = &*self.inner;
        let mut candidates = places.candidates_for(&owner.uid);
        match api.choice(request) {
            Choice::Any => {}
            Choice::Among(allowed) => candidates.retain(|place| allowed.contains(place)),
            Choice::Own => return api.create(owner, request, None).await.inspect_err(|error| self.note_quota(error)),
        }
        let mut short = None;
        for place in candidates {
            match api.create(owner, request, Some(place)).await {
                Err(error @ ProviderError::NoStock(_)) => {
                    places.is_short(place);
                    short = Some(error);
                }
                Ok(instance) => {
                    places.has_room(place);
                    return Ok(instance);
                }
                Err(error) => {
                    self.note_quota(&error);
                    return Err(error);
                }
            }
        }
        let text = "every subnet of the pool was short of machines, addresses or quota a moment ago";
        Err(short.unwrap_or_else(|| ProviderError::NoStock(text.to_owned())))
    }

    /// A quota that is used up is the account's: no place takes the next pod.
    fn note_quota(&self, error: &ProviderError) {
        if matches!(error, ProviderError::QuotaExceeded(_)) {
            self.inner.places.are_all_short();
        }
    }

    /// The pod's instance: the one known, or what the cloud has.
    async fn instance_of(&self, owner: &Owner) -> Result<InstanceId, ProviderError> {
        if let Some(known) = self.known(&owner.uid) {
            return Ok(known.id);
        }
        let found = self.inner.api.find(owner).await?.map(|found| found.instance.id);
        found.ok_or_else(|| ProviderError::NotFound(format!("the pod {} has no instance", owner.name)))
    }

    fn pod_lock(&self, uid: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = lock(&self.inner.locks);
        // Those that nobody holds are of no use any more.
        if locks.len() > 1024 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(uid.to_owned()).or_default())
    }

    /// Sends what differs between `before` and `now`. Absent ones are `missed` once before they count as gone, unless
    /// their end was asked for.
    async fn tell(
        &self,
        before: &mut BTreeMap<String, Instance>,
        missed: &mut BTreeMap<String, Instance>,
        now: BTreeMap<String, Instance>,
        changes: &mpsc::Sender<InstanceChange>,
    ) -> Result<(), mpsc::error::SendError<InstanceChange>> {
        for (uid, instance) in &now {
            let was = before.get(uid).or_else(|| missed.get(uid));
            if was != Some(instance) {
                changes.send(InstanceChange::Changed(instance.clone())).await?;
            }
        }
        let asked = lock(&self.inner.ending).clone();
        let mut absent = BTreeMap::new();
        for (uid, instance) in std::mem::take(before).into_iter().chain(std::mem::take(missed)) {
            if now.contains_key(&uid) {
                continue;
            }
            absent.insert(uid, instance);
        }
        let mut gone = Vec::new();
        for (uid, owner) in asked {
            if !now.contains_key(&uid) {
                absent.remove(&uid);
                lock(&self.inner.ending).remove(&uid);
                gone.push(owner);
            }
        }
        *before = now;
        *missed = absent;
        for owner in gone {
            changes.send(InstanceChange::Gone(owner)).await?;
        }
        Ok(())
    }
}

/// One container's log.
struct ContainerLog<A> {
    fleet: Fleet<A>,
    reads: Reads,
    owner: Owner,
    instance: InstanceId,
    container: String,
}

#[async_trait]
impl<A: Api> log::Source for ContainerLog<A> {
    fn reads(&self) -> Reads {
        self.reads
    }

    async fn window(&self, window: Window) -> Result<String, ProviderError> {
        self.fleet.inner.api.log(&self.owner, &self.instance, &self.container, window).await
    }

    fn is_over(&self) -> bool {
        self.fleet.known(&self.owner.uid).is_none_or(|instance| instance.state.is_finished())
    }
}

/// A pool's subnets as places.
pub(super) fn places(count: usize, order: SubnetOrder) -> Places {
    let order = match order {
        SubnetOrder::Ordered => Order::Ordered,
        SubnetOrder::Spread => Order::Spread,
    };
    Places::new(count, order)
}

fn is_over(found: &Found) -> bool {
    found.instance.state.is_finished()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl<A: Api> Provider for Fleet<A> {
    fn name(&self) -> &'static str {
        self.inner.api.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.api.capabilities()
    }

    fn takes(&self) -> Takes {
        self.inner.api.takes()
    }

    async fn create(&self, owner: &Owner, pod: &Pod) -> Result<Instance, ProviderError> {
        self.create_with(owner, pod, &Content::default()).await
    }

    async fn create_with(&self, owner: &Owner, pod: &Pod, content: &Content) -> Result<Instance, ProviderError> {
        hold(pod, &self.inner.api.capabilities())?;
        let request = self.inner.api.translate_with(owner, pod, content)?;
        let pod_lock = self.pod_lock(&owner.uid);
        let _held = pod_lock.lock().await;
        let standing = self.inner.api.find(owner).await?.map(|found| found.instance);
        let instance = match standing {
            Some(instance) => instance,
            None => self.create_anywhere(owner, &request).await?,
        };
        lock(&self.inner.known).insert(owner.uid.clone(), instance.clone());
        lock(&self.inner.sizes).insert(owner.uid.clone(), self.inner.api.size(&request));
        self.inner.news.notify_one();
        Ok(instance)
    }

    async fn delete(&self, owner: &Owner, grace: Duration) -> Result<(), ProviderError> {
        let pod_lock = self.pod_lock(&owner.uid);
        let _held = pod_lock.lock().await;
        let known = self.known(&owner.uid);
        self.inner.api.delete(owner, known.as_ref(), grace).await?;
        lock(&self.inner.ending).insert(owner.uid.clone(), owner.clone());
        lock(&self.inner.sizes).remove(&owner.uid);
        self.inner.news.notify_one();
        Ok(())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        Ok(self.gather(cluster).await?.into_values().collect())
    }

    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError> {
        let mut before = self.gather(cluster).await?;
        let mut missed = BTreeMap::<String, Instance>::new();
        if changes.send(InstanceChange::Watching).await.is_err() {
            return Ok(());
        }
        // What stood before the watch is told, too: the receiver may have listed before.
        for instance in before.values() {
            if changes.send(InstanceChange::Changed(instance.clone())).await.is_err() {
                return Ok(());
            }
        }
        loop {
            let starts = || before.values().any(|instance| instance.state == InstanceState::Pending);
            let is_busy = !missed.is_empty() || !lock(&self.inner.ending).is_empty() || starts();
            tokio::select! {
                () = changes.closed() => return Ok(()),
                () = sleep(if is_busy { self.inner.pace.busy } else { self.inner.pace.rest }) => {}
                () = self.inner.news.notified(), if !is_busy => sleep(self.inner.pace.busy).await,
            }
            let now = self.gather(cluster).await?;
            let twice_missed = missed
                .iter()
                .filter(|(uid, _)| !now.contains_key(*uid))
                .map(|(_, i)| i.owner.clone())
                .collect::<Vec<_>>();
            for owner in &twice_missed {
                lock(&self.inner.ending).insert(owner.uid.clone(), owner.clone());
            }
            if self.tell(&mut before, &mut missed, now, &changes).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        self.inner.api.usage(cluster).await
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        // A cloud whose instances cannot be listed runs no pod, whatever it has left.
        if let Some(fault) = lock(&self.inner.list_fault).clone() {
            return Err(fault);
        }
        if !self.inner.places.has_any() {
            return Ok(Stock { instances: Some(0) });
        }
        self.inner.api.stock().await
    }

    async fn annotations(&self, owner: &Owner) -> BTreeMap<String, String> {
        let id = self.known(&owner.uid).map(|instance| (names::INSTANCE_ID, instance.id.0));
        let size = lock(&self.inner.sizes).get(&owner.uid).map(|size| (names::INSTANCE_SIZE, size.clone()));
        id.into_iter().chain(size).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    async fn reclaim_notices(&self, cluster: &str) -> Result<Vec<ReclaimNotice>, ProviderError> {
        let notices = lock(&self.inner.notices);
        Ok(notices.iter().filter(|notice| notice.owner.cluster == cluster).cloned().collect())
    }

    async fn logs(&self, owner: &Owner, container: &str, options: &LogOptions) -> Result<LogStream, ProviderError> {
        let reads = self.inner.api.log_reads()?;
        let (owner, instance) = (owner.clone(), self.instance_of(owner).await?);
        let source = ContainerLog { fleet: self.clone(), reads, owner, instance, container: container.to_owned() };
        log::stream(source, options).await
    }

    async fn exec(&self, owner: &Owner, exec: Exec) -> Result<ExitStatus, ProviderError> {
        let instance = self.instance_of(owner).await?;
        self.inner.api.exec(owner, &instance, exec).await
    }

    async fn attach(&self, owner: &Owner, container: &str, streams: Streams) -> Result<ExitStatus, ProviderError> {
        self.inner.api.attach(owner, container, streams).await
    }
}
