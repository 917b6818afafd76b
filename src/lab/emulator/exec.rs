//! Commands that run in emulated containers, each on a WebSocket of its own at `/exec/?s=TOKEN`, good once and for
//! [`GOOD_FOR`].
//!
//! What a command does is [`Program`]'s guess; `cat` says again what it hears, until Ctrl-D. Of the two dialects, the one
//! with channels is Kubernetes' (`channel.k8s.io`), which users' programs show that ECI speaks; that its outcome comes as
//! a `Status` on channel 3 is a guess.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::program::{Line, Program};

/// How long a command waits for its WebSocket.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// How a cloud's messages are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Each begins with its stream.
    Channels,
    /// The terminal's bytes, after this password.
    Terminal(String),
}

#[derive(Debug)]
struct Waiting {
    command: Vec<String>,
    dialect: Dialect,
    since: Instant,
}

/// Commands that wait for their WebSocket, by token.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    waiting: Mutex<BTreeMap<String, Waiting>>,
}

impl Sessions {
    /// Has a command wait under `token`; answers the path and query of its WebSocket.
    pub(super) fn add(&self, token: &str, command: Vec<String>, dialect: Dialect) -> String {
        let mut waiting = self.waiting();
        waiting.retain(|_, waiting| waiting.since.elapsed() < GOOD_FOR);
        waiting.insert(token.to_owned(), Waiting { command, dialect, since: Instant::now() });
        format!("/exec/?s={token}")
    }

    fn take(&self, token: &str) -> Option<Waiting> {
        self.waiting().remove(token).filter(|waiting| waiting.since.elapsed() < GOOD_FOR)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the WebSockets are.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/exec/", get(join)).with_state(Arc::clone(self))
    }
}

/// What stands at a WebSocket's address.
pub(super) fn websocket(base: &str, path: &str) -> String {
    format!("{}{path}", base.replacen("http", "ws", 1))
}

#[derive(Debug, Deserialize)]
struct Asked {
    s: String,
}

async fn join(State(sessions): State<Arc<Sessions>>, Query(asked): Query<Asked>, mut request: Request) -> Response {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let (Some(accept), Some(upgrade)) = (key, request.extensions_mut().remove::<OnUpgrade>()) else {
        return (StatusCode::BAD_REQUEST, "a WebSocket is spoken here").into_response();
    };
    let Some(waiting) = sessions.take(&asked.s) else {
        return (StatusCode::FORBIDDEN, "no command waits here").into_response();
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            // A client that leaves has ended its command.
            let _ = Running { socket, dialect: waiting.dialect }.run(&waiting.command).await;
        }
    });
    let switch = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "websocket")];
    (StatusCode::SWITCHING_PROTOCOLS, switch, [(header::SEC_WEBSOCKET_ACCEPT, accept)], Body::empty()).into_response()
}

struct Running {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    dialect: Dialect,
}

impl Running {
    async fn run(&mut self, command: &[String]) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        if let Dialect::Terminal(password) = &self.dialect
            && self.socket.next().await.transpose()? != Some(Message::text(password.clone()))
        {
            return self.socket.close(None).await;
        }
        let code =
            if command == ["cat"] { self.echo().await? } else { self.course(Program::executed(command)).await? };
        if self.dialect == Dialect::Channels {
            let status = match code {
                0 => json!({"metadata": {}, "status": "Success"}),
                code => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                    "message": format!("command terminated with non-zero exit code: {code}"),
                    "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
            };
            self.say(3, status.to_string().as_bytes()).await?;
        }
        self.socket.close(None).await
    }

    /// Prints what there is to print, at its time. A client that leaves ends it.
    async fn course(&mut self, program: Program) -> Result<i32, tokio_tungstenite::tungstenite::Error> {
        let begun = Instant::now();
        for Line { after, text, is_error } in program.output {
            self.until(begun + after).await?;
            self.say(if is_error { 2 } else { 1 }, format!("{text}\n").as_bytes()).await?;
        }
        let (after, code) = program.end.unwrap_or((Duration::from_hours(24), 0));
        self.until(begun + after).await?;
        Ok(code)
    }

    /// Waits, and hears what the client says meanwhile.
    async fn until(&mut self, moment: Instant) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        loop {
            tokio::select! {
                () = sleep_until(moment) => return Ok(()),
                heard = self.socket.next() => match heard.transpose()? {
                    None | Some(Message::Close(_)) => {
                        return Err(tokio_tungstenite::tungstenite::Error::ConnectionClosed);
                    }
                    Some(_) => {}
                },
            }
        }
    }

    async fn echo(&mut self) -> Result<i32, tokio_tungstenite::tungstenite::Error> {
        while let Some(message) = self.socket.next().await.transpose()? {
            let data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                _ => continue,
            };
            let data = match (&self.dialect, data.split_first()) {
                (Dialect::Channels, Some((0, data))) => data,
                (Dialect::Channels, _) => continue,
                (Dialect::Terminal(_), _) => &*data,
            };
            let end = data.iter().position(|byte| *byte == END_OF_INPUT);
            let data = data[..end.unwrap_or(data.len())].to_vec();
            self.say(1, &data).await?;
            if end.is_some() {
                break;
            }
        }
        Ok(0)
    }

    async fn say(&mut self, channel: u8, data: &[u8]) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let message = match self.dialect {
            Dialect::Channels => [&[channel], data].concat(),
            Dialect::Terminal(_) => data.to_vec(),
        };
        self.socket.send(Message::binary(message)).await
    }
}
