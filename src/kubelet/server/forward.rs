//! `portForward`: a pair of streams, data and error, for each connection to a port of the pod.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, copy_bidirectional},
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    port_channels::{self, PortStreams},
    spdy::{self, Stream},
    upgrade::{Spoken, Wire},
    websocket,
};
use crate::{
    kubelet::KubeletMetrics,
    provider::{Owner, Provider},
};

const PROTOCOL: &str = "portforward.k8s.io";

/// Numbered channels, without SPDY.
const CHANNELS: &str = "v4.channel.k8s.io";

/// Over WebSocket the client sends the bytes of the same SPDY connection, or else uses numbered channels.
pub(super) const SPOKEN: Spoken = Spoken { spdy: &[PROTOCOL], websocket: &["SPDY/3.1+portforward.k8s.io", CHANNELS] };

/// How long one stream waits for its pair.
const PAIRING: Duration = Duration::from_secs(30);

/// Streams that wait for their pair at a time.
const MOST_WAITING: usize = 256;

/// Whom the connections go to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) metrics: KubeletMetrics,
    pub(super) owner: Owner,
}

/// Serves a port-forward until the client leaves. `ports` are those of the query; SPDY's streams name theirs themselves.
pub(super) async fn run(
    (wire, protocol): (Wire, &str),
    ports: &[u16],
    connection: hyper::upgrade::OnUpgrade,
    target: Target,
) {
    let io = match connection.await {
        Ok(connection) => TokioIo::new(connection),
        Err(error) => return tracing::debug!(%error, "port-forward: the connection was not handed over"),
    };
    match wire {
        Wire::Spdy => forward(io, target).await,
        Wire::WebSocket if protocol == CHANNELS => {
            let (streams, carrying) = port_channels::streams(io, ports).await;
            let pairs = streams.into_iter().map(Pair::from);
            let connections: JoinSet<()> = pairs.map(|pair| pair.connect(target.clone())).collect();
            tokio::select! {
                _ = connections.join_all() => {}
                // Ends with the client, whatever the pod's side is doing.
                _ = carrying => {}
            }
        }
        Wire::WebSocket => forward(websocket::tunnel(io).await, target).await,
    }
}

async fn forward<T: AsyncRead + AsyncWrite + Send>(io: T, target: Target) {
    let (sender, accepted) = mpsc::channel(8);
    // Ends with the connection, whatever the pod's side is doing.
    let _connections = AbortOnDropHandle::new(tokio::spawn(connect_all(accepted, target)));
    if let Err(error) = spdy::serve(io, sender).await {
        tracing::debug!(%error, "port-forward ended badly");
    }
}

async fn connect_all(mut accepted: mpsc::Receiver<Stream>, target: Target) {
    let mut pairs = Pairs::default();
    let mut connections = JoinSet::new();
    let mut goes_on = true;
    while goes_on || !connections.is_empty() {
        tokio::select! {
            stream = accepted.recv(), if goes_on => match stream {
                Some(stream) => if let Some(pair) = pairs.take(stream, Instant::now()) {
                    connections.spawn(pair.connect(target.clone()));
                },
                None => goes_on = false,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// One connection's streams.
#[derive(Debug)]
struct Pair {
    port: Option<u16>,
    data: DuplexStream,
    error: DuplexStream,
}

/// Streams whose counterpart has not come yet, by their request.
#[derive(Debug, Default)]
struct Pairs {
    waiting: HashMap<String, (Kind, DuplexStream, Instant)>,
}

impl Pairs {
    /// Takes a stream in; answers the pair that it completes. Streams of no use are dropped, which ends them.
    fn take(&mut self, stream: Stream, now: Instant) -> Option<Pair> {
        self.waiting.retain(|_, (_, _, since)| now.duration_since(*since) < PAIRING);
        let kind = match stream.headers.get("streamtype")? {
            "data" => Kind::Data,
            "error" => Kind::Error,
            _ => return None,
        };
        // Clients before Kubernetes 1.2 give no request id; they open a request's error stream and then its data stream.
        let request = match (stream.headers.get("requestid"), kind) {
            (Some(request), _) => request.to_owned(),
            (None, Kind::Error) => stream.id.0.to_string(),
            (None, Kind::Data) => stream.id.0.saturating_sub(2).to_string(),
        };
        match (kind, self.waiting.remove(&request)) {
            (Kind::Data, Some((Kind::Error, error, _))) => {
                let port = stream.headers.get("port").and_then(|port| port.parse().ok());
                Some(Pair { port, data: stream.io, error })
            }
            (Kind::Error, Some((Kind::Data, data, _))) => {
                let port = stream.headers.get("port").and_then(|port| port.parse().ok());
                Some(Pair { port, data, error: stream.io })
            }
            (_, None) if self.waiting.len() < MOST_WAITING => {
                self.waiting.insert(request, (kind, stream.io, now));
                None
            }
            _ => None,
        }
    }
}

impl From<PortStreams> for Pair {
    fn from(PortStreams { port, data, error }: PortStreams) -> Self {
        Self { port: Some(port), data, error }
    }
}

impl Pair {
    async fn connect(self, target: Target) {
        let Self { port, mut data, mut error } = self;
        let Some(port) = port.filter(|port| *port > 0) else {
            let _ = error.write_all(b"unable to forward: the stream's header port is no port").await;
            return;
        };
        let Target { provider, metrics, owner } = &target;
        let outcome = match metrics.asked("port-forward", provider.port_forward(owner, port)).await {
            Ok(mut connection) => match copy_bidirectional(&mut data, &mut connection).await {
                Ok(_) => return,
                // The client's own end is none of its news.
                Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => return,
                Err(fault) => fault.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let text = format!("unable to forward port {port} of pod {}: {outcome}", target.owner.name);
        let _ = error.write_all(text.as_bytes()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::kubelet::server::spdy::{Headers, StreamId};

    fn stream(id: u32, headers: &[(&str, &str)]) -> Stream {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (io, sent) = (duplex(8).0, tokio::sync::oneshot::channel().1);
        Stream { id: StreamId(id), headers: Headers(headers), io, sent }
    }

    #[tokio::test]
    async fn a_pair_is_complete_in_either_order() {
        for [first, second] in [["data", "error"], ["error", "data"]] {
            let mut pairs = Pairs::default();
            let headers = |kind| [("streamtype", kind), ("requestid", "7"), ("port", "80")];
            assert!(pairs.take(stream(1, &headers(first)), Instant::now()).is_none());
            let other = [("streamtype", second), ("requestid", "8"), ("port", "80")];
            assert!(pairs.take(stream(3, &other), Instant::now()).is_none());
            let pair = pairs.take(stream(5, &headers(second)), Instant::now()).unwrap();
            assert_eq!(pair.port, Some(80));
        }
    }

    #[tokio::test]
    async fn without_a_request_id_the_order_tells() {
        let mut pairs = Pairs::default();
        let headers = |kind| [("streamtype", kind), ("port", "80")];
        assert!(pairs.take(stream(9, &headers("error")), Instant::now()).is_none());
        assert!(pairs.take(stream(11, &headers("data")), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn lone_streams_are_bounded_in_number_and_time() {
        let mut pairs = Pairs::default();
        for id in 0..1000 {
            let request = id.to_string();
            pairs.take(stream(id, &[("streamtype", "data"), ("requestid", &request)]), Instant::now());
        }
        assert_eq!(pairs.waiting.len(), MOST_WAITING);
        tokio::time::advance(PAIRING).await;
        pairs.take(stream(1, &[("streamtype", "data"), ("requestid", "x")]), Instant::now());
        assert_eq!(pairs.waiting.len(), 1);
    }

    #[tokio::test]
    async fn what_is_neither_data_nor_error_is_let_go() {
        let mut pairs = Pairs::default();
        assert!(pairs.take(stream(1, &[("streamtype", "stdin")]), Instant::now()).is_none());
        assert!(pairs.take(stream(3, &[]), Instant::now()).is_none());
        assert!(pairs.waiting.is_empty());
    }
}
