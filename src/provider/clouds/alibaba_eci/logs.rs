//! A container's log, 2,000 lines at a time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{call::Service, error::CallError, ledger::Ledger, signing::Parameters, wire};
use crate::provider::{
    ProviderError,
    clouds::log::{Reads, Source, Window},
};

/// Lines that one call takes.
const MOST: usize = 2000;

/// One container's log.
pub(super) struct ContainerLog {
    pub(super) api: Arc<Service>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) group: String,
    pub(super) container: String,
}

#[async_trait]
impl Source for ContainerLog {
    fn reads(&self) -> Reads {
        Reads { most: MOST, has_times: true, has_previous: true }
    }

    async fn window(&self, Window { lines, since, previous }: Window) -> Result<String, ProviderError> {
        let mut asked = Parameters::from(
            [
                ("ContainerGroupId", self.group.clone()),
                ("ContainerName", self.container.clone()),
                ("Tail", lines.to_string()),
                ("Timestamps", "true".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if let Some(since) = since {
            let seconds = (since + Duration::from_millis(999)).as_secs();
            asked.insert("SinceSeconds".to_owned(), seconds.to_string());
        }
        if previous {
            asked.insert("LastTime".to_owned(), "true".to_owned());
        }
        let log: wire::Log = self.api.call("DescribeContainerLog", &asked).await.map_err(CallError::into_provider)?;
        Ok(log.content)
    }

    fn is_over(&self) -> bool {
        self.ledger.seen(&self.group).is_none_or(|seen| seen.instance.state.is_finished())
    }
}
