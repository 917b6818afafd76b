//! Logs, which tasks write to `CloudWatch` by the driver `awslogs` where the pool names a group.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use crate::{
    api::pool::aws_fargate::AwsFargate,
    provider::{
        InstanceId, ProviderError,
        clouds::log::{Reads, Window},
    },
};

/// Streams are called `PREFIX/CONTAINER/TASK`.
const PREFIX: &str = "burstlet";

/// Lines of one answer. `CloudWatch` gives up to 10,000 in 1 MB.
const MOST_LINES: usize = 2000;

/// Pages of one look: they come partly filled, even empty, while there is more.
const MOST_PAGES: usize = 10;

pub(super) const READS: Reads = Reads { most: MOST_LINES, has_times: true, has_previous: false };

/// The container's `logConfiguration`, where logs are kept.
pub(super) fn configuration(settings: &AwsFargate) -> Option<Value> {
    let group = settings.log_group.as_ref()?;
    let options = json!({"awslogs-group": group, "awslogs-region": settings.region, "awslogs-stream-prefix": PREFIX});
    Some(json!({"logDriver": "awslogs", "options": options}))
}

/// Of `GetLogEvents`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Events {
    events: VecDeque<Event>,
    next_backward_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    /// Milliseconds since 1970.
    timestamp: i64,
    message: String,
}

/// The last lines of a container of a task, each after its time.
pub(super) async fn window(
    client: &Client,
    group: &str,
    task: &InstanceId,
    container: &str,
    window: Window,
) -> Result<String, ProviderError> {
    let id = task.0.rsplit('/').next().unwrap_or_default();
    let mut request = json!({
        "logGroupName": group,
        "logStreamName": format!("{PREFIX}/{container}/{id}"),
        "limit": window.lines.clamp(1, MOST_LINES),
        "startFromHead": false,
    });
    if let Some(since) = window.since {
        request["startTime"] = json!((Timestamp::now() - since).as_millisecond().max(0));
    }
    let mut found = VecDeque::new();
    for _ in 0..MOST_PAGES {
        let Some(page) = client.log_events(&request).await? else { break };
        for event in page.events.into_iter().rev() {
            found.push_front(event);
        }
        if found.len() >= window.lines || request["nextToken"] == page.next_backward_token {
            break;
        }
        request["nextToken"] = json!(page.next_backward_token);
    }
    let surplus = found.len().saturating_sub(window.lines);
    Ok(found.into_iter().skip(surplus).map(|event| line(&event)).collect())
}

fn line(Event { timestamp, message }: &Event) -> String {
    let time = Timestamp::from_millisecond(*timestamp).unwrap_or_default();
    format!("{time:.3} {}\n", message.trim_end_matches(['\r', '\n']))
}

/// Whether a refusal says that nothing was written yet.
pub(super) fn is_unwritten(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Invalid(text) if text.starts_with("ResourceNotFoundException") && text.contains("stream"))
}
