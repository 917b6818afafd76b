//! STS's exchange of a web identity for temporary keys (`AssumeRoleWithWebIdentity`, version 2011-06-15).
//!
//! The call is not signed, and any token that is not empty will do; what it grants is verified with each later call.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::error::ApiError;
use crate::{
    lab::emulator::{
        Ground, Moment,
        grants::{Closed, Granted, Grants},
    },
    provider::clouds::Secret,
};

pub(super) const ACTION: &str = "AssumeRoleWithWebIdentity";

/// How long keys last unless the role says otherwise.
const LASTS: Duration = Duration::from_hours(1);

/// The secret of a temporary key, which goes with its token; `None` where no such key was granted.
pub(super) fn secret(grants: &Grants, id: &str, headers: &HeaderMap, now: Moment) -> Result<Option<Secret>, ApiError> {
    let token = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
    let secret = grants.secret(id, token, now).transpose().map_err(|why| match why {
        Closed::NoToken | Closed::OtherToken => {
            let text = "The security token included in the request is invalid.";
            ApiError::new("UnrecognizedClientException", text)
        }
        Closed::Expired => {
            ApiError::new("ExpiredTokenException", "The security token included in the request is expired")
        }
    })?;
    Ok(secret.cloned())
}

/// Does what the call asks for.
pub(super) fn exchange(grants: &mut Grants, body: &Bytes, ground: &Ground) -> Response {
    let form = form_urlencoded::parse(body).into_owned().collect::<BTreeMap<_, _>>();
    let has = |name: &str| form.get(name).is_some_and(|value| !value.is_empty());
    let xml = [(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"))];
    if !has("RoleArn") || !has("WebIdentityToken") {
        let text = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no token</Message></Error></ErrorResponse>";
        return (StatusCode::BAD_REQUEST, xml, text).into_response();
    }
    let named = |digits: &str| format!("ASIA{}", digits[..16].to_uppercase());
    let Granted { id, secret, token } = grants.grant(ground, LASTS, named);
    let until = ground.judged_time().saturating_add(LASTS).map(|until| until.to_string()).unwrap_or_default();
    let text = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{until}</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    (xml, text).into_response()
}
