//! A command's streams over the WebSocket that a cloud opens for it.
//!
//! ECI's is not documented; programs of its users read it as Kubernetes' own channels: the first byte of a message names
//! the stream (0 input, 1 output, 2 errors, 3 outcome, 4 the terminal's size). KCI's is taken for the same. ACI's carries
//! nothing but the terminal's bytes, after a password as the first message, and tells no exit code.
//!
//! Neither has a word for the end of input: with a terminal, Ctrl-D is sent, and else nothing.

use futures::{Sink, SinkExt, Stream, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{Client, StatusCode, Upgraded};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::Role,
    },
};

use super::Secret;
use crate::provider::{ExitStatus, ProviderError, Streams, TerminalSize};

/// Longest piece of input in one message.
const PIECE: usize = 32 * 1024;
/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;

/// How a cloud's messages are to be read.
#[derive(Debug, Clone)]
pub(super) enum Dialect {
    /// Each begins with its stream.
    Channels,
    /// The terminal's bytes, after this password.
    Terminal(Secret),
}

/// Runs what waits at `address`, which `http` reaches, to its end.
pub(super) async fn run(
    http: &Client,
    address: &str,
    dialect: Dialect,
    streams: Streams,
) -> Result<ExitStatus, ProviderError> {
    converse(open(http, address).await?, dialect, streams).await
}

/// The WebSocket at `address`. Who answers is trusted as the API itself is.
async fn open(http: &Client, address: &str) -> Result<WebSocketStream<Upgraded>, ProviderError> {
    let unavailable =
        |what: &dyn std::fmt::Display| ProviderError::Unavailable(format!("the command's WebSocket: {what}"));
    let address = match address.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => return Err(unavailable(&"its address begins neither with ws:// nor with wss://")),
    };
    let key = generate_key();
    let request = http.get(address).header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
    let request = request.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, &key);
    // The address opens the container: it is not told.
    let response = request.send().await.map_err(|error| unavailable(&error.without_url()))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(unavailable(&format!("it was answered with {}", response.status())));
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
    if accepted != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(unavailable(&"what answered is none"));
    }
    let upgraded = response.upgrade().await.map_err(|error| unavailable(&error.without_url()))?;
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

async fn converse<S>(socket: S, dialect: Dialect, streams: Streams) -> Result<ExitStatus, ProviderError>
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Sink<Message, Error = tungstenite::Error> + Send + Unpin,
{
    let (mut sink, source) = socket.split();
    if let Dialect::Terminal(password) = &dialect {
        let sent = sink.send(Message::text(password.reveal())).await;
        sent.map_err(|error| ProviderError::Unavailable(format!("the command's WebSocket: {error}")))?;
    }
    let has_channels = matches!(dialect, Dialect::Channels);
    let Streams { stdin, stdout, stderr, tty, resize } = streams;
    let speak = async {
        let mut stdin = stdin;
        let mut resize = resize.filter(|_| has_channels);
        let mut piece = vec![0; PIECE];
        loop {
            let message = tokio::select! {
                read = async { stdin.as_mut()?.read(&mut piece).await.ok() }, if stdin.is_some() => {
                    let read = read.filter(|count| *count > 0);
                    let Some(count) = read.or_else(|| { stdin = None; tty.then_some(0) }) else { continue };
                    input(if count == 0 { &[END_OF_INPUT] } else { &piece[..count] }, has_channels)
                }
                size = async { let sizes = resize.as_mut()?; sizes.changed().await.ok()?; *sizes.borrow_and_update() },
                    if resize.is_some() => {
                    let Some(size) = size else {
                        resize = None;
                        continue;
                    };
                    resized(size)
                }
                else => return std::future::pending::<()>().await,
            };
            if sink.send(message).await.is_err() {
                // The other direction tells why.
                return std::future::pending().await;
            }
        }
    };
    let listen = listen(source, has_channels, stdout, stderr);
    tokio::select! {
        outcome = listen => outcome,
        () = speak => Ok(ExitStatus::SUCCESS),
    }
}

fn input(data: &[u8], has_channels: bool) -> Message {
    if has_channels { Message::binary([&[STDIN], data].concat()) } else { Message::binary(data.to_vec()) }
}

fn resized(size: TerminalSize) -> Message {
    let text = json!({"Width": size.width, "Height": size.height}).to_string();
    Message::binary([&[RESIZE], text.as_bytes()].concat())
}

type Out = Option<std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>>;

/// Passes on what comes, until the cloud closes.
async fn listen(
    mut source: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    has_channels: bool,
    mut stdout: Out,
    mut stderr: Out,
) -> Result<ExitStatus, ProviderError> {
    let mut outcome = Vec::new();
    loop {
        let data = match source.next().await {
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Close(_))) => return exit_of(&outcome),
            Some(Ok(_)) => continue,
            // Where the outcome is told, its end matters no more.
            Some(Err(_)) | None if !outcome.is_empty() => return exit_of(&outcome),
            Some(Err(_)) | None => {
                let text = "the command's WebSocket ended before the command did";
                return Err(ProviderError::Unavailable(text.to_owned()));
            }
        };
        let (channel, data) = match data.split_first() {
            Some((channel, data)) if has_channels => (*channel, data),
            _ => (STDOUT, &*data),
        };
        let out = match channel {
            STDERR if stderr.is_some() => &mut stderr,
            STDOUT | STDERR => &mut stdout,
            OUTCOME => {
                outcome.extend_from_slice(data);
                continue;
            }
            _ => continue,
        };
        if let Some(to) = out
            && to.write_all(data).await.is_err()
        {
            // Nobody reads it any more.
            *out = None;
        }
    }
}

/// What the outcome says: a `Status` of Kubernetes, or, as its first version has it, a text that ends with the code.
/// Nothing is success.
fn exit_of(outcome: &[u8]) -> Result<ExitStatus, ProviderError> {
    let text = String::from_utf8_lossy(outcome);
    let text = text.trim();
    let (message, code) = match serde_json::from_str::<Value>(text) {
        Ok(status) if status["status"] == "Success" => return Ok(ExitStatus::SUCCESS),
        Ok(status) if status.is_object() => {
            let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
            let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode");
            let code = cause.and_then(|cause| cause["message"].as_str()?.parse().ok());
            (status["message"].as_str().unwrap_or(text).to_owned(), code)
        }
        _ if text.is_empty() => return Ok(ExitStatus::SUCCESS),
        _ => (text.to_owned(), text.rsplit([' ', ':']).next().and_then(|word| word.parse().ok())),
    };
    match code {
        Some(code) => Ok(ExitStatus { code }),
        None => Err(ProviderError::Invalid(message)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    type Server = WebSocketStream<tokio::io::DuplexStream>;

    async fn start(
        dialect: Dialect,
        stdin: &'static [u8],
        tty: bool,
    ) -> (Server, tokio::task::JoinHandle<(Result<ExitStatus, ProviderError>, String, String)>) {
        let (client, server) = duplex(1 << 16);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let ended = tokio::spawn(async move {
            let ((out, mut stdout), (err, mut stderr)) = (duplex(1 << 16), duplex(1 << 16));
            let streams = Streams {
                stdin: Some(Box::pin(stdin)),
                stdout: Some(Box::pin(out)),
                stderr: (!tty).then(|| Box::pin(err) as _),
                tty,
                resize: None,
            };
            let exit = converse(client, dialect, streams).await;
            let (mut told, mut warned) = (String::new(), String::new());
            stdout.read_to_string(&mut told).await.unwrap();
            stderr.read_to_string(&mut warned).await.unwrap();
            (exit, told, warned)
        });
        (server, ended)
    }

    #[tokio::test]
    async fn channels_are_told_apart_and_the_outcome_has_the_code() {
        let (mut server, ended) = start(Dialect::Channels, b"in", false).await;
        assert_eq!(server.next().await.unwrap().unwrap(), Message::binary(&b"\x00in"[..]));
        for message in [&b"\x01out"[..], b"\x02err", b"\x01 more"] {
            server.send(Message::binary(message)).await.unwrap();
        }
        let status = br#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        server.send(Message::binary([&[3][..], status].concat())).await.unwrap();
        server.close(None).await.unwrap();
        let (exit, told, warned) = ended.await.unwrap();
        assert_eq!((exit.unwrap().code, told.as_str(), warned.as_str()), (7, "out more", "err"));
    }

    #[tokio::test]
    async fn a_terminal_gets_the_password_first_and_its_end_of_input() {
        let (mut server, ended) = start(Dialect::Terminal(Secret::new("open")), b"ls\n", true).await;
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(server.next().await.unwrap().unwrap());
        }
        assert_eq!(heard, [Message::text("open"), Message::binary(&b"ls\n"[..]), Message::binary(&b"\x04"[..])]);
        server.send(Message::text("here")).await.unwrap();
        server.close(None).await.unwrap();
        let (exit, told, _) = ended.await.unwrap();
        assert_eq!((exit, told.as_str()), (Ok(ExitStatus::SUCCESS), "here"));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_no_success() {
        let (server, ended) = start(Dialect::Channels, b"", false).await;
        drop(server);
        assert!(matches!(ended.await.unwrap().0, Err(ProviderError::Unavailable(_))));
    }

    #[test]
    fn outcomes_are_read_in_either_version() {
        assert_eq!(exit_of(b""), Ok(ExitStatus::SUCCESS));
        assert_eq!(exit_of(br#"{"metadata":{},"status":"Success"}"#), Ok(ExitStatus::SUCCESS));
        assert_eq!(exit_of(b"command terminated with non-zero exit code: 3"), Ok(ExitStatus { code: 3 }));
        assert!(
            matches!(exit_of(br#"{"status":"Failure","message":"no such file"}"#), Err(ProviderError::Invalid(text)) if text == "no such file")
        );
    }
}
