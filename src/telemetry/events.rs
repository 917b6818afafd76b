//! Kubernetes Events: what `kubectl describe` and `kubectl events` show of an object.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::api::names;

/// Longest wait for the API server: what an Event says stands in a status or a log as well.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Longest note, in bytes. The API server takes 1024.
const LONGEST: usize = 1000;

/// Posts Events in burstlet's name. One that comes again is counted up in place of a second one.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Posts through `client`.
    pub fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter { controller: names::MANAGER.to_owned(), instance: None }))
    }

    /// Tells what is as it should be. `action` is what was done or tried, `reason` why: both a word.
    pub async fn tell(&self, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        self.post(about, EventType::Normal, action, reason, note).await;
    }

    /// Tells of trouble.
    pub async fn warn(&self, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        self.post(about, EventType::Warning, action, reason, note).await;
    }

    async fn post(&self, about: &ObjectReference, type_: EventType, action: &str, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(one_line(note)),
            action: action.to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(TIMEOUT, self.0.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, reason, "unable to post an event"),
            Err(_) => tracing::debug!(reason, "an event was not posted within {TIMEOUT:?}"),
        }
    }
}

fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(LONGEST));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_one_line_and_no_longer_than_the_api_server_takes() {
        assert_eq!(one_line("no\n  stock"), "no stock");
        assert_eq!(one_line(&"ü".repeat(5000)), "ü".repeat(LONGEST / 2));
    }
}
