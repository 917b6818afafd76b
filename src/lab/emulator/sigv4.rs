//! Checks of AWS Signature Version 4, as the clouds that use it do them.

use std::{collections::BTreeMap, time::Duration};

use super::{AccessKey, Call, Ground};
use crate::provider::clouds::{
    Secret,
    signing::sigv4::{Claim, Scope, Signable, SignatureError, verify},
};

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_mins(15);

/// Keys that a cloud knows, by id.
#[derive(Debug)]
pub(super) struct KeyRing(BTreeMap<String, Secret>);

impl KeyRing {
    pub(super) fn new(keys: Vec<AccessKey>) -> Self {
        Self(keys.into_iter().map(|key| (key.id, key.secret)).collect())
    }

    /// The region that the call is signed for.
    pub(super) fn check(
        &self,
        ground: &Ground,
        call: &Call<'_>,
        service: &'static str,
    ) -> Result<String, SignatureError> {
        let claim = Claim::read(&call.head.headers)?;
        let secret = self.0.get(&claim.key_id).ok_or_else(|| SignatureError::UnknownKey(claim.key_id.clone()))?;
        verified(ground, call, service, &claim, secret)
    }
}

/// The region that the call is signed for by this secret.
pub(super) fn verified(
    ground: &Ground,
    call: &Call<'_>,
    service: &'static str,
    claim: &Claim,
    secret: &Secret,
) -> Result<String, SignatureError> {
    let scope = Scope { region: claim.region().to_owned(), service };
    let request = Signable {
        method: &call.head.method,
        path: call.head.uri.path(),
        query: call.head.uri.query().unwrap_or_default(),
        headers: &call.head.headers,
        body: call.body,
    };
    verify(&request, claim, secret.reveal(), &scope, ground.judged_time(), SKEW)?;
    Ok(scope.region)
}
