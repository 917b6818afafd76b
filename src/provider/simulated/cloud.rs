//! The simulated cloud as others hold it: shared, timed, a provider.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    sync::{Notify, broadcast, mpsc},
    time::Instant,
};

use super::{Audit, AuditEntry, CpuTarget, Fault, Settings, TAKES, clock::Clock, state::State};
use crate::provider::{Instance, InstanceChange, Owner, Provider, ProviderError, Stock, Takes, Usage};

/// Changes that a slow watcher may lag behind before it has to list again.
const BACKLOG: usize = 8192;

/// A cloud in memory; clones are the same cloud.
#[derive(Debug, Clone)]
pub struct Cloud {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    state: Mutex<State>,
    changes: broadcast::Sender<InstanceChange>,
    timer: Arc<Notify>,
    timer_runs: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.timer.notify_one();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` on the state and tells the watchers, in the order in which things happened.
    fn apply<T>(&self, change: impl FnOnce(&mut State, Duration, &mut Vec<InstanceChange>) -> T) -> T {
        let mut changes = Vec::new();
        let mut state = self.state();
        let now = self.clock.now();
        state.advance(now, &mut changes);
        let answer = change(&mut state, now, &mut changes);
        for change in changes {
            // No watcher is no loss: whoever comes later lists first.
            let _ = self.changes.send(change);
        }
        drop(state);
        self.timer.notify_one();
        answer
    }
}

impl Cloud {
    /// An empty cloud.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner {
            clock: Clock::start(),
            state: Mutex::new(State::new(settings)),
            changes: broadcast::channel(BACKLOG).0,
            timer: Arc::new(Notify::new()),
            timer_runs: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How the cloud behaves now.
    pub fn settings(&self) -> Settings {
        self.inner.state().settings().clone()
    }

    /// Changes how the cloud behaves from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.inner.state().set_settings(settings);
    }

    /// Sets CPU use from now on, in thousandths of a core.
    pub fn set_cpu(&self, target: &CpuTarget, millis: u64) {
        self.inner.apply(|state, now, _| state.set_cpu(now, target, millis));
    }

    /// Makes the next `count` calls to create fail in this way.
    pub fn plan(&self, count: usize, fault: Fault) {
        self.inner.state().plan(count, fault);
    }

    /// Takes the instance of a pod away without being asked, as clouds do with spot machines.
    pub fn reclaim(&self, uid: &str) {
        self.inner.apply(|state, now, changes| state.reclaim(now, uid, changes));
    }

    /// Ends the containers of a pod by themselves, with this exit code.
    pub fn finish(&self, uid: &str, exit_code: i32) {
        self.inner.apply(|state, now, changes| state.finish(now, uid, exit_code, changes));
    }

    /// When somebody last asked what the instances use.
    pub fn measured(&self) -> Option<Instant> {
        self.inner.state().measured().map(|moment| self.inner.clock.instant(moment))
    }

    /// Every creation and end so far, in order.
    pub fn record(&self) -> Vec<AuditEntry> {
        self.inner.state().record().to_vec()
    }

    /// The record summed up by pod UID.
    pub fn audit(&self) -> BTreeMap<String, Audit> {
        self.inner.state().audit()
    }

    /// Starts the task that lets things happen in time; it ends with the last clone of the cloud.
    fn ensure_timer(&self) {
        if self.inner.timer_runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let (inner, timer) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.timer));
        tokio::spawn(run_timer(inner, timer));
    }
}

async fn run_timer(inner: Weak<Inner>, timer: Arc<Notify>) {
    loop {
        let due = {
            let Some(inner) = inner.upgrade() else { return };
            let due = inner.state().next_due();
            due.map(|moment| inner.clock.instant(moment))
        };
        match due {
            None => timer.notified().await,
            Some(instant) => tokio::select! {
                () = timer.notified() => {}
                () = tokio::time::sleep_until(instant) => {
                    let Some(inner) = inner.upgrade() else { return };
                    inner.apply(|_, _, _| ());
                }
            },
        }
    }
}

#[async_trait]
impl Provider for Cloud {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn takes(&self) -> Takes {
        TAKES
    }

    async fn create(&self, owner: &Owner, pod: &Pod) -> Result<Instance, ProviderError> {
        self.ensure_timer();
        self.inner.apply(|state, now, changes| state.create(now, owner, pod, changes))
    }

    async fn delete(&self, owner: &Owner, grace: Duration) -> Result<(), ProviderError> {
        self.inner.apply(|state, now, changes| state.delete(now, owner, grace, changes));
        Ok(())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        Ok(self.inner.apply(|state, _, _| state.list(cluster)))
    }

    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError> {
        let mut source = self.inner.changes.subscribe();
        if changes.send(InstanceChange::Watching).await.is_err() {
            return Ok(());
        }
        loop {
            let change = tokio::select! {
                received = source.recv() => received.map_err(|e| ProviderError::Unavailable(format!("simulated: watch ended: {e}")))?,
                () = changes.closed() => return Ok(()),
            };
            let belongs = match &change {
                InstanceChange::Watching => false,
                InstanceChange::Changed(instance) => instance.owner.cluster == cluster,
                InstanceChange::Gone(owner) => owner.cluster == cluster,
            };
            if belongs && changes.send(change).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        Ok(self.inner.apply(|state, now, _| state.usage(now, cluster)))
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        Ok(self.inner.apply(|state, _, _| state.stock()))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::provider::{
        InstanceState,
        simulated::{EXIT_CODE, RUN_FOR, StartUp},
    };

    fn owner(uid: &str) -> Owner {
        Owner {
            cluster: "here".to_owned(),
            node: "node".to_owned(),
            namespace: "default".to_owned(),
            name: format!("pod-{uid}"),
            uid: uid.to_owned(),
        }
    }

    fn pod(annotations: &[(&str, &str)]) -> Pod {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Pod { metadata: ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }, ..Pod::default() }
    }

    async fn state(cloud: &Cloud, uid: &str) -> Option<InstanceState> {
        let instances = cloud.list("here").await.unwrap();
        instances.into_iter().find(|i| i.owner.uid == uid).map(|i| i.state)
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_starts_runs_and_ends_with_its_exit_code() {
        let start_up = StartUp::fixed(Duration::from_secs(3));
        let cloud = Cloud::new(Settings { start_up, ..Settings::default() });
        let created = cloud.create(&owner("a"), &pod(&[(RUN_FOR, "5s"), (EXIT_CODE, "3")])).await.unwrap();
        assert_eq!(created.state, InstanceState::Pending);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(state(&cloud, "a").await, Some(InstanceState::Running));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ended = state(&cloud, "a").await.unwrap();
        assert!(matches!(ended, InstanceState::Failed { exit_code: 3, .. }), "{ended:?}");
    }

    #[tokio::test]
    async fn concurrent_creations_and_lost_answers_make_one_instance() {
        let cloud = Cloud::new(Settings::default());
        cloud.plan(1, Fault::LostAnswer);
        let calls = (0..50).map(|_| {
            let cloud = cloud.clone();
            tokio::spawn(async move { cloud.create(&owner("a"), &pod(&[])).await })
        });
        let answers = futures::future::join_all(calls).await;
        let ids: std::collections::BTreeSet<_> =
            answers.into_iter().filter_map(|a| a.unwrap().ok()).map(|i| i.id).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(cloud.audit()["a"], Audit { created: 1, alive: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn deletion_gives_containers_no_more_than_their_grace() {
        let cloud = Cloud::new(Settings { stop: Duration::from_secs(20), ..Settings::default() });
        cloud.create(&owner("a"), &pod(&[])).await.unwrap();
        let (sender, mut changes) = mpsc::channel(8);
        let watching = cloud.clone();
        tokio::spawn(async move { watching.watch("here", sender).await });
        assert_eq!(changes.recv().await, Some(InstanceChange::Watching));
        let asked = tokio::time::Instant::now();
        cloud.delete(&owner("a"), Duration::from_secs(7)).await.unwrap();
        assert_eq!(changes.recv().await, Some(InstanceChange::Gone(owner("a"))));
        assert_eq!(asked.elapsed().as_secs(), 7);
        assert_eq!(cloud.audit()["a"], Audit { created: 1, alive: 0 });
    }

    #[tokio::test]
    async fn deleting_what_does_not_exist_says_gone() {
        let cloud = Cloud::new(Settings::default());
        let (sender, mut changes) = mpsc::channel(8);
        let watching = cloud.clone();
        tokio::spawn(async move { watching.watch("here", sender).await });
        assert_eq!(changes.recv().await, Some(InstanceChange::Watching));
        cloud.delete(&owner("never"), Duration::ZERO).await.unwrap();
        assert_eq!(changes.recv().await, Some(InstanceChange::Gone(owner("never"))));
        assert!(cloud.audit().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn cpu_grows_with_the_load_that_was_set_and_is_never_zero() {
        let cloud = Cloud::new(Settings::default());
        cloud.create(&owner("a"), &pod(&[])).await.unwrap();
        assert_eq!(cloud.measured(), None);
        assert!(cloud.usage("here").await.unwrap()[0].cpu > Duration::ZERO);
        let first = Instant::now();
        cloud.set_cpu(&CpuTarget::All, 500);
        tokio::time::sleep(Duration::from_secs(10)).await;
        cloud.set_cpu(&CpuTarget::Pod("a".to_owned()), 2000);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(cloud.measured(), Some(first));
        let usage = &cloud.usage("here").await.unwrap()[0];
        assert_eq!(usage.cpu.as_secs(), 25);
        assert_eq!(usage.cpu_nano_cores, 2_000_000_000);
    }

    #[tokio::test]
    async fn stock_limits_what_is_created_and_comes_back() {
        let cloud = Cloud::new(Settings { stock: Some(1), ..Settings::default() });
        cloud.create(&owner("a"), &pod(&[])).await.unwrap();
        assert!(matches!(cloud.create(&owner("b"), &pod(&[])).await, Err(ProviderError::NoStock(_))));
        cloud.delete(&owner("a"), Duration::ZERO).await.unwrap();
        assert_eq!(cloud.stock().await.unwrap().instances, Some(1));
        cloud.create(&owner("b"), &pod(&[])).await.unwrap();
    }

    #[tokio::test]
    async fn addresses_are_given_in_order() {
        let cloud = Cloud::new(Settings { network: 9, ..Settings::default() });
        for (uid, ip) in [("a", "10.9.0.1"), ("b", "10.9.0.2")] {
            let instance = cloud.create(&owner(uid), &pod(&[])).await.unwrap();
            assert_eq!(instance.ip.unwrap().to_string(), ip);
        }
    }

    #[tokio::test]
    async fn an_annotation_that_cannot_be_read_is_refused() {
        let cloud = Cloud::new(Settings::default());
        let refused = cloud.create(&owner("a"), &pod(&[(RUN_FOR, "soon")])).await.unwrap_err();
        assert!(refused.to_string().contains("soon"), "{refused}");
        assert!(cloud.audit().is_empty());
    }
}
