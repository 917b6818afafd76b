//! What is done to a group that stands: delete, restart, update, log, exec, metrics.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    error::ApiError,
    group::{Container, Doing, Group},
    state::{Context, State},
};
use crate::lab::emulator::{
    exec::{Dialect, websocket},
    program::{Line, Program},
};

/// Lines of a log where nobody asks for more or fewer, and the most.
const LOG_LINES: usize = 500;
const MOST_LOG_LINES: usize = 2000;
const MOST_LOG_BYTES: usize = 1 << 20;
/// Words of a command, and characters of each.
const MOST_WORDS: usize = 20;
const LONGEST_WORD: usize = 256;

fn missing_group(id: &str) -> ApiError {
    ApiError::not_found(
        "InvalidParameter.ContainerGroupId.NotFound",
        format!("The container group {id} does not exist."),
    )
}

fn group<'a>(state: &'a State, context: &Context<'_>) -> Result<&'a Group, ApiError> {
    let id = context.tree.needed("ContainerGroupId")?;
    state.groups.get(id).ok_or_else(|| missing_group(id))
}

fn group_mut<'a>(state: &'a mut State, context: &Context<'_>) -> Result<&'a mut Group, ApiError> {
    let id = context.tree.needed("ContainerGroupId")?;
    state.groups.get_mut(id).ok_or_else(|| missing_group(id))
}

/// `DeleteContainerGroup`
pub(super) fn delete(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let group = group_mut(state, context)?;
    group.deleted.get_or_insert(context.now);
    Ok(json!({}))
}

fn needs_running(group: &Group, context: &Context<'_>) -> Result<(), ApiError> {
    match group.status(context.now) {
        "Running" => Ok(()),
        status => Err(ApiError::invalid("IncorrectStatus", format!("The container group is {status}, not Running."))),
    }
}

/// `RestartContainerGroup`
pub(super) fn restart(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let group = group_mut(state, context)?;
    needs_running(group, context)?;
    group.restarted = Some(context.now);
    Ok(json!({}))
}

/// `UpdateContainerGroup`: containers by name, and tags. The size stays.
pub(super) fn update(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let is_whole = match tree.text("UpdateType").unwrap_or("RenewUpdate") {
        "RenewUpdate" => true,
        "IncrementalUpdate" => false,
        other => return Err(ApiError::parameter("UpdateType", &format!("{other} is no type of update."))),
    };
    let tags = tree.tags()?;
    let group = group_mut(state, context)?;
    needs_running(group, context)?;
    let mut containers = Vec::new();
    for member in tree.list("Container") {
        let name = member.needed("Name")?;
        let known = group.containers.iter().find(|container| container.name == name);
        let image = member.text("Image").or(known.map(|known| known.image.as_str()));
        let program = if member.has("Command") || member.has("Arg") {
            Program::of(&member.texts("Command"), &member.texts("Arg"))
        } else {
            known.map(|known| known.program.clone()).unwrap_or_default()
        };
        containers.push(Container {
            name: name.to_owned(),
            image: image.ok_or_else(|| ApiError::missing(&format!("Container.{name}.Image")))?.to_owned(),
            program,
            definition: member.clone(),
        });
    }
    if !containers.is_empty() {
        if !is_whole {
            let is_replaced = |old: &Container| containers.iter().any(|new| new.name == old.name);
            let kept = group.containers.iter().filter(|old| !is_replaced(old)).cloned().collect::<Vec<_>>();
            containers.extend(kept);
        }
        group.containers = containers;
        group.updated = Some(context.now);
    }
    if !tags.is_empty() {
        group.tags = tags;
    }
    Ok(json!({}))
}

fn container<'a>(group: &'a Group, context: &Context<'_>) -> Result<&'a Container, ApiError> {
    let name = context.tree.text("ContainerName");
    let wanted = |container: &&Container| name.is_none_or(|name| container.name == name);
    group.containers.iter().find(wanted).ok_or_else(|| {
        let name = name.unwrap_or_default();
        ApiError::not_found("InvalidParameter.ContainerName.NotFound", format!("There is no container {name}."))
    })
}

/// `DescribeContainerLog`
pub(super) fn log(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let group = group(state, context)?;
    let container = container(group, context)?;
    let tail = tree.number::<usize>("Tail")?.unwrap_or(LOG_LINES);
    if tail > MOST_LOG_LINES {
        return Err(ApiError::parameter("Tail", &format!("at most {MOST_LOG_LINES} lines are taken.")));
    }
    let bytes = tree.number::<usize>("LimitBytes")?.unwrap_or(MOST_LOG_BYTES);
    if bytes > MOST_LOG_BYTES {
        return Err(ApiError::parameter("LimitBytes", &format!("at most {MOST_LOG_BYTES} bytes are taken.")));
    }
    let course = group.container(container, context.now);
    let run = if tree.truth("LastTime")? {
        let none = || ApiError::invalid("IncorrectStatus", "The container has not been restarted.");
        let ended = course.previous.ok_or_else(none)?;
        Some((ended.began, ended.at))
    } else {
        match course.doing {
            Doing::Waiting { .. } => course.previous.map(|ended| (ended.began, ended.at)),
            Doing::Running { since } => Some((since, context.now)),
            Doing::Ended(ended) => Some((ended.began, ended.at)),
        }
    };
    let since = tree.number::<u64>("SinceSeconds")?.map(Duration::from_secs);
    let oldest = since.and_then(|since| context.now.checked_sub(since)).unwrap_or_default();
    let has_times = tree.truth("Timestamps")?;
    let began = Line { after: Duration::ZERO, text: format!("{} started", container.name), is_error: false };
    let mut lines = Vec::new();
    if let Some((start, end)) = run {
        let written = std::iter::once(&began).chain(&container.program.output).map(|line| (start + line.after, line));
        let written = written.filter(|(at, _)| *at <= end && *at >= oldest);
        lines.extend(written.map(|(at, line)| {
            let stamp = if has_times { format!("{} ", context.ground.clock.stamp(at)) } else { String::new() };
            format!("{stamp}{}", line.text)
        }));
    }
    let lines = &lines[lines.len().saturating_sub(tail)..];
    let text = text_of(lines.iter().map(String::as_str));
    Ok(json!({"ContainerName": container.name, "Content": text.get(..bytes).unwrap_or(&text)}))
}

/// Lines, each with its end.
fn text_of<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// `ExecContainerCommand`
pub(super) fn exec(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let command = tree.needed("Command")?;
    let words: Vec<String> =
        serde_json::from_str(command).map_err(|_| ApiError::parameter("Command", "it is no JSON array of texts."))?;
    if words.len() > MOST_WORDS || words.iter().any(|word| word.chars().count() > LONGEST_WORD) {
        let why = format!("at most {MOST_WORDS} words of {LONGEST_WORD} characters are taken.");
        return Err(ApiError::parameter("Command", &why));
    }
    let group = group(state, context)?;
    container(group, context)?;
    needs_running(group, context)?;
    if tree.truth("Sync")? {
        if tree.truth("TTY")? {
            return Err(ApiError::parameter("TTY", "it must be false where Sync is true."));
        }
        let output = Program::executed(&words).output;
        return Ok(json!({"SyncResponse": text_of(output.iter().map(|line| line.text.as_str()))}));
    }
    let token = state.id("exec");
    let path = context.sessions.add(&token, words, Dialect::Channels);
    Ok(json!({"WebSocketUri": websocket(&context.base, &path),
        "HttpUrl": format!("https://eci.console.aliyun.com/terminal?param={token}")}))
}

fn record(context: &Context<'_>, group: &Group) -> Option<Value> {
    if group.status(context.now) != "Running" {
        return None;
    }
    let elapsed = context.now.saturating_sub(group.ready_at());
    let usage = |containers: u64| {
        let (cpu, memory) = (context.settings.cpu_millis * containers, context.settings.memory_bytes * containers);
        let used = u128::from(cpu) * elapsed.as_nanos() / 1000;
        json!({
            "CPU": {"UsageNanoCores": cpu * 1_000_000, "UsageCoreNanoSeconds": u64::try_from(used).unwrap_or(u64::MAX).max(1),
                "Limit": group.size.cpu.0, "Load": 0},
            "Memory": {"WorkingSet": memory, "UsageBytes": memory, "Rss": memory, "Cache": 0,
                "AvailableBytes": group.size.memory.0.saturating_sub(memory)},
        })
    };
    let count = group.containers.len() as u64;
    let mut record = usage(count);
    let container = |container: &Container| {
        let mut one = usage(1);
        one["Name"] = container.name.clone().into();
        one
    };
    record["Containers"] = group.containers.iter().map(container).collect();
    let interface = json!({"Name": "eth0", "RxBytes": 0, "TxBytes": 0, "RxPackets": 0, "TxPackets": 0,
        "RxErrors": 0, "TxErrors": 0, "RxDrops": 0, "TxDrops": 0});
    record["Network"] = json!({"Interfaces": [interface]});
    record["Disk"] = json!([]);
    record["Timestamp"] = context.time(context.now).into();
    Some(record)
}

/// `DescribeContainerGroupMetric`
pub(super) fn metric(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let group = group(state, context)?;
    if let Some(period) = context.tree.text("Period").filter(|period| !["15", "30", "60", "600"].contains(period)) {
        return Err(ApiError::parameter("Period", &format!("{period} is none of 15, 30, 60 and 600.")));
    }
    let records = record(context, group).into_iter().collect::<Vec<_>>();
    Ok(json!({"ContainerGroupId": group.id, "Records": records}))
}

/// `DescribeMultiContainerGroupMetric`
pub(super) fn metrics(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let ids = context.tree.json_list("ContainerGroupIds", 20)?.ok_or_else(|| ApiError::missing("ContainerGroupIds"))?;
    let known = ids.iter().filter_map(|id| state.groups.get(id));
    let data = known.map(|group| {
        let records = record(context, group).into_iter().collect::<Vec<_>>();
        json!({"ContainerGroupId": group.id, "Records": records})
    });
    Ok(json!({"MonitorDatas": data.collect::<Vec<_>>()}))
}
