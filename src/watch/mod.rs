//! What the API server shows, as slim events for the engine; and who among the replicas does what.

mod duty;
#[cfg(test)]
pub(crate) mod fake_api;
mod follow;
mod merged;
mod misplaced;
mod policies;
mod profile;
mod sources;

pub use duty::{AtWork, Duties, Duty, DutyError, DutySettings, Leadership, Post, Roster};
pub use follow::{Listening, Seen, events, follow};
pub use misplaced::{Sighting, misplaced_bases};
pub use policies::{PoolSeen, SharedPolicies, follow_policies, follow_pools};
pub use profile::{SharedProfile, follow_profile, present_profile};
pub use sources::{About, EngineWatch, engine_events};
