//! From HTTP to a stream protocol: which one the client asks for, and the answer that switches to it.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Where SPDY clients name the protocols that they speak above it, the best first.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Where a refusal names those that are spoken here.
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

const SPDY: &str = "SPDY/3.1";

/// The wire that the client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Spdy,
    WebSocket,
}

/// Protocols that a route speaks, the best first, on each wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spoken {
    pub(super) spdy: &'static [&'static str],
    pub(super) websocket: &'static [&'static str],
}

/// An agreement to switch.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) wire: Wire,
    /// The protocol above the wire.
    pub(super) protocol: &'static str,
    /// The connection, once the answer is sent.
    pub(super) connection: OnUpgrade,
    answer: HeaderMap,
}

impl Switch {
    /// What `request` asks for, if it is spoken here; else the refusal.
    #[expect(clippy::result_large_err, reason = "a response, once a request")]
    pub(super) fn of(request: &mut Request, spoken: Spoken) -> Result<Self, Response> {
        let headers = request.headers();
        let refuse =
            |status: StatusCode, text: &str| Err((status, format!("unable to upgrade: {text}\n")).into_response());
        let is_upgrade = values(headers, &header::CONNECTION).any(|value| value.eq_ignore_ascii_case("upgrade"));
        let wire = values(headers, &header::UPGRADE).find_map(|value| match value {
            _ if value.eq_ignore_ascii_case(SPDY) => Some(Wire::Spdy),
            _ if value.eq_ignore_ascii_case("websocket") => Some(Wire::WebSocket),
            _ => None,
        });
        let Some(wire) = wire.filter(|_| is_upgrade) else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "ask for it with the headers Connection: Upgrade and Upgrade: SPDY/3.1 or websocket",
            );
        };
        let mut answer = HeaderMap::new();
        answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let (name, known) = match wire {
            Wire::Spdy => {
                answer.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
                (STREAM_PROTOCOL, spoken.spdy)
            }
            Wire::WebSocket => {
                let is_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
                let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_13) else {
                    return refuse(StatusCode::BAD_REQUEST, "a websocket needs version 13 and a key");
                };
                answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
                    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                }
                (header::SEC_WEBSOCKET_PROTOCOL, spoken.websocket)
            }
        };
        let asked = values(headers, &name);
        let Some(protocol) = first_common(asked, known) else {
            let mut refusal =
                (StatusCode::FORBIDDEN, format!("unable to upgrade: spoken here: {}\n", known.join(", ")))
                    .into_response();
            for protocol in known {
                refusal.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(protocol));
            }
            return Err(refusal);
        };
        answer.insert(name, HeaderValue::from_static(protocol));
        match request.extensions_mut().remove::<OnUpgrade>() {
            Some(connection) => Ok(Self { wire, protocol, connection, answer }),
            None => refuse(StatusCode::BAD_REQUEST, "HTTP/1.1 alone can"),
        }
    }

    /// The answer that switches, and the connection that follows it.
    pub(super) fn accept(self) -> (Response, OnUpgrade) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.answer;
        (response, self.connection)
    }
}

/// The values of a header that holds lists and may come more than once.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|value| !value.is_empty())
}

/// The client's first wish that is spoken here.
fn first_common<'a>(mut asked: impl Iterator<Item = &'a str>, known: &[&'static str]) -> Option<&'static str> {
    asked.find_map(|asked| known.iter().find(|known| **known == asked).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOKEN: Spoken = Spoken { spdy: &["v5.x", "v4.x"], websocket: &["v5.x"] };

    fn refusal(headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            let name = name.parse::<HeaderName>().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let response = Switch::of(&mut request, SPOKEN).unwrap_err();
        let accepted = response.headers().get_all(ACCEPTED_PROTOCOLS).iter();
        (response.status(), accepted.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_clients_first_wish_that_is_spoken_here_is_taken() {
        assert_eq!(first_common(["v9.x", "v4.x", "v5.x"].into_iter(), SPOKEN.spdy), Some("v4.x"));
        let mut headers = HeaderMap::new();
        headers.append(STREAM_PROTOCOL, HeaderValue::from_static("v5.x, v4.x"));
        headers.append(STREAM_PROTOCOL, HeaderValue::from_static("v3.x"));
        assert_eq!(values(&headers, &STREAM_PROTOCOL).collect::<Vec<_>>(), ["v5.x", "v4.x", "v3.x"]);
    }

    #[test]
    fn what_is_not_spoken_here_is_refused_with_what_is() {
        let upgrade =
            |to| [("connection", "keep-alive, Upgrade"), ("upgrade", to), ("x-stream-protocol-version", "v1.x")];
        assert_eq!(refusal(&upgrade("SPDY/3.1")), (StatusCode::FORBIDDEN, "v5.x,v4.x".to_owned()));
        assert_eq!(refusal(&upgrade("h2c")).0, StatusCode::BAD_REQUEST);
        assert_eq!(refusal(&upgrade("websocket")).0, StatusCode::BAD_REQUEST, "without a key");
        assert_eq!(refusal(&[("upgrade", "SPDY/3.1")]).0, StatusCode::BAD_REQUEST);
        assert_eq!(refusal(&[]).0, StatusCode::BAD_REQUEST);
    }
}
