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
    lab::emulator::{Ground, Moment},
    provider::{clouds::Secret, clouds::aws_fargate::hash},
};

pub(super) const ACTION: &str = "AssumeRoleWithWebIdentity";

/// How long keys last unless the role says otherwise.
const LASTS: Duration = Duration::from_hours(1);

/// Temporary keys, by their ids.
#[derive(Debug, Default)]
pub(super) struct Granted(BTreeMap<String, Grant>);

#[derive(Debug)]
struct Grant {
    secret: Secret,
    token: String,
    until: Moment,
}

impl Granted {
    /// The secret of a temporary key, which goes with its token; `None` where no such key was granted.
    pub(super) fn secret(&self, id: &str, headers: &HeaderMap, now: Moment) -> Result<Option<Secret>, ApiError> {
        let Some(grant) = self.0.get(id) else { return Ok(None) };
        let token = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
        if token != Some(&grant.token) {
            let text = "The security token included in the request is invalid.";
            return Err(ApiError::new("UnrecognizedClientException", text));
        }
        if grant.until <= now {
            return Err(ApiError::new(
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ));
        }
        Ok(Some(grant.secret.clone()))
    }

    /// Does what the call asks for.
    pub(super) fn exchange(&mut self, body: &Bytes, ground: &Ground) -> Response {
        let form = form_urlencoded::parse(body).into_owned().collect::<BTreeMap<_, _>>();
        let has = |name: &str| form.get(name).is_some_and(|value| !value.is_empty());
        let xml = [(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"))];
        if !has("RoleArn") || !has("WebIdentityToken") {
            let text = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no token</Message></Error></ErrorResponse>";
            return (StatusCode::BAD_REQUEST, xml, text).into_response();
        }
        let serial = self.0.len();
        let made = |what: &str| hash(&format!("{what}/{serial}/{:?}", ground.clock.now()));
        let (id, secret, token) = (format!("ASIA{}", &made("id")[..16].to_uppercase()), made("secret"), made("token"));
        let until = ground.judged_time().saturating_add(LASTS).map(|until| until.to_string()).unwrap_or_default();
        let text = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
             <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{until}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        let until = ground.clock.now() + LASTS;
        self.0.insert(id, Grant { secret: Secret::new(&secret), token, until });
        (xml, text).into_response()
    }
}
