//! The HPA's conditions: what it could do and what held it back.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ConditionType {
    /// Whether the target's scale could be read and written, and what stabilisation did.
    AbleToScale,
    /// Whether a metric says how many replicas are wanted.
    ScalingActive,
    /// Whether a limit held the replicas back.
    ScalingLimited,
    /// Whether it was the HPA that scaled to zero (feature gate `HPAScaleToZero`).
    ScaledToZero,
}

/// A condition, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    #[serde(serialize_with = "as_status")]
    pub status: bool,
    /// Why, as one word.
    pub reason: &'static str,
    /// Why, for people.
    pub message: Cow<'static, str>,
}

/// The API has three-valued texts; the HPA never writes `Unknown`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_status<S: Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

/// The conditions in the order in which they first appeared.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    pub(super) fn set(
        &mut self,
        kind: ConditionType,
        status: bool,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) {
        let condition = Condition { kind, status, reason, message: message.into() };
        match self.0.iter_mut().find(|known| known.kind == kind) {
            Some(known) => *known = condition,
            None => self.0.push(condition),
        }
    }

    pub(super) fn remove(&mut self, kind: ConditionType) {
        self.0.retain(|known| known.kind != kind);
    }

    pub(super) fn holds(&self, kind: ConditionType) -> bool {
        self.0.iter().any(|known| known.kind == kind && known.status)
    }

    pub(super) fn all(&self) -> &[Condition] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_keep_the_order_in_which_they_first_appeared() {
        let mut conditions = Conditions::default();
        conditions.set(ConditionType::AbleToScale, true, "SucceededGetScale", "a");
        conditions.set(ConditionType::ScalingActive, false, "ScalingDisabled", "b");
        conditions.set(ConditionType::AbleToScale, true, "ReadyForNewScale", "c");
        let reasons = conditions.all().iter().map(|condition| condition.reason).collect::<Vec<_>>();
        assert_eq!(reasons, ["ReadyForNewScale", "ScalingDisabled"]);
        let shown = serde_json::to_value(&conditions.all()[1]).unwrap();
        let expected = serde_json::json!({"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled", "message": "b"});
        assert_eq!(shown, expected);
    }
}
