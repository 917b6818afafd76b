//! Why a pod stands or waits where it does, as the one line that people read.

use std::{fmt, time::Duration};

use crate::model::PoolName;

/// Why a pod stands or waits where it does. Prints as one line for the pod's annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The base had room.
    Base {
        /// This pod's number within the base, from 1.
        number: u64,
        /// The base.
        of: u64,
    },
    /// Real nodes take it, though no base in pods says so.
    Real(WhyReal),
    /// The base was full (or short, for long enough), and the pool had room.
    Burst {
        /// The base in pods, if it is one.
        base: Option<u64>,
        /// The pool.
        pool: PoolName,
    },
    /// No real node took a base pod in time.
    BaseShort {
        /// How long it was tried.
        after: Duration,
        /// The pool that may take it too.
        pool: PoolName,
    },
    /// The base has room again, and a real node could take the pod's successor.
    MoveBack,
    /// No place can take the pod.
    Wait {
        /// What keeps it from every place, a clause each.
        obstacles: Box<str>,
    },
    /// The pod carries the gate, but nothing governs it.
    Ungoverned,
}

/// Why real nodes take a pod, though no base in pods says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyReal {
    /// The base's CPU and memory had room.
    WithinResources,
    /// `WhenFull`: real nodes first.
    First,
    /// `Never`.
    Never,
    /// It is outside of the policy's windows.
    OutsideWindows,
    /// The budget is spent, and the policy says that the rest goes to real nodes.
    BudgetSpent,
    /// The policy names real nodes as this tier, counted from 1.
    Tier(usize),
}

impl Reason {
    /// The reason as one bounded word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Real(WhyReal::Tier(_)) => "real",
            Self::Base { .. } | Self::Real(_) => "base",
            Self::Burst { .. } => "burst",
            Self::BaseShort { .. } => "base-short",
            Self::MoveBack => "move-back",
            Self::Wait { .. } => "wait",
            Self::Ungoverned => "ungoverned",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base { number, of } => write!(f, "base: {number} of {of} on real nodes"),
            Self::Real(WhyReal::Tier(number)) => write!(f, "real: tier {number} is real nodes"),
            Self::Real(why) => write!(f, "base: {why}"),
            Self::Burst { base: Some(base), pool } => {
                write!(f, "burst: the base of {base} is full; pool {pool} takes it")
            }
            Self::Burst { base: None, pool } => write!(f, "burst: real nodes are short; pool {pool} takes it"),
            Self::BaseShort { after, pool } => {
                write!(f, "base-short: no real node took it within {}s; pool {pool} may", after.as_secs())
            }
            Self::MoveBack => f.write_str("move-back: the base has room on real nodes again"),
            Self::Wait { obstacles } => write!(f, "waiting: {obstacles}"),
            Self::Ungoverned => f.write_str("released: nothing governs this pod"),
        }
    }
}

impl fmt::Display for WhyReal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithinResources => f.write_str("within its CPU and memory"),
            Self::First => f.write_str("real nodes come first"),
            Self::Never => f.write_str("the policy keeps all pods on real nodes"),
            Self::OutsideWindows => f.write_str("outside of the policy's windows, all pods go to real nodes"),
            Self::BudgetSpent => f.write_str("the budget is spent, and the rest goes to real nodes"),
            Self::Tier(number) => write!(f, "tier {number} is real nodes"),
        }
    }
}
