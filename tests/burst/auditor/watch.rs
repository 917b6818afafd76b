//! The auditor's own list and watch.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{AsyncBufReadExt, StreamExt};
use kube::Client;
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};

use super::{Change, Event, History};

const KINDS: [(&str, &str); 3] =
    [("pods", "/api/v1/pods"), ("replicasets", "/apis/apps/v1/replicasets"), ("nodes", "/api/v1/nodes")];

/// Watches until it is dropped.
pub struct Auditor {
    record: Arc<Mutex<Record>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Record {
    events: Vec<Event>,
    /// Where something may have been missed.
    gaps: Vec<String>,
}

impl Auditor {
    /// Begins; when this returns, nothing that happens is missed.
    pub async fn begin(client: &Client) -> Self {
        let record = Arc::<Mutex<Record>>::default();
        let mut tasks = Vec::new();
        for (kind, path) in KINDS {
            let list: Value = client.request(request(path)).await.unwrap();
            for item in list["items"].as_array().into_iter().flatten() {
                record.lock().unwrap().events.extend(Event::read(kind, Change::Set, item, Instant::now()));
            }
            let from = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            tasks.push(tokio::spawn(follow(client.clone(), kind, path, from, record.clone())));
        }
        Self { record, tasks }
    }

    /// Everything seen so far, in order.
    pub fn history(&self) -> History {
        let record = self.record.lock().unwrap();
        assert!(record.gaps.is_empty(), "the auditor missed events: {:?}", record.gaps);
        History::of(&record.events)
    }

    /// The latest revision seen.
    pub fn version(&self) -> u64 {
        self.record.lock().unwrap().events.iter().map(|event| event.version).max().unwrap_or(0)
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn request(uri: impl AsRef<str>) -> http::Request<Vec<u8>> {
    http::Request::get(uri.as_ref()).body(Vec::new()).unwrap()
}

/// Watches on from the last version seen, again whenever the connection ends: the API server replays what was missed,
/// or says that it cannot, which is a gap.
async fn follow(client: Client, kind: &'static str, path: &str, from: String, record: Arc<Mutex<Record>>) {
    let mut from = from;
    loop {
        let uri = format!("{path}?watch=true&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds=3000");
        let Ok(stream) = client.request_stream(request(uri)).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        let mut lines = std::pin::pin!(stream.lines());
        while let Some(Ok(line)) = lines.next().await {
            let seen = Instant::now();
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let object = &event["object"];
            let change = match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => Some(Change::Set),
                Some("DELETED") => Some(Change::Gone),
                Some("BOOKMARK") => None,
                _ => {
                    record.lock().unwrap().gaps.push(format!("{kind} after {from}: {object}"));
                    return;
                }
            };
            if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
                version.clone_into(&mut from);
            }
            if let Some(change) = change {
                record.lock().unwrap().events.extend(Event::read(kind, change, object, seen));
            }
        }
    }
}
