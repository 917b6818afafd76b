//! What a pod asks of a node beside room: labels, taints that it tolerates, and pods that it keeps away from.
//!
//! Each is as Kubernetes has it in a pod's spec. Where a pod selects other pods by their labels, the
//! workloads whose pods these are stand here by their names.

use std::collections::BTreeMap;

use crate::model::ObjectName;

/// The label that is each node's own.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label of a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// What a workload's pods ask of their nodes, beside their `nodeSelector`. [`Default`] asks nothing, and spreads as
/// kube-scheduler spreads pods that say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Taints that they tolerate.
    pub tolerations: Vec<Toleration>,
    /// Terms of the required node affinity, of which one must hold; `None` where there is none.
    pub required: Option<Vec<NodeTerm>>,
    /// Terms of the preferred node affinity, each with its weight.
    pub preferred: Vec<(u32, NodeTerm)>,
    /// Required pod anti-affinity.
    pub apart: Vec<Apart>,
    /// Preferred pod anti-affinity, each with its weight.
    pub rather_apart: Vec<(u32, Apart)>,
    /// Topology spread; where there is none, Kubernetes' defaults hold.
    pub spread: Vec<Spread>,
    /// Whether the virtual nodes' labels keep the required node affinity from them.
    pub excludes_virtual: bool,
}

/// Repels pods that do not tolerate it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, empty where it has none.
    pub value: String,
    /// How it repels.
    pub effect: Effect,
}

/// How a taint repels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// New pods.
    NoSchedule,
    /// New pods, where another node takes them.
    PreferNoSchedule,
    /// New pods and those that are there; nodes have their taints from the start here.
    NoExecute,
}

/// Tolerates taints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// Of this key; `None` of any.
    pub key: Option<String>,
    /// Of this value; `None` of any.
    pub value: Option<String>,
    /// Of this effect; `None` of any.
    pub effect: Option<Effect>,
}

/// Requirements of which all must hold; none of them holds for no node.
pub type NodeTerm = Vec<Requirement>;

/// What a node's label must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It is one of the values.
    In,
    /// It is none of them, or not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// Its number is more than the value's.
    Gt,
    /// Its number is less.
    Lt,
}

/// Keeps pods out of the domains where certain others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    /// The label whose values are the domains.
    pub topology: String,
    /// The workloads whose pods are meant.
    pub from: Vec<ObjectName>,
}

/// Spreads pods over domains.
#[allow(clippy::struct_excessive_bools, reason = "a pod's spec has as many")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// The label whose values are the domains.
    pub topology: String,
    /// How many pods a domain may have more than the one that has the fewest.
    pub max_skew: u32,
    /// With fewer domains, the fewest counts as none.
    pub min_domains: u32,
    /// Whether no pod may break it, or it is only preferred.
    pub is_hard: bool,
    /// The workloads whose pods count.
    pub over: Vec<ObjectName>,
    /// Whether the pod itself is one that counts.
    pub counts_itself: bool,
    /// Whether of its own workload only its own revision counts.
    pub per_revision: bool,
    /// Whether only nodes count that the pod selects.
    pub honors_affinity: bool,
    /// Whether only nodes count whose taints the pod tolerates.
    pub honors_taints: bool,
}

impl Constraints {
    /// Whether the required node affinity holds for a node of these labels.
    pub(super) fn is_affine(&self, labels: &BTreeMap<String, String>) -> bool {
        self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| holds(term, labels)))
    }

    /// The weight of the preferred terms that hold for a node of these labels.
    pub(super) fn preference(&self, labels: &BTreeMap<String, String>) -> u32 {
        let held = self.preferred.iter().filter(|(_, term)| holds(term, labels));
        held.map(|(weight, _)| weight).fold(0, |all, weight| all.saturating_add(*weight))
    }

    /// Taints of these effects that are not tolerated.
    pub(super) fn repelled(&self, taints: &[Taint], effects: &[Effect]) -> usize {
        let is_tolerated = |taint: &Taint| self.tolerations.iter().any(|toleration| toleration.tolerates(taint));
        taints.iter().filter(|taint| effects.contains(&taint.effect) && !is_tolerated(taint)).count()
    }
}

impl Effect {
    /// Those that keep a pod off a node.
    pub(super) const HARD: [Self; 2] = [Self::NoSchedule, Self::NoExecute];
}

impl Toleration {
    fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
    }
}

/// Whether a term holds for a node of these labels.
fn holds(term: &NodeTerm, labels: &BTreeMap<String, String>) -> bool {
    !term.is_empty() && term.iter().all(|requirement| requirement.holds(labels))
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let numbers = || Some((label?.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::In => label.is_some_and(|label| self.values.contains(label)),
            Operator::NotIn => label.is_none_or(|label| !self.values.contains(label)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::Gt => numbers().is_some_and(|(label, bound)| label > bound),
            Operator::Lt => numbers().is_some_and(|(label, bound)| label < bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_compares_as_upstream_does() {
        let labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "8".to_owned())]);
        let holds = |key: &str, operator, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            holds(&vec![Requirement { key: key.into(), operator, values }], &labels)
        };
        for (key, operator, values, expected) in [
            ("disk", Operator::In, &["hdd", "ssd"][..], true),
            ("disk", Operator::In, &["hdd"], false),
            ("none", Operator::In, &["ssd"], false),
            ("disk", Operator::NotIn, &["ssd"], false),
            ("none", Operator::NotIn, &["ssd"], true),
            ("disk", Operator::Exists, &[], true),
            ("none", Operator::DoesNotExist, &[], true),
            ("cores", Operator::Gt, &["7"], true),
            ("cores", Operator::Gt, &["8"], false),
            ("cores", Operator::Lt, &["9"], true),
            ("disk", Operator::Lt, &["9"], false),
        ] {
            assert_eq!(holds(key, operator, values), expected, "{key} {operator:?} {values:?}");
        }
        assert!(!super::holds(&vec![], &labels), "a term that asks nothing holds for no node");
    }

    #[test]
    fn a_taint_is_tolerated_by_key_value_and_effect_where_they_are_given() {
        let taint = |effect| Taint { key: "team".into(), value: "web".into(), effect };
        let tolerates = |key: Option<&str>, value: Option<&str>, effect| {
            let toleration = Toleration { key: key.map(str::to_owned), value: value.map(str::to_owned), effect };
            let constraints = Constraints { tolerations: vec![toleration], ..Constraints::default() };
            constraints.repelled(&[taint(Effect::NoSchedule)], &Effect::HARD) == 0
        };
        assert!(tolerates(None, None, None) && tolerates(Some("team"), Some("web"), Some(Effect::NoSchedule)));
        assert!(!tolerates(Some("team"), Some("api"), None) && !tolerates(Some("gpu"), None, None));
        assert!(!tolerates(Some("team"), None, Some(Effect::NoExecute)));
        let soft = Constraints::default().repelled(&[taint(Effect::PreferNoSchedule)], &Effect::HARD);
        assert_eq!(soft, 0, "what is only preferred keeps nobody off");
    }
}
