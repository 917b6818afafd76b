//! One call of the API: paced, signed, sent, tried again where that is safe, and read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder, Response, header::HeaderMap};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{
    error::{CallError, Refusal},
    identity::Identity,
    signing::{Parameters, Signing, V1_METHOD, content_hash, encode, sign_v1, sign_v3},
};
use crate::{
    api::pool::alibaba_eci::Signature,
    provider::{
        ProviderError,
        clouds::{
            credentials::SigningKeys,
            http,
            limits::{Breaker, Bucket, Rate},
        },
    },
};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait in the queue of a rate: whoever would wait longer is told to come again.
const LONGEST_QUEUE: Duration = Duration::from_secs(30);
/// Parameters longer than this travel in a form, for servers and proxies limit what an address may have.
const LONGEST_QUERY: usize = 6_000;
/// How often a call is sent that gets no answer or is throttled.
const TRIES: u32 = 4;
/// Pause before it is sent again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A version of an API, and where it is served.
#[derive(Debug)]
pub(super) struct Service {
    client: Client,
    /// Such as `https://eci.cn-hangzhou.aliyuncs.com`.
    endpoint: String,
    version: &'static str,
    region: String,
    identity: Arc<Identity>,
    signature: Signature,
    buckets: BTreeMap<&'static str, Bucket>,
    other: Bucket,
    breaker: Breaker,
    nonces: AtomicU64,
    /// What makes this process's nonces its own.
    salt: u128,
}

/// Where and how a service is called.
#[derive(Debug, Clone)]
pub(super) struct ServiceSettings<'a> {
    pub(super) endpoint: &'a str,
    pub(super) version: &'static str,
    pub(super) region: &'a str,
    pub(super) signature: Signature,
    pub(super) certificate: Option<&'a str>,
}

impl Service {
    pub(super) fn new(settings: &ServiceSettings<'_>, identity: Arc<Identity>) -> Result<Self, ProviderError> {
        // As documented for ECI; burst and rate of the others are a guess well below what is known.
        let buckets = [
            ("CreateContainerGroup", Rate::new(100, 20.0)),
            ("DeleteContainerGroup", Rate::new(100, 20.0)),
            ("DescribeContainerGroups", Rate::per_minute(2_000)),
            ("DescribeContainerGroupStatus", Rate::per_minute(10_000)),
            ("DescribeContainerLog", Rate::per_minute(500)),
            ("ExecContainerCommand", Rate::per_minute(500)),
        ];
        Ok(Self {
            client: http::client(settings.endpoint, settings.certificate, TIMEOUT)?,
            endpoint: settings.endpoint.trim_end_matches('/').to_owned(),
            version: settings.version,
            region: settings.region.to_owned(),
            identity,
            signature: settings.signature,
            buckets: buckets.into_iter().map(|(action, rate)| (action, Bucket::new(rate))).collect(),
            other: Bucket::new(Rate::new(50, 20.0)),
            breaker: Breaker::default(),
            nonces: AtomicU64::new(0),
            salt: salt(),
        })
    }

    /// Reaches what answers of this service name.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Calls `action` with `parameters`. Sent again while nothing is answered or the cloud throttles, so the call must
    /// be one that may be repeated.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        parameters: &Parameters,
    ) -> Result<T, CallError> {
        self.call_timed(action, parameters, &mut None).await
    }

    /// The same. Notes in `sent` when the call was sent that took effect, or the first that may have.
    pub(super) async fn call_timed<T: DeserializeOwned>(
        &self,
        action: &'static str,
        parameters: &Parameters,
        sent: &mut Option<Instant>,
    ) -> Result<T, CallError> {
        let bucket = self.buckets.get(action).unwrap_or(&self.other);
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            if let Err(wait) = self.breaker.check() {
                let text = format!("alibaba-eci: {action}: the API does not answer; the next try is in {wait:?}");
                return Err(ProviderError::Unavailable(text).into());
            }
            bucket.take_within(LONGEST_QUEUE).await.map_err(|wait| ProviderError::Throttled {
                message: format!("alibaba-eci: {action}: too many calls are queued"),
                retry_after: Some(wait),
            })?;
            let keys = self.identity.keys().await?;
            let error = match self.send(action, parameters, &keys, sent).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match &error {
                CallError::Other(ProviderError::Throttled { retry_after, .. }) => {
                    bucket.hold(retry_after.unwrap_or(pause).max(FIRST_PAUSE / 4));
                }
                CallError::Other(ProviderError::Unavailable(_)) => sleep(pause).await,
                CallError::Other(ProviderError::Unauthorized(_))
                    if self.identity.refused(&keys).await && tries == 1 => {}
                _ => return Err(error),
            }
            if tries >= TRIES {
                return Err(error);
            }
            pause *= 2;
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        action: &str,
        parameters: &Parameters,
        keys: &SigningKeys,
        sent: &mut Option<Instant>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let mut lost = |what: &dyn std::fmt::Display| {
            sent.get_or_insert(begun);
            self.breaker.failed();
            CallError::from(ProviderError::Unavailable(format!("alibaba-eci: {action}: {what}")))
        };
        let request = match self.signature {
            Signature::V3 => self.request_v3(action, parameters, keys),
            Signature::V1 => self.request_v1(action, parameters, keys),
        };
        let response = request.send().await.map_err(|error| lost(&error.without_url()))?;
        let status = response.status();
        if status.is_server_error() {
            self.breaker.failed();
        } else {
            self.breaker.answered();
        }
        if status.is_success() {
            let answer = response.json().await.map_err(|error| lost(&error.without_url()));
            // The cloud acted somewhere between.
            sent.get_or_insert(begun + begun.elapsed() / 2);
            return answer;
        }
        Err(refusal(action, response).await)
    }

    fn request_v3(&self, action: &str, parameters: &Parameters, keys: &SigningKeys) -> RequestBuilder {
        let mut query = parameters.clone();
        query.insert("RegionId".to_owned(), self.region.clone());
        let form = Self::form(&mut query);
        let hash = content_hash(form.as_deref().unwrap_or_default().as_bytes());
        let host = self.endpoint.split_once("://").map_or("", |(_, host)| host);
        let mut headers = BTreeMap::from(
            [
                ("host", host),
                ("x-acs-action", action),
                ("x-acs-version", self.version),
                ("x-acs-date", &now()),
                ("x-acs-signature-nonce", &self.nonce()),
                ("x-acs-content-sha256", &hash),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        if let Some(token) = &keys.token {
            headers.insert("x-acs-accesskey-id".to_owned(), keys.id.clone());
            headers.insert("x-acs-security-token".to_owned(), token.reveal().to_owned());
        }
        let signing = Signing { method: "POST", path: "/", query: &query, headers: &headers, content_hash: &hash };
        let authorization = sign_v3(&signing, &keys.id, &keys.secret);
        let mut request =
            self.client.request(Method::POST, self.address(&query)).header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        with_form(request, form)
    }

    /// What of the parameters goes into a form, as an address has no room for all of them.
    fn form(query: &mut Parameters) -> Option<String> {
        let length = query.iter().map(|(name, value)| name.len() + value.len() * 3).sum::<usize>();
        (length > LONGEST_QUERY).then(|| written(&std::mem::take(query)))
    }

    fn request_v1(&self, action: &str, parameters: &Parameters, keys: &SigningKeys) -> RequestBuilder {
        let mut query = parameters.clone();
        let common = [
            ("RegionId", self.region.as_str()),
            ("Action", action),
            ("Version", self.version),
            ("Format", "JSON"),
            ("AccessKeyId", &keys.id),
            ("SignatureMethod", V1_METHOD),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", &self.nonce()),
            ("Timestamp", &now()),
        ];
        query.extend(common.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if let Some(token) = &keys.token {
            query.insert("SecurityToken".to_owned(), token.reveal().to_owned());
        }
        sign_v1("POST", &mut query, &keys.secret);
        let form = Self::form(&mut query);
        with_form(self.client.request(Method::POST, self.address(&query)), form)
    }

    fn address(&self, query: &Parameters) -> String {
        format!("{}/?{}", self.endpoint, written(query))
    }

    /// A text that no call has had before, of any process.
    fn nonce(&self) -> String {
        format!("{:032x}{:x}", self.salt, self.nonces.fetch_add(1, Ordering::Relaxed))
    }
}

fn written(parameters: &Parameters) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn with_form(request: RequestBuilder, form: Option<String>) -> RequestBuilder {
    match form {
        Some(form) => request.header("content-type", "application/x-www-form-urlencoded").body(form),
        None => request,
    }
}

/// Time and process, which together are no other process's.
fn salt() -> u128 {
    let now = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
    (now << 24) | u128::from(std::process::id() & 0xFF_FFFF)
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

async fn refusal(action: &str, response: Response) -> CallError {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let text = response.text().await.unwrap_or_default();
    let refusal = serde_json::from_str::<Refusal>(&text).ok().filter(|refusal| !refusal.code.is_empty());
    let refusal = refusal.unwrap_or_else(|| Refusal {
        code: status.to_string(),
        message: text.chars().take(200).collect(),
        request_id: String::new(),
    });
    CallError::of(action, status, &refusal, retry_after)
}

/// Milliseconds, in the cloud's own header.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = headers.get("x-acs-retry-after")?.to_str().ok()?.parse().ok()?;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}
