//! Tokens of Azure's login service: a client proves itself by its secret, or by the cluster's federated token.

use std::{sync::Arc, time::Duration};

use http::{Request, header};
use serde::Deserialize;

use crate::provider::{
    ProviderError,
    clouds::{
        Secret,
        credentials::{KeyStore, Names, first, needed},
        exchange::Exchange,
        pod::invalid,
        renewed::Renewed,
    },
};

const TENANT: Names = &["AZURE_TENANT_ID", "tenant-id"];
const CLIENT: Names = &["AZURE_CLIENT_ID", "client-id"];
const SECRET: Names = &["AZURE_CLIENT_SECRET", "client-secret"];
const TOKEN_FILE: Names = &["AZURE_FEDERATED_TOKEN_FILE"];
const SCOPE: &str = "https://management.azure.com/.default";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Debug)]
pub(super) struct Tokens {
    http: Exchange,
    login: String,
    store: Arc<dyn KeyStore>,
    granted: Renewed<Proof, Secret>,
}

/// What proves a client; a token of another proof is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Proof {
    tenant: String,
    client: String,
    secret: Secret,
    is_federated: bool,
}

impl Proof {
    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("client_id", &self.client).append_pair("scope", SCOPE);
        if self.is_federated {
            form.append_pair("client_assertion_type", ASSERTION).append_pair("client_assertion", self.secret.reveal());
        } else {
            form.append_pair("client_secret", self.secret.reveal());
        }
        form.finish()
    }
}

#[derive(Debug, Deserialize)]
struct Granted {
    access_token: Secret,
    expires_in: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refused {
    error: String,
    error_description: String,
}

impl Tokens {
    pub(super) fn new(login: Option<&str>, store: Arc<dyn KeyStore>, http: Exchange) -> Self {
        let login = login.unwrap_or("https://login.microsoftonline.com").trim_end_matches('/').to_owned();
        Self { http, login, store, granted: Renewed::default() }
    }

    pub(super) async fn token(&self) -> Result<Secret, ProviderError> {
        let proof = self.proof().await?;
        self.granted.get(proof.clone(), self.ask(&proof)).await
    }

    /// `token` was refused; the next call asks for another one.
    pub(super) async fn forget(&self, token: &Secret) {
        self.granted.forget(token).await;
    }

    async fn proof(&self) -> Result<Proof, ProviderError> {
        let id = |secret: Secret, field: &str| {
            let text = secret.reveal().to_owned();
            let is_id = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            let malformed =
                || ProviderError::Unauthorized(format!("{field} is malformed: letters, digits, -, . and _ only"));
            is_id.then_some(text).ok_or_else(malformed)
        };
        let tenant = id(needed(&*self.store, TENANT).await?, "the tenant's id")?;
        let client = id(needed(&*self.store, CLIENT).await?, "the client's id")?;
        if let Some(secret) = first(&*self.store, SECRET).await? {
            return Ok(Proof { tenant, client, secret, is_federated: false });
        }
        let missing = || {
            ProviderError::Unauthorized(
                "no key: neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE is set".to_owned(),
            )
        };
        let file = first(&*self.store, TOKEN_FILE).await?.ok_or_else(missing)?;
        let text = tokio::fs::read_to_string(file.reveal()).await.map_err(|error| {
            ProviderError::Unauthorized(format!("unable to read the federated token {}: {error}", file.reveal()))
        })?;
        Ok(Proof { tenant, client, secret: Secret::new(&text), is_federated: true })
    }

    async fn ask(&self, proof: &Proof) -> Result<(Secret, Duration), ProviderError> {
        let body = proof.form();
        let request = Request::post(format!("{}/{}/oauth2/v2.0/token", self.login, proof.tenant))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .map_err(|error| invalid("loginEndpoint", error))?;
        let answer = self.http.send(request).await?;
        if answer.status.is_success() {
            let granted = serde_json::from_str(&answer.text).map_err(|error| {
                ProviderError::Unavailable(format!("the login service's answer is not understood: {error}"))
            });
            let Granted { access_token, expires_in } = granted?;
            return Ok((access_token, Duration::from_secs(expires_in)));
        }
        let refused: Refused = serde_json::from_str(&answer.text).unwrap_or_default();
        let text = format!("{}: {}", refused.error, refused.error_description);
        if answer.status.is_server_error() {
            return Err(ProviderError::Unavailable(text));
        }
        Err(ProviderError::Unauthorized(text))
    }
}
