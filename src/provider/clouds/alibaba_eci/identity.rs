//! Keys for ECI and VPC: as they are stored, or exchanged at STS for the cluster's token of burstlet's service account
//! (RRSA), by the names that Alibaba's own SDKs read.

use std::{sync::Arc, time::Duration};

use http::{Request, header};
use serde::Deserialize;

use super::error::Refusal;
use crate::provider::{
    ProviderError,
    clouds::{
        Secret,
        credentials::{KeyStore, Names, SigningKeys, first, needed},
        exchange::Exchange,
        renewed::Renewed,
    },
};

const ID: Names = &["access-key-id", "ECI_ACCESS_KEY", "ALIBABA_CLOUD_ACCESS_KEY_ID"];
const SECRET: Names = &["access-key-secret", "ECI_SECRET_KEY", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"];
const TOKEN: Names = &["security-token", "ECI_SECURITY_TOKEN", "ALIBABA_CLOUD_SECURITY_TOKEN"];
const ROLE: Names = &["ALIBABA_CLOUD_ROLE_ARN"];
const PROVIDER: Names = &["ALIBABA_CLOUD_OIDC_PROVIDER_ARN"];
const TOKEN_FILE: Names = &["ALIBABA_CLOUD_OIDC_TOKEN_FILE"];

/// Who the calls are from.
#[derive(Debug)]
pub(super) struct Identity {
    store: Arc<dyn KeyStore>,
    http: Exchange,
    sts: String,
    exchanged: Renewed<Role, SigningKeys>,
}

/// A role that the cluster's token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Role {
    arn: String,
    provider: String,
    /// Kubernetes writes a new token into it before the one there ends.
    token_file: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    credentials: Granted,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Granted {
    access_key_id: String,
    access_key_secret: Secret,
    security_token: Secret,
    expiration: jiff::Timestamp,
}

impl Identity {
    /// Keys of `store`, which are exchanged at `sts` where they are a role's.
    pub(super) fn new(store: Arc<dyn KeyStore>, sts: &str, certificate: Option<&str>) -> Result<Self, ProviderError> {
        let sts = sts.trim_end_matches('/').to_owned();
        Ok(Self { store, http: Exchange::new(&sts, certificate)?, sts, exchanged: Renewed::default() })
    }

    /// The keys to sign with now: stored ones if there are any, else a role's.
    pub(super) async fn keys(&self) -> Result<SigningKeys, ProviderError> {
        match self.role().await? {
            None => SigningKeys::read(&*self.store, ID, SECRET, TOKEN).await,
            Some(role) => self.exchanged.get(role.clone(), self.assume(&role)).await,
        }
    }

    /// The cloud refused `keys`. Whether the next call has others: exchanged ones are, those of the store are read anew for
    /// each call anyway.
    pub(super) async fn refused(&self, keys: &SigningKeys) -> bool {
        self.exchanged.forget(keys).await
    }

    async fn role(&self) -> Result<Option<Role>, ProviderError> {
        let store = &*self.store;
        if first(store, ID).await?.is_some() {
            return Ok(None);
        }
        let Some(arn) = first(store, ROLE).await? else { return Ok(None) };
        let text = |secret: Secret| secret.reveal().to_owned();
        Ok(Some(Role {
            arn: text(arn),
            provider: text(needed(store, PROVIDER).await?),
            token_file: text(needed(store, TOKEN_FILE).await?),
        }))
    }

    async fn assume(&self, role: &Role) -> Result<(SigningKeys, Duration), ProviderError> {
        let refused = |what: String| ProviderError::Unauthorized(format!("alibaba-eci: credentials: {what}"));
        let file = &role.token_file;
        let token = tokio::fs::read_to_string(file).await;
        let token = token.map_err(|error| refused(format!("unable to read the cluster's token {file}: {error}")))?;
        let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let pairs =
            |pairs: &[(&str, &str)]| form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let query =
            [("Action", "AssumeRoleWithOIDC"), ("Version", "2015-04-01"), ("Format", "JSON"), ("Timestamp", &stamp)];
        // In a form: addresses end up in the logs of proxies.
        let form = [
            ("RoleArn", role.arn.as_str()),
            ("OIDCProviderArn", &role.provider),
            ("OIDCToken", token.trim()),
            ("RoleSessionName", "burstlet"),
        ];
        let request = Request::post(format!("{}/?{}", self.sts, pairs(&query)))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(pairs(&form))
            .map_err(|error| ProviderError::Invalid(format!("alibaba-eci: stsEndpoint: {error}")))?;
        let answer = self.http.send(request).await?;
        if !answer.status.is_success() {
            let refusal = serde_json::from_str::<Refusal>(&answer.text).unwrap_or_default();
            let what =
                format!("AssumeRoleWithOIDC: {}: {} (request {})", refusal.code, refusal.message, refusal.request_id);
            return Err(match answer.status.as_u16() {
                500.. => ProviderError::Unavailable(format!("alibaba-eci: {}: {what}", answer.status)),
                _ if refusal.code.starts_with("Throttling") => ProviderError::Throttled {
                    message: format!("alibaba-eci: {what}"),
                    retry_after: answer.retry_after(),
                },
                _ => refused(what),
            });
        }
        let Assumed { credentials } = serde_json::from_str(&answer.text).map_err(|error| {
            ProviderError::Unavailable(format!(
                "alibaba-eci: AssumeRoleWithOIDC: the answer is not understood: {error}"
            ))
        })?;
        let lasts = credentials.expiration.duration_since(jiff::Timestamp::now());
        let keys = SigningKeys {
            id: credentials.access_key_id,
            secret: credentials.access_key_secret,
            token: Some(credentials.security_token),
        };
        Ok((keys, Duration::try_from(lasts).unwrap_or_default()))
    }
}
