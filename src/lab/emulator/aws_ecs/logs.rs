//! `CloudWatch` Logs, as far as tasks write to it and callers read it.
//!
//! A container writes that it started, and then what its command prints, to the stream `PREFIX/CONTAINER/TASK` of the group
//! that its definition names.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ecs, State, error::ApiError, is_named, task, text};
use crate::lab::emulator::program::Program;

/// Most events of one answer.
const MOST: u64 = 10_000;

impl Ecs {
    pub(super) fn create_log_group(&self, body: &Value) -> Result<Value, ApiError> {
        let name = text(body, "logGroupName");
        if name.is_empty() {
            return Err(ApiError::invalid("logGroupName must be 1 to 512 characters."));
        }
        if !self.state().log_groups.insert(name.to_owned()) {
            return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log group already exists"));
        }
        Ok(json!({}))
    }

    pub(super) fn log_events(&self, body: &Value) -> Result<Value, ApiError> {
        let most = body["limit"].as_u64().unwrap_or(MOST);
        if !(1..=MOST).contains(&most) {
            return Err(ApiError::invalid("limit must be within 1 and 10000."));
        }
        let missing =
            |what| ApiError::new("ResourceNotFoundException", format!("The specified log {what} does not exist."));
        let state = self.state();
        if !state.log_groups.contains(text(body, "logGroupName")) {
            return Err(missing("group"));
        }
        let all = self.written(&state, text(body, "logGroupName"), text(body, "logStreamName"));
        let all = all.ok_or_else(|| missing("stream"))?;
        let (from, until) = (body["startTime"].as_i64().unwrap_or(0), body["endTime"].as_i64().unwrap_or(i64::MAX));
        let all = all.into_iter().filter(|(at, _)| (from..until).contains(at)).collect::<Vec<_>>();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let at =
            |token: &str| token.parse::<usize>().map_err(|_| ApiError::invalid("The specified nextToken is invalid."));
        let (begin, end) = match text(body, "nextToken").split_once('/') {
            Some(("f", token)) => (at(token)?, at(token)?.saturating_add(most)),
            Some(("b", token)) => (at(token)?.saturating_sub(most), at(token)?),
            Some(_) => return Err(ApiError::invalid("The specified nextToken is invalid.")),
            None if body["startFromHead"] == true => (0, most),
            None => (all.len().saturating_sub(most), all.len()),
        };
        let (begin, end) = (begin.min(all.len()), end.min(all.len()));
        let shown = all[begin..end].iter();
        let shown = shown.map(|(at, message)| json!({"timestamp": at, "message": message, "ingestionTime": at}));
        Ok(json!({
            "events": shown.collect::<Vec<_>>(),
            "nextForwardToken": format!("f/{end}"),
            "nextBackwardToken": format!("b/{begin}"),
        }))
    }

    /// What a stream holds now, by time in milliseconds since 1970; `None` before its container has started.
    fn written(&self, state: &State, group: &str, stream: &str) -> Option<Vec<(i64, String)>> {
        let (rest, id) = stream.rsplit_once('/')?;
        let (prefix, name) = rest.rsplit_once('/')?;
        let (arn, task) = state.tasks.iter().find(|(arn, _)| is_named(arn, id))?;
        let container = task.container(name)?;
        let options = &container["logConfiguration"]["options"];
        if text(options, "awslogs-group") != group || text(options, "awslogs-stream-prefix") != prefix {
            return None;
        }
        let machine = state.machines.get(arn)?;
        let now = self.ground.clock.now();
        let end = machine.over_at().unwrap_or(now).min(now);
        let ran = end.checked_sub(machine.starts)?;
        let output = Program::of(&task::command(container), &[]).output;
        let lines = output.into_iter().filter(|line| line.after <= ran).map(|line| (line.after, line.text));
        let began = (Duration::ZERO, format!("{name} started"));
        let stamp = |after: Duration| self.ground.clock.stamp(machine.starts + after).as_millisecond();
        Some(std::iter::once(began).chain(lines).map(|(after, text)| (stamp(after), text)).collect())
    }
}
