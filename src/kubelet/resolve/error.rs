//! Why a pod cannot be made to stand by itself yet.

use std::fmt;

/// The kinds of objects that pods refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ObjectKind {
    ConfigMap,
    Secret,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::ConfigMap { "ConfigMap" } else { "Secret" })
    }
}

/// An object, or a key of one, that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Missing {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    pub(crate) key: Option<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "key {key} of the {} {}", self.kind, self.name),
            None => write!(f, "the {} {}", self.kind, self.name),
        }
    }
}

impl Missing {
    /// An event's reason, in the words that virtual kubelets have used and suites look for.
    pub(crate) fn reason(&self, is_optional: bool) -> &'static str {
        match (is_optional, self.kind, self.key.is_some()) {
            (false, ObjectKind::ConfigMap, false) => "MandatoryConfigMapNotFound",
            (false, ObjectKind::ConfigMap, true) => "MandatoryConfigMapKeyNotFound",
            (false, ObjectKind::Secret, false) => "MandatorySecretNotFound",
            (false, ObjectKind::Secret, true) => "MandatorySecretKeyNotFound",
            (true, ObjectKind::ConfigMap, false) => "OptionalConfigMapNotFound",
            (true, ObjectKind::ConfigMap, true) => "OptionalConfigMapKeyNotFound",
            (true, ObjectKind::Secret, false) => "OptionalSecretNotFound",
            (true, ObjectKind::Secret, true) => "OptionalSecretKeyNotFound",
        }
    }
}

/// Why a pod gets no instance yet. The text names objects and fields, never what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Unresolved {
    /// In the order of kind and name; never empty.
    #[error("not found: {}; make it, or set optional on the reference", list(.0))]
    Missing(Vec<Missing>),
    /// The API server refuses.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The API server was not reached, or failed.
    #[error("not read: {0}")]
    Unreadable(String),
    /// The pod itself asks for what there is not.
    #[error("{field}: {problem}")]
    Invalid {
        /// Where in the pod.
        field: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl Unresolved {
    /// An event's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Missing(missing) => missing.first().map_or("MandatoryConfigMapNotFound", |first| first.reason(false)),
            Self::Forbidden(_) => "ObjectsForbidden",
            Self::Unreadable(_) => "ObjectsNotRead",
            Self::Invalid { .. } => "InvalidReference",
        }
    }
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
