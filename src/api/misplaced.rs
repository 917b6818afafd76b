//! Objects that carry a base and are not governed for their kind's sake.

/// Why a base on an object of a kind does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misplaced {
    /// The kind never scales.
    DoesNotScale,
    /// The kind is none that burstlet governs.
    NotGoverned,
}

impl Misplaced {
    /// Of the kinds other than namespaces and those that scale.
    pub fn of(kind: &str) -> Self {
        match kind {
            "DaemonSet" | "Pod" => Self::DoesNotScale,
            _ => Self::NotGoverned,
        }
    }

    /// The fault in words, for people.
    pub fn told_of(self, kind: &str) -> String {
        match self {
            Self::DoesNotScale => format!("a {kind} does not scale, so it has no base; the annotation has no effect"),
            Self::NotGoverned => format!("burstlet does not govern {kind}s; the annotation has no effect"),
        }
    }

    /// The fault as one word, for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::DoesNotScale => "does-not-scale",
            Self::NotGoverned => "not-governed",
        }
    }
}
