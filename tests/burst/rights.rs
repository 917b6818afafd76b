//! What roles allow, against what the API server's audit log says was asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One thing that a role may allow: a verb on a kind, of one name or of any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub verb: String,
    /// `group/resource`, or `group/resource/subresource`.
    pub on: String,
    pub name: Option<String>,
}

/// What a role's rules allow, each thing by itself.
pub fn allowed(rules: &[Value]) -> Vec<Right> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    for rule in rules {
        let names = texts(rule, "resourceNames");
        let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        for (group, resource) in product(&texts(rule, "apiGroups"), &texts(rule, "resources")) {
            for (verb, name) in product(&texts(rule, "verbs"), &names) {
                all.push(Right { verb, on: format!("{group}/{resource}"), name });
            }
        }
    }
    all
}

fn product<A: Clone, B: Clone>(one: &[A], other: &[B]) -> Vec<(A, B)> {
    one.iter().flat_map(|a| other.iter().map(|b| (a.clone(), b.clone()))).collect()
}

/// The rights that it takes to ask as another user.
fn impersonation(user: &Value) -> Vec<Right> {
    let right =
        |on: &str, name: &str| Right { verb: "impersonate".to_owned(), on: on.to_owned(), name: Some(name.to_owned()) };
    let groups = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    groups
        .map(|group| right("/groups", group))
        .chain(user["username"].as_str().map(|user| right("/users", user)))
        .collect()
}

/// What service accounts of a namespace asked, by account.
#[derive(Debug, Default)]
pub struct Asked {
    used: BTreeMap<String, BTreeSet<Right>>,
    /// What was forbidden, with its moment.
    pub forbidden: Vec<(String, String, Right)>,
    last: BTreeMap<String, String>,
}

impl Asked {
    /// Reads an audit log.
    pub fn read(log: &str, namespace: &str) -> Self {
        let mut asked = Self::default();
        for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            let account = user.strip_prefix(&format!("system:serviceaccount:{namespace}:"));
            let (Some(account), Some(reference)) = (account, event.get("objectRef")) else { continue };
            if let Some(other) = event.get("impersonatedUser") {
                // What is asked as a node is for the node authorizer to allow.
                asked.used.entry(account.to_owned()).or_default().extend(impersonation(other));
                continue;
            }
            let text = |field: &str| reference[field].as_str().unwrap_or_default();
            let mut on = format!("{}/{}", text("apiGroup"), text("resource"));
            if !text("subresource").is_empty() {
                on = format!("{on}/{}", text("subresource"));
            }
            let name = Some(text("name")).filter(|name| !name.is_empty()).map(str::to_owned);
            let right = Right { verb: event["verb"].as_str().unwrap_or_default().to_owned(), on, name };
            let at = event["stageTimestamp"].as_str().unwrap_or_default().to_owned();
            asked.last.insert(account.to_owned(), at.clone());
            match event["annotations"]["authorization.k8s.io/decision"].as_str() {
                Some("forbid") => asked.forbidden.push((account.to_owned(), at, right)),
                _ => drop(asked.used.entry(account.to_owned()).or_default().insert(right)),
            }
        }
        asked
    }

    /// When an account asked last.
    pub fn last(&self, account: &str) -> &str {
        self.last.get(account).map_or("", String::as_str)
    }

    /// Whether the account made use of what is allowed. Who watches may list, too: API servers before streamed lists need it.
    pub fn uses(&self, account: &str, right: &Right) -> bool {
        let is_it = |asked: &Right| {
            (asked.verb == right.verb || (right.verb == "list" && asked.verb == "watch"))
                && asked.on == right.on
                && (right.name.is_none() || asked.name == right.name)
        };
        self.used.get(account).is_some_and(|used| used.iter().any(is_it))
    }
}
