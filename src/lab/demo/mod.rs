//! The demo: recorded traffic drives a real HPA, and the overflow runs on virtual nodes.
//!
//! [`Play`] plays one on a local cluster, or on one that is there already. The rest is pure: it reads a [`Scenario`], tells what [CPU](cpu_per_pod) each pod uses under the traffic,
//! folds what is seen of the pods into a [`Tally`], and shows that as objects ([`Record`]) or as a [`LiveTable`](crate::report::LiveTable).
//!
//! ```text
//! Scenario ── traffic.rate_at(t) ─> cpu_per_pod ─> metrics endpoints ─> HPA ─> pods
//!                                                                             │ PodSight::of
//!                    LiveTable, JSON <── Sample, Summary <── Tally::observe <─┘
//! ```

mod load;
mod play;
mod sight;
mod tally;

pub use crate::scenario::{
    Alone, Currency, Driven, ManifestError, Pool, Price, RealNodes, Scenario, ScenarioError, StartUp, UnitPrice,
    Workload,
};
pub use burstlet_engine::simulator::{Record, Sample, Summary};
pub use load::cpu_per_pod;
pub use play::Play;
pub use sight::{Place, PodSight, PodState, Revision};
pub use tally::Tally;
