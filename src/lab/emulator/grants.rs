//! Temporary keys, as token services grant them: a key, its secret, and a token that has to be shown with them until they end.

use std::{collections::BTreeMap, time::Duration};

use super::{Ground, Moment};
use crate::provider::clouds::{Secret, alibaba_eci::signing::content_hash};

/// Those that were granted, by the keys' ids.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<String, Grant>);

#[derive(Debug)]
struct Grant {
    secret: Secret,
    token: String,
    until: Moment,
}

/// What the caller is given.
pub(super) struct Granted {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: String,
}

/// Why a temporary key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    NoToken,
    /// The token belongs to another key, or to none.
    OtherToken,
    Expired,
}

impl Grants {
    /// A new key, whose id `named` makes of sixty-four hexadecimal digits.
    pub(super) fn grant(&mut self, ground: &Ground, lasts: Duration, named: impl FnOnce(&str) -> String) -> Granted {
        let (serial, now) = (self.0.len(), ground.clock.now());
        let made = |what: &str| content_hash(format!("{what}/{serial}/{now:?}").as_bytes());
        let granted = Granted { id: named(&made("id")), secret: made("secret"), token: made("token") };
        let grant = Grant { secret: Secret::new(&granted.secret), token: granted.token.clone(), until: now + lasts };
        self.0.insert(granted.id.clone(), grant);
        granted
    }

    /// The secret of a key that was shown with this token; `None` where no such key was ever granted.
    pub(super) fn secret(&self, id: &str, token: Option<&str>, now: Moment) -> Option<Result<&Secret, Closed>> {
        let grant = self.0.get(id)?;
        Some(match token {
            None => Err(Closed::NoToken),
            Some(token) if token != grant.token => Err(Closed::OtherToken),
            Some(_) if grant.until <= now => Err(Closed::Expired),
            Some(_) => Ok(&grant.secret),
        })
    }
}
