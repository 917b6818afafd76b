//! Who governs a workload: its own annotation, else its namespace's.

use std::fmt;

use crate::policy::{Base, BaseError};

/// Where a base was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// On the workload itself.
    Workload,
    /// On its namespace, as the default of its workloads.
    Namespace,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workload => "workload",
            Self::Namespace => "namespace",
        })
    }
}

/// An annotation that is no base, so that its workload is left as if it had none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {source_of}'s base is left aside: {error}")]
pub struct Fault {
    /// Where it was written.
    pub source_of: Source,
    /// What is wrong with it.
    pub error: BaseError,
}

/// What the annotations say of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Governance {
    /// No annotation: the workload is not burstlet's.
    Free,
    /// This base, written there.
    Governed(Base, Source),
    /// An annotation that is no base. A fault on the workload does not fall back to the namespace's base: its owner
    /// meant something else.
    Faulty(Fault),
}

/// Reads the annotations of a workload and of its namespace; the workload's comes first.
pub fn governance(workload: Option<&str>, namespace: Option<&str>) -> Governance {
    let (text, source_of) = match (workload, namespace) {
        (Some(text), _) => (text, Source::Workload),
        (None, Some(text)) => (text, Source::Namespace),
        (None, None) => return Governance::Free,
    };
    match text.parse() {
        Ok(base) => Governance::Governed(base, source_of),
        Err(error) => Governance::Faulty(Fault { source_of, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_annotation_comes_before_the_namespaces() {
        assert_eq!(governance(Some("3"), Some("5")), Governance::Governed(Base::count(3), Source::Workload));
        assert_eq!(governance(None, Some("5")), Governance::Governed(Base::count(5), Source::Namespace));
        assert_eq!(governance(None, None), Governance::Free);
    }

    #[test]
    fn a_fault_on_the_workload_does_not_fall_back_to_the_namespace() {
        let Governance::Faulty(fault) = governance(Some("many"), Some("5")) else { panic!("governed by a fault") };
        assert_eq!(
            fault.to_string(),
            "the workload's base is left aside: \"many\" is neither a number of pods nor a percentage; write for example 3 or 30%"
        );
    }
}
