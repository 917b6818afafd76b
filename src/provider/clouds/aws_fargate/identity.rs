//! Keys for ECS: as they are stored, or exchanged at STS for the token of a web identity.

use std::{sync::Arc, time::Duration};

use http::{Request, header};
use jiff::Timestamp;

use super::{error::classify, service::address_of};
use crate::{
    api::pool::aws_fargate::AwsFargate,
    provider::{
        ProviderError,
        clouds::{
            Secret,
            credentials::{KeyStore, Names, SigningKeys, first},
            exchange::Exchange,
            pod::invalid,
            renewed::Renewed,
        },
    },
};

const ID: Names = &["AWS_ACCESS_KEY_ID", "access-key-id"];
const SECRET: Names = &["AWS_SECRET_ACCESS_KEY", "access-key-secret"];
const TOKEN: Names = &["AWS_SESSION_TOKEN"];
const ROLE: Names = &["AWS_ROLE_ARN"];
const TOKEN_FILE: Names = &["AWS_WEB_IDENTITY_TOKEN_FILE"];

#[derive(Debug)]
pub(super) struct Identity {
    store: Arc<dyn KeyStore>,
    http: Exchange,
    sts: String,
    /// By role and by the file with the token.
    exchanged: Renewed<(Secret, Secret), SigningKeys>,
}

impl Identity {
    pub(super) fn new(settings: &AwsFargate, store: Arc<dyn KeyStore>, http: Exchange) -> Self {
        let sts = match &settings.sts_endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => address_of("sts", &settings.region),
        };
        Self { store, http, sts, exchanged: Renewed::default() }
    }

    /// Stored keys if there are any, else exchanged ones.
    pub(super) async fn keys(&self) -> Result<SigningKeys, ProviderError> {
        let role = first(&*self.store, ROLE).await?;
        let file = first(&*self.store, TOKEN_FILE).await?;
        let (Some(role), Some(file)) = (role, file) else {
            return SigningKeys::read(&*self.store, ID, SECRET, TOKEN).await;
        };
        if first(&*self.store, ID).await?.is_some() {
            return SigningKeys::read(&*self.store, ID, SECRET, TOKEN).await;
        }
        let proof = (role.clone(), file.clone());
        self.exchanged.get(proof, self.exchange(role.reveal(), file.reveal())).await
    }

    /// `keys` were refused: where they were exchanged, the next call exchanges anew.
    pub(super) async fn forget(&self, keys: &SigningKeys) {
        self.exchanged.forget(keys).await;
    }

    async fn exchange(&self, role: &str, file: &str) -> Result<(SigningKeys, Duration), ProviderError> {
        let token = tokio::fs::read_to_string(file)
            .await
            .map_err(|error| ProviderError::Unauthorized(format!("unable to read the web identity {file}: {error}")))?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "AssumeRoleWithWebIdentity")
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", role)
            .append_pair("RoleSessionName", "burstlet")
            .append_pair("WebIdentityToken", token.trim())
            .finish();
        let request = Request::post(format!("{}/", self.sts))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .map_err(|error| invalid("stsEndpoint", error))?;
        let answer = self.http.send(request).await?;
        let part = |name| element(&answer.text, name);
        if !answer.status.is_success() {
            return Err(classify(answer.status, part("Code").unwrap_or("STS"), part("Message").unwrap_or_default()));
        }
        let missing = || ProviderError::Unavailable("sts: the answer has no keys".to_owned());
        let keys = SigningKeys {
            id: part("AccessKeyId").ok_or_else(missing)?.to_owned(),
            secret: Secret::new(part("SecretAccessKey").ok_or_else(missing)?),
            token: Some(Secret::new(part("SessionToken").ok_or_else(missing)?)),
        };
        let until = part("Expiration").and_then(|text| text.parse::<Timestamp>().ok()).ok_or_else(missing)?;
        Ok((keys, Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default()))
    }
}

/// The text of the first element of this name; STS's answers have no attributes and nothing to unescape in keys.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let begin = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let length = xml.get(begin..)?.find(&format!("</{name}>"))?;
    xml.get(begin..begin + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_name() {
        let xml = "<A><B>one</B><C/></A>";
        assert_eq!((element(xml, "B"), element(xml, "C"), element("<B>x", "B")), (Some("one"), None, None));
    }
}
