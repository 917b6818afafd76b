//! One call and its answer, whatever its status; calls to a cloud that is out are not made for a while.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, Request, StatusCode, Uri, header};

use super::{http::client, limits::Breaker};
use crate::provider::ProviderError;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A cloud's answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub text: String,
}

impl Answer {
    /// What the header `retry-after` says, where it says seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Sends calls; clones share their connections.
#[derive(Debug, Clone)]
pub struct Exchange {
    client: reqwest::Client,
    breaker: Arc<Breaker>,
}

impl Exchange {
    /// For calls of `endpoint`, trusting what the system trusts, or only `trust` (PEM) where it is given.
    pub fn new(endpoint: &str, trust: Option<&str>) -> Result<Self, ProviderError> {
        Ok(Self { client: client(endpoint, trust, TIMEOUT)?, breaker: Arc::default() })
    }

    /// Reaches what answers name, without breaker.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends `request`, whose address is absolute. An error means that nothing, or not all, was answered: the call
    /// may or may not have taken effect. After several of those in a row, calls are refused here for a while.
    pub async fn send(&self, request: Request<String>) -> Result<Answer, ProviderError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        self.breaker.check().map_err(|pause| {
            let text = format!("{host}: several calls in a row were not answered; the next is made in {pause:.0?}");
            ProviderError::Unavailable(text)
        })?;
        let answer = self.answer(request).await;
        match &answer {
            Ok(answer) if !answer.status.is_server_error() => self.breaker.answered(),
            _ => self.breaker.failed(),
        }
        answer.map_err(|error| ProviderError::Unavailable(format!("{host}: {}", chain(&error))))
    }

    async fn answer(&self, request: Request<String>) -> reqwest::Result<Answer> {
        let response = self.client.execute(request.try_into()?).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }
}

/// The authority of an address, as the header `host` has it.
pub fn host_of(address: &Uri) -> String {
    address.authority().map(ToString::to_string).unwrap_or_default()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
