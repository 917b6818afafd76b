//! Kubernetes Events about pods: one a pod and reason.

use std::sync::Arc;

use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::Semaphore;

use crate::{api::names, kubelet::index::Notice, provider::Owner};

/// Events on their way at a time; those beyond are dropped, because the pod's status says the same.
const IN_FLIGHT: usize = 8;

/// Longest note the API server takes.
const LONGEST: usize = 1024;

/// Posts events in the background.
pub(crate) struct Events {
    recorder: Recorder,
    places: Arc<Semaphore>,
}

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: names::MANAGER.to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter), places: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }

    /// Warns of what keeps the pod from its instance, or what it goes without.
    pub(crate) fn warn(&self, owner: &Owner, notice: &Notice) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let recorder = self.recorder.clone();
        let event = Event {
            type_: EventType::Warning,
            reason: notice.reason.to_owned(),
            note: Some(one_line(&notice.text)),
            action: "CreateInstance".to_owned(),
            secondary: None,
        };
        let pod = owner.reference();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &pod).await {
                tracing::debug!(%error, "event not posted");
            }
            drop(place);
        });
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST / 4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_one_line_and_short() {
        assert_eq!(one_line("no\n  stock"), "no stock");
        assert!(one_line(&"ü".repeat(5000)).len() <= LONGEST);
    }
}
