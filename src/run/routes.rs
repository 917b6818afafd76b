//! Who answers the kubelet API: the kubelets of the pools that are kept now.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{Router, extract::Request};
use burstlet_engine::model::PoolName;
use kube::Client;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::kubelet::{KubeletHandle, server};

/// Who answers the kubelet API.
pub(super) struct Routes {
    client: Client,
    handles: Mutex<BTreeMap<PoolName, KubeletHandle>>,
    router: watch::Sender<Router>,
}

impl Routes {
    pub(super) fn new(client: Client) -> Self {
        let router = watch::Sender::new(server::router(Vec::new(), client.clone()));
        Self { client, handles: Mutex::default(), router }
    }

    /// A router that answers for the pools that are kept now.
    pub(super) fn changing(&self) -> Router {
        let router = self.router.subscribe();
        Router::new().fallback(move |request: Request| {
            let now = router.borrow().clone();
            async move { now.oneshot(request).await }
        })
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<PoolName, KubeletHandle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the nodes of all pools that are kept now.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.handles().values().flat_map(KubeletHandle::nodes).map(str::to_owned).collect()
    }

    /// Answers for a pool from now on, or no longer; returns how many pools there are.
    pub(super) fn set(&self, pool: &PoolName, handle: Option<KubeletHandle>) -> usize {
        let mut handles = self.handles();
        match handle {
            Some(handle) => drop(handles.insert(pool.clone(), handle)),
            None => drop(handles.remove(pool)),
        }
        let _ = self.router.send_replace(server::router(handles.values().cloned().collect(), self.client.clone()));
        handles.len()
    }
}
