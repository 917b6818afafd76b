//! Recording traffic: from files, compressed or not, from Prometheus, and from a live cluster.
//!
//! Reading and judging a trace is the engine's ([`burstlet_engine::traffic::import`]); here are the files, the network
//! and the clock around it.

mod cluster;
mod file;
mod prometheus;
mod starts;
mod summary;

pub use cluster::{ClusterError, HpaSample, Seen, Watch, now, watch_cluster};
pub use file::{RecordError, import_file, read_traffic, write_recording};
pub use prometheus::{Access, Query, QueryError, Window};
pub use starts::{Extent, Ground, Look, Start, StartUps, Starts};
pub use summary::{SummaryJson, summary_table};
