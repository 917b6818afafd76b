//! Kubernetes Events about pods: one a pod and reason.

use std::sync::Arc;

use kube::Client;
use tokio::sync::Semaphore;

use crate::{kubelet::index::Notice, provider::Owner, telemetry};

/// Events on their way at a time; those beyond are dropped, because the pod's status says the same.
const IN_FLIGHT: usize = 8;

/// Why an instance without a pod is told of.
const OUTLIVED: &str = "InstanceOutlivesPod";

/// Posts events in the background.
pub(crate) struct Events {
    events: telemetry::Events,
    places: Arc<Semaphore>,
}

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        Self { events: telemetry::Events::new(client), places: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }

    /// Warns of what keeps the pod from its instance, or what it goes without.
    pub(crate) fn warn(&self, owner: &Owner, notice: &Notice) {
        self.post(owner, "CreateInstance", notice.reason, notice.text.clone());
    }

    /// Warns that an instance stands, and costs money, although its pod is gone.
    pub(crate) fn outlived(&self, owner: &Owner) {
        let note =
            format!("the instance of this pod still stands on {}; it is asked to end again and again", owner.node);
        self.post(owner, "DeleteInstance", OUTLIVED, note);
    }

    fn post(&self, owner: &Owner, action: &'static str, reason: &'static str, note: String) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let (events, pod) = (self.events.clone(), owner.reference());
        tokio::spawn(async move {
            events.warn(&pod, action, reason, &note).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_instance_that_outlives_its_pod_is_told_of_where_the_pod_was() {
        let (sent, mut posted) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let sent = sent.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await.unwrap();
                let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
                sent.send((path, event)).unwrap();
                let body = kube::client::Body::from(body.to_vec());
                Ok::<_, std::convert::Infallible>(http::Response::builder().status(201).body(body).unwrap())
            }
        });
        let events = Events::new(Client::new(service, "default"));
        events.outlived(&Owner {
            cluster: "lab".to_owned(),
            node: "sim-0".to_owned(),
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            uid: "u1".to_owned(),
        });
        let (path, event) = posted.recv().await.unwrap();
        assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/shop/events");
        assert_eq!((&event["reason"], &event["type"]), (&"InstanceOutlivesPod".into(), &"Warning".into()));
        assert_eq!((&event["regarding"]["name"], &event["regarding"]["uid"]), (&"web-1".into(), &"u1".into()));
    }
}
