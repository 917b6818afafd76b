//! What people ask for: the base, the tiers after it, and how long to try before moving on.

mod base;
mod effective;
mod governance;
mod money;
mod settings;
mod window;

pub use base::{Base, BaseError};
pub use effective::{
    Budget, Cap, Count, EffectivePolicy, Exhausted, Mode, MoveBack, MoveOn, Per, Place, PolicyName, Spend, TierRule,
    Waiting,
};
pub use governance::{Fault, Governance, Source, governance};
pub use money::{Currency, Money, MoneyError, Price, Usage};
pub use settings::Settings;
pub use window::{Window, WindowError};
