//! `exec` and `attach`: the request, then its session on the wire that the client asked for.

use std::{collections::BTreeMap, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader, DuplexStream},
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    channels::{self, terminal_size},
    query::Wishes,
    session::{Dialect, Session, StatusPipe},
    spdy,
    upgrade::{Spoken, Wire},
    websocket,
};
use crate::provider::Streams;

/// Versions of the protocol above SPDY, the best first. The fifth differs over WebSocket alone; the first has no number.
pub(super) const SPOKEN: Spoken = Spoken {
    spdy: &[channels::V5, "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"],
    websocket: &channels::PROTOCOLS,
};

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// Longest text of a terminal's size.
const LONGEST_SIZE: u64 = 1024;

/// Why a session did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the connection was not handed over: {0}")]
    Upgrade(#[from] hyper::Error),
    #[error("the client did not open its streams within {OPENING:?}")]
    Silent,
    #[error("the client left while opening its streams")]
    Left,
}

/// The session that `switch` leads to, once its answer is sent.
pub(super) async fn session(
    wire: Wire,
    protocol: &'static str,
    connection: hyper::upgrade::OnUpgrade,
    wishes: &Wishes,
) -> Result<Session, SessionError> {
    let io = TokioIo::new(connection.await?);
    match wire {
        Wire::WebSocket => Ok(websocket::session(io, protocol, wishes).await),
        Wire::Spdy => over_spdy(io, protocol, wishes).await,
    }
}

/// Streams that a client opens, by their header `streamtype`.
const ERROR: &str = "error";
const STDIN: &str = "stdin";
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
const RESIZE: &str = "resize";

async fn over_spdy<T>(io: T, protocol: &str, wishes: &Wishes) -> Result<Session, SessionError>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let has_sizes = !matches!(protocol, "v2.channel.k8s.io" | "channel.k8s.io");
    let dialect = if matches!(protocol, channels::V5 | "v4.channel.k8s.io") { Dialect::Json } else { Dialect::Text };
    let expected = [
        (ERROR, true),
        (STDIN, wishes.stdin),
        (STDOUT, wishes.stdout),
        (STDERR, wishes.stderr),
        (RESIZE, wishes.tty && has_sizes),
    ];
    let expected: Vec<&str> =
        expected.into_iter().filter(|(_, is_expected)| *is_expected).map(|(kind, _)| kind).collect();
    let (sender, accepted) = mpsc::channel(8);
    let connection = tokio::spawn(async move {
        if let Err(error) = spdy::serve(io, sender).await {
            tracing::debug!(%error, "a SPDY connection ended badly");
        }
    });
    let opened = timeout(OPENING, opened(accepted, &expected)).await;
    let mut opened = match opened {
        Ok(Some(opened)) => opened,
        failed => {
            connection.abort();
            return Err(if failed.is_err() { SessionError::Silent } else { SessionError::Left });
        }
    };
    let status = StatusPipe { pipe: opened.remove(ERROR).ok_or(SessionError::Left)?, dialect };
    let streams = Streams {
        stdin: opened.remove(STDIN).map(|pipe| Box::pin(pipe) as _),
        stdout: opened.remove(STDOUT).map(|pipe| Box::pin(pipe) as _),
        stderr: opened.remove(STDERR).map(|pipe| Box::pin(pipe) as _),
        tty: wishes.tty,
        resize: opened.remove(RESIZE).map(sizes),
    };
    Ok(Session { streams, status, connection })
}

/// The streams of the kinds `expected`, when all of them are open; others are let go.
async fn opened<'a>(
    mut accepted: mpsc::Receiver<spdy::Stream>,
    expected: &[&'a str],
) -> Option<BTreeMap<&'a str, DuplexStream>> {
    let mut opened = BTreeMap::new();
    while opened.len() < expected.len() {
        let stream = accepted.recv().await?;
        let kind = stream.headers.get("streamtype").unwrap_or_default();
        if let Some(kind) = expected.iter().find(|expected| **expected == kind) {
            opened.entry(*kind).or_insert(stream.io);
        }
    }
    Some(opened)
}

/// Reads a terminal's sizes, one a line, for as long as someone wants them.
fn sizes(pipe: DuplexStream) -> watch::Receiver<Option<crate::provider::TerminalSize>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut reader).take(LONGEST_SIZE);
            let read = tokio::select! {
                () = sender.closed() => return,
                read = limited.read_until(b'\n', &mut line) => read,
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
            if let Some(size) = terminal_size(&line) {
                sender.send_replace(Some(size));
            }
        }
    });
    receiver
}
