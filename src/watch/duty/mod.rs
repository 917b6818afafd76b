//! What one replica at a time does, and which one: placement, and each pool's virtual nodes.
//!
//! Every duty has a Lease. [`Duties`] takes part for one replica and tells what holds by the [`Roster`]; those who do the
//! work wait there for their turn ([`Post`]). Who takes, keeps, asks for and hands over which Lease at what time is decided
//! in `rules.rs`, apart from all I/O.
//!
//! ```text
//! Leases ── list ──> rules::Book ── steps ──> Leases
//!                        │
//!                     Roster ── Leadership ──> Post: placer, kubelets ── at work ──> Book: a Lease passes on when its work has ended
//! ```

mod post;
#[cfg(test)]
mod properties;
mod rules;
mod run;

use std::{fmt, time::Duration};

use burstlet_engine::model::PoolName;
use tokio::time::Instant;

pub use post::{AtWork, Post, Roster};
pub use run::{Duties, DutyError, DutySettings};

/// Something that one replica at a time does; it has the name of its Lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duty(String);

impl Duty {
    /// Deciding for gated pods.
    pub fn placement() -> Self {
        Self("burstlet".to_owned())
    }

    /// Keeping a pool's virtual nodes and their pods.
    pub fn pool(pool: &PoolName) -> Self {
        Self(format!("burstlet-pool-{pool}"))
    }

    /// Its Lease.
    pub fn lease(&self) -> &str {
        &self.0
    }

    /// Whether it passes to a replica that has less to do. Placement stays: what it has learned by waiting is its own.
    fn moves(&self) -> bool {
        *self != Self::placement()
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether this replica holds a duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Another replica does, or none.
    Standby,
    /// This replica does, and must not begin a write after this moment unless it has renewed.
    Leader {
        /// The end of its right to write.
        until: Instant,
    },
}

impl Leadership {
    /// Whether a write may begin now.
    pub fn may_write(self) -> bool {
        matches!(self, Self::Leader { until } if Instant::now() < until)
    }
}

/// A moment, as time since the replica began.
type Moment = Duration;
