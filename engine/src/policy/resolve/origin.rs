//! Where a field of a policy comes from.

use std::fmt;

use crate::{model::ObjectName, policy::opt_in::On};

/// Where an object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The pod.
    Pod,
    /// What scales it.
    Workload,
    /// Its namespace.
    Namespace,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Workload => "workload",
            Self::Namespace => "namespace",
        })
    }
}

/// How a BurstPolicy came to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// An annotation there names it.
    Name(Level),
    /// Its selector matches the pod.
    Selector,
    /// It is the cluster's default.
    Default,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(level) => write!(f, "named by the {level}"),
            Self::Selector => f.write_str("by its selector"),
            Self::Default => f.write_str("the cluster's default"),
        }
    }
}

/// Where a field of a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An annotation of burstlet's.
    Annotation(Level, &'static str),
    /// A mark of another product.
    OptIn(On, &'static str),
    /// A BurstPolicy.
    Policy(ObjectName, By),
    /// A BurstPolicy that another one extends.
    Extended {
        /// The policy that says it.
        policy: ObjectName,
        /// The policy that holds for the pod.
        by: ObjectName,
    },
    /// burstlet's configuration.
    Configuration,
    /// Nobody said anything.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation(level, key) => write!(f, "annotation {key} on the {level}"),
            Self::OptIn(on, key) => write!(f, "{key}, {}", on.words()),
            Self::Policy(name, by) => write!(f, "BurstPolicy {name}, {by}"),
            Self::Extended { policy, by } => write!(f, "BurstPolicy {policy}, extended by {by}"),
            Self::Configuration => f.write_str("burstlet's configuration"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}
