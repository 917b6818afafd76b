//! The provider that the kubelet drives.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use super::{client::Eci, translate::Resolved};
use crate::provider::{
    Consumed, Content, Exec, ExitStatus, Instance, InstanceChange, LogOptions, LogStream, Owner, Provider,
    ProviderError, ReclaimNotice, Stock, Takes, Usage, clouds::log,
};

#[async_trait]
impl Provider for Eci {
    fn name(&self) -> &'static str {
        "alibabacloud"
    }

    async fn create(&self, owner: &Owner, pod: &Pod) -> Result<Instance, ProviderError> {
        self.create_resolved(owner, pod, &Resolved::default()).await
    }

    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities()
    }

    /// Files travel with the creation and cannot be renewed, so tokens, which expire, are not taken.
    fn takes(&self) -> Takes {
        Takes { files: true, registries: true, ..Takes::default() }
    }

    async fn create_with(&self, owner: &Owner, pod: &Pod, content: &Content) -> Result<Instance, ProviderError> {
        self.create_resolved(owner, pod, &Resolved::of(content)).await
    }

    /// The grace is the one that the instance was created with: ECI takes none with the deletion.
    async fn delete(&self, owner: &Owner, _: Duration) -> Result<(), ProviderError> {
        let slot = self.ledger.slot(&owner.uid);
        let mut slot = slot.lock().await;
        // What was asked for and not answered may stand beside what is known, so the cloud itself is asked.
        let ids = match &slot.group {
            Some(id) if slot.pending.is_none() => vec![id.clone()],
            _ => self.find(owner).await?,
        };
        for id in &ids {
            self.remove(id).await?;
        }
        // The token stays with the attempt: what lands late is found by the next list.
        slot.asked = None;
        slot.pending = None;
        Ok(())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        self.look(cluster).await
    }

    async fn watch(&self, cluster: &str, changes: mpsc::Sender<InstanceChange>) -> Result<(), ProviderError> {
        self.follow(cluster, &changes).await
    }

    async fn usage(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        self.measure(cluster).await
    }

    async fn stock(&self) -> Result<Stock, ProviderError> {
        // A cloud whose instances cannot be listed runs no pod, whatever it has left.
        if let Some(fault) = self.list_fault.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(fault);
        }
        if !self.places.has_any() {
            return Ok(Stock { instances: Some(0) });
        }
        Ok(Stock { instances: self.addresses_left().await })
    }

    async fn annotations(&self, owner: &Owner) -> BTreeMap<String, String> {
        self.notes_of(&owner.uid).await
    }

    async fn reclaim_notices(&self, cluster: &str) -> Result<Vec<ReclaimNotice>, ProviderError> {
        self.announced(cluster).await
    }

    fn consumed(&self) -> Option<Consumed> {
        Some(self.meter.total())
    }

    async fn logs(&self, owner: &Owner, container: &str, options: &LogOptions) -> Result<LogStream, ProviderError> {
        log::stream(self.log_of(owner, container).await?, options).await
    }

    async fn exec(&self, owner: &Owner, exec: Exec) -> Result<ExitStatus, ProviderError> {
        self.execute(owner, exec).await
    }
}
