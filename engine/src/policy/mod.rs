//! What people ask for: the base, the tiers after it, and how long to try before moving on.

pub mod annotation;
mod base;
pub mod check;
mod effective;
pub mod fields;
mod governance;
pub mod graph;
pub mod import;
mod marks;
mod money;
pub mod opt_in;
mod policies;
pub mod profile;
pub mod resolve;
mod settings;
pub mod spec;
mod window;

pub use base::{Base, BaseError};
pub use effective::{
    Budget, Cap, Count, EffectivePolicy, Exhausted, Mode, MoveBack, MoveOn, Per, Place, PolicyName, Spend, TierRule,
    Waiting,
};
pub use governance::{Fault, Governance, Source, governance};
pub use marks::Marks;
pub use money::{Currency, Money, MoneyError, Price, Usage};
pub use policies::Policies;
pub use resolve::{Asked, Origin, Resolution};
pub use settings::Settings;
pub use spec::Spec;
pub use window::{Window, WindowError};
