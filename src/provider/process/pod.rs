//! One pod: its containers from the first init container to the last end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Settings,
    container::Container,
    plan::{ContainerPlan, Plan},
};
use crate::provider::{
    ContainerEnd, ContainerReport, ContainerState, Instance, InstanceId, InstanceState, Owner, ProviderError,
};

/// A pod that runs here.
pub(super) struct Pod {
    pub(super) owner: Owner,
    pub(super) plan: Plan,
    containers: Vec<Arc<Container>>,
    stopping: watch::Sender<Option<Instant>>,
    deleted: watch::Sender<bool>,
    changes: watch::Sender<u64>,
    /// How it ended, once it has.
    ended: Mutex<Option<InstanceState>>,
}

impl Pod {
    pub(super) fn new(owner: Owner, plan: Plan) -> Self {
        let changes = watch::Sender::new(0);
        let container = |plan: &ContainerPlan| Arc::new(Container::new(plan.clone(), changes.clone()));
        let containers = plan.all().map(container).collect();
        Self {
            owner,
            plan,
            containers,
            stopping: watch::Sender::new(None),
            deleted: watch::Sender::new(false),
            changes,
            ended: Mutex::default(),
        }
    }

    /// Told of every change of [`Pod::instance`].
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn containers(&self) -> &[Arc<Container>] {
        &self.containers
    }

    pub(super) fn container(&self, name: &str) -> Result<&Arc<Container>, ProviderError> {
        let found = self.containers.iter().find(|container| container.plan.name == name);
        found.ok_or_else(|| ProviderError::NotFound(format!("pod {} has no container {name}", self.owner.name)))
    }

    /// Asks it to end within `grace`; a shorter one than before holds from now on.
    fn stop(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.stopping.send_modify(|until| *until = Some(until.map_or(deadline, |until| until.min(deadline))));
    }

    /// Ends it within `grace` and has it forgotten then.
    pub(super) fn delete(&self, grace: Duration) {
        self.stop(grace);
        self.deleted.send_replace(true);
    }

    /// Waits until its end is asked for.
    pub(super) async fn deleted(&self) {
        // The sender lives as long as this.
        let _ = self.deleted.subscribe().wait_for(|deleted| *deleted).await;
    }

    pub(super) fn instance(&self) -> Instance {
        let containers: Vec<ContainerReport> = self.containers.iter().map(|container| container.report()).collect();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = containers.get(self.plan.init.len()..).unwrap_or_default();
        let has_begun =
            |report: &ContainerReport| report.last.is_some() || !matches!(report.state, ContainerState::Waiting { .. });
        let state = match ended {
            Some(ended) => ended,
            None if !own.is_empty() && own.iter().all(has_begun) => InstanceState::Running,
            None => InstanceState::Pending,
        };
        Instance {
            id: InstanceId(format!("process-{}", self.owner.uid)),
            owner: self.owner.clone(),
            state,
            // Its ports are the host's.
            ip: Some(super::ADDRESS),
            containers,
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(&self, settings: &Settings) {
        let (init, own) = self.containers.split_at(self.plan.init.len());
        let mut sidecars = JoinSet::new();
        let work = async {
            match self.initialise(init, &mut sidecars, settings).await {
                Some(end) => vec![end],
                None => join_all(own.iter().map(|container| container.run(settings, self.stopping.subscribe()))).await,
            }
        };
        let (ends, is_late) = self.within_deadline(work).await;
        if self.stopping.borrow().is_none() {
            // Sidecars serve the others: they end after them.
            let grace = self.plan.all().map(|container| container.grace).max().unwrap_or_default();
            self.stop(grace);
        }
        while sidecars.join_next().await.is_some() {}
        let state = if is_late { late() } else { outcome(&ends) };
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Asks the pod to end where `work` takes longer than it may; answers whether it did.
    async fn within_deadline<T>(&self, work: impl Future<Output = T>) -> (T, bool) {
        let mut work = std::pin::pin!(work);
        let Some(deadline) = self.plan.deadline else { return (work.await, false) };
        tokio::select! {
            done = &mut work => return (done, false),
            () = tokio::time::sleep(deadline) => {}
        }
        self.stop(self.plan.all().map(|container| container.grace).max().unwrap_or_default());
        (work.await, true)
    }

    /// Runs the init containers in order and starts the sidecars among them; answers the end of one that failed for good.
    async fn initialise(
        &self,
        init: &[Arc<Container>],
        sidecars: &mut JoinSet<ContainerEnd>,
        settings: &Settings,
    ) -> Option<ContainerEnd> {
        let mut stopping = self.stopping.subscribe();
        for container in init {
            if container.plan.is_sidecar {
                let (sidecar, settings, until) = (Arc::clone(container), settings.clone(), self.stopping.subscribe());
                sidecars.spawn(async move { sidecar.run(&settings, until).await });
                let mut changes = self.changes();
                while !container.report().has_started && stopping.borrow().is_none() {
                    tokio::select! {
                        _ = changes.changed() => {}
                        _ = stopping.changed() => {}
                    }
                }
            } else {
                let end = container.run(settings, self.stopping.subscribe()).await;
                if end.exit_code != 0 {
                    return Some(end);
                }
            }
            if stopping.borrow().is_some() {
                return None;
            }
        }
        None
    }
}

/// How a pod ended that has run for too long.
fn late() -> InstanceState {
    InstanceState::Failed {
        reason: "DeadlineExceeded".to_owned(),
        message: "the pod ran for longer than its activeDeadlineSeconds".to_owned(),
        exit_code: 137,
    }
}

/// How the pod ended, by how its containers did.
fn outcome(ends: &[ContainerEnd]) -> InstanceState {
    match ends.iter().find(|end| end.exit_code != 0) {
        None => InstanceState::Succeeded,
        Some(end) => InstanceState::Failed {
            reason: end.reason.clone(),
            message: end.message.clone().unwrap_or_default(),
            exit_code: end.exit_code,
        },
    }
}
