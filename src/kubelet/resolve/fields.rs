//! The downward API: a pod's own fields and resources.

use std::{collections::BTreeMap, fmt::Write};

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity,
};

use super::Host;
use crate::provider::clouds::{Bytes, MilliCpu};

/// Fields that only the instance knows.
pub(super) fn is_instances_own(path: &str) -> bool {
    matches!(path, "status.podIP" | "status.podIPs")
}

/// A field's value, or why there is none. A label or annotation that the pod does not have is empty.
pub(super) fn field(pod: &Pod, host: &Host, path: &str) -> Result<Option<String>, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let keyed = |map: &Option<BTreeMap<String, String>>, key: &str| {
        Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    if let Some(key) = key_of(path, "metadata.labels") {
        return Ok(keyed(&meta.labels, key));
    }
    if let Some(key) = key_of(path, "metadata.annotations") {
        return Ok(keyed(&meta.annotations, key));
    }
    Ok(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => {
            Some(spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".to_owned()))
        }
        "status.hostIP" | "status.hostIPs" => Some(host.address.to_string()),
        _ => return Err(format!("the field {path} is none that a pod can be told")),
    })
}

/// `KEY` of `PREFIX['KEY']`.
fn key_of<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")
}

/// A map as files show it: `key="value"`, one a line, values quoted as Go quotes them.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let quoted = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value)));
    quoted.collect::<Vec<_>>().join("\n")
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control.is_control() && control.is_ascii() => {
                // Writing to a text never fails.
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A container's limit or request, in units of the divisor, rounded up. A limit that is not set is the node's.
pub(super) fn resource(
    pod: &Pod,
    host: &Host,
    container: Option<&str>,
    reference: &ResourceFieldSelector,
) -> Result<String, String> {
    let named = reference.container_name.as_deref().or(container);
    let spec = pod.spec.as_ref();
    let mut containers =
        spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let found = containers.find(|container| Some(container.name.as_str()) == named);
    let container = found.ok_or_else(|| format!("there is no container {}", named.unwrap_or("(no name)")))?;
    let unknown = || format!("resource {} is none that a pod can be told", reference.resource);
    let (list, name) = reference.resource.split_once('.').ok_or_else(unknown)?;
    let amount = match list {
        "limits" => of(container, name, true).or_else(|| host.allocatable.get(name).cloned()),
        "requests" => of(container, name, false),
        _ => return Err(unknown()),
    };
    let divisor = reference.divisor.as_ref().map(|divisor| divisor.0.as_str()).filter(|text| !text.is_empty());
    let divisor = divisor.filter(|text| *text != "0").unwrap_or("1");
    let amount = amount.map_or_else(|| "0".to_owned(), |amount| amount.0);
    let units = if name == "cpu" {
        let parse = |text: &str| text.parse::<MilliCpu>().map(|cpu| cpu.0).map_err(|error| error.to_string());
        parse(&amount)?.div_ceil(parse(divisor)?.max(1))
    } else {
        let parse = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0).map_err(|error| error.to_string());
        parse(&amount)?.div_ceil(parse(divisor)?.max(1))
    };
    Ok(units.to_string())
}

fn of(container: &Container, name: &str, is_limit: bool) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    if is_limit { &resources.limits } else { &resources.requests }.as_ref()?.get(name).cloned()
}
