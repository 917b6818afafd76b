//! Who calls: both signatures, the time and the nonce.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use axum::http::{HeaderMap, header, request::Parts};
use jiff::Timestamp;

use super::{error::ApiError, sts};
use crate::{
    lab::emulator::{AccessKey, Call, Delivery, Ground, Moment, grants::Grants},
    provider::clouds::{
        Secret,
        alibaba_eci::signing::{Authorization, Parameters, Signing, content_hash, decode, signature_v1, signature_v3},
    },
};

/// How far a request's time may be off.
const MOST_SKEW: Duration = Duration::from_mins(15);

/// A request, verified.
#[derive(Debug)]
pub(super) struct Request {
    /// Such as `CreateContainerGroup`.
    pub(super) action: String,
    /// Such as `2018-08-08`.
    pub(super) version: String,
    /// What the action is given, without what only the signature needs.
    pub(super) parameters: Parameters,
}

/// Parameters that are about the call rather than for the action.
const COMMON: [&str; 10] = [
    "Action",
    "Version",
    "Format",
    "AccessKeyId",
    "SignatureMethod",
    "SignatureVersion",
    "SignatureNonce",
    "SignatureType",
    "Timestamp",
    "Signature",
];

/// What tells callers apart, and replays from calls.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    keys: BTreeMap<String, Secret>,
    pub(super) granted: Grants,
    /// Nonces in the order in which they came, so that old ones can be forgotten.
    order: VecDeque<(Timestamp, String)>,
    nonces: HashSet<String>,
}

/// What a caller shows.
struct Shown<'a> {
    key_id: &'a str,
    timestamp: &'a str,
    nonce: &'a str,
}

/// The action that a request names, verified or not.
pub(super) fn action(head: &Parts, body: &[u8]) -> String {
    if let Some(action) = text(&head.headers, "x-acs-action") {
        return action.to_owned();
    }
    all_parameters(head, body).remove("Action").unwrap_or_default()
}

/// The parameters of a call that nobody signs, for it asks STS for what one signs with.
pub(super) fn unsigned(call: &Call<'_>) -> Option<Parameters> {
    let parameters = all_parameters(call.head, call.body);
    let is = |name: &str, value: &str| parameters.get(name).is_some_and(|given| given == value);
    (is("Action", sts::ACTION) && is("Version", sts::VERSION)).then_some(parameters)
}

impl Verifier {
    pub(super) fn new(keys: impl IntoIterator<Item = AccessKey>) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.id, key.secret)).collect(), ..Self::default() }
    }

    /// Verifies a call, by the cloud's own time of day.
    pub(super) fn verify(&mut self, call: &Call<'_>, ground: &Ground) -> Result<Request, ApiError> {
        let header = text(&call.head.headers, header::AUTHORIZATION.as_str());
        let mut parameters = all_parameters(call.head, call.body);
        match header {
            Some(header) => self.verify_v3(call, header, ground)?,
            None => self.verify_v1(call, &parameters, ground)?,
        }
        let named = |name: &str, parameter: &str| {
            let value = text(&call.head.headers, name).map(str::to_owned);
            value.or_else(|| parameters.get(parameter).cloned()).filter(|value| !value.is_empty())
        };
        let action = named("x-acs-action", "Action").ok_or_else(|| ApiError::missing("Action"))?;
        let version = named("x-acs-version", "Version").ok_or_else(|| ApiError::missing("Version"))?;
        parameters.retain(|name, _| !COMMON.contains(&name.as_str()) && name != "SecurityToken");
        Ok(Request { action, version, parameters })
    }

    fn verify_v3(&mut self, call: &Call<'_>, header: &str, ground: &Ground) -> Result<(), ApiError> {
        let incomplete =
            || ApiError::invalid("IncompleteSignature", "The request signature does not conform to ACS3-HMAC-SHA256.");
        let authorization = Authorization::parse(header).ok_or_else(incomplete)?;
        let headers = &call.head.headers;
        let signed =
            authorization.signed_headers.iter().map(|name| Some((name.clone(), text(headers, name)?.to_owned())));
        let signed = signed.collect::<Option<BTreeMap<_, _>>>().ok_or_else(incomplete)?;
        // What is not signed could be anybody's: these must be.
        let required = ["host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"];
        if required.iter().any(|name| !signed.contains_key(*name)) {
            return Err(incomplete());
        }
        let token = signed.get("x-acs-security-token").map(String::as_str);
        let secret = self.secret(&authorization.key_id, token, ground.clock.now())?;
        let hash = content_hash(call.body);
        let query = decode(call.head.uri.query().unwrap_or_default().as_bytes());
        let signing = Signing {
            method: call.head.method.as_str(),
            path: call.head.uri.path(),
            query: &query,
            headers: &signed,
            content_hash: &hash,
        };
        if signature_v3(&signing, secret) != authorization.signature {
            return Err(does_not_match());
        }
        let value = |name: &str| signed.get(name).map_or("", String::as_str);
        let shown = Shown {
            key_id: &authorization.key_id,
            timestamp: value("x-acs-date"),
            nonce: value("x-acs-signature-nonce"),
        };
        self.once_in_time(&shown, call.delivery, ground.judged_time())
    }

    fn verify_v1(&mut self, call: &Call<'_>, parameters: &Parameters, ground: &Ground) -> Result<(), ApiError> {
        let value = |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let needed = |name: &str| value(name).ok_or_else(|| ApiError::missing(name));
        let secret = self.secret(needed("AccessKeyId")?, value("SecurityToken"), ground.clock.now())?;
        let shown =
            Shown { key_id: needed("AccessKeyId")?, timestamp: needed("Timestamp")?, nonce: needed("SignatureNonce")? };
        let method = needed("SignatureMethod")?;
        if method != "HMAC-SHA1" || needed("SignatureVersion")? != "1.0" {
            return Err(ApiError::invalid(
                "InvalidSignatureMethod",
                format!("The signature method {method} is not supported."),
            ));
        }
        if needed("Signature")? != signature_v1(call.head.method.as_str(), parameters, secret) {
            return Err(does_not_match());
        }
        self.once_in_time(&shown, call.delivery, ground.judged_time())
    }

    /// The secret of a key that was shown with this token: only a temporary one has any.
    fn secret(&self, key_id: &str, token: Option<&str>, now: Moment) -> Result<&Secret, ApiError> {
        match self.keys.get(key_id) {
            Some(_) if token.is_some() => Err(sts::mismatch()),
            Some(secret) => Ok(secret),
            None => match self.granted.secret(key_id, token, now) {
                Some(granted) => granted.map_err(sts::closed),
                None => Err(ApiError::not_found("InvalidAccessKeyId.NotFound", "Specified access key is not found.")),
            },
        }
    }

    fn once_in_time(&mut self, shown: &Shown<'_>, delivery: Delivery, now: Timestamp) -> Result<(), ApiError> {
        let expired = |why: String| ApiError::invalid("InvalidTimeStamp.Expired", why);
        let time = shown.timestamp.parse::<Timestamp>();
        let time = time
            .map_err(|_| ApiError::invalid("InvalidTimeStamp.Format", "Specified time stamp is not well formatted."))?;
        if time.duration_since(now).unsigned_abs() > MOST_SKEW {
            return Err(expired(format!(
                "Specified time stamp or date value is expired: it is {time}, the server's time is {now}."
            )));
        }
        if delivery == Delivery::Again {
            return Ok(());
        }
        if shown.nonce.is_empty() {
            return Err(ApiError::missing("SignatureNonce"));
        }
        // A nonce older than the window cannot come again: its time is refused.
        while let Some((at, nonce)) = self.order.front()
            && now.duration_since(*at).unsigned_abs() > MOST_SKEW * 2
        {
            self.nonces.remove(nonce);
            self.order.pop_front();
        }
        let nonce = format!("{}/{}", shown.key_id, shown.nonce);
        if !self.nonces.insert(nonce.clone()) {
            return Err(ApiError::invalid("SignatureNonceUsed", "Specified signature nonce was used already."));
        }
        self.order.push_back((now, nonce));
        Ok(())
    }
}

fn does_not_match() -> ApiError {
    ApiError::invalid(
        "SignatureDoesNotMatch",
        "The request signature does not conform to Aliyun standards: specified signature is not matched with our calculation.",
    )
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Parameters of the query, and of a form in the body.
fn all_parameters(head: &Parts, body: &[u8]) -> Parameters {
    let mut parameters = decode(head.uri.query().unwrap_or_default().as_bytes());
    let kind = text(&head.headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        parameters.extend(decode(body));
    }
    parameters
}
