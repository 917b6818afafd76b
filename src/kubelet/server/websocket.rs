//! Remote commands over WebSocket, and the byte stream that a tunnel makes of one.

use std::{pin::pin, time::Duration};

use bytes::BytesMut;
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    channels::{self, Input, Output},
    query::Wishes,
    session::{Dialect, Session, StatusPipe},
};
use crate::provider::{Streams, TerminalSize};

/// Bytes that wait in a pipe.
pub(super) const PIPE: usize = 64 * 1024;

/// Longest piece sent in one message.
const PIECE: usize = 32 * 1024;

/// Messages that wait to be sent.
pub(super) const QUEUE: usize = 8;

/// Longest message taken. Clients send what they read at a time, which is 32 KiB.
const MAX_MESSAGE: usize = 1 << 20;

/// How long a peer may take, when all is said, to read it and close.
const LINGER: Duration = Duration::from_secs(10);

/// The server's side of a WebSocket whose handshake is done.
pub(super) async fn open<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> WebSocketStream<T> {
    let config = WebSocketConfig::default()
        .read_buffer_size(PIECE)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// An `exec` or `attach` of the version `protocol`.
pub(super) async fn session<T>(io: T, protocol: &str, wishes: &Wishes) -> Session
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = open(io).await;
    let mut outputs = Vec::new();
    let mut output = |channel, is_wanted: bool| {
        is_wanted.then(|| {
            let (own, theirs) = duplex(PIPE);
            outputs.push((channel, own));
            theirs
        })
    };
    let stdout = output(Output::Stdout, wishes.stdout);
    let stderr = output(Output::Stderr, wishes.stderr);
    let (own_status, status) = duplex(PIPE);
    let (own_stdin, stdin) = duplex(PIPE);
    let (sizes, resize) = watch::channel(None);
    let inputs = Inputs { stdin: wishes.stdin.then_some(own_stdin), sizes, is_v5: protocol == channels::V5 };
    let connection = tokio::spawn(carry(socket, inputs, outputs, own_status));
    Session {
        streams: Streams {
            stdin: wishes.stdin.then(|| Box::pin(stdin) as _),
            stdout: stdout.map(|pipe| Box::pin(pipe) as _),
            stderr: stderr.map(|pipe| Box::pin(pipe) as _),
            tty: wishes.tty,
            resize: wishes.tty.then_some(resize),
        },
        status: StatusPipe { pipe: status, dialect: Dialect::Json },
        connection,
    }
}

/// Where a client's messages go.
struct Inputs {
    stdin: Option<DuplexStream>,
    sizes: watch::Sender<Option<TerminalSize>>,
    is_v5: bool,
}

/// Carries messages until the client leaves, or until all outputs have ended and it has had time to read them.
async fn carry<T>(
    socket: WebSocketStream<T>,
    inputs: Inputs,
    outputs: Vec<(Output, DuplexStream)>,
    status: DuplexStream,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (sink, source) = socket.split();
    let (messages, queue) = mpsc::channel(QUEUE);
    // Clients take an empty message for the sign that all is set up.
    if let Some((first, _)) = outputs.first() {
        let _ = messages.try_send(Message::binary(channels::write(*first, b"")));
    }
    let mut pumps = JoinSet::new();
    for (channel, pipe) in outputs {
        pumps.spawn(pump(pipe, messages.clone(), move |data| channels::write(channel, data).into()));
    }
    // The outcome comes last: there are clients that read no further.
    let _told = AbortOnDropHandle::new(tokio::spawn(async move {
        while pumps.join_next().await.is_some() {}
        pump(status, messages, |data| channels::write(Output::Status, data).into()).await;
    }));
    let reading = inputs.read(source);
    converse(reading, send_all(sink, queue)).await;
}

impl Inputs {
    async fn read(mut self, mut source: impl Stream<Item = Result<Message, Error>> + Unpin) {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(data) = message else { continue };
            match channels::read(&data, self.is_v5) {
                Input::Stdin(data) => {
                    if let Some(stdin) = &mut self.stdin
                        && stdin.write_all(data).await.is_err()
                    {
                        self.stdin = None;
                    }
                }
                Input::StdinEnds => self.stdin = None,
                Input::Resize(size) => drop(self.sizes.send_replace(Some(size))),
                Input::Nothing => {}
            }
        }
    }
}

/// Makes messages of what comes out of a pipe.
pub(super) async fn pump(
    mut pipe: impl AsyncRead + Unpin,
    messages: mpsc::Sender<Message>,
    message: impl Fn(&[u8]) -> bytes::Bytes,
) {
    let mut waiting = BytesMut::with_capacity(PIECE);
    while let Ok(1..) = pipe.read_buf(&mut waiting).await {
        if messages.send(Message::Binary(message(&waiting))).await.is_err() {
            return;
        }
        waiting.clear();
    }
}

/// Sends messages until there are no more to come, and says so.
pub(super) async fn send_all(mut sink: impl Sink<Message, Error = Error> + Unpin, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(frame))).await;
}

/// Both directions. The peer's end is the end; after one's own, the peer may still take a while to read and close.
pub(super) async fn converse(reading: impl Future<Output = ()>, sending: impl Future<Output = ()>) {
    let mut reading = pin!(reading);
    tokio::select! {
        () = &mut reading => {}
        () = sending => drop(timeout(LINGER, reading).await),
    }
}

/// The byte stream in the binary messages of a WebSocket.
pub(super) async fn tunnel<T>(io: T) -> DuplexStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut source) = open(io).await.split();
    let (own, theirs) = duplex(PIPE);
    let (out, mut into) = split(own);
    let (messages, queue) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let pumped = tokio::spawn(pump(out, messages, bytes::Bytes::copy_from_slice));
        let reading = async {
            while let Some(Ok(message)) = source.next().await {
                if let Message::Binary(data) = message {
                    // Where nobody reads any more, the close is still waited for.
                    let _ = into.write_all(&data).await;
                }
            }
            let _ = into.shutdown().await;
        };
        converse(reading, send_all(sink, queue)).await;
        pumped.abort();
    });
    theirs
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Bytes;

    use super::*;
    use crate::provider::ExitStatus;

    type Client = WebSocketStream<DuplexStream>;

    async fn start(protocol: &str, wishes: Wishes) -> (Client, Session) {
        let (client, server) = duplex(1 << 16);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (client, session(server, protocol, &wishes).await)
    }

    fn everything() -> Wishes {
        Wishes { stdin: true, stdout: true, stderr: true, ..Wishes::default() }
    }

    /// What came on each channel until the server closed.
    async fn heard(client: &mut Client) -> [Vec<u8>; 5] {
        let mut channels = <[Vec<u8>; 5]>::default();
        while let Some(Ok(message)) = client.next().await {
            if let Message::Binary(data) = message {
                channels[usize::from(data[0])].extend_from_slice(&data[1..]);
            }
        }
        channels
    }

    async fn say(client: &mut Client, message: &'static [u8]) {
        client.send(Message::Binary(Bytes::from_static(message))).await.unwrap();
    }

    async fn echo(mut streams: Streams) -> Result<ExitStatus, crate::provider::ProviderError> {
        let (mut stdin, mut stdout) = (streams.stdin.take().unwrap(), streams.stdout.take().unwrap());
        tokio::io::copy(&mut stdin, &mut stdout).await.unwrap();
        streams.stderr.take().unwrap().write_all(b"done").await.unwrap();
        Ok(ExitStatus { code: 7 })
    }

    #[tokio::test]
    async fn input_ends_by_a_message_and_everything_arrives_before_the_close() {
        let (mut client, session) = start(channels::V5, everything()).await;
        tokio::spawn(session.run(echo));
        say(&mut client, b"\x00one ").await;
        say(&mut client, b"\x00two").await;
        say(&mut client, b"\xff\x00").await;
        let [_, stdout, stderr, status, _] = heard(&mut client).await;
        assert_eq!((&*stdout, &*stderr), (&b"one two"[..], &b"done"[..]));
        assert!(String::from_utf8(status).unwrap().contains("\"ExitCode\""));
    }

    #[tokio::test]
    async fn the_outcome_comes_after_all_that_was_written() {
        const WRITTEN: usize = 12 * PIECE;
        let (mut client, session) = start(channels::V5, everything()).await;
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        tokio::spawn(session.run(|mut streams| async move {
            streams.stdout.take().unwrap().write_all(&vec![b'x'; WRITTEN]).await.unwrap();
            ended.send(()).unwrap();
            Ok(ExitStatus::SUCCESS)
        }));
        // The client reads nothing until the outcome is on its way, too.
        has_ended.await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (mut written, mut before) = (0, None);
        while let Some(Ok(message)) = client.next().await {
            let Message::Binary(data) = message else { continue };
            match data[0] {
                1 => written += data.len() - 1,
                3 => before = Some(written),
                _ => {}
            }
        }
        assert_eq!((before, written), (Some(WRITTEN), WRITTEN));
    }

    #[tokio::test]
    async fn the_first_message_is_empty_and_says_that_all_is_set_up() {
        let (mut client, _session) = start("v4.channel.k8s.io", everything()).await;
        let first = client.next().await.unwrap().unwrap();
        assert_eq!(first, Message::binary(&b"\x01"[..]));
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_command() {
        let (client, session) = start(channels::V5, everything()).await;
        let (ended, command) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(session.run(|_streams| async move {
            let _held = ended;
            std::future::pending().await
        }));
        drop(client);
        assert!(command.await.is_err());
        running.await.unwrap();
    }

    #[tokio::test]
    async fn the_latest_size_reaches_the_terminal() {
        let wishes = Wishes { stdin: true, stdout: true, tty: true, ..Wishes::default() };
        let (mut client, mut session) = start(channels::V5, wishes).await;
        let mut sizes = session.streams.resize.take().unwrap();
        say(&mut client, b"\x04{\"Width\":80,\"Height\":24}").await;
        let size = *sizes.wait_for(Option::is_some).await.unwrap();
        assert_eq!(size, Some(TerminalSize { width: 80, height: 24 }));
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes_both_ways() {
        let (client, server) = duplex(1 << 16);
        let mut client: Client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut tunnel = tunnel(server).await;
        say(&mut client, b"ab").await;
        say(&mut client, b"cd").await;
        let mut four = [0; 4];
        tunnel.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"abcd");
        tunnel.write_all(b"back").await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::binary(&b"back"[..]));
        drop(tunnel);
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
    }
}
