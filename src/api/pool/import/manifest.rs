//! What a virtual kubelet's manifest says: its variables and arguments.

use std::collections::BTreeMap;

use serde_json::Value;

/// A Deployment or StatefulSet.
pub(super) struct Workload<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) is_stateful: bool,
    pub(super) replicas: Option<u64>,
    /// By name.
    pub(super) variables: BTreeMap<&'a str, Variable<'a>>,
    /// By name without the dashes; what stands twice is joined by a comma.
    pub(super) arguments: BTreeMap<String, String>,
}

/// A variable of the environment.
pub(super) struct Variable<'a> {
    /// Empty where another object has it.
    pub(super) value: &'a str,
    /// Name and key of the Secret that has it.
    pub(super) secret: Option<(&'a str, &'a str)>,
}

impl<'a> Workload<'a> {
    /// The workload of a document, if it is one.
    pub(super) fn read(document: &'a Value) -> Option<Self> {
        let kind = document["kind"].as_str().filter(|kind| ["Deployment", "StatefulSet"].contains(kind))?;
        let containers = || document["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
        let variables = containers().flat_map(|container| container["env"].as_array().into_iter().flatten());
        let variables = variables.filter_map(|variable| Some((variable["name"].as_str()?, Variable::read(variable))));
        let words = |field: &'static str| {
            containers().flat_map(move |container| container[field].as_array().into_iter().flatten())
        };
        Some(Self {
            name: document["metadata"]["name"].as_str(),
            is_stateful: kind == "StatefulSet",
            replicas: document["spec"]["replicas"].as_u64(),
            variables: variables.collect(),
            arguments: arguments(words("command").chain(words("args")).filter_map(Value::as_str)),
        })
    }
}

impl<'a> Variable<'a> {
    fn read(variable: &'a Value) -> Self {
        let secret = &variable["valueFrom"]["secretKeyRef"];
        Self {
            value: variable["value"].as_str().unwrap_or_default(),
            secret: secret["name"].as_str().zip(secret["key"].as_str()),
        }
    }
}

/// `--name=value`, `--name value` and `--name`.
fn arguments<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::<String, String>::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value),
            None => (flag, words.next_if(|next| !next.starts_with('-')).unwrap_or_default()),
        };
        let known = arguments.entry(name.to_owned()).or_default();
        if !known.is_empty() && !value.is_empty() {
            known.push(',');
        }
        known.push_str(value);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_every_spelling() {
        let words = ["/vk", "--provider", "alibabacloud", "--dns=a", "--dns=b", "--disable-taint", "--lease"];
        let read = arguments(words.into_iter());
        let pairs = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
        assert_eq!(pairs, [("disable-taint", ""), ("dns", "a,b"), ("lease", ""), ("provider", "alibabacloud")]);
    }
}
