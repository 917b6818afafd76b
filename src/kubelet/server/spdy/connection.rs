//! A connection whose streams the client opens: frames on one side, a pipe a stream on the other.

use std::{
    collections::HashMap,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, sink, split},
    sync::{Notify, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    codec::{Decoder, Encoder},
    frame::{Frame, Headers, ResetStatus, Setting, SpdyError, StreamId},
};

/// Streams open at a time; port-forward takes two a connection.
const MAX_STREAMS: usize = 1024;

/// Bytes that wait in a stream's pipe, each way. When the one that comes in is full, the whole connection waits: clients
/// keep no windows, so there is no other brake.
const PIPE: usize = 64 * 1024;

/// Longest piece of data sent at a time.
const PIECE: usize = 32 * 1024;

/// Frames that wait to be written.
const QUEUE: usize = 16;

/// The window that streams begin with, by the specification.
const FIRST_WINDOW: i64 = 64 * 1024;

/// Bytes taken before the peer is told that it may send as many more.
const UPDATE_AFTER: u32 = 32 * 1024;

/// How long a peer may take, when all is said, to read it and close.
const LINGER: Duration = Duration::from_secs(10);

/// A stream that the client has opened.
#[derive(Debug)]
pub struct Stream {
    /// Its number.
    pub id: StreamId,
    /// What it is for.
    pub headers: Headers,
    /// Both its directions; dropping it ends what the server sends.
    pub io: DuplexStream,
    /// Ends when all that the server sends on this stream is on its way: whatever it sends after that arrives later.
    pub sent: oneshot::Receiver<()>,
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The peer's bytes.
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    /// The connection.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who has had enough.
enum End {
    Peer,
    /// Nobody takes streams any more, and all that were taken are through.
    Own,
}

/// Serves a connection until its peer closes it, or until the receiver of `accepted` and every stream are dropped: then
/// all that was sent goes out, and the peer has 10 s to close first, because closing on it could cost it the rest.
pub async fn serve<T>(io: T, accepted: mpsc::Sender<Stream>) -> Result<(), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Send,
{
    let (mut reader, writer) = split(io);
    let (frames, queue) = mpsc::channel(QUEUE);
    let mut writing = pin!(write(writer, queue));
    let mut connection = Connection::new(frames, accepted);
    tokio::select! {
        read = connection.read(&mut reader) => if let End::Peer = read? { return Ok(()) },
        written = &mut writing => return written.map(drop),
    }
    drop(connection);
    let flushed = timeout(LINGER, writing).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let mut writer = flushed?;
    // Whatever the peer still says is of no use.
    let _ = timeout(LINGER, tokio::io::copy(&mut reader, &mut sink())).await;
    writer.shutdown().await.map_err(Into::into)
}

/// Writes frames until nobody sends any.
async fn write<T: AsyncWrite>(
    mut writer: WriteHalf<T>,
    mut queue: mpsc::Receiver<Frame>,
) -> Result<WriteHalf<T>, ConnectionError> {
    let mut encoder = Encoder::default();
    let mut output = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        encoder.encode(&frame, &mut output)?;
        while output.len() < PIECE
            && let Ok(frame) = queue.try_recv()
        {
            encoder.encode(&frame, &mut output)?;
        }
        writer.write_all_buf(&mut output).await?;
        writer.flush().await?;
    }
    Ok(writer)
}

/// How much a peer lets a stream send. Go's clients neither keep nor update windows; a peer that never spoke of one is
/// sent all there is.
#[derive(Debug)]
struct Window {
    state: Mutex<WindowState>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct WindowState {
    credit: i64,
    is_kept: bool,
}

impl Window {
    fn new(first: i64, is_kept: bool) -> Self {
        Self { state: Mutex::new(WindowState { credit: first, is_kept }), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn widen(&self, by: i64) {
        {
            let mut state = self.state();
            state.credit = state.credit.saturating_add(by);
            state.is_kept = true;
        }
        self.changed.notify_one();
    }

    /// Takes up to `wanted` bytes of it, at least one; waits for the first.
    async fn take(&self, wanted: usize) -> usize {
        let most = i64::try_from(wanted).unwrap_or(i64::MAX);
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let granted = if state.is_kept { most.min(state.credit) } else { most };
                if granted > 0 {
                    state.credit = state.credit.saturating_sub(granted);
                    return usize::try_from(granted).unwrap_or(wanted);
                }
            }
            changed.await;
        }
    }
}

/// What the connection keeps of a stream.
struct Open {
    /// Into its pipe; `None` once the client has sent its last, or nobody reads.
    inbound: Option<WriteHalf<DuplexStream>>,
    /// Bytes taken that the peer has not been told of.
    untold: u32,
    window: Arc<Window>,
    /// Sends what comes out of the pipe; `None` when that was all.
    pump: Option<AbortHandle>,
}

struct Connection {
    accepted: Option<mpsc::Sender<Stream>>,
    frames: mpsc::Sender<Frame>,
    open: HashMap<StreamId, Open>,
    pumps: JoinSet<StreamId>,
    last: StreamId,
    first_window: i64,
    keeps_windows: bool,
}

impl Connection {
    fn new(frames: mpsc::Sender<Frame>, accepted: mpsc::Sender<Stream>) -> Self {
        Self {
            accepted: Some(accepted),
            frames,
            open: HashMap::new(),
            pumps: JoinSet::new(),
            last: StreamId(0),
            first_window: FIRST_WINDOW,
            keeps_windows: false,
        }
    }

    async fn read<T: AsyncRead>(&mut self, reader: &mut ReadHalf<T>) -> Result<End, ConnectionError> {
        let mut decoder = Decoder::default();
        let mut input = BytesMut::new();
        loop {
            while let Some(frame) = decoder.decode(&mut input)? {
                self.take(frame).await;
            }
            if self.accepted.is_none() && self.pumps.is_empty() {
                return Ok(End::Own);
            }
            input.reserve(PIECE);
            tokio::select! {
                read = reader.read_buf(&mut input) => if read? == 0 { return Ok(End::Peer) },
                Some(done) = self.pumps.join_next() => {
                    if let Ok(stream) = done {
                        self.sent_all(stream);
                    }
                }
                () = closed(self.accepted.as_ref()) => self.accepted = None,
            }
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { stream, headers, fin } => self.open(stream, headers, fin).await,
            Frame::Data { stream, data, fin } => self.receive(stream, &data, fin).await,
            Frame::Reset { stream, .. } => {
                if let Some(open) = self.open.remove(&stream)
                    && let Some(pump) = open.pump
                {
                    pump.abort();
                }
            }
            // Even numbers would be the server's own, which sends none.
            Frame::Ping(id) if id % 2 == 1 => self.send(Frame::Ping(id)).await,
            Frame::GoAway { .. } => self.accepted = None,
            Frame::Settings(settings) => {
                for setting in settings.into_iter().filter(|setting| setting.id == Setting::INITIAL_WINDOW) {
                    let first = i64::from(setting.value);
                    let wider = first - self.first_window;
                    (self.first_window, self.keeps_windows) = (first, true);
                    self.open.values().for_each(|open| open.window.widen(wider));
                }
            }
            Frame::WindowUpdate { stream, delta } => {
                self.keeps_windows = true;
                for (id, open) in &self.open {
                    open.window.widen(if *id == stream { i64::from(delta) } else { 0 });
                }
            }
            Frame::Ping(_) | Frame::SynReply { .. } | Frame::Headers { .. } => {}
        }
    }

    async fn open(&mut self, id: StreamId, headers: Headers, fin: bool) {
        if id.0.is_multiple_of(2) || id <= self.last {
            return self.send(Frame::Reset { stream: id, status: ResetStatus::PROTOCOL_ERROR }).await;
        }
        self.last = id;
        let (io, own) = duplex(PIPE);
        let (sending, sent) = oneshot::channel();
        let stream = Stream { id, headers, io, sent };
        let place = match &self.accepted {
            Some(accepted) if self.open.len() < MAX_STREAMS => accepted.reserve().await.ok(),
            _ => None,
        };
        let Some(place) = place else {
            return self.send(Frame::Reset { stream: id, status: ResetStatus::REFUSED_STREAM }).await;
        };
        // Clients drop data of a stream that has had no reply.
        let reply = Frame::SynReply { stream: id, headers: Headers::default(), fin: false };
        if self.frames.send(reply).await.is_err() {
            return;
        }
        place.send(stream);
        let (outbound, mut inbound) = split(own);
        if fin {
            let _ = inbound.shutdown().await;
        }
        let window = Arc::new(Window::new(self.first_window, self.keeps_windows));
        let (frames, of_stream) = (self.frames.clone(), Arc::clone(&window));
        let pump = self.pumps.spawn(async move {
            let _sending: oneshot::Sender<()> = sending;
            pump(id, outbound, frames, of_stream).await
        });
        let inbound = (!fin).then_some(inbound);
        self.open.insert(id, Open { inbound, untold: 0, window, pump: Some(pump) });
    }

    async fn receive(&mut self, id: StreamId, data: &[u8], fin: bool) {
        // A stream that is over: its data was on the way.
        let Some(open) = self.open.get_mut(&id) else { return };
        if let Some(inbound) = &mut open.inbound
            && inbound.write_all(data).await.is_err()
        {
            open.inbound = None;
        }
        open.untold = open.untold.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
        let update = Frame::WindowUpdate { stream: id, delta: open.untold };
        // It may come later, too.
        if !fin && open.untold >= UPDATE_AFTER && self.frames.try_send(update).is_ok() {
            open.untold = 0;
        }
        if fin {
            if let Some(mut inbound) = open.inbound.take() {
                let _ = inbound.shutdown().await;
            }
            if open.pump.is_none() {
                self.open.remove(&id);
            }
        }
    }

    /// Nothing more will be sent on `stream`.
    fn sent_all(&mut self, stream: StreamId) {
        if let Some(open) = self.open.get_mut(&stream) {
            open.pump = None;
            if open.inbound.is_none() {
                self.open.remove(&stream);
            }
        }
    }

    async fn send(&self, frame: Frame) {
        // Where nobody writes any more, the connection is about to end.
        let _ = self.frames.send(frame).await;
    }
}

async fn closed(accepted: Option<&mpsc::Sender<Stream>>) {
    match accepted {
        Some(accepted) => accepted.closed().await,
        None => std::future::pending().await,
    }
}

/// Sends what comes out of a stream's pipe, and its end.
async fn pump(
    id: StreamId,
    mut outbound: ReadHalf<DuplexStream>,
    frames: mpsc::Sender<Frame>,
    window: Arc<Window>,
) -> StreamId {
    let mut waiting = BytesMut::new();
    loop {
        waiting.reserve(PIECE);
        let is_end = !matches!(outbound.read_buf(&mut waiting).await, Ok(1..));
        while !waiting.is_empty() {
            let granted = window.take(waiting.len()).await;
            let data = waiting.split_to(granted).freeze();
            if frames.send(Frame::Data { stream: id, data, fin: false }).await.is_err() {
                return id;
            }
        }
        if is_end {
            let _ = frames.send(Frame::Data { stream: id, data: bytes::Bytes::new(), fin: true }).await;
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::task::JoinHandle;

    use super::*;

    /// The client's side, frame by frame.
    struct Client {
        io: DuplexStream,
        encoder: Encoder,
        decoder: Decoder,
        input: BytesMut,
        accepted: mpsc::Receiver<Stream>,
        server: JoinHandle<Result<(), ConnectionError>>,
    }

    impl Client {
        fn new() -> Self {
            let (io, peer) = duplex(1 << 16);
            let (sender, accepted) = mpsc::channel(4);
            let server = tokio::spawn(serve(peer, sender));
            let (encoder, decoder) = (Encoder::default(), Decoder::default());
            Self { io, encoder, decoder, input: BytesMut::new(), accepted, server }
        }

        async fn send(&mut self, frame: Frame) {
            let mut output = BytesMut::new();
            self.encoder.encode(&frame, &mut output).unwrap();
            self.io.write_all(&output).await.unwrap();
        }

        async fn open(&mut self, id: u32) -> Stream {
            let headers = Headers(vec![("streamtype".to_owned(), id.to_string())]);
            self.send(Frame::SynStream { stream: StreamId(id), headers, fin: false }).await;
            let reply = Frame::SynReply { stream: StreamId(id), headers: Headers::default(), fin: false };
            assert_eq!(self.next().await, Some(reply));
            self.accepted.recv().await.unwrap()
        }

        async fn data(&mut self, id: u32, data: &'static [u8], fin: bool) {
            self.send(Frame::Data { stream: StreamId(id), data: Bytes::from_static(data), fin }).await;
        }

        async fn next(&mut self) -> Option<Frame> {
            loop {
                if let Some(frame) = self.decoder.decode(&mut self.input).unwrap() {
                    return Some(frame);
                }
                if self.io.read_buf(&mut self.input).await.unwrap() == 0 {
                    return None;
                }
            }
        }

        /// All data of one stream.
        async fn received(&mut self, id: u32) -> Vec<u8> {
            let mut all = Vec::new();
            loop {
                match self.next().await.unwrap() {
                    Frame::Data { stream, data, fin } => {
                        assert_eq!(stream, StreamId(id));
                        all.extend_from_slice(&data);
                        if fin {
                            return all;
                        }
                    }
                    frame => assert!(matches!(frame, Frame::WindowUpdate { .. }), "{frame:?}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn both_directions_of_a_stream_carry_bytes_and_end_apart() {
        let mut client = Client::new();
        let mut stream = client.open(1).await;
        assert_eq!(stream.headers.get("streamtype"), Some("1"));
        client.data(1, b"to the ", false).await;
        client.data(1, b"server", true).await;
        let mut heard = String::new();
        stream.io.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "to the server");
        stream.io.write_all(b"and back").await.unwrap();
        drop(stream);
        assert_eq!(client.received(1).await, b"and back");
    }

    #[tokio::test(start_paused = true)]
    async fn everything_arrives_before_the_server_closes() {
        let mut client = Client::new();
        let mut stream = client.open(1).await;
        let sent = vec![7; 1 << 20];
        let expected = sent.clone();
        tokio::spawn(async move { stream.io.write_all(&sent).await });
        client.accepted.close();
        assert_eq!(client.received(1).await, expected);
        assert!(!client.server.is_finished(), "closes although the client may still be reading");
        assert_eq!(client.next().await, None, "waits for the client for ever");
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_every_stream() {
        let mut client = Client::new();
        let mut stream = client.open(1).await;
        drop(client.io);
        assert_eq!(stream.io.read(&mut [0]).await.unwrap(), 0);
        client.server.await.unwrap().unwrap();
        assert!(stream.io.write_all(&[0; 8]).await.is_err());
    }

    #[tokio::test]
    async fn a_reset_ends_one_stream_and_no_other() {
        let mut client = Client::new();
        let (mut one, mut other) = (client.open(1).await, client.open(3).await);
        client.send(Frame::Reset { stream: StreamId(1), status: ResetStatus::CANCEL }).await;
        assert_eq!(one.io.read(&mut [0]).await.unwrap(), 0);
        client.data(3, b"x", true).await;
        assert_eq!(other.io.read(&mut [0]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn pings_are_answered_and_wrong_stream_ids_refused() {
        let mut client = Client::new();
        client.send(Frame::Ping(1)).await;
        assert_eq!(client.next().await, Some(Frame::Ping(1)));
        client.open(5).await;
        for id in [2, 5, 3] {
            let stream = StreamId(id);
            client.send(Frame::SynStream { stream, headers: Headers::default(), fin: false }).await;
            loop {
                match client.next().await {
                    Some(Frame::Data { .. }) => {}
                    next => {
                        assert_eq!(next, Some(Frame::Reset { stream, status: ResetStatus::PROTOCOL_ERROR }));
                        break;
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn no_more_streams_are_open_than_allowed() {
        let mut client = Client::new();
        let mut held = Vec::new();
        for number in 0..MAX_STREAMS {
            held.push(client.open(u32::try_from(number).unwrap() * 2 + 1).await);
        }
        let stream = StreamId(u32::try_from(MAX_STREAMS).unwrap() * 2 + 1);
        client.send(Frame::SynStream { stream, headers: Headers::default(), fin: false }).await;
        assert_eq!(client.next().await, Some(Frame::Reset { stream, status: ResetStatus::REFUSED_STREAM }));
    }

    #[tokio::test]
    async fn a_peer_that_keeps_windows_is_not_sent_more_than_they_hold() {
        let mut client = Client::new();
        client.send(Frame::Settings(vec![Setting { id: Setting::INITIAL_WINDOW, value: 10 }])).await;
        let mut stream = client.open(1).await;
        stream.io.write_all(&[1; 25]).await.unwrap();
        drop(stream);
        let data = |length: usize, fin| Frame::Data { stream: StreamId(1), data: vec![1; length].into(), fin };
        assert_eq!(client.next().await, Some(data(10, false)));
        client.send(Frame::WindowUpdate { stream: StreamId(1), delta: 8 }).await;
        assert_eq!(client.next().await, Some(data(8, false)));
        client.send(Frame::WindowUpdate { stream: StreamId(1), delta: 8 }).await;
        assert_eq!(client.next().await, Some(data(7, false)));
        assert_eq!(client.next().await, Some(data(0, true)));
    }

    #[tokio::test]
    async fn a_peer_that_never_spoke_of_windows_is_sent_everything() {
        let mut client = Client::new();
        let mut stream = client.open(1).await;
        tokio::spawn(async move { stream.io.write_all(&vec![1; 300_000]).await });
        assert_eq!(client.received(1).await.len(), 300_000);
    }
}
