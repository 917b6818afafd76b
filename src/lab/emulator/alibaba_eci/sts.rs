//! STS, version 2015-04-01: the token of an identity provider (OIDC), such as a cluster's of a service account, for
//! temporary keys (`AssumeRoleWithOIDC`). The call is not signed; what it grants is verified with each call that is.
//!
//! Of the token, form, end and audience are verified. Its signature is not, for the emulator knows no provider's keys.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{error::ApiError, tree::Tree};
use crate::lab::emulator::{
    Ground,
    grants::{Closed, Granted, Grants},
};

pub(super) const VERSION: &str = "2015-04-01";
pub(super) const ACTION: &str = "AssumeRoleWithOIDC";

/// The audience that RAM expects where the provider is a cluster.
const AUDIENCE: &str = "sts.aliyuncs.com";
const SHORTEST: u64 = 900;
/// The longest session that a role allows unless it is changed, and the one that is granted unless another is asked for.
const LONGEST: u64 = 3_600;

/// How a temporary key that opens nothing is refused.
pub(super) fn closed(why: Closed) -> ApiError {
    match why {
        Closed::NoToken => ApiError::missing("SecurityToken"),
        Closed::OtherToken => mismatch(),
        Closed::Expired => ApiError::invalid("InvalidSecurityToken.Expired", "Specified SecurityToken is expired."),
    }
}

/// Does what the call asks for.
pub(super) fn assume(grants: &mut Grants, tree: &Tree, ground: &Ground) -> Result<Value, ApiError> {
    let role = arn(tree, "RoleArn", ":role/")?;
    arn(tree, "OIDCProviderArn", ":oidc-provider/")?;
    let session = tree.needed("RoleSessionName")?;
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || ".@-_".contains(sign);
    if !(2..=64).contains(&session.len()) || !session.chars().all(is_sign) {
        return Err(ApiError::parameter("RoleSessionName", "2 to 64 letters, digits and .@-_ are taken."));
    }
    let lasts = match tree.text("DurationSeconds") {
        None => LONGEST,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (SHORTEST..=LONGEST).contains(seconds))
            .ok_or_else(|| ApiError::parameter("DurationSeconds", &format!("{SHORTEST} to {LONGEST} are taken.")))?,
    };
    let claims = claims(tree.needed("OIDCToken")?, ground)?;
    let lasts = Duration::from_secs(lasts);
    let Granted { id, secret, token } = grants.grant(ground, lasts, |digits| format!("STS.{}", &digits[..24]));
    let expiration = ground.judged_time().saturating_add(lasts).unwrap_or_else(|_| ground.judged_time());
    let name = role.rsplit('/').next().unwrap_or_default();
    let assumed = role.replacen(":role/", ":assumed-role/", 1);
    Ok(json!({
        "Credentials": {
            "AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token,
            "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
        "AssumedRoleUser": {"Arn": format!("{assumed}/{session}"), "AssumedRoleId": format!("{name}:{session}")},
        "OIDCTokenInfo": {"Subject": claims["sub"], "Issuer": claims["iss"], "ClientIds": AUDIENCE},
    }))
}

/// A token that belongs to another key, or to none.
pub(super) fn mismatch() -> ApiError {
    ApiError::invalid(
        "InvalidSecurityToken.MismatchWithAccessKey",
        "Specified SecurityToken mismatch with the AccessKey.",
    )
}

/// Such as `acs:ram::113511544585:role/burst`.
fn arn<'a>(tree: &'a Tree, parameter: &str, kind: &str) -> Result<&'a str, ApiError> {
    let text = tree.needed(parameter)?;
    let parts = text.strip_prefix("acs:ram::").and_then(|rest| rest.split_once(kind));
    let is_arn = parts.is_some_and(|(account, name)| {
        !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()
    });
    let wrong = || ApiError::parameter(parameter, &format!("acs:ram::ACCOUNT{kind}NAME is taken."));
    is_arn.then_some(text).ok_or_else(wrong)
}

/// What a JSON Web Token claims, where it is one that is good now.
fn claims(token: &str, ground: &Ground) -> Result<Value, ApiError> {
    let invalid = || ApiError::invalid("AuthenticationFail.OIDCToken.Invalid", "This OIDC Token is invalid.");
    let parts = token.split('.').collect::<Vec<_>>();
    let [_, claims, _] = parts.as_slice() else { return Err(invalid()) };
    let claims =
        BASE64_URL_SAFE_NO_PAD.decode(claims).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let claims = claims.ok_or_else(invalid)?;
    let audience = &claims["aud"];
    if audience != AUDIENCE && !audience.as_array().is_some_and(|all| all.iter().any(|one| one == AUDIENCE)) {
        return Err(invalid());
    }
    if claims["exp"].as_i64().is_none_or(|end| end <= ground.judged_time().as_second()) {
        return Err(ApiError::invalid("AuthenticationFail.OIDCToken.Expired", "This OIDC Token has expired."));
    }
    Ok(claims)
}
