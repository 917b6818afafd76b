//! Drives one kubelet: events in, calls out.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Client, runtime::watcher};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    KubeletConfig, KubeletHandle, KubeletMetrics,
    backoff::Backoff,
    calls::Calls,
    debug::Debugs,
    events::Events,
    index::{Finished, Index, Limits, Notice, Now, Uid},
    lease,
    metrics::SIDES,
    nodes::{self, Kept},
    orphans::Orphans,
    reader::Reader,
    renew::Renewal,
    sync::Sequence,
    version::ControlPlaneVersion,
};
use crate::{
    api::names,
    provider::{Instance, InstanceChange, Owner, Provider, ProviderError},
    watch::{Leadership, events},
};

/// Time between two lists of instances: the longest that an orphan stays unseen.
const SWEEP: Duration = Duration::from_secs(30);

/// Wait before the list that settles a doubt, and before a failed one is repeated.
const SOON: Duration = Duration::from_secs(2);

/// Longest wait for a provider's list.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// How long calls under way may take once the kubelet is to stop: one that is given up may still take effect, after the
/// next keeper of its pod has begun.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// Changes of instances that wait to be applied.
const BACKLOG: usize = 1024;

/// Keeps virtual nodes and their pods.
pub struct Kubelet {
    client: Client,
    config: Arc<KubeletConfig>,
    provider: Arc<dyn Provider>,
    metrics: KubeletMetrics,
    index: Arc<Mutex<Index>>,
    handle: KubeletHandle,
    leadership: Option<watch::Receiver<Leadership>>,
    kept: watch::Receiver<Kept>,
}

type Listed = (Sequence, Result<Vec<Instance>, ProviderError>);

impl Kubelet {
    /// A kubelet for the nodes of `config`; [`Kubelet::run`] makes it work.
    pub fn new(client: Client, config: KubeletConfig, provider: Arc<dyn Provider>, metrics: KubeletMetrics) -> Self {
        let backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_mins(2) };
        let limits = Limits { provider: config.provider_calls.max(1), api: config.api_calls.max(1) };
        let names = config.nodes.iter().map(|n| n.name.as_str().into());
        let index = Index::new(&config.cluster, names, config.holds_daemonset_pods, backoff, limits);
        let index = Arc::new(Mutex::new(index));
        let pool = config.nodes.first().and_then(|node| node.labels.get(names::POOL));
        let metrics = if let Some(pool) = pool { metrics.of_pool(pool) } else { metrics };
        metrics.show(&index);
        let handle = KubeletHandle::new(
            &config.cluster,
            &config.nodes,
            Arc::clone(&provider),
            Arc::clone(&index),
            metrics.clone(),
        );
        let all = (0..).zip(config.nodes.iter().map(|node| node.capacity.clone())).collect();
        let kept = watch::channel(all).1;
        Self { client, config: Arc::new(config), provider, metrics, index, handle, leadership: None, kept }
    }

    /// Makes no call for a pod or a node, to the provider or the API server, while this replica does not hold its nodes.
    #[must_use]
    pub fn led_by(self, leadership: watch::Receiver<Leadership>) -> Self {
        Self { leadership: Some(leadership), ..self }
    }

    /// Keeps only the nodes that `kept` names, each showing what it says there. Pods and instances of the others are
    /// looked after all the same.
    #[must_use]
    pub(crate) fn keeping(self, kept: watch::Receiver<Kept>) -> Self {
        Self { kept, ..self }
    }

    /// What the kubelet API needs of this kubelet.
    pub fn handle(&self) -> KubeletHandle {
        self.handle.clone()
    }

    /// Works until `stop`. Instances, pods and nodes stay as they are; the next run adopts them.
    pub async fn run(&self, stop: CancellationToken) {
        let (lapsed, of_lapses) = mpsc::channel(256);
        let (to_changes, mut changes) = mpsc::channel(BACKLOG);
        let mut background = JoinSet::new();
        let (client, config) = (&self.client, &self.config);
        let keeper = nodes::Keeper {
            client: client.clone(),
            config: Arc::clone(config),
            kept: self.kept.clone(),
            leadership: self.leadership.clone(),
            version: ControlPlaneVersion::new(client.clone()),
            index: Arc::clone(&self.index),
        };
        background.spawn(nodes::keep(keeper, of_lapses, stop.clone()));
        background.spawn(lease::renew(client.clone(), Arc::clone(config), self.kept.clone(), lapsed, stop.clone()));
        let (provider, cluster) = (Arc::clone(&self.provider), config.cluster.clone());
        background.spawn(watch_instances(provider, cluster, to_changes, self.metrics.clone()));

        let events = Arc::new(Events::new(client.clone()));
        let reader = Arc::new(Reader::new(client.clone(), Arc::clone(config), self.provider.takes()));
        let calls = Arc::new(Calls {
            client: client.clone(),
            provider: Arc::clone(&self.provider),
            reader: Arc::clone(&reader),
            events: Arc::clone(&events),
            host: config.address,
            metrics: self.metrics.clone(),
            leadership: self.leadership.clone(),
        });
        let renewal = Renewal {
            cluster: config.cluster.clone(),
            reader,
            provider: Arc::clone(&self.provider),
            index: Arc::clone(&self.index),
            metrics: self.metrics.clone(),
            leadership: self.leadership.clone(),
        };
        background.spawn(renewal.run(config.renew));
        let started = Instant::now();
        let now = || Now { since: started.elapsed(), unix: Timestamp::now().as_second() };
        let mut debugs = Debugs::new(client.clone(), Arc::clone(&events), &config.cluster, self.provider.name());
        let mut pods = pod_events(client, config).boxed();
        let mut jobs: JoinSet<(Uid, Finished)> = JoinSet::new();
        let mut lists: JoinSet<Listed> = JoinSet::new();
        let mut list_at = Instant::now();
        let mut orphans = Orphans::default();
        loop {
            let wake = self.start_jobs(&calls, &mut jobs, started);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(event) = pods.next() => {
                    self.see_debugs(&event, &mut debugs);
                    self.index().apply(event, now());
                }
                Some(change) = changes.recv() => {
                    if change == InstanceChange::Watching {
                        list_at = Instant::now();
                    }
                    self.index().apply_change(change, now());
                }
                Some(done) = jobs.join_next() => {
                    if let Ok((uid, finished)) = done {
                        self.finish(&uid, finished, now(), &events);
                    }
                }
                () = tokio::time::sleep_until(list_at), if lists.is_empty() => {
                    list_at = Instant::now() + SWEEP;
                    let began = self.index().begin_list();
                    let (provider, cluster) = (Arc::clone(&self.provider), config.cluster.clone());
                    let metrics = self.metrics.clone();
                    lists.spawn(async move { (began, metrics.asked("list", list(provider, cluster)).await) });
                }
                Some(Ok(listed)) = lists.join_next() => {
                    if self.take_list(listed, now()) {
                        list_at = list_at.min(Instant::now() + SOON);
                    }
                    let standing = self.index().orphans();
                    for owner in orphans.look(started.elapsed(), standing) {
                        let Owner { namespace, name, uid, .. } = &owner;
                        tracing::warn!(%namespace, pod = %name, %uid, "an instance stands although its pod is gone");
                        events.outlived(&owner);
                    }
                }
                () = sleep_until(wake.map(|at| started + at)) => {}
            }
        }
        let _ = tokio::time::timeout(LAST_CALLS, async { while jobs.join_next().await.is_some() {} }).await;
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts every call there is a place for; answers when to look again.
    fn start_jobs(
        &self,
        calls: &Arc<Calls>,
        jobs: &mut JoinSet<(Uid, Finished)>,
        started: Instant,
    ) -> Option<Duration> {
        let mut index = self.index();
        while let Some(job) = index.next_job(started.elapsed()) {
            let calls = Arc::clone(calls);
            jobs.spawn(async move {
                let uid = Arc::clone(&job.uid);
                (uid, calls.run(job).await)
            });
        }
        index.wake_at()
    }

    fn see_debugs(&self, event: &watcher::Event<Pod>, debugs: &mut Debugs) {
        let may_act = self.leadership.as_ref().is_none_or(|leadership| leadership.borrow().may_write());
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) if may_act => {
                let spec = pod.spec.as_ref().filter(|spec| spec.ephemeral_containers.is_some());
                let node = spec.and_then(|spec| spec.node_name.as_deref());
                if node.is_some_and(|node| self.config.nodes.iter().any(|ours| ours.name == node)) {
                    debugs.see(pod);
                }
            }
            watcher::Event::Delete(pod) => debugs.forget(pod),
            _ => {}
        }
    }

    /// Takes in how a call ended, and tells what is new about it.
    fn finish(&self, uid: &Uid, finished: Finished, now: Now, events: &Events) {
        let mut index = self.index();
        let before = index.trips();
        let told = index.finish(uid, finished, now);
        let after = index.trips();
        drop(index);
        if let Some((owner, notice)) = told {
            let Notice { reason, text } = &notice;
            tracing::warn!(pod = %owner.name, namespace = %owner.namespace, %reason, %text, "no instance");
            events.warn(&owner, &notice);
        }
        for ((side, before), after) in SIDES.into_iter().zip(before).zip(after) {
            if after > before {
                self.metrics.stopped(side, after - before);
                let node = self.config.nodes.first().map(|node| node.name.as_str()).unwrap_or_default();
                tracing::warn!(
                    node,
                    side,
                    "calls failed one after the other, and stop; one is tried from time to time"
                );
            }
        }
    }

    /// Answers whether another list is wanted soon.
    fn take_list(&self, (began, result): Listed, now: Now) -> bool {
        match result {
            Ok(instances) => self.index().end_list(began, &instances, now),
            Err(error) => {
                tracing::warn!(%error, "instances not listed, will be tried again");
                true
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn list(provider: Arc<dyn Provider>, cluster: String) -> Result<Vec<Instance>, ProviderError> {
    let call = tokio::time::timeout(LIST_TIMEOUT, provider.list(&cluster)).await;
    let timed_out = || Err(ProviderError::Unavailable(format!("no list within {LIST_TIMEOUT:?}")));
    call.unwrap_or_else(|_| timed_out())
}

/// Watches the provider for ever; every new watch begins with [`InstanceChange::Watching`].
async fn watch_instances(
    provider: Arc<dyn Provider>,
    cluster: String,
    changes: mpsc::Sender<InstanceChange>,
    metrics: KubeletMetrics,
) {
    let mut pause = SOON;
    while !changes.is_closed() {
        let began = Instant::now();
        if let Err(error) = metrics.asked("watch", provider.watch(&cluster, changes.clone())).await {
            tracing::warn!(%error, "watch of instances ended, will be taken up again");
        }
        pause = if began.elapsed() > SWEEP { SOON } else { (pause * 2).min(SWEEP) };
        tokio::time::sleep(pause / 2).await;
    }
}

/// All events of pods bound to the kubelet's nodes, for ever.
fn pod_events(client: &Client, config: &KubeletConfig) -> impl Stream<Item = watcher::Event<Pod>> + Send + use<> {
    let fields = match config.nodes.as_slice() {
        // The API server has an index for one node.
        [node] => format!("spec.nodeName={}", node.name),
        _ => "spec.nodeName!=".to_owned(),
    };
    events(Api::all(client.clone()), watcher::Config::default().fields(&fields)).map(slim)
}

fn slim(event: watcher::Event<Pod>) -> watcher::Event<Pod> {
    event.modify(|pod| pod.metadata.managed_fields = None)
}
