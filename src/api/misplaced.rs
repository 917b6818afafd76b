//! Objects that carry a base and are not governed for their kind's sake.

/// Why a base on an object of a kind does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misplaced {
    /// The kind never scales.
    DoesNotScale,
    /// The kind scales, but burstlet does not govern it.
    NotGovernedYet,
}

impl Misplaced {
    /// Of the kinds other than Deployments, ReplicaSets and namespaces.
    pub fn of(kind: &str) -> Self {
        match kind {
            "DaemonSet" | "Pod" => Self::DoesNotScale,
            _ => Self::NotGovernedYet,
        }
    }

    /// The fault in words, for people.
    pub fn told_of(self, kind: &str) -> String {
        match self {
            Self::DoesNotScale => format!("a {kind} does not scale, so it has no base; the annotation has no effect"),
            Self::NotGovernedYet => format!("burstlet does not govern {kind}s yet; the annotation has no effect"),
        }
    }

    /// The fault as one word, for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::DoesNotScale => "does-not-scale",
            Self::NotGovernedYet => "not-governed-yet",
        }
    }
}
