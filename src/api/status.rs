//! What burstlet reports on its own kinds: conditions, as Kubernetes writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that holds, or does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What it is about, such as `Ready`.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// Why, in one word.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Why, for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When it last changed, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Generation of the object that it was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// The condition `kind` as it holds now, of an object that had `before`: the time of the last change is kept while
    /// the status is.
    pub fn now(
        kind: &str,
        is_true: bool,
        reason: &str,
        message: &str,
        generation: Option<i64>,
        before: &[Self],
        now: jiff::Timestamp,
    ) -> Self {
        let status = if is_true { "True" } else { "False" };
        let since = before.iter().find(|condition| condition.kind == kind && condition.status == status);
        let second = || now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Self {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: since.map_or_else(second, |condition| condition.last_transition_time.clone()),
            observed_generation: generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_change_stays_while_the_status_does() {
        let at = |second: i64| jiff::Timestamp::from_second(second).unwrap();
        let first = Condition::now("Ready", true, "Accepted", "", Some(1), &[], at(0));
        assert_eq!(first.last_transition_time, "1970-01-01T00:00:00Z");
        let same = Condition::now("Ready", true, "Accepted", "", Some(2), std::slice::from_ref(&first), at(9));
        assert_eq!(same.last_transition_time, first.last_transition_time);
        let other = Condition::now("Ready", false, "Refused", "", Some(2), &[same], at(9));
        assert_eq!(other.last_transition_time, "1970-01-01T00:00:09Z");
    }
}
