//! The demo: recorded traffic drives a real HPA, and the overflow runs on virtual nodes.
//!
//! [`Play`] plays one on a local cluster, or on one that is there already. The rest is pure: it reads a [`Scenario`], tells what [CPU](cpu_per_pod) each pod uses under the traffic,
//! folds what is seen of the pods into a [`Tally`], and shows that as objects ([`Record`]) or as a [`LiveTable`].
//!
//! ```text
//! Scenario ── traffic.rate_at(t) ─> cpu_per_pod ─> metrics endpoints ─> HPA ─> pods
//!                                                                             │ PodSight::of
//!                    LiveTable, JSON <── Sample, Summary <── Tally::observe <─┘
//! ```

mod load;
mod manifests;
mod paint;
mod play;
mod pool;
mod scenario;
mod sight;
mod table;
mod tally;

pub use burstlet_engine::simulator::{Record, Sample, Summary};
pub use load::cpu_per_pod;
pub use manifests::{ManifestError, Workload};
pub use paint::Paint;
pub use play::Play;
pub use pool::{Currency, Pool, Price, StartUp, UnitPrice};
pub use scenario::{RealNodes, Scenario, ScenarioError};
pub use sight::{Place, PodSight, PodState, Revision};
pub use table::{LiveTable, summary_table};
pub use tally::Tally;
