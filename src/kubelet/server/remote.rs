//! `exec` and `attach`: the request, then its session on the wire that the client asked for.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader, DuplexStream, duplex},
    sync::{mpsc, oneshot, watch},
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

/// Bytes of an outcome that wait until it is sent.
const LONGEST_OUTCOME: usize = 16 * 1024;

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
    let error = opened.remove(ERROR).ok_or(SessionError::Left)?;
    let mut written = Vec::new();
    let mut output = |kind| {
        opened.remove(kind).map(|stream| {
            written.push(stream.sent);
            Box::pin(stream.io) as _
        })
    };
    let (stdout, stderr) = (output(STDOUT), output(STDERR));
    let streams = Streams {
        stdin: opened.remove(STDIN).map(|stream| Box::pin(stream.io) as _),
        stdout,
        stderr,
        tty: wishes.tty,
        resize: opened.remove(RESIZE).map(|stream| sizes(stream.io)),
    };
    Ok(Session { streams, status: StatusPipe { pipe: held_back(error.io, written), dialect }, connection })
}

/// A pipe into `stream` for the outcome, which comes after all that was `written`: there are clients that read no further.
fn held_back(mut stream: DuplexStream, written: Vec<oneshot::Receiver<()>>) -> DuplexStream {
    let (pipe, mut outcome) = duplex(LONGEST_OUTCOME);
    tokio::spawn(async move {
        join_all(written).await;
        // Fails only where the client has left.
        let _ = tokio::io::copy(&mut outcome, &mut stream).await;
    });
    pipe
}

/// The streams of the kinds `expected`, when all of them are open; others are let go.
async fn opened<'a>(
    mut accepted: mpsc::Receiver<spdy::Stream>,
    expected: &[&'a str],
) -> Option<BTreeMap<&'a str, spdy::Stream>> {
    let mut opened = BTreeMap::new();
    while opened.len() < expected.len() {
        let stream = accepted.recv().await?;
        let kind = stream.headers.get("streamtype").unwrap_or_default();
        if let Some(kind) = expected.iter().find(|expected| **expected == kind) {
            opened.entry(*kind).or_insert(stream);
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt;

    use super::{
        spdy::{Decoder, Encoder, Frame, Headers, StreamId},
        *,
    };
    use crate::provider::ExitStatus;

    /// More bytes than wait on their way, so that some are left to send when the command has ended.
    const MUCH: usize = 1 << 20;

    #[tokio::test]
    async fn the_outcome_comes_after_all_that_was_written() {
        for _ in 0..3 {
            let (mut client, server) = duplex(1 << 16);
            let (mut encoder, mut output) = (Encoder::default(), BytesMut::new());
            for (number, kind) in (0_u32..).zip([ERROR, STDOUT, STDERR]) {
                let headers = Headers(vec![("streamtype".to_owned(), kind.to_owned())]);
                let open = Frame::SynStream { stream: StreamId(2 * number + 1), headers, fin: false };
                encoder.encode(&open, &mut output).unwrap();
            }
            client.write_all(&output).await.unwrap();
            let wishes = Wishes { stdout: true, stderr: true, ..Wishes::default() };
            let session = over_spdy(server, "v4.channel.k8s.io", &wishes).await.unwrap();
            let running = tokio::spawn(session.run(|mut streams| async move {
                streams.stdout.take().unwrap().write_all(&vec![b'x'; MUCH]).await.unwrap();
                streams.stderr.take().unwrap().write_all(&vec![b'y'; MUCH]).await.unwrap();
                Ok(ExitStatus::SUCCESS)
            }));
            let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
            let (mut written, mut told) = (0, Vec::new());
            loop {
                match decoder.decode(&mut input).unwrap() {
                    Some(Frame::Data { stream: StreamId(1), data, fin }) => {
                        told.extend_from_slice(&data);
                        if fin {
                            break;
                        }
                    }
                    Some(Frame::Data { data, .. }) => {
                        assert!(told.is_empty(), "{written} bytes had come before the outcome");
                        written += data.len();
                    }
                    Some(_) => {}
                    None => assert!(client.read_buf(&mut input).await.unwrap() > 0, "it ends without an outcome"),
                }
            }
            assert_eq!(written, 2 * MUCH);
            assert!(String::from_utf8(told).unwrap().contains("Success"));
            drop(client);
            running.await.unwrap();
        }
    }
}
