//! Virtual time: what a scenario would deliver and cost, with the same engine inside that decides live.

mod outcome;

pub use outcome::{Load, Outcome, Plant, Played, PodStory, Record, Sample, Summary, TierUse};
