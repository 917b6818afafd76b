//! AWS Signature Version 4: how AWS and Kingsoft prove who asks.
//!
//! A request is reduced to a *canonical request* (method, path, query, chosen headers, hash of the body), that to a
//! *string to sign* (moment and scope), and that is keyed with a key that the secret, day, region and service derive.
//! [`sign`] and [`verify`] share every step, so the emulators check exactly what the providers send.
//!
//! Source: AWS General Reference, "Signing AWS API requests".

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::{Timestamp, tz::TimeZone};
use ring::{digest, hmac};

use crate::provider::hex::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers that a proxy or a client may change underway; a signature never covers them.
const UNSIGNED: [&str; 7] =
    ["authorization", "connection", "content-length", "expect", "user-agent", "accept", "accept-encoding"];

/// Where and for what a signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Such as `us-east-1` or `cn-beijing-6`.
    pub region: String,
    /// Such as `ecs` or `kci`.
    pub service: &'static str,
}

/// What is signed. The headers must hold `host`.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, as it is sent.
    pub path: &'a str,
    /// The query, as it is sent, without `?`.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

/// Keys as the signing needs them.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The access key's id, which is sent.
    pub id: &'a str,
    /// The secret, which is not.
    pub secret: &'a str,
    /// The session's token, where the keys are temporary.
    pub token: Option<&'a str>,
}

/// Why a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature.
    #[error("the request is not signed: header Authorization is missing")]
    Missing,
    /// A signature that is none.
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    /// Nobody has this access key.
    #[error("the access key {0} is unknown")]
    UnknownKey(String),
    /// Signed for another region, service or day.
    #[error("the signature's scope is {found}, and {wanted} is asked")]
    Scope {
        /// What the request says.
        found: String,
        /// What it should say.
        wanted: String,
    },
    /// Signed too long ago, or in the future.
    #[error("signed at {signed}, and it is {now} here")]
    Skewed {
        /// When it was signed.
        signed: String,
        /// When it was checked.
        now: String,
    },
    /// The sums differ: a wrong secret, or a changed request.
    #[error("the signature does not match")]
    Mismatch,
}

/// Adds `x-amz-date`, the session's token, where `hash_header` says so the body's hash, and `authorization`.
pub fn sign(
    request: &Signable<'_>,
    keys: Keys<'_>,
    scope: &Scope,
    hash_header: bool,
    now: Timestamp,
) -> Result<HeaderMap, SignatureError> {
    let moment = moment(now);
    let mut headers = request.headers.clone();
    let mut set = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value)
            .map_err(|_| SignatureError::Malformed("a key or token has a sign that no header may hold"))?;
        headers.insert(name, value);
        Ok::<_, SignatureError>(())
    };
    set(DATE, &moment)?;
    if hash_header {
        set(CONTENT_SHA256, &hex(digest::digest(&digest::SHA256, request.body).as_ref()))?;
    }
    if let Some(token) = keys.token {
        set(SECURITY_TOKEN, token)?;
    }
    let mut names = headers.keys().map(HeaderName::as_str).filter(|name| !UNSIGNED.contains(name)).collect::<Vec<_>>();
    names.sort_unstable();
    let signed = Signable { headers: &headers, ..*request };
    let signature = signature(&signed, &names, keys.secret, &moment, scope);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        keys.id,
        scope_text(&moment, scope),
        names.join(";"),
    );
    let value = HeaderValue::from_str(&authorization)
        .map_err(|_| SignatureError::Malformed("the access key's id has a sign that no header may hold"))?;
    headers.insert(http::header::AUTHORIZATION, value);
    Ok(headers)
}

/// Who signed, as the header says; not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The access key's id.
    pub key_id: String,
    /// Day, region, service and terminator.
    scope: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Claim {
    /// The region that the signature is for.
    pub fn region(&self) -> &str {
        self.scope.split('/').nth(1).unwrap_or_default()
    }

    /// Reads the header `authorization`.
    pub fn read(headers: &HeaderMap) -> Result<Self, SignatureError> {
        let malformed = SignatureError::Malformed;
        let header = headers.get(http::header::AUTHORIZATION).ok_or(SignatureError::Missing)?;
        let text = header.to_str().map_err(|_| malformed("Authorization is no text"))?;
        let rest = text.strip_prefix(ALGORITHM).ok_or(malformed("the algorithm is not AWS4-HMAC-SHA256"))?;
        let mut claim =
            Self { key_id: String::new(), scope: String::new(), signed_headers: Vec::new(), signature: String::new() };
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) => {
                    let (id, scope) = value.split_once('/').ok_or(malformed("Credential has no scope"))?;
                    (claim.key_id, claim.scope) = (id.to_owned(), scope.to_owned());
                }
                Some(("SignedHeaders", value)) => {
                    claim.signed_headers = value.split(';').map(str::to_owned).collect();
                }
                Some(("Signature", value)) => value.clone_into(&mut claim.signature),
                _ => return Err(malformed("Authorization has an unknown part")),
            }
        }
        if claim.key_id.is_empty() || claim.signature.is_empty() {
            return Err(malformed("Credential or Signature is missing"));
        }
        if !claim.signed_headers.iter().any(|name| name == "host") {
            return Err(malformed("SignedHeaders must name host"));
        }
        Ok(claim)
    }
}

/// Whether `request` is signed by `claim`'s key, whose secret is `secret`, for `scope`, within `skew` of `now`.
pub fn verify(
    request: &Signable<'_>,
    claim: &Claim,
    secret: &str,
    scope: &Scope,
    now: Timestamp,
    skew: std::time::Duration,
) -> Result<(), SignatureError> {
    let header = |name: &HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
    let moment = header(&DATE).ok_or(SignatureError::Malformed("header x-amz-date is missing"))?;
    let signed_at = parse_moment(moment).ok_or(SignatureError::Malformed("x-amz-date is not YYYYMMDDTHHMMSSZ"))?;
    if !claim.signed_headers.iter().any(|name| name == DATE.as_str()) {
        return Err(SignatureError::Malformed("SignedHeaders must name x-amz-date"));
    }
    let apart = now.duration_since(signed_at).unsigned_abs();
    if apart > skew {
        return Err(SignatureError::Skewed { signed: moment.to_owned(), now: self::moment(now) });
    }
    let wanted = scope_text(moment, scope);
    if claim.scope != wanted {
        return Err(SignatureError::Scope { found: claim.scope.clone(), wanted });
    }
    if let Some(hash) = header(&CONTENT_SHA256) {
        let is_hash = hash == hex(digest::digest(&digest::SHA256, request.body).as_ref());
        if !is_hash {
            return Err(SignatureError::Mismatch);
        }
    }
    let names = claim.signed_headers.iter().map(String::as_str).collect::<Vec<_>>();
    let text = string_to_sign(request, &names, moment, scope);
    let signature = unhex(&claim.signature).ok_or(SignatureError::Mismatch)?;
    hmac::verify(&key(secret, moment, scope), text.as_bytes(), &signature).map_err(|_| SignatureError::Mismatch)
}

fn signature(request: &Signable<'_>, names: &[&str], secret: &str, moment: &str, scope: &Scope) -> String {
    let text = string_to_sign(request, names, moment, scope);
    hex(hmac::sign(&key(secret, moment, scope), text.as_bytes()).as_ref())
}

fn string_to_sign(request: &Signable<'_>, names: &[&str], moment: &str, scope: &Scope) -> String {
    let canonical = canonical_request(request, names);
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    format!("{ALGORITHM}\n{moment}\n{}\n{hash}", scope_text(moment, scope))
}

fn canonical_request(request: &Signable<'_>, names: &[&str]) -> String {
    let mut text =
        format!("{}\n{}\n{}\n", request.method, canonical_path(request.path), canonical_query(request.query));
    for name in names {
        let values =
            request.headers.get_all(*name).iter().map(|value| squeeze(&String::from_utf8_lossy(value.as_bytes())));
        let _ = writeln!(text, "{name}:{}", values.collect::<Vec<_>>().join(","));
    }
    let body = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    let _ = write!(text, "\n{}\n{body}", names.join(";"));
    text
}

/// Each segment is encoded once more than it is sent; both services have but `/`.
fn canonical_path(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.split('/').map(encode).collect::<Vec<_>>().join("/") }
}

/// Pairs decoded, encoded anew by RFC 3986, sorted by name, then value. A `+` is a space to forms, yet the signers that
/// send it sign `%20`, or leave the literal `+` out of what they send.
fn canonical_query(query: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect::<Vec<_>>();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// RFC 3986: letters, digits, `-`, `.`, `_` and `~` stay.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn squeeze(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn key(secret: &str, moment: &str, scope: &Scope) -> hmac::Key {
    let step = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let day = step(format!("AWS4{secret}").as_bytes(), day(moment));
    let region = step(day.as_ref(), &scope.region);
    let service = step(region.as_ref(), scope.service);
    hmac::Key::new(hmac::HMAC_SHA256, step(service.as_ref(), TERMINATOR).as_ref())
}

fn scope_text(moment: &str, scope: &Scope) -> String {
    format!("{}/{}/{}/{TERMINATOR}", day(moment), scope.region, scope.service)
}

fn day(moment: &str) -> &str {
    moment.split('T').next().unwrap_or_default()
}

fn moment(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn parse_moment(text: &str) -> Option<Timestamp> {
    let moment = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BODY: &str = "ContainerGroupName=nginx&SubnetId=sub-1&SecurityGroupId.0=sg-1&KciType=RBKCI&ChargeType=Spot&SpotStrategy=SpotAsPriceGo&Cpu=1.0&Memory=2.0&RestartPolicy=Never&Container.0.Name=app&Container.0.Image=nginx%3A1&Container.0.Command.0=sh&Container.0.EnvironmentVar.0.Key=A&Container.0.EnvironmentVar.0.Value=b+c%2Bd&Label.0.Key=pod-name&Label.0.Value=nginx&Service=kci&Action=CreateContainerGroup&Version=2020-07-02&SdkVersion=SDK_PYTHON_1.5.8.114&Region=cn-beijing-6&Accesskey=testid&Language=zh-CN";
    const FORM: &str = "application/x-www-form-urlencoded";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kci() -> Scope {
        Scope { region: "cn-beijing-6".to_owned(), service: "kci" }
    }

    /// The example of the AWS General Reference: its request, keys and signature are published.
    #[test]
    fn the_published_example_gets_the_published_signature() {
        let headers = headers(&[
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
        ]);
        let request = Signable {
            method: &Method::GET,
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &headers,
            body: b"",
        };
        let keys = Keys { id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token: None };
        let scope = Scope { region: "us-east-1".to_owned(), service: "iam" };
        let signed = sign(&request, keys, &scope, false, at("2015-08-30T12:36:00Z")).unwrap();
        let authorization = signed["authorization"].to_str().unwrap();
        assert!(
            authorization.ends_with("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
            "{authorization}"
        );
    }

    /// Captured from Kingsoft's own SDK on the wire.
    #[test]
    fn the_kingsoft_sdks_request_gets_its_signature() {
        let headers =
            headers(&[("content-type", FORM), ("host", "127.0.0.1:18406"), ("user-agent", "python-requests")]);
        let request =
            Signable { method: &Method::POST, path: "/", query: "", headers: &headers, body: BODY.as_bytes() };
        let keys = Keys { id: "testid", secret: "testsecret", token: None };
        let signed = sign(&request, keys, &kci(), true, at("2024-01-02T03:04:05Z")).unwrap();
        assert_eq!(
            signed["authorization"],
            "AWS4-HMAC-SHA256 Credential=testid/20240102/cn-beijing-6/kci/aws4_request, SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, Signature=194e3a61f3ea028f31201ee45bc960fa1210e894d9a40853941cc70c0d5f1741"
        );
    }

    /// Likewise, with everything in the query: a space is sent as `+` and signed as `%20`.
    #[test]
    fn the_kingsoft_sdks_query_gets_its_signature() {
        let headers = headers(&[("content-type", FORM), ("host", "127.0.0.1:18406")]);
        let request = Signable { method: &Method::GET, path: "/", query: BODY, headers: &headers, body: b"" };
        let keys = Keys { id: "testid", secret: "testsecret", token: None };
        let signed = sign(&request, keys, &kci(), true, at("2024-01-02T03:04:05Z")).unwrap();
        let authorization = signed["authorization"].to_str().unwrap();
        assert!(
            authorization.ends_with("Signature=aa5dfe58a1d8d723679d69f6563b9934d2b04b11c6e98daa145ad3b1c2ff8a07"),
            "{authorization}"
        );
    }

    fn verified(
        change: impl FnOnce(&mut HeaderMap, &mut Vec<u8>),
        now: &str,
        secret: &str,
    ) -> Result<(), SignatureError> {
        let headers = headers(&[("content-type", FORM), ("host", "127.0.0.1:1")]);
        let request =
            Signable { method: &Method::POST, path: "/", query: "", headers: &headers, body: BODY.as_bytes() };
        let keys = Keys { id: "testid", secret: "testsecret", token: Some("session") };
        let mut signed = sign(&request, keys, &kci(), true, at("2024-01-02T03:04:05Z"))?;
        let mut body = BODY.as_bytes().to_vec();
        change(&mut signed, &mut body);
        let request = Signable { headers: &signed, body: &body, ..request };
        let claim = Claim::read(&signed)?;
        assert_eq!((claim.key_id.as_str(), claim.region()), ("testid", "cn-beijing-6"));
        verify(&request, &claim, secret, &kci(), at(now), Duration::from_mins(15))
    }

    #[test]
    fn a_signature_is_taken_once_and_only_for_what_was_signed() {
        let now = "2024-01-02T03:10:00Z";
        assert_eq!(verified(|_, _| {}, now, "testsecret"), Ok(()));
        assert_eq!(verified(|_, _| {}, now, "another"), Err(SignatureError::Mismatch));
        assert_eq!(verified(|_, body| body.push(b'x'), now, "testsecret"), Err(SignatureError::Mismatch));
        let another = |headers: &mut HeaderMap, _: &mut Vec<u8>| {
            headers.insert(SECURITY_TOKEN, HeaderValue::from_static("stolen"));
        };
        assert_eq!(verified(another, now, "testsecret"), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_skewed_clock_and_a_foreign_scope_are_refused() {
        let late = verified(|_, _| {}, "2024-01-02T03:20:00Z", "testsecret");
        assert!(matches!(late, Err(SignatureError::Skewed { .. })), "{late:?}");
        let early = verified(|_, _| {}, "2024-01-02T02:40:00Z", "testsecret");
        assert!(matches!(early, Err(SignatureError::Skewed { .. })), "{early:?}");
        let foreign = verified(
            |headers, _| {
                let text = headers["authorization"].to_str().unwrap().replace("/kci/", "/ecs/");
                headers.insert("authorization", text.parse().unwrap());
            },
            "2024-01-02T03:10:00Z",
            "testsecret",
        );
        assert!(matches!(foreign, Err(SignatureError::Scope { .. })), "{foreign:?}");
    }

    #[test]
    fn what_is_no_signature_is_told() {
        let claim = |text: &'static str| Claim::read(&headers(&[("authorization", text)]));
        assert_eq!(Claim::read(&HeaderMap::new()), Err(SignatureError::Missing));
        assert!(matches!(claim("Bearer x"), Err(SignatureError::Malformed(_))));
        assert!(matches!(claim("AWS4-HMAC-SHA256 Credential=a"), Err(SignatureError::Malformed(_))));
        assert!(matches!(
            claim("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=x-amz-date, Signature=00"),
            Err(SignatureError::Malformed(_))
        ));
    }
}
